"""The Airflow task's result where it has completed a task of a workflow, or its error where that is not possible."""

from __future__ import annotations

from typing import Any

from airflow_provider_conductor.client.models import Task
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.control.task_choice import CompletionRefusedError
from airflow_provider_conductor.exceptions import (
    ConductorInvalidStateError,
    ConductorOperatorError,
    ConductorTaskNotReadyError,
)

ID_LIMIT = 255
"""Characters of an id or a name in XCom."""


def completed(task: Task, workflow_id: str) -> dict[str, Any]:
    """Which task it was, and how it has ended.

    Args:
        workflow_id: where the server does not say which workflow the task belongs to.
    """
    return {
        "workflow_id": one_line(task.workflow_id or workflow_id, ID_LIMIT),
        "task_id": one_line(task.task_id, ID_LIMIT),
        "task_reference_name": one_line(task.reference_name, ID_LIMIT),
        "status": str(task.status),
    }


def completion_refused(error: CompletionRefusedError, workflow_id: str, url: str) -> ConductorOperatorError:
    """The error of a task that cannot be completed: retried by Airflow if that may pass."""
    kind = ConductorTaskNotReadyError if error.passing else ConductorInvalidStateError
    return kind(f"{error}. See {url}", reason=str(error), workflow_id=workflow_id, url=url)
