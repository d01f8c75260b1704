"""The tasks of a workflow as spans of a trace: plain data with Conductor's own times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.statuses import TaskStatus, WorkflowStatus
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.progress import MAX_DEPTH

MAX_SPANS = 500
"""Spans of one wait. OpenTelemetry's queue has 2,048 places, and drops what finds none: Airflow's own spans, too."""

NAME_LIMIT = 120
REASON_LIMIT = 500

FAILED_WORKFLOW = {WorkflowStatus.FAILED, WorkflowStatus.TIMED_OUT, WorkflowStatus.TERMINATED}
FAILED_TASK = {
    TaskStatus.FAILED,
    TaskStatus.FAILED_WITH_TERMINAL_ERROR,
    TaskStatus.TIMED_OUT,
    TaskStatus.COMPLETED_WITH_ERRORS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSpan:
    """A workflow, or one attempt of a task.

    Attributes:
        start, end: milliseconds since the epoch, on the server's clock; ``end`` is not before ``start``.
        error: why it failed, perhaps ""; None: it did not.
        parent: place of its parent in the sequence, always before its own; None for the workflow waited for.
    """

    name: str
    start: int
    end: int
    attributes: Mapping[str, str | int]
    error: str | None
    parent: int | None


def timeline_spans(workflow: Workflow, sub_workflows: Mapping[str, Workflow] | None = None) -> Sequence[TimelineSpan]:
    """Spans of a workflow and of its tasks' attempts, in the order in which those were scheduled.

    =====================================  ==========================================================================
    what                                   its span
    =====================================  ==========================================================================
    the workflow                           without a parent
    an attempt of a task                   below its workflow's, from when a worker took it, or else from when it was
                                           scheduled
    a sub-workflow that has been read      below the attempt that runs it
    FAILED, FAILED_WITH_TERMINAL_ERROR,    an error, with the reason
    TIMED_OUT, COMPLETED_WITH_ERRORS,
    a workflow that is TERMINATED
    CANCELED, SKIPPED                      no error: the cause is another task's, or the workflow's
    not ended                              ends when the workflow was read
    without any time                       none
    more attempts than ``MAX_SPANS``       the failed ones first, then the earliest; the workflow's span has the number
                                           of the others as ``conductor.tasks_omitted``
    =====================================  ==========================================================================

    Args:
        sub_workflows: those that have been read, by id.
    """
    below = dict(sub_workflows or {})
    return list(_spans(workflow, below, MAX_SPANS // (len(below) + 1), first=0, parent=None, depth=0))


def _spans(
    workflow: Workflow, below: dict[str, Workflow], limit: int, *, first: int, parent: int | None, depth: int
) -> Iterator[TimelineSpan]:
    """The spans of one workflow; ``first`` is the place that the first of them will have."""
    attempts = sorted((task for task in workflow.tasks if _start(task) or task.end_time), key=lambda task: task.seq)
    kept = _kept(attempts, limit - 1)
    now = workflow.end_time or workflow.observed_at or max((task.end_time for task in attempts), default=0)
    yield _workflow_span(workflow, now, omitted=len(attempts) - len(kept), parent=parent)
    place = first + 1
    for task in kept:
        yield _task_span(task, now, workflow.workflow_id, parent=first)
        place += 1
        inside = below.pop(task.sub_workflow_id, None) if depth < MAX_DEPTH else None
        if inside is not None:
            for span in _spans(inside, below, limit, first=place, parent=place - 1, depth=depth + 1):
                yield span
                place += 1


def _kept(attempts: list[Task], limit: int) -> list[Task]:
    if len(attempts) <= limit:
        return attempts
    failed_first = sorted(attempts, key=lambda task: task.known_status not in FAILED_TASK)
    return sorted(failed_first[:limit], key=lambda task: task.seq)


def _workflow_span(workflow: Workflow, now: int, *, omitted: int, parent: int | None) -> TimelineSpan:
    status = str(workflow.data.get("status") or "")
    start = workflow.start_time or workflow.create_time or now
    attributes: dict[str, str | int] = {
        "conductor.workflow_id": workflow.workflow_id,
        "conductor.workflow_name": one_line(workflow.name, NAME_LIMIT),
        "conductor.workflow_version": workflow.version,
        "conductor.correlation_id": one_line(workflow.correlation_id),
        "conductor.status": one_line(status, 40),
        "conductor.reason": one_line(workflow.reason, REASON_LIMIT),
        "conductor.tasks_omitted": omitted,
    }
    return TimelineSpan(
        name=one_line(workflow.name, NAME_LIMIT) or "workflow",
        start=start,
        end=max(start, now),
        attributes={key: value for key, value in attributes.items() if value},
        error=one_line(workflow.reason, REASON_LIMIT) if status in FAILED_WORKFLOW else None,
        parent=parent,
    )


def _task_span(task: Task, now: int, workflow_id: str, *, parent: int) -> TimelineSpan:
    start = _start(task) or task.end_time
    attributes = {
        "conductor.workflow_id": workflow_id,
        "conductor.task_id": task.task_id,
        "conductor.task_type": one_line(task.task_type, NAME_LIMIT),
        "conductor.status": one_line(task.data.get("status") or "", 40),
        "conductor.worker_id": one_line(task.worker_id, NAME_LIMIT),
        "conductor.reason": one_line(task.reason, REASON_LIMIT),
        "conductor.sub_workflow_id": one_line(task.sub_workflow_id),
    }
    return TimelineSpan(
        name=one_line(task.reference_name, NAME_LIMIT) or "task",
        start=start,
        end=max(start, task.end_time or now),
        attributes={
            **{key: value for key, value in attributes.items() if value},
            "conductor.retry_count": task.retry_count,
        },
        error=one_line(task.reason, REASON_LIMIT) if task.known_status in FAILED_TASK else None,
        parent=parent,
    )


def _start(task: Task) -> int:
    return task.start_time or task.scheduled_time
