"""What became of a workflow that Conductor does not find, or that has ended: servers archive and expire these."""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorNotFoundError, ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, T, ask, current_time, sleep
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.polling.next_poll import next_poll_after_failure
from airflow_provider_conductor.polling.observation import LAST_POLL, once

ASK_AGAIN = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further read of a workflow that was not found: one such answer may be a stray one, and the search
index lags behind the database."""

UNKNOWN = "no such workflow"
"""What servers (3.13 to 3.32) answer about a workflow that they do not have."""

REFUSALS = 40
"""Refusals in a row, for over half an hour, after which the credentials for the gateway must be wrong."""

READ_FOR = 30.0
"""Seconds for which a failing read of an ended workflow is repeated at least."""


def confirm_missing(
    workflow_id: str, error: ConductorNotFoundError, again: Callable[[], Flow[T]], end: float = math.inf
) -> Flow[T | Workflow | None]:
    """What became of a workflow that was not found.

    ==================================================  ====================================================
    it is read again after 1, 2, 4 and 8 seconds        result
    ==================================================  ====================================================
    it is found                                         what was read: the first answer was a stray one
    the 404 does not have Conductor's wording           ``error`` is raised: something else has answered
    the search index has it as not ended                ``error`` is raised: it exists
    not found twice, and the index has it as ended      the index's summary: the server has archived it
    never found, and not in the index                   None: it is gone
    the deadline comes first                            ``error`` is raised
    ==================================================  ====================================================

    Args:
        again: reads it once more.
        end: the wait's deadline.
    """
    for pause in (*ASK_AGAIN, None):
        if not _says_unknown(error):
            raise error
        asked = yield from current_time()
        summary = yield from search_index(workflow_id, max(end, asked + LAST_POLL))
        if summary is not None and not summary.status.ended:
            raise ConductorRequestError(
                f"{error.message}, but its search index has it as {summary.status}",
                method=error.method,
                path=error.path,
                server=error.server,
                status=error.status,
                repeatable=True,
            )
        now = yield from current_time()
        last = now + (pause or 0.0) > end
        if summary is not None and (last or pause != ASK_AGAIN[0]):
            return summary
        if last:
            raise error
        if pause is not None:
            yield from sleep(pause)
            try:
                return (yield from again())
            except ConductorNotFoundError as answer:
                error = answer
    return None


def _says_unknown(error: ConductorRequestError) -> bool:
    return isinstance(error, ConductorNotFoundError) and UNKNOWN in error.message.lower()


def search_index(workflow_id: str, until: float = math.inf) -> Flow[Workflow | None]:
    """The summary that the search index keeps of a workflow, or None; answered by ``until``."""
    now = yield from current_time()
    try:
        call = endpoints.search_workflows(query=f"workflowId IN ({workflow_id})", size=1)
        result = yield from ask(once(call, now, until))
    except ConductorRequestError as error:
        # Unlike other extra reads, this may decide that a workflow is gone: not while the index is unreachable.
        if not error.conclusive:
            raise
        return None
    return next((summary for summary in result if summary.workflow_id == workflow_id), None)


def read_ended(workflow_id: str, until: float | None) -> Flow[Workflow | None]:
    """An ended workflow with its tasks; None if the server has answered several times that it has it no more.

    While Conductor is unreachable the poll is repeated, until ``until`` (seconds since the epoch; None: no limit),
    and for half a minute at least.

    Raises:
        ConductorRequestError: it refuses, or ``until`` has come.
    """
    failures = unknown = 0
    began = yield from current_time()
    end = math.inf if until is None else max(until, began + READ_FOR)
    while True:
        try:
            return (yield from ask(once(endpoints.get_workflow(workflow_id))))
        except ConductorRequestError as error:
            if _says_unknown(error):
                archived = unknown > 0 and (yield from search_index(workflow_id)) is not None
                if archived or unknown == len(ASK_AGAIN):
                    return None
                unknown += 1
                yield from sleep(ASK_AGAIN[unknown - 1])
                continue
            now = yield from current_time()
            passing = error.temporary or isinstance(error, ConductorNotFoundError)
            if not passing or (error.refused_by_gateway and failures > REFUSALS) or now >= end:
                raise
            retry_after = error.retry_after
        failures += 1
        at = next_poll_after_failure(failures, now, jitter=0.0, poll_by=end, retry_after=retry_after)
        yield from sleep(at - now)
