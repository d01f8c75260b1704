"""A retry that the server itself has undone: its JOIN ended for attempts that the retry had replaced. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.mirrors.plan import JOINS
from airflow_provider_conductor.mirrors.step_state import ITERATIONS

MAX_ATTEMPTS = 4
"""Attempts of a JOIN after which its failure counts, whatever its tasks are."""

_FAILED = (TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.TIMED_OUT)


def is_lost(workflow: Workflow) -> bool:
    """Whether a retry was undone by a JOIN, so that another retry helps.

    The server's retry puts a canceled JOIN into its queue before it stores the new attempts of the tasks that have
    failed. If the JOIN is evaluated in between, it fails for the old attempts, and the server cancels the new ones
    (seen on 3.32.2 on a busy machine; its WorkflowExecutorOps.retry). The next retry makes a new attempt of the JOIN,
    and stores it with the others before any of them is queued.

    ==========================================================  =====
    the workflow                                                lost
    ==========================================================  =====
    is not FAILED                                               no
    has no JOIN that failed                                     no
    has one, and a task that it waits for failed at last        no
    has one, and a new attempt of such a task was canceled      yes
    has one that has failed so for ``MAX_ATTEMPTS``             no
    ==========================================================  =====
    """
    if workflow.status is not WorkflowStatus.FAILED:
        return False
    latest: dict[str, Task] = {}
    for task in workflow.tasks:
        known = latest.get(task.reference_name)
        if known is None or known.seq <= task.seq:
            latest[task.reference_name] = task
    return any(_ended_too_early(task, latest) for task in latest.values() if task.kind in JOINS)


def _ended_too_early(join: Task, latest: Mapping[str, Task]) -> bool:
    if join.known_status is not TaskStatus.FAILED or join.retry_count + 1 >= MAX_ATTEMPTS:
        return False
    iteration = ITERATIONS.search(join.reference_name)
    suffix = iteration[0] if iteration else ""
    awaited = [latest[ref] for name in join.input.get("joinOn") or () if (ref := f"{name}{suffix}") in latest]
    if any(task.known_status in _FAILED for task in awaited):
        return False
    return any(task.retried_task_id and (task.is_open or task.known_status is TaskStatus.CANCELED) for task in awaited)
