"""Terminating many workflows at once."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Flow
from airflow_provider_conductor.client.errors import ConductorNotFound, ConductorRequestError, MissingRoute
from airflow_provider_conductor.client.models import BulkResult, Workflow
from airflow_provider_conductor.client.reading_many import read_many
from airflow_provider_conductor.client.terminating import terminate_running

__all__ = ["TERMINATED_AT_ONCE", "terminate_many"]

TERMINATED_AT_ONCE = 200
"""Workflows terminated by one request: some seconds of the server's time at most, and the limit is 1,000."""


def terminate_many(workflow_ids: Sequence[str], reason: str) -> Flow[dict[str, Workflow]]:
    """Terminate those that run, and only those: the server would overwrite FAILED and TIMED_OUT.

    Returns those that had ended before, as they are.
    """
    ended: dict[str, Workflow] = {}
    for begin in range(0, len(workflow_ids), TERMINATED_AT_ONCE):
        ids = workflow_ids[begin : begin + TERMINATED_AT_ONCE]
        seen = yield from read_many(ids)
        ended |= {workflow_id: workflow for workflow_id, workflow in seen.items() if workflow.status.ended}
        running = [workflow_id for workflow_id, workflow in seen.items() if not workflow.status.ended]
        if not running:
            continue
        try:
            answer: BulkResult = yield endpoints.bulk_terminate(running, reason)
            left = list(answer.errors)
        except MissingRoute:
            left = running
        except ConductorRequestError as error:
            if not error.fate_unknown:
                raise
            now = yield from read_many(running)
            left = [workflow_id for workflow_id in running if workflow_id in now and now[workflow_id].reason != reason]
        for workflow_id in left:  # it has ended meanwhile, or there is another reason, which is raised
            try:
                had_ended = yield from terminate_running(workflow_id, reason)
            except ConductorNotFound:
                continue
            if had_ended is not None:
                ended |= yield from read_many([workflow_id])
    return ended
