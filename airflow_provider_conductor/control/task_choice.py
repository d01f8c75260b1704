"""Which task to complete, or why none can be completed. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.client.task_types import CONTAINERS

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Task, Workflow

COMPLETION_STATUSES = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR)
"""The statuses that a task can be given (``TaskResult.Status`` of every server version)."""

RUN_BY_THE_SERVER = CONTAINERS | {"START_WORKFLOW", "SUB_WORKFLOW", "TERMINATE"}
"""Tasks that stand for other tasks; completing one from outside leaves those behind."""


class CompletionRefusedError(Exception):
    """No task can be completed as asked; ``passing`` is True if that may change by itself."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How a task is to be completed; by ``by``, which becomes the worker's id, a later try recognises it."""

    status: TaskStatus = TaskStatus.COMPLETED
    output: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    by: str = ""

    def was_sent_to(self, task: Task) -> bool:
        """Whether an earlier try has completed that task in this way."""
        return bool(self.by) and task.worker_id == self.by and self.matches(task.known_status)

    def matches(self, status: TaskStatus | None) -> bool:
        """Whether a task with this status has ended as wanted; a failed optional task is COMPLETED_WITH_ERRORS."""
        if status is TaskStatus.COMPLETED_WITH_ERRORS:
            return self.status is not TaskStatus.COMPLETED
        return status is self.status


def choose(workflow: Workflow, completion: Completion, *, task_ref: str = "", task_id: str = "") -> tuple[Task, str]:
    """The task to complete, by its reference name (its newest attempt) or its id; and, if nothing is left to do, why.

    ====================================================  ==========================================
    the workflow's task                                   choice
    ====================================================  ==========================================
    we have completed an attempt of it so before          that one, already
    has ended so, whoever did it                          that one, already
    is optional, and failed: COMPLETED_WITH_ERRORS        that one, already, if it was to fail
    is open, for a worker, a person or a signal           that one
    is open, and stands for other tasks (JOIN …)          refused
    has ended otherwise                                   refused
    does not exist yet, and the workflow runs             refused, but that may pass
    does not exist or is open; the workflow has ended     refused
    ====================================================  ==========================================
    """
    where = f"workflow {workflow.workflow_id}"
    what = f"task {task_ref!r}" if task_ref else f"task {task_id}"
    attempts = [
        task for task in workflow.tasks if (task.reference_name == task_ref if task_ref else task.task_id == task_id)
    ]
    for ours in filter(completion.was_sent_to, attempts):
        return ours, f"{what} of {where} was already {completion.status} by an earlier try"
    if not attempts:
        names = ", ".join(dict.fromkeys(repr(task.reference_name) for task in workflow.tasks))
        tasks = f"none of its tasks ({names}) is open" if names else "it has no tasks"
        if opened := open_tasks(workflow):
            tasks = f"open tasks are {opened}"
        if workflow.status.ended:
            raise CompletionRefusedError(f"{where} ended as {workflow.status} and has no {what}; {tasks}")
        raise CompletionRefusedError(
            f"{what} of {where} does not exist yet: the workflow is {workflow.status}, {tasks}. "
            "Wait for it with ConductorTaskSensor(expected_status=['SCHEDULED', 'IN_PROGRESS']); for a task of a "
            "sub-workflow, give the sub-workflow's id",
            passing=True,
        )
    task = max(attempts, key=lambda attempt: attempt.seq)
    status = task.known_status
    if completion.matches(status):
        by = f" by {task.worker_id}" if task.worker_id else ""
        return task, f"{what} of {where} is already {status}{by}"
    if status is None or status.ended:
        reason = f" ({task.reason})" if task.reason else ""
        found = f"{status or task.data.get('status')}{reason}"
        raise CompletionRefusedError(f"{what} of {where} is {found}, not open: it cannot become {completion.status}")
    if workflow.status.ended:
        raise CompletionRefusedError(f"{where} ended as {workflow.status}: {what} ({status}) cannot be completed")
    if task.task_type in RUN_BY_THE_SERVER:
        kind = f"a {task.task_type}, which the server runs itself"
        raise CompletionRefusedError(f"{what} of {where} is {kind}: complete the tasks that it stands for")
    return task, ""


def open_tasks(workflow: Workflow) -> str:
    """The open tasks, for messages; "" if there are none."""
    tasks = filter(lambda task: task.is_open, workflow.tasks)
    return ", ".join(f"{task.reference_name!r} ({task.task_type} {task.data.get('status')})" for task in tasks)
