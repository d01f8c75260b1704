"""Terminating what still runs, and only that."""

from __future__ import annotations

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Flow
from airflow_provider_conductor.client.errors import ConductorConflict, ConductorRequestError
from airflow_provider_conductor.client.models import Workflow, WorkflowStatus

__all__ = ["terminate_running"]

ATTEMPTS = 3
"""Times a termination is sent whose answer was lost, a look at the workflow before each."""


def terminate_running(workflow_id: str, reason: str) -> Flow[WorkflowStatus | None]:
    """Look, then terminate: the server would overwrite FAILED and TIMED_OUT with TERMINATED.

    Returns None when it was terminated, else the status it had ended with already.
    """
    for attempt in range(1, ATTEMPTS + 1):
        workflow: Workflow = yield endpoints.get_workflow(workflow_id, include_tasks=False)
        if workflow.status.ended:
            return None if attempt > 1 and workflow.reason == reason else workflow.status
        try:
            yield endpoints.terminate_workflow(workflow_id, reason)
        except ConductorConflict:  # it completed between the look and the call
            continue
        except ConductorRequestError as error:
            if not error.fate_unknown or attempt == ATTEMPTS:
                raise
        else:
            return None
    workflow = yield endpoints.get_workflow(workflow_id, include_tasks=False)
    return workflow.status
