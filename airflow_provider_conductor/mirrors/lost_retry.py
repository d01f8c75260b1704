"""A retry that the server itself has undone: the workflow failed anew, and no task has. No I/O."""

from __future__ import annotations

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.task_types import CONTAINERS

MOST = 3
"""Lost retries of one task after which the workflow's failure counts."""

_FAILED = (TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.TIMED_OUT)


def is_lost(workflow: Workflow) -> bool:
    """Whether a retry was undone by the server, so that another retry helps.

    The server's retry lets the workflow run, and queues a canceled JOIN, before it stores the new attempts of the tasks
    that have failed. If the workflow or the JOIN is evaluated in between, it fails for the old attempts, and the server
    cancels the new ones (seen on 3.32.2 on a busy machine; its WorkflowExecutorOps.retry).

    ====================================================================  =====
    the workflow                                                          lost
    ====================================================================  =====
    is not FAILED                                                         no
    has a TERMINATE that has ended it                                     no
    has a task, no JOIN or loop, whose last attempt failed                no
    has none, and a task whose last attempt is a canceled further one     yes
    the same for the fourth time                                          no
    ====================================================================  =====
    """
    if workflow.status is not WorkflowStatus.FAILED:
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


def _is_canceled_retry(task: Task) -> bool:
    """The server ends the workflow first, and cancels its tasks a moment later."""
    return bool(task.retried_task_id) and (task.is_open or task.known_status is TaskStatus.CANCELED)
