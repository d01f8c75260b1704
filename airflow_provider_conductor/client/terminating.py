"""Terminating what still runs, and only that."""

from __future__ import annotations

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorConflictError, ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import WorkflowStatus

__all__ = ["terminate_running"]

ATTEMPTS = 3
"""Times a termination is sent whose answer was lost, a look at the workflow before each."""


def terminate_running(workflow_id: str, reason: str) -> Flow[WorkflowStatus | None]:
    """Look, then terminate: the server would overwrite FAILED and TIMED_OUT with TERMINATED.

    Returns None when it was terminated, else the status it had ended with already.
    """
    for attempt in range(1, ATTEMPTS + 1):
        workflow = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False))
        if workflow.status.ended:
            return None if attempt > 1 and workflow.reason == reason else workflow.status
        try:
            yield from ask(endpoints.terminate_workflow(workflow_id, reason))
        except ConductorConflictError:  # it completed between the look and the call
            continue
        except ConductorRequestError as error:
            if not error.fate_unknown or attempt == ATTEMPTS:
                raise
        else:
            return None
    workflow = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False))
    return workflow.status
