"""A retry that the server itself has undone: the workflow failed anew, and no task has. No I/O.

The server's retry lets the workflow run, and queues a canceled JOIN or loop, before it stores the new attempts of the
tasks that have failed. If the workflow or the JOIN is evaluated in between, it fails for the old attempts, and the
server cancels the new ones (its WorkflowExecutorOps.retry). On a 3.32.2 at its limit (load 36 on two cores), 29 of 188
retries of a fork were undone, and after 8 of these the workflow could not be retried any more.
"""

from __future__ import annotations

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.task_types import CONTAINERS

MOST = 3
"""Lost retries of one task after which the workflow's failure counts."""

QUEUED_BY_A_RETRY = ("JOIN", "EXCLUSIVE_JOIN", "DO_WHILE")

UNDONE_WITHIN = 1.0
"""Seconds after which a retry that was undone shows it; on a machine at its limit, up to 0.6 s were seen."""

FOR_A_CANCELED_TASK = "failed with status: TERMINATED"
"""In the reason of a workflow that the server has TERMINATED by itself: one of its tasks is CANCELED, not replaced."""

_FAILED = (TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.TIMED_OUT)


def is_lost(workflow: Workflow) -> bool:
    """Whether a retry was undone by the server, so that another retry helps.

    ====================================================================  =====
    the workflow                                                          lost
    ====================================================================  =====
    is not FAILED, nor TERMINATED by the server for a canceled task       no
    has a TERMINATE that has ended it                                     no
    has a task, no JOIN or loop, whose last attempt failed                no
    is broken, see :func:`broken_by_a_retry`                              no
    has none, and a task whose last attempt is a canceled further one     yes
    the same for the fourth time                                          no
    ====================================================================  =====
    """
    by_server = workflow.status is WorkflowStatus.FAILED or FOR_A_CANCELED_TASK in workflow.reason
    if not (by_server and workflow.status.ended) or broken_by_a_retry(workflow):
        return False
    attempts: dict[str, list[Task]] = {}
    for task in sorted(workflow.tasks, key=lambda task: task.seq):
        if task.kind == "TERMINATE" and task.known_status is TaskStatus.COMPLETED:
            return False
        if task.kind not in CONTAINERS:
            attempts.setdefault(task.reference_name, []).append(task)
    if any(of_one[-1].known_status in _FAILED for of_one in attempts.values()):
        return False
    canceled = [sum(map(_is_canceled_retry, of_one)) for of_one in attempts.values() if _is_canceled_retry(of_one[-1])]
    return bool(canceled) and max(canceled) <= MOST


def leaves_open(workflow: Workflow) -> bool:
    """Whether an undone retry has left new attempts open in the ended workflow.

    The server refuses to retry it then ("no retryable tasks"); a termination cancels them (tried on 3.32.2).
    """
    return is_lost(workflow) and any(task.is_open and task.retried_task_id for task in workflow.tasks)


UNDO_REASON = "Airflow is about to retry it again: its last retry was undone, and has left tasks open"
"""Why a workflow was terminated for :func:`leaves_open`; the retry follows at once."""


def may_be_undone(workflow: Workflow) -> bool:
    """Whether a retry of it queues a JOIN or a loop, whose evaluation can undo the retry."""
    last = {task.reference_name: task for task in workflow.tasks}.values()
    return any(task.kind in QUEUED_BY_A_RETRY and task.known_status in (*_FAILED, TaskStatus.CANCELED) for task in last)


def broken_by_a_retry(workflow: Workflow) -> str:
    """The reference name of a canceled attempt that no retry replaces, and for which each fails at once; or "".

    A retry that was undone between its writes has left it without a place in the order (``seq`` 0), before the attempts
    that it replaced. Each further retry ends as TERMINATED, "failed with status: TERMINATED".
    """
    if not workflow.status.ended:
        return ""
    return next((task.reference_name for task in workflow.tasks if task.seq == 0 and _is_left_over(task)), "")


def _is_left_over(task: Task) -> bool:
    return bool(task.retried_task_id) and not task.retried and task.known_status is TaskStatus.CANCELED


def _is_canceled_retry(task: Task) -> bool:
    """The server ends the workflow first, and cancels its tasks a moment later."""
    return bool(task.retried_task_id) and (task.is_open or task.known_status is TaskStatus.CANCELED)
