"""Whether the awaited task has reached an expected status, or can no longer reach one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.client.text import one_line

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow

NAMED = 20
"""Tasks of the workflow that a message names."""

NAME_LIMIT = 80

SUCCESS = tuple(status for status in TaskStatus if status.successful)
"""The expected statuses by default: the task has ended successfully."""


@dataclass(frozen=True, slots=True)
class AwaitedTask:
    """Whether the task has ``reached`` an expected status, or why that is ``unreachable``; "" while it is not."""

    reached: bool = False
    unreachable: str = ""


def awaited_task(workflow: Workflow, task_ref: str, statuses: Iterable[TaskStatus]) -> AwaitedTask:
    """Decide by the workflow's tasks.

    ======================================================  ===========
    the workflow                                            the result
    ======================================================  ===========
    has an attempt of the task with one of the statuses     reached
    has ended, without the task or with another status      unreachable
    has the task ended with another status, not retried     unreachable
    has none of these (not scheduled, running, retried)     neither
    ======================================================  ===========

    Earlier attempts count, so an expected failure is noticed even if the server retries at once.
    """
    from airflow_provider_conductor.client.flows import reached

    wanted = set(statuses)
    if any(task.reference_name == task_ref and task.known_status in wanted for task in workflow.tasks):
        return AwaitedTask(reached=True)
    if not reached(workflow, task_ref):
        return AwaitedTask()
    task = workflow.latest_attempt(task_ref)
    words = " or ".join(status for status in TaskStatus if status in wanted)
    if task is None:
        why = why_missing(workflow, task_ref)
    else:
        after = f" after {task.retry_count + 1} attempts" if task.retry_count else ""
        why = f"task {task_ref!r} is {task.known_status or task.data.get('status')}{after}"
        if task.reason:
            why += f" ({one_line(task.reason)})"
        if workflow.status.ended:
            why += f", and the workflow ended as {workflow.status}"
    return AwaitedTask(unreachable=f"{why}, so the task can no longer become {words}")


def why_missing(workflow: Workflow, task_ref: str) -> str:
    """Why an ended workflow does not have this task, with the tasks that it has; "" if it has it."""
    if workflow.latest_attempt(task_ref) is not None:
        return ""
    names = list(dict.fromkeys(task.reference_name for task in workflow.tasks))
    # A loop's iterations first: users often omit the iteration in a task's name.
    names.sort(key=lambda name: not name.startswith(f"{task_ref}__"))
    known = ", ".join(repr(one_line(name, NAME_LIMIT)) for name in names[:NAMED]) or "none"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"workflow {one_line(workflow.name, NAME_LIMIT) or workflow.workflow_id} ended as {workflow.status} without a "
        f"task {task_ref!r} (its tasks: {known}{more}; in a loop, names end with the iteration, as in {task_ref}__1)"
    )


def task_statuses(text: str) -> tuple[TaskStatus, ...]:
    """Read what :func:`joined_statuses` wrote; a name that only a later version knows is left out."""
    return tuple(TaskStatus(name) for name in text.split(",") if name in TaskStatus.__members__)


def joined_statuses(statuses: str | Iterable[str]) -> str:
    """One or several names of task statuses (or a text with commas) as the text that a wait carries.

    Raises:
        ValueError: none, or a name that is no task status.
    """
    names = statuses.split(",") if isinstance(statuses, str) else [str(status) for status in statuses]
    names = [name.strip().upper() for name in names]
    unknown = [name for name in names if name not in TaskStatus.__members__]
    if unknown or not names:
        raise ValueError(f"a task's status is one or several of {', '.join(TaskStatus)}, not {statuses!r}")
    return ",".join(dict.fromkeys(names))
