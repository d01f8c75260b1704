"""Why a workflow failed: a pure decision over what the server answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.polling.blocker import attempts_of, is_container, is_polled_for
from airflow_provider_conductor.polling.progress import MAX_DEPTH, known_status

_TASK_IN_REASON = re.compile(r"Task ([0-9a-zA-Z-]{8,64})(?:/\S+)? (failed with status|exceeded total timeout)")
FAILED_WITH, TOTAL_TIMEOUT = "failed with status", "exceeded total timeout"
_TOO_LARGE = "The payload size:"
"""How the reason begins where the server refuses a task's input or output (its ExternalPayloadStorageUtils.java)."""


class Cause(StrEnum):
    """What made a workflow fail."""

    TASK_FAILED = "task failed"
    TERMINAL_ERROR = "terminal error"
    """Its worker ruled out another attempt (FAILED_WITH_TERMINAL_ERROR)."""
    SERVER_ERROR = "terminal error of the server"
    """The server itself gave the task that status: a script that fails, a payload over its limit."""
    TASK_TIMED_OUT = "task timed out"
    NOT_POLLED = "not polled in time"
    """No worker took it within ``pollTimeoutSeconds``."""
    TOTAL_TIMEOUT = "no time for another attempt"
    """It failed, and ``totalTimeoutSeconds`` for all its attempts is over."""
    WORKFLOW_TIMED_OUT = "workflow timed out"
    TERMINATED = "terminated"
    """By a user, a program, or the end of the workflow above."""
    TERMINATE_TASK = "ended by a TERMINATE task"
    NO_TASK = "no task failed"
    """Conductor could not continue, often because the definition refers to something that does not exist."""


_WITHOUT_TASK = {WorkflowStatus.TERMINATED: Cause.TERMINATED, WorkflowStatus.TIMED_OUT: Cause.WORKFLOW_TIMED_OUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a workflow failed, and where and why; the error of the task carries it.

    Attributes:
        workflow_id, workflow_name, status: the workflow that was waited for.
        cause: None if the workflow could not be read.
        reason: why the task (or the workflow) failed.
        workflow_reason: the workflow's own reason if it says more than the task's.
        path: reference names of the SUB_WORKFLOW tasks down to where it happened.
        task_reference_name: the task that failed, "" for none.
        by_worker: whether a worker runs the task; else the server does.
        attempts: how often the task was tried, 0 for none.
        max_attempts: None if the definition sets no limit or a manual retry went past it.
        open_tasks: what was still open when the workflow was terminated or timed out.
        sub_workflow_id, sub_workflow_name: the sub-workflow where it happened, "" for the workflow itself.
        unread_sub_workflow_id: the sub-workflow to read for the cause (then ask again), "" if this is the root.
        failure_workflow_id: the workflow that the server started because of the failure, or "".
        failure_workflow_error: why it could not start that, or "".
        log_lines: the last lines that the task's worker logged.
    """

    workflow_id: str
    workflow_name: str = ""
    status: str = ""
    cause: Cause | None = None
    reason: str = ""
    workflow_reason: str = ""
    path: tuple[str, ...] = ()
    task_reference_name: str = ""
    task_id: str = ""
    task_kind: str = ""
    queue: str = ""
    domain: str = ""
    by_worker: bool = False
    attempts: int = 0
    max_attempts: int | None = None
    worker_id: str = ""
    open_tasks: tuple[str, ...] = ()
    sub_workflow_id: str = ""
    sub_workflow_name: str = ""
    unread_sub_workflow_id: str = ""
    failure_workflow_id: str = ""
    failure_workflow_error: str = ""
    log_lines: tuple[str, ...] = ()

    @property
    def terminal(self) -> bool:
        """Whether the worker or the server itself ruled out another attempt."""
        return self.cause in (Cause.TERMINAL_ERROR, Cause.SERVER_ERROR)

    @property
    def failed_workflow_id(self) -> str:
        """The (sub-)workflow where it happened."""
        return self.sub_workflow_id or self.workflow_id


def root_cause(
    workflow: Workflow,
    sub_workflows: Mapping[str, Workflow] | None = None,
    *,
    among: Callable[[Task], bool] | None = None,
) -> Failure | None:
    """The failure at the root of an unsuccessful end, None where there is none.

    With ``among``, of those tasks only, whether the workflow has ended or not.

    ======================================================  ==================
    the end                                                 cause
    ======================================================  ==================
    not (yet), or COMPLETED                                 None
    a TERMINATE task completed                              TERMINATE_TASK
    a sub-workflow's task, and it has been read             the sub-workflow's
    a task FAILED_WITH_TERMINAL_ERROR by its worker         TERMINAL_ERROR
    the same by the server: its own task, a payload over    SERVER_ERROR
    its limit
    a task TIMED_OUT that a worker or the server had begun  TASK_TIMED_OUT
    a worker's task TIMED_OUT that no worker took           NOT_POLLED
    a task for whose attempts the total time is over        TOTAL_TIMEOUT
    a task FAILED                                           TASK_FAILED
    TIMED_OUT, but no task                                  WORKFLOW_TIMED_OUT
    TERMINATED, but no task failed                          TERMINATED
    FAILED, but no task                                     NO_TASK
    ======================================================  ==================

    Of several failed tasks it is the one the server names in its reason, else the first to fail. A JOIN or
    a loop fails because of a task inside, so it comes last; also a JOIN that the server names (a permissive branch has
    failed, or its sub-workflow was terminated).
    """
    return _cause(workflow, sub_workflows or {}, depth=0, among=among)


def _cause(
    workflow: Workflow,
    sub_workflows: Mapping[str, Workflow],
    depth: int,
    among: Callable[[Task], bool] | None = None,
) -> Failure | None:
    status = known_status(workflow)
    if among is None and (not status.ended or status.successful):
        return None
    failure = Failure(
        cause=Cause.NO_TASK,
        workflow_id=workflow.workflow_id,
        workflow_name=workflow.name,
        status=str(status),
        reason=workflow.reason,
        failure_workflow_id=workflow.failure_workflow_id,
        failure_workflow_error=workflow.failure_workflow_error,
    )
    for task in workflow.tasks if among is None else ():
        if task.task_type == "TERMINATE" and task.known_status is TaskStatus.COMPLETED:
            return _at(failure, task, cause=Cause.TERMINATE_TASK)
    culprit = _culprit(workflow, among)
    if culprit is None and among is not None:
        return None
    if culprit is None:
        # The server ends a workflow first, and cancels its tasks a moment later (seen on 3.21.14).
        stopped = [
            task
            for task in workflow.tasks
            if (task.is_open or task.known_status is TaskStatus.CANCELED) and not task.retried
        ]
        return replace(
            failure,
            cause=_WITHOUT_TASK.get(status, Cause.NO_TASK),
            open_tasks=tuple(task.reference_name for task in stopped if not is_container(task)),
        )
    if culprit.sub_workflow_id and depth < MAX_DEPTH:
        below = sub_workflows.get(culprit.sub_workflow_id)
        if below is None:
            return _at(failure, culprit, unread=culprit.sub_workflow_id)
        deeper = _cause(below, sub_workflows, depth + 1)
        if deeper is not None:
            return replace(
                deeper,
                workflow_id=failure.workflow_id,
                workflow_name=failure.workflow_name,
                status=failure.status,
                failure_workflow_id=failure.failure_workflow_id or deeper.failure_workflow_id,
                failure_workflow_error=failure.failure_workflow_error or deeper.failure_workflow_error,
                path=(culprit.reference_name, *deeper.path),
                sub_workflow_id=deeper.sub_workflow_id or below.workflow_id,
                sub_workflow_name=deeper.sub_workflow_name or below.name,
            )
    return _at(failure, culprit)


def _at(failure: Failure, task: Task, *, cause: Cause | None = None, unread: str = "") -> Failure:
    attempts, max_attempts = attempts_of(task)
    named = _TASK_IN_REASON.search(failure.reason)
    if cause is Cause.TERMINATE_TASK:
        reason, workflow_reason = failure.reason or task.reason, ""
    else:
        says_more = not (task.reason and task.reason in failure.reason) and (named is None or named[2] != FAILED_WITH)
        reasons = [task.reason, failure.reason if says_more else ""]
        reason, workflow_reason = reasons if task.reason else reasons[::-1]
    return replace(
        failure,
        cause=cause or _cause_in(task, failure.reason),
        reason=reason,
        workflow_reason=workflow_reason,
        task_reference_name=task.reference_name,
        task_id=task.task_id,
        task_kind=task.kind,
        queue=task.task_type,
        domain=task.domain,
        by_worker=is_polled_for(task),
        attempts=attempts,
        max_attempts=max_attempts,
        worker_id=task.worker_id,
        unread_sub_workflow_id=unread,
    )


def _cause_in(task: Task, workflow_reason: str) -> Cause:
    named = _TASK_IN_REASON.search(workflow_reason)
    if named is not None and named[1] == task.task_id and named[2] == TOTAL_TIMEOUT:
        return Cause.TOTAL_TIMEOUT
    begun, for_workers = bool(task.start_time), is_polled_for(task)
    match task.known_status:
        case TaskStatus.FAILED_WITH_TERMINAL_ERROR:
            by_worker = for_workers and begun and not task.reason.startswith(_TOO_LARGE)
            return Cause.TERMINAL_ERROR if by_worker else Cause.SERVER_ERROR
        case TaskStatus.TIMED_OUT:
            return Cause.TASK_TIMED_OUT if begun or not for_workers else Cause.NOT_POLLED
        case TaskStatus.CANCELED:
            return Cause.TERMINATED
    return Cause.TASK_FAILED


def _culprit(workflow: Workflow, among: Callable[[Task], bool] | None) -> Task | None:
    tasks, match = workflow.tasks, _TASK_IN_REASON.search(workflow.reason)
    if among is not None:
        tasks = tuple(filter(among, tasks))
    named = next((task for task in tasks if match is not None and task.task_id == match[1]), None)
    bad = (TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.TIMED_OUT)
    found = [task for task in tasks if not task.retried and task.known_status in bad]
    if named is not None and named.known_status is TaskStatus.CANCELED:
        # A sub-workflow that somebody terminated ends its parent through such a task.
        found.append(named)
    if named is not None and is_container(named):
        # A JOIN that fails, or is cancelled, for permissive tasks repeats their reasons (its Join.java).
        canceled = (task for task in tasks if task.known_status is TaskStatus.CANCELED)
        found.extend(task for task in canceled if task.reason and task.reason in named.reason)
    # Two forked tasks may both be FAILED; a permissive one fails the JOIN, which the reason names then.
    found.sort(key=lambda task: (is_container(task), task is not named, task.end_time))
    return found[0] if found else None
