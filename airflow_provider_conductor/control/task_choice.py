"""Which task to end, or why none can be: pure decisions over what the server says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.client.task_types import CONTAINERS

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Task, Workflow

__all__ = ["COMPLETION_STATUSES", "Choice", "Completion", "CompletionRefusedError", "choose", "open_waits"]

COMPLETION_STATUSES = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR)
"""What a task can be given as its end (``TaskResult.Status`` of every server version)."""

RUN_BY_THE_SERVER = CONTAINERS | {"START_WORKFLOW", "SUB_WORKFLOW", "TERMINATE"}
"""Tasks that stand for other tasks; completing one from outside leaves those behind."""


class CompletionRefusedError(Exception):
    """No task can be ended as asked; ``passing`` is True where that may change by itself."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How a task is to end.

    Attributes:
        status: one of ``COMPLETION_STATUSES``.
        output: becomes the task's output, over what it has put out before.
        reason: kept by the server as ``reasonForIncompletion``.
        by: kept by the server as the worker's id: who ended it, and how a later try knows that it has.
    """

    status: TaskStatus = TaskStatus.COMPLETED
    output: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    by: str = ""

    def made(self, task: Task) -> bool:
        """Whether this very completion has been sent to that task before."""
        return bool(self.by) and task.worker_id == self.by and self.fits(task.known_status)

    def fits(self, status: TaskStatus | None) -> bool:
        """Whether a task that has this status has ended so; of an optional task that failed, servers say otherwise."""
        if status is TaskStatus.COMPLETED_WITH_ERRORS:
            return self.status is not TaskStatus.COMPLETED
        return status is self.status


@dataclass(frozen=True, slots=True)
class Choice:
    """A task; ``already`` says, for people, why nothing is left to do, and is empty where it is to be ended."""

    task: Task
    already: str = ""


def choose(workflow: Workflow, completion: Completion, *, task_ref: str = "", task_id: str = "") -> Choice:
    """Choose the task to end, by its reference name (its newest attempt) or its id.

    ====================================================  ==========================================
    the workflow's task                                   choice
    ====================================================  ==========================================
    an attempt of it was ended so by us before            that one, already
    has ended so, whoever did it                          that one, already
    is optional, and failed: COMPLETED_WITH_ERRORS        that one, already, where it was to fail
    is open, for a worker, a person or a signal           that one
    is open, and stands for other tasks (JOIN …)          refused
    has ended otherwise                                   refused
    is not there, and the workflow runs                   refused, but that may pass
    is not there or open, and the workflow has ended      refused
    ====================================================  ==========================================

    Raises:
        CompletionRefusedError: the message names the states, and what would do.
    """
    what = f"task {task_ref!r}" if task_ref else f"task {task_id}"
    where = f"workflow {workflow.workflow_id}"
    attempts = [
        task for task in workflow.tasks if (task.reference_name == task_ref if task_ref else task.task_id == task_id)
    ]
    for made in filter(completion.made, attempts):
        return Choice(made, f"{what} of {where} was {completion.status} by an earlier try already")
    if not attempts:
        if workflow.status.ended:
            raise CompletionRefusedError(f"{where} ended as {workflow.status} and has no {what}; {_there(workflow)}")
        raise CompletionRefusedError(
            f"{what} of {where} is not there yet: the workflow is {workflow.status}, {_there(workflow)}. "
            "Wait for it with ConductorTaskSensor(expected_status=['SCHEDULED', 'IN_PROGRESS']); a task of a "
            "sub-workflow is found under the sub-workflow's id",
            passing=True,
        )
    task = max(attempts, key=lambda attempt: attempt.seq)
    status = task.known_status
    if completion.fits(status):
        by = f" by {task.worker_id}" if task.worker_id else ""
        return Choice(task, f"{what} of {where} is {status} already{by}")
    if status is None or status.ended:
        raise CompletionRefusedError(
            f"{what} of {where} is {status or task.data.get('status')}"
            f"{f' ({task.reason})' if task.reason else ''}, not open: it cannot become {completion.status}"
        )
    if workflow.status.ended:
        raise CompletionRefusedError(f"{where} ended as {workflow.status}: {what} ({status}) cannot be ended any more")
    if task.task_type in RUN_BY_THE_SERVER:
        raise CompletionRefusedError(
            f"{what} of {where} is a {task.task_type}, which the server runs itself: end the tasks that it stands for"
        )
    return Choice(task)


def open_waits(workflow: Workflow) -> Iterable[Task]:
    """The WAIT tasks that a signal may reach, in the order in which the server's own signals take them."""
    return (task for task in workflow.tasks if task.task_type == "WAIT" and task.is_open)


def _there(workflow: Workflow) -> str:
    """What there is instead, for messages."""
    opened = [
        f"{task.reference_name!r} ({task.task_type} {task.known_status})" for task in workflow.tasks if task.is_open
    ]
    if opened:
        return f"open are {', '.join(opened)}"
    names = dict.fromkeys(repr(task.reference_name) for task in workflow.tasks)
    return f"none of its tasks ({', '.join(names)}) is open" if names else "it has no tasks"
