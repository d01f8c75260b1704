"""Why a workflow failed, as a message and as attributes for callbacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.blocker import is_container, is_polled_for
from airflow_provider_conductor.polling.messages import attempt, queue_name
from airflow_provider_conductor.polling.progress import MAX_DEPTH

__all__ = ["Cause", "Failure", "advice", "explain", "root_cause"]

REASON_LIMIT = 500
LOG_LINES = 10
LOG_LINE_LIMIT = 300

_TASK_IN_REASON = re.compile(r"Task ([0-9a-zA-Z-]{8,64})(?:/\S+)? (failed with status|exceeded total timeout)")
FAILED_WITH, TOTAL_TIMEOUT = "failed with status", "exceeded total timeout"
_TOO_LARGE = "The payload size:"
"""How the reason begins where the server refuses a task's input or output (its ExternalPayloadStorageUtils.java)."""


class Cause(StrEnum):
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
    """By somebody: a person, a program, or the end of the workflow above."""
    TERMINATE_TASK = "ended by a TERMINATE task"
    NO_TASK = "no task failed"
    """Conductor could not go on, often for a definition that asks for what is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Where and why it went wrong.

    Attributes:
        workflow_id: the workflow that was waited for; ``workflow_name`` and ``workflow_status`` are its too.
        path: reference names of the SUB_WORKFLOW tasks down to where it happened.
        sub_workflow_id: the sub-workflow where it happened, "" for the workflow itself.
        unread_sub_workflow_id: to read for the cause further down (then ask again), "" when this is the root.
        workflow_reason: the workflow's own reason where it says more than the task's.
        by_worker: whether a worker executes the task; else the server does.
        open_tasks: what was still open when the workflow was ended from outside or timed out.
        failure_workflow_id: the workflow that the server started to clean up, or "".
        failure_workflow_error: why it could not start that, or "".
    """

    cause: Cause
    workflow_id: str
    workflow_name: str
    workflow_status: str
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

    @property
    def terminal_error(self) -> bool:
        """True when another attempt cannot help, as its worker or the server itself has decided."""
        return self.cause in (Cause.TERMINAL_ERROR, Cause.SERVER_ERROR)


def root_cause(workflow: Workflow, sub_workflows: Mapping[str, Workflow] | None = None) -> Failure | None:
    """The failure at the root of an unsuccessful end, None where there is none.

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
    return _cause(workflow, sub_workflows or {}, depth=0)


def _cause(workflow: Workflow, sub_workflows: Mapping[str, Workflow], depth: int) -> Failure | None:
    try:
        status = workflow.status
    except (KeyError, ValueError):
        return None
    if not status.ended or status.successful:
        return None
    failure = Failure(
        cause=Cause.NO_TASK,
        workflow_id=workflow.workflow_id,
        workflow_name=workflow.name,
        workflow_status=str(status),
        reason=workflow.reason,
        failure_workflow_id=workflow.failure_workflow_id,
        failure_workflow_error=workflow.failure_workflow_error,
    )
    stop = _terminate_task(workflow)
    if stop is not None:
        return _at(failure, stop, cause=Cause.TERMINATE_TASK)
    culprit = _culprit(workflow)
    if culprit is None:
        cause = {
            WorkflowStatus.TERMINATED: Cause.TERMINATED,
            WorkflowStatus.TIMED_OUT: Cause.WORKFLOW_TIMED_OUT,
        }.get(status, Cause.NO_TASK)
        return replace(failure, cause=cause, open_tasks=_open_at_the_end(workflow))
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
                workflow_status=failure.workflow_status,
                failure_workflow_id=failure.failure_workflow_id or deeper.failure_workflow_id,
                failure_workflow_error=failure.failure_workflow_error or deeper.failure_workflow_error,
                path=(culprit.reference_name, *deeper.path),
                sub_workflow_id=deeper.sub_workflow_id or below.workflow_id,
                sub_workflow_name=deeper.sub_workflow_name or below.name,
            )
    return _at(failure, culprit)


def _at(failure: Failure, task: Task, *, cause: Cause | None = None, unread: str = "") -> Failure:
    attempts, maximum = task.retry_count + 1, task.max_attempts
    named = _TASK_IN_REASON.search(failure.reason)
    says_more = not (task.reason and task.reason in failure.reason) and (named is None or named[2] != FAILED_WITH)
    if cause is Cause.TERMINATE_TASK:
        reason, workflow_reason = failure.reason or task.reason, ""
    else:
        reason, workflow_reason = task.reason, failure.reason if says_more else ""
    if not reason:
        reason, workflow_reason = workflow_reason, ""
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
        max_attempts=None if maximum is None or attempts > maximum else maximum,
        worker_id=task.worker_id,
        unread_sub_workflow_id=unread,
    )


def _cause_in(task: Task, workflow_reason: str) -> Cause:
    named = _TASK_IN_REASON.search(workflow_reason)
    if named is not None and named[1] == task.task_id and named[2] == TOTAL_TIMEOUT:
        return Cause.TOTAL_TIMEOUT
    begun = bool(task.start_time)
    match task.known_status:
        case TaskStatus.FAILED_WITH_TERMINAL_ERROR:
            by_worker = is_polled_for(task) and begun and not task.reason.startswith(_TOO_LARGE)
            return Cause.TERMINAL_ERROR if by_worker else Cause.SERVER_ERROR
        case TaskStatus.TIMED_OUT:
            return Cause.TASK_TIMED_OUT if begun or not is_polled_for(task) else Cause.NOT_POLLED
        case TaskStatus.CANCELED:
            return Cause.TERMINATED
    return Cause.TASK_FAILED


def _terminate_task(workflow: Workflow) -> Task | None:
    for task in workflow.tasks:
        if task.task_type == "TERMINATE" and task.known_status is TaskStatus.COMPLETED:
            return task
    return None


def _culprit(workflow: Workflow) -> Task | None:
    tasks, match = workflow.tasks, _TASK_IN_REASON.search(workflow.reason)
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


def _open_at_the_end(workflow: Workflow) -> tuple[str, ...]:
    return tuple(
        task.reference_name
        for task in workflow.tasks
        if task.known_status is TaskStatus.CANCELED and not task.retried and not is_container(task)
    )


def advice(failure: Failure) -> str:
    """What to do next, one sentence or two."""
    again = "then clear this Airflow task or retry the workflow in Conductor; it continues from the failed task"
    match failure.cause:
        case Cause.TERMINAL_ERROR:
            return f"The worker ruled out another attempt. Fix the input or the worker, {again}."
        case Cause.SERVER_ERROR if failure.by_worker:
            return (
                "Conductor itself failed this task and does not retry it. Fix its input or what its worker returns, "
                f"{again}."
            )
        case Cause.SERVER_ERROR:
            return (
                f"Conductor itself runs this {one_line(failure.task_kind, 80)} task and does not retry it. "
                f"Fix its definition or its input, {again}."
            )
        case Cause.TASK_TIMED_OUT if failure.by_worker:
            return (
                "Its worker took too long or died. Check the worker, or raise responseTimeoutSeconds or timeoutSeconds "
                f"in the task definition, {again}."
            )
        case Cause.TASK_TIMED_OUT:
            return (
                f"It took longer than its definition allows. Check what it waited for, or raise its timeout, {again}."
            )
        case Cause.NOT_POLLED:
            return (
                f"No worker took it from {queue_name(failure.queue, failure.domain)} within pollTimeoutSeconds of the "
                f"task definition. Start a worker that polls this queue, or raise pollTimeoutSeconds, {again}."
            )
        case Cause.TOTAL_TIMEOUT:
            return (
                "All attempts together took longer than totalTimeoutSeconds of the task definition. Fix the cause, or "
                f"raise totalTimeoutSeconds, {again}."
            )
        case Cause.WORKFLOW_TIMED_OUT:
            return (
                "It took longer than timeoutSeconds of its definition. Check what was still open, or raise that limit."
            )
        case Cause.TERMINATED:
            return "Somebody terminated it, so it is not started again. Clear this Airflow task to start another one."
        case Cause.TERMINATE_TASK:
            return "The workflow ended itself, as its definition says. Check why it reached this TERMINATE task."
        case Cause.NO_TASK:
            return "Conductor could not continue. Check the workflow's definition and input."
        case _ if failure.unread_sub_workflow_id:
            return f"Find and fix the cause in sub-workflow {one_line(failure.unread_sub_workflow_id)}, {again}."
        case _:
            return f"Fix the cause, {again}."


def explain(failure: Failure, log_lines: Sequence[str] = (), url: str = "") -> str:
    """The message of a failure. Its first line is enough to act on; the whole is bounded."""
    lines = [_headline(failure)]
    if failure.sub_workflow_id:
        where = "/".join(one_line(part, 80) for part in failure.path)
        below = f"{one_line(failure.sub_workflow_name, 120)} ({one_line(failure.sub_workflow_id)})"
        lines.append(f"In sub-workflow {below}, which {where} runs.")
    if failure.task_id:
        by = f", on worker {one_line(failure.worker_id, 80)}" if failure.worker_id else ""
        lines.append(f"Task id {one_line(failure.task_id)}{by}.")
    if failure.workflow_reason:
        lines.append(f"Reason of the workflow: {one_line(failure.workflow_reason, REASON_LIMIT)}")
    if failure.open_tasks:
        named = ", ".join(one_line(name, 80) for name in failure.open_tasks[:5])
        more = len(failure.open_tasks) - 5
        lines.append(f"Open at that time: {named}" + (f" and {more} more." if more > 0 else "."))
    if failure.failure_workflow_id:
        lines.append(f"Its failure workflow is {one_line(failure.failure_workflow_id, 200)}.")
    elif failure.failure_workflow_error:
        lines.append(f"Its failure workflow did not start: {one_line(failure.failure_workflow_error)}")
    if log_lines:
        kept = list(log_lines)[-LOG_LINES:]
        lines.append(f"The worker's last log lines ({len(kept)} of {len(log_lines)}):")
        lines.extend(f"    {one_line(line, LOG_LINE_LIMIT)}" for line in kept)
    lines.append(f"What to do: {advice(failure)}")
    if url:
        lines.append(f"See {url}")
    return "\n".join(lines)


def _headline(failure: Failure) -> str:
    reason = one_line(failure.reason, REASON_LIMIT)
    because = f": {reason}" if reason else ": no reason given" if failure.task_id else ""
    what = f"Workflow {one_line(failure.workflow_name, 120)} ({failure.workflow_id}) {_ended(failure.workflow_status)}"
    name = "/".join(one_line(part, 80) for part in (*failure.path, failure.task_reference_name) if part)
    tries = attempt(failure.attempts, failure.max_attempts)
    match failure.cause:
        case Cause.TASK_FAILED:
            return f"{what}: {name} failed ({tries}){because}"
        case Cause.TERMINAL_ERROR | Cause.SERVER_ERROR:
            return f"{what}: {name} failed with a terminal error ({tries}){because}"
        case Cause.TASK_TIMED_OUT:
            return f"{what}: {name} timed out ({tries}){because}"
        case Cause.NOT_POLLED:
            return f"{what}: no worker took {name} in time ({tries}){because}"
        case Cause.TOTAL_TIMEOUT:
            return f"{what}: {name} failed ({tries}, and no time was left for another){because}"
        case Cause.TERMINATE_TASK:
            return f"{what}: its TERMINATE task {name} ended it{because}"
        case Cause.TERMINATED if failure.path:
            return f"{what}: the sub-workflow of {name} was terminated{because}"
        case _:
            return f"{what}{because}"


def _ended(status: str) -> str:
    return {"FAILED": "failed", "TIMED_OUT": "timed out", "TERMINATED": "was terminated"}.get(status, status)
