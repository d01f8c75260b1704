"""Checks of an answer's fields that the models read, so that a wrong value is an error of that answer.

The models are views: they convert nothing. A wrong value would be noticed where it is first read, which for a shared
poller is in the middle of all its waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.client.models import LARGEST, PollData, Task, Workflow, fields_of


class _Kinds:
    """Kinds of fields in the form that is checked fast: a workflow of 200 tasks has 6,000 fields.

    Args:
        kinds: the type of each field, or of whole numbers the largest.
    """

    def __init__(self, kinds: Mapping[str, type | int]) -> None:
        self.values = tuple((name, kind) for name, kind in kinds.items() if isinstance(kind, type))
        self.numbers = tuple((name, -most, most) for name, most in kinds.items() if not isinstance(most, type))


SUMMARY_FIELDS = ("workflowId", "workflowName", "workflowType", "correlationId", "reasonForIncompletion", "version")
"""Fields of a search's result; its times, input and output are texts."""

READ_WHEN_COMPLETED = frozenset(
    {
        *("taskId", "referenceTaskName", "taskType", "reasonForIncompletion", "subWorkflowId", "outputData"),
        *("workflowTask", "retryCount", "seq", "startTime", "endTime"),
    }
)
"""What is read of a task that has completed: nearly all of a large workflow's have, and each check costs a hundredth of
what reading the answer does."""

_WORKFLOW_FIELDS = {**fields_of(Workflow), "tasks": list, "externalInputPayloadStoragePath": str}
_TASK_FIELDS = fields_of(Task)
_WORKFLOW = _Kinds(_WORKFLOW_FIELDS)
_SUMMARY = _Kinds({name: _WORKFLOW_FIELDS[name] for name in (*SUMMARY_FIELDS, "workflowVersion")})
_TASK = _Kinds(_TASK_FIELDS)
_COMPLETED_TASK = _Kinds({name: kind for name, kind in _TASK_FIELDS.items() if name in READ_WHEN_COMPLETED})
_WORKFLOW_TASK = _Kinds({"type": str, "retryCount": LARGEST, "taskDefinition": dict})
_DEFINITION = _Kinds({"retryCount": LARGEST, "backoffJitterMs": LARGEST, "concurrentExecLimit": LARGEST})
_POLL_DATA = _Kinds(fields_of(PollData))


def check_summary(data: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` where a field of a search's result has a value of another kind."""
    _check(data, _SUMMARY, "a workflow")


def check_workflow(data: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` where a field of a workflow, or of one of its tasks, has a value of another kind."""
    _check(data, _WORKFLOW, "the workflow")
    for task in data.get("tasks") or ():
        check_task(task)


def check_task(data: Any) -> None:
    """Raises ``ValueError`` where a field of a task has a value of another kind."""
    if not isinstance(data, dict):
        raise ValueError(f"a {type(data).__name__} in place of a task")
    completed = data.get("status") == "COMPLETED"
    _check(data, _COMPLETED_TASK if completed else _TASK, "a task")
    planned = data.get("workflowTask")
    if planned and not (completed and isinstance(planned.get("type", ""), str)):
        _check(planned, _WORKFLOW_TASK, "a task's workflowTask")
        if planned_definition := planned.get("taskDefinition"):
            _check(planned_definition, _DEFINITION, "a task's definition")
    if definition := data.get("taskDefinition"):
        _check(definition, _DEFINITION, "a task's definition")


def check_poll_data(data: Any) -> None:
    """Raises ``ValueError`` where a field of poll data has a value of another kind."""
    if not isinstance(data, dict):
        raise ValueError(f"a {type(data).__name__} in place of poll data")
    _check(data, _POLL_DATA, "poll data")


def _check(data: Mapping[str, Any], kinds: _Kinds, where: str) -> None:
    """Check that each field that is neither missing nor null is of its kind."""
    get = data.get
    for name, kind in kinds.values:
        value = get(name)
        if value is not None and value.__class__ is not kind:
            raise ValueError(f"{name} of {where} is a {type(value).__name__}")
    for name, least, most in kinds.numbers:
        value = get(name)
        if value is None or (value.__class__ is int and least <= value <= most):
            continue
        if not isinstance(value, int):
            raise ValueError(f"{name} of {where} is a {type(value).__name__}, not a whole number")
        if not least <= value <= most:
            raise ValueError(f"{name} of {where} is out of range")
