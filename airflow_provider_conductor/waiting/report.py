"""Why a workflow failed, for people and for callbacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.waiting.holdup import is_container
from airflow_provider_conductor.waiting.messages import attempt
from airflow_provider_conductor.waiting.progress import MAX_DEPTH
from airflow_provider_conductor.waiting.wording import one_line

__all__ = ["Cause", "Failure", "advice", "explain", "root_cause"]

REASON_LIMIT = 500
LOG_LINES = 10
LOG_LINE_LIMIT = 300

_TASK_IN_REASON = re.compile(r"Task ([0-9a-zA-Z-]{8,64})(?:/\S+)? (?:failed with status|exceeded total timeout)")


class Cause(StrEnum):
    TASK_FAILED = "task failed"
    TERMINAL_ERROR = "terminal error"
    """Its worker said that trying again is of no use (FAILED_WITH_TERMINAL_ERROR)."""
    TASK_TIMED_OUT = "task timed out"
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
        open_tasks: what was still open when the workflow was ended from outside or timed out.
        failure_workflow_id: the workflow that the server started to clean up, or "".
    """

    cause: Cause
    workflow_id: str
    workflow_name: str
    workflow_status: str
    reason: str = ""
    path: tuple[str, ...] = ()
    task_reference_name: str = ""
    task_id: str = ""
    task_kind: str = ""
    queue: str = ""
    attempts: int = 0
    max_attempts: int | None = None
    worker_id: str = ""
    open_tasks: tuple[str, ...] = ()
    sub_workflow_id: str = ""
    sub_workflow_name: str = ""
    unread_sub_workflow_id: str = ""
    failure_workflow_id: str = ""

    @property
    def terminal_error(self) -> bool:
        """True when trying again is of no use, as its worker said itself."""
        return self.cause is Cause.TERMINAL_ERROR

    @property
    def timed_out(self) -> bool:
        return self.cause in (Cause.TASK_TIMED_OUT, Cause.WORKFLOW_TIMED_OUT)


def root_cause(workflow: Workflow, sub_workflows: Mapping[str, Workflow] | None = None) -> Failure | None:
    """The failure at the root of an unsuccessful end, None where there is none.

    ======================================================  ==================
    the end                                                 cause
    ======================================================  ==================
    not (yet), or COMPLETED                                 None
    a TERMINATE task completed                              TERMINATE_TASK
    a sub-workflow's task, and it has been read             the sub-workflow's
    a task FAILED_WITH_TERMINAL_ERROR                       TERMINAL_ERROR
    a task TIMED_OUT                                        TASK_TIMED_OUT
    a task FAILED                                           TASK_FAILED
    TIMED_OUT, but no task                                  WORKFLOW_TIMED_OUT
    TERMINATED, but no task failed                          TERMINATED
    FAILED, but no task                                     NO_TASK
    ======================================================  ==================

    Of several failed tasks it is the one the server names in its reason, else the first to fail. A JOIN or
    a loop fails because of a task inside, so it comes last.
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
                path=(culprit.reference_name, *deeper.path),
                sub_workflow_id=deeper.sub_workflow_id or below.workflow_id,
                sub_workflow_name=deeper.sub_workflow_name or below.name,
            )
    return _at(failure, culprit)


def _at(failure: Failure, task: Task, *, cause: Cause | None = None, unread: str = "") -> Failure:
    by_status = {
        TaskStatus.FAILED_WITH_TERMINAL_ERROR: Cause.TERMINAL_ERROR,
        TaskStatus.TIMED_OUT: Cause.TASK_TIMED_OUT,
        TaskStatus.CANCELED: Cause.TERMINATED,
    }
    found = by_status.get(task.known_status or TaskStatus.FAILED, Cause.TASK_FAILED)
    attempts, maximum = task.retry_count + 1, task.max_attempts
    return replace(
        failure,
        cause=cause or found,
        reason=(failure.reason if cause is Cause.TERMINATE_TASK else task.reason) or failure.reason,
        task_reference_name=task.reference_name,
        task_id=task.task_id,
        task_kind=task.kind,
        queue=task.task_type,
        attempts=attempts,
        max_attempts=None if maximum is None or attempts > maximum else maximum,
        worker_id=task.worker_id,
        unread_sub_workflow_id=unread,
    )


def _terminate_task(workflow: Workflow) -> Task | None:
    for task in workflow.tasks:
        if task.task_type == "TERMINATE" and task.known_status is TaskStatus.COMPLETED:
            return task
    return None


def _culprit(workflow: Workflow) -> Task | None:
    named = _TASK_IN_REASON.search(workflow.reason)
    bad = (TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.TIMED_OUT)
    found = [task for task in workflow.tasks if not task.retried and task.known_status in bad]
    if named is not None:
        # Also a CANCELED one: a sub-workflow that somebody terminated ends its parent through such a task.
        found.extend(
            task for task in workflow.tasks if task.task_id == named[1] and task.known_status is TaskStatus.CANCELED
        )
    name = named[1] if named else ""
    # Two forked tasks may both be FAILED; a permissive one fails the JOIN, which the reason names then.
    found.sort(key=lambda task: (is_container(task), task.task_id != name, task.end_time))
    return found[0] if found else None


def _open_at_the_end(workflow: Workflow) -> tuple[str, ...]:
    return tuple(
        task.reference_name
        for task in workflow.tasks
        if task.known_status is TaskStatus.CANCELED and not task.retried and not is_container(task)
    )


def advice(failure: Failure) -> str:
    """What to do next, one sentence or two."""
    again = "then clear this Airflow task, or retry the workflow in Conductor: it goes on from the failed task"
    match failure.cause:
        case Cause.TERMINAL_ERROR:
            return f"The worker ruled out trying again: correct the input or the worker, {again}."
        case Cause.TASK_TIMED_OUT:
            return (
                "Its worker took too long or has died: look at the worker, or raise the task definition's"
                f" responseTimeoutSeconds or timeoutSeconds, {again}."
            )
        case Cause.WORKFLOW_TIMED_OUT:
            return "The workflow definition's timeoutSeconds is over: see what was still open, or raise it."
        case Cause.TERMINATED:
            return "Somebody ended it on purpose, so it is not started again: clear this Airflow task if it should be."
        case Cause.TERMINATE_TASK:
            return "The workflow ended itself, as its definition says: look at what led to that TERMINATE task."
        case Cause.NO_TASK:
            return "Conductor itself could not go on: check the workflow's definition and input."
        case _ if failure.unread_sub_workflow_id:
            return f"Look at sub-workflow {failure.unread_sub_workflow_id} for the cause, {again}."
        case _:
            return f"Mend the cause, {again}."


def explain(failure: Failure, log_lines: Sequence[str] = (), url: str = "") -> str:
    """The message of a failure. Its first line is enough to act on; the whole is bounded."""
    lines = [_headline(failure)]
    if failure.sub_workflow_id:
        where = "/".join(one_line(part, 80) for part in failure.path)
        lines.append(f"In sub-workflow {failure.sub_workflow_name} ({failure.sub_workflow_id}), through {where}.")
    if failure.task_id:
        by = f", on worker {one_line(failure.worker_id, 80)}" if failure.worker_id else ""
        lines.append(f"Task id {failure.task_id}{by}.")
    if failure.open_tasks:
        named = ", ".join(one_line(name, 80) for name in failure.open_tasks[:5])
        more = len(failure.open_tasks) - 5
        lines.append(f"Still open then: {named}" + (f" and {more} more." if more > 0 else "."))
    if failure.failure_workflow_id:
        lines.append(f"Its failure workflow is {one_line(failure.failure_workflow_id, 200)}.")
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
    because = f": {reason}" if reason else ""
    what = f"Workflow {one_line(failure.workflow_name, 120)} ({failure.workflow_id}) {_ended(failure.workflow_status)}"
    name = "/".join(one_line(part, 80) for part in (*failure.path, failure.task_reference_name) if part)
    tries = attempt(failure.attempts, failure.max_attempts)
    match failure.cause:
        case Cause.TASK_FAILED:
            return f"{what}: {name} failed ({tries}){because}"
        case Cause.TERMINAL_ERROR:
            return f"{what}: {name} failed with a terminal error ({tries}){because}"
        case Cause.TASK_TIMED_OUT:
            return f"{what}: {name} timed out ({tries}){because}"
        case Cause.TERMINATE_TASK:
            return f"{what}: its TERMINATE task {name} ended it{because}"
        case Cause.TERMINATED if failure.path:
            return f"{what}: the sub-workflow of {name} was terminated{because}"
        case _:
            return f"{what}{because}"


def _ended(status: str) -> str:
    return {"FAILED": "has failed", "TIMED_OUT": "has timed out", "TERMINATED": "was terminated"}.get(status, status)
