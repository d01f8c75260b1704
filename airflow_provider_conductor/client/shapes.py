"""What kind of value each field has that the models read, so that a wrong one is an error of the answer it came in.

The models are views: they convert nothing. What is wrong in an answer would come to light wherever it is read first,
which for a shared poller is in the middle of everybody's waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["check_poll_data", "check_summary", "check_task", "check_workflow"]

LATEST = 253_402_300_799_999
"""The end of the year 9999 in ms: no calendar goes on."""

LARGEST = 2**63
"""Java's numbers end here."""

SUMMARY: tuple[tuple[str, Any], ...] = (
    ("workflowId", str),
    ("workflowName", str),
    ("workflowType", str),
    ("correlationId", str),
    ("reasonForIncompletion", str),
    ("version", LARGEST),
    ("workflowVersion", LARGEST),
)
"""Of a search's results, whose times are texts and whose input and output are, too."""

WORKFLOW: tuple[tuple[str, Any], ...] = (
    *SUMMARY,
    ("workflowDefinition", dict),
    ("input", dict),
    ("output", dict),
    ("variables", dict),
    ("tasks", list),
    ("externalInputPayloadStoragePath", str),
    ("externalOutputPayloadStoragePath", str),
    ("parentWorkflowId", str),
    ("createTime", LATEST),
    ("startTime", LATEST),
    ("updateTime", LATEST),
    ("endTime", LATEST),
    ("lastRetriedTime", LATEST),
)

TASK: tuple[tuple[str, Any], ...] = (
    ("taskId", str),
    ("referenceTaskName", str),
    ("taskDefName", str),
    ("taskType", str),
    ("status", str),
    ("retriedTaskId", str),
    ("reasonForIncompletion", str),
    ("workerId", str),
    ("domain", str),
    ("subWorkflowId", str),
    ("externalOutputPayloadStoragePath", str),
    ("inputData", dict),
    ("outputData", dict),
    ("workflowTask", dict),
    ("taskDefinition", dict),
    ("retryCount", LARGEST),
    ("seq", LARGEST),
    ("iteration", LARGEST),
    ("pollCount", LARGEST),
    ("callbackAfterSeconds", LARGEST),
    ("rateLimitPerFrequency", LARGEST),
    ("rateLimitFrequencyInSeconds", LARGEST),
    ("scheduledTime", LATEST),
    ("startTime", LATEST),
    ("endTime", LATEST),
    ("updateTime", LATEST),
)

READ_WHEN_COMPLETED = frozenset(
    {
        *("taskId", "referenceTaskName", "taskType", "reasonForIncompletion", "subWorkflowId", "outputData"),
        *("workflowTask", "retryCount", "seq", "startTime", "endTime"),
    }
)
"""What is read of a task that has completed: nearly all of a large workflow's have, and each check costs a hundredth of
what reading the answer does."""

WORKFLOW_TASK: tuple[tuple[str, Any], ...] = (("type", str), ("retryCount", LARGEST), ("taskDefinition", dict))

DEFINITION: tuple[tuple[str, Any], ...] = (
    ("retryCount", LARGEST),
    ("backoffJitterMs", LARGEST),
    ("concurrentExecLimit", LARGEST),
)

POLL_DATA: tuple[tuple[str, Any], ...] = (
    ("queueName", str),
    ("workerId", str),
    ("domain", str),
    ("lastPollTime", LATEST),
)


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


class _Kinds:
    """A table in the form that is checked fast: a workflow of 200 tasks has 6,000 fields."""

    def __init__(self, table: tuple[tuple[str, Any], ...]) -> None:
        self.values = tuple((name, kind) for name, kind in table if isinstance(kind, type))
        self.numbers = tuple((name, -most, most) for name, most in table if not isinstance(most, type))


def _check(data: Mapping[str, Any], kinds: _Kinds, where: str) -> None:
    """Each field that is there and not null is of its kind; a number stands for whole numbers up to it."""
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


_SUMMARY, _WORKFLOW, _TASK = _Kinds(SUMMARY), _Kinds(WORKFLOW), _Kinds(TASK)
_COMPLETED_TASK = _Kinds(tuple(item for item in TASK if item[0] in READ_WHEN_COMPLETED))
_WORKFLOW_TASK, _DEFINITION, _POLL_DATA = _Kinds(WORKFLOW_TASK), _Kinds(DEFINITION), _Kinds(POLL_DATA)
