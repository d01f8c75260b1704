"""Reading many workflows, with few requests."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import Workflow

__all__ = ["READ_AT_ONCE", "read_many"]

READ_AT_ONCE = 100
"""Workflows in one answer: with outputs of 50 kB each it has 5 MB."""


def read_many(workflow_ids: Sequence[str], *, include_tasks: bool = False) -> Flow[dict[str, Workflow]]:
    """The workflows by id; those that the server does not know are left out.

    Several are read in one request where the server can (3.32 can, 3.13 cannot), but not with their tasks. What a bulk
    answer lacks is asked for by itself: the server leaves out, too, what it could not read just then, and outputs may
    be too large for one answer.
    """
    found: dict[str, Workflow] = {}
    bulk = len(workflow_ids) > 1 and not include_tasks
    for begin in range(0, len(workflow_ids), READ_AT_ONCE):
        ids = workflow_ids[begin : begin + READ_AT_ONCE]
        if bulk:
            try:
                answer = yield from ask(endpoints.bulk_search(ids))
                workflows = [Workflow(data) for data in answer.successful]
                found |= {workflow.workflow_id: workflow for workflow in workflows}
            except (ConductorUnreachableError, ConductorAuthError, ConductorTooManyRequestsError):
                raise
            except ConductorRequestError as error:
                bulk = not isinstance(error, (ConductorMissingRouteError, ConductorNotFoundError))
        for workflow_id in ids:
            if workflow_id in found:
                continue
            try:
                found[workflow_id] = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=include_tasks))
            except ConductorNotFoundError:
                continue
    return found
