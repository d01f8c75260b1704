"""What a workflow is doing, and what it waits for: a pure decision over what the server answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Any

from airflow_provider_conductor.client.models import PollData, Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.polling.blocker import (
    PICKUP_GRACE,
    Blocker,
    Phase,
    blocker_of,
    is_container,
    is_polled_for,
)

__all__ = ["MAX_DEPTH", "MAX_SUB_WORKFLOWS", "Blocker", "Phase", "Progress", "Wants", "assess"]

MAX_DEPTH = 5
"""Levels of sub-workflows that are followed; what is deeper counts as UNREAD."""

MAX_SUB_WORKFLOWS = 20
"""Open sub-workflows that are followed in all; of a fan-out of hundreds the rest counts as UNREAD."""

_ORDER = {phase: rank for rank, phase in enumerate(Phase)} | {Phase.UNREAD: 0.5}
"""Branches at work first, then what should make progress, then what does so by itself, then what waits for somebody."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What else to read for a more exact answer; then call :func:`assess` again."""

    sub_workflows: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sub_workflows or self.queues)


NOTHING = Wants()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a workflow is doing, and why. All times are the server's clock in ms.

    Attributes:
        since: since when it is in this phase.
        started: when it was started, or last retried or resumed: its age for the poll schedule.
        next_change: when it can next change by itself; None if that can be at any time or never.
        blockers: the open tasks it waits for, the phase's own first.
        unscheduled: if no task is open, the references of the definition that have no task, except in the cases of a
            switch and in loops.
        stalled_since: since when there has been no progress although there should be some; None while that clock
            stands still.
        fingerprint: changes with progress, and only then (as long as the same sub-workflows are read).
        wants: what to read for a more exact answer.
    """

    status: WorkflowStatus
    phase: Phase
    since: int
    started: int
    next_change: int | None = None
    blockers: tuple[Blocker, ...] = ()
    unscheduled: tuple[str, ...] = ()
    stalled_since: int | None = None
    fingerprint: str = ""
    wants: Wants = NOTHING


@dataclass(slots=True)
class _Reading:
    """What is collected on the way down through the sub-workflows."""

    now: int
    sub_workflows: Mapping[str, Workflow]
    polls: Mapping[str, Sequence[PollData]]
    blockers: list[Blocker] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    followed: set[str] = field(default_factory=set)
    moved: int = 0


def assess(
    workflow: Workflow,
    now: int,
    *,
    sub_workflows: Mapping[str, Workflow] | None = None,
    poll_data: Mapping[str, Sequence[PollData]] | None = None,
) -> Progress:
    """What a workflow is doing at ``now`` (the server's clock, ms).

    ========================================  =====================================  =======================
    the workflow                              phase                                  the stall clock
    ========================================  =====================================  =======================
    has ended                                 ENDED                                  stands still
    is paused                                 PAUSED                                 stands still
    has no open task                          WORKING (between two tasks)            runs since the last end
    has a task that is being run              WORKING, whatever else it waits for    runs since the last move
    has a sub-workflow not read               UNREAD, if nothing is live elsewhere   stands still
    has a due task that no worker has taken   RETRY_DUE, QUEUED or RATE_LIMITED      runs since it was due
    has only a JOIN whose tasks are missing   JOIN_BLOCKED                           runs since the last end
    only waits                                the first in Phase's order             stands still
    ========================================  =====================================  =======================

    If one branch should make progress and another one waits, the clock runs from the last progress of either: the long
    wait of one branch does not hide another one without a worker. It never starts before a resume or a manual retry.
    Switches and loops are never blockers; their tasks are. A JOIN is one only if it waits for a task that the workflow
    does not have while no other task is open: Conductor usually never schedules it.

    Args:
        workflow: with its tasks.
        now: the server's clock.
        sub_workflows: by id, what has been read of those in an earlier answer's ``wants``.
        poll_data: by queue (task type, all domains), likewise.
    """
    status = _status(workflow)
    ends_or_rests = {WorkflowStatus.PAUSED: Phase.PAUSED}.get(status, Phase.ENDED if status.ended else None)
    started = max(workflow.start_time or workflow.create_time, workflow.last_retried_time)
    reading = _Reading(now, sub_workflows or {}, poll_data or {})
    _read(reading, workflow, path=(), follow=ends_or_rests is None)
    fingerprint = blake2s("\n".join(reading.fingerprints).encode(errors="surrogatepass"), digest_size=8).hexdigest()

    if ends_or_rests is not None:
        since = workflow.end_time or workflow.update_time or started
        if status is WorkflowStatus.PAUSED:
            since = workflow.update_time or started
        return Progress(status=status, phase=ends_or_rests, since=since, started=started, fingerprint=fingerprint)

    blockers = tuple(sorted(reading.blockers, key=lambda h: (_ORDER[h.phase], h.since)))
    phases = {blocker.phase for blocker in blockers}
    phase = blockers[0].phase if blockers else Phase.WORKING
    clock_runs = Phase.UNREAD not in phases and (not blockers or any(p.should_move for p in phases))
    return Progress(
        status=status,
        phase=phase,
        since=min((h.since for h in blockers if h.phase is phase), default=reading.moved),
        started=started,
        next_change=_next_change(blockers),
        blockers=blockers,
        unscheduled=() if blockers else _unscheduled(workflow),
        stalled_since=min(reading.moved, now) if clock_runs else None,
        fingerprint=fingerprint,
        wants=Wants(tuple(reading.wanted), _wanted_queues(blockers, now)) or NOTHING,
    )


def _status(workflow: Workflow) -> WorkflowStatus:
    try:
        return workflow.status
    except (KeyError, ValueError):
        return WorkflowStatus.RUNNING


def _read(reading: _Reading, workflow: Workflow, *, path: tuple[str, ...], follow: bool) -> None:
    """Collect the blockers, fingerprints and last progress of one workflow and of its sub-workflows."""
    found = len(reading.blockers)
    moved = max(workflow.start_time, workflow.last_retried_time)
    reading.fingerprints.append(f"{workflow.workflow_id}={workflow.data.get('status')}")
    tasks = workflow.tasks
    by_id = {task.task_id: task for task in tasks}
    reading.fingerprints.extend(sorted(map(_fingerprint, tasks)))
    for task in tasks:
        if not task.is_open:
            moved = max(moved, task.end_time)
        elif follow and not is_container(task):
            if task.sub_workflow_id and task.known_status is TaskStatus.IN_PROGRESS:
                _follow(reading, task, path)
            else:
                before = by_id.get(task.retried_task_id)
                reading.blockers.append(
                    blocker_of(
                        task,
                        reading.now,
                        path=path,
                        before=before,
                        rerun=before is not None and _rerun_since(workflow, before),
                        polls=reading.polls,
                    )
                )
    if follow and len(reading.blockers) == found:
        reading.blockers.extend(_blocked_joins(workflow, path, moved, soon=reading.now - moved < PICKUP_GRACE))
    reading.moved = max(reading.moved, moved)
    for blocker in reading.blockers[found:]:
        reading.moved = max(reading.moved, blocker.moved)


def _rerun_since(workflow: Workflow, attempt: Task) -> bool:
    """Whether somebody has rerun the workflow from one of its tasks since this attempt.

    A rerun and a retry keep the workflow's earlier end time; only a retry sets ``lastRetriedTime`` (seen on 3.13 and
    3.32). The task that a rerun begins with keeps its id, and the attempt that it once followed.
    """
    return attempt.end_time <= workflow.end_time and workflow.last_retried_time < workflow.end_time


def _blocked_joins(workflow: Workflow, path: tuple[str, ...], since: int, *, soon: bool) -> Iterator[Blocker]:
    """The open JOINs that wait for references of which the workflow has no task.

    Conductor ends a JOIN when all its references have ended, an EXCLUSIVE_JOIN when one of them has (its Join.java and
    ExclusiveJoin.java); within a loop they carry the iteration. ``soon`` after the last task has ended, only what the
    definition does not have is certain to be missing for ever.
    """
    tasks = {task.reference_name for task in workflow.tasks}
    defined = set(_references(_definition(workflow), everything=True))
    for task in workflow.tasks:
        exclusive = task.kind == "EXCLUSIVE_JOIN"
        if not task.is_open or (task.kind != "JOIN" and not exclusive):
            continue
        loop = f"__{task.iteration}" if task.data.get("loopOverTask") else ""
        wanted = [ref if ref.endswith(loop) else ref + loop for ref in _texts(task.input.get("joinOn"))]
        missing = tuple(ref for ref in wanted if ref not in tasks)
        if not missing or (exclusive and len(missing) < len(wanted)):
            continue
        written = set(_texts(task.workflow_task.get("joinOn")))  # a dynamic fork's are not in the definition
        undefined = tuple(ref for ref in missing if ref.removesuffix(loop) in written - defined)
        if soon and not undefined:
            continue
        yield Blocker(
            phase=Phase.JOIN_BLOCKED,
            reference_name=task.reference_name,
            path=path,
            kind=task.kind,
            task_id=task.task_id,
            since=since,
            moved=since,
            by_server=True,
            missing=missing,
            undefined=undefined,
        )


def _unscheduled(workflow: Workflow) -> tuple[str, ...]:
    tasks = {task.reference_name for task in workflow.tasks}
    return tuple(ref for ref in _references(_definition(workflow)) if ref not in tasks)


def _definition(workflow: Workflow) -> Any:
    definition = workflow.data.get("workflowDefinition")
    return definition.get("tasks") if isinstance(definition, Mapping) else None


def _references(tasks: Any, *, everything: bool = False) -> Iterator[str]:
    """Reference names of a definition's tasks, into forks; with ``everything`` also into cases and loops."""
    left = [tasks]
    while left:
        item = left.pop()
        if isinstance(item, list):
            left.extend(reversed(item))
        elif isinstance(item, Mapping):
            yield str(item.get("taskReferenceName"))
            left.append(item.get("forkTasks"))
            if everything:
                cases = item.get("decisionCases")
                left += [item.get("defaultCase"), item.get("loopOver")]
                left += cases.values() if isinstance(cases, Mapping) else ()


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _follow(reading: _Reading, task: Task, path: tuple[str, ...]) -> None:
    """Collect the blockers of the sub-workflow that a task runs.

    ======================  ===============================================================
    the sub-workflow        the task counts as
    ======================  ===============================================================
    not read, too deep      UNREAD
    paused                  PAUSED
    ended                   WORKING: its parent notices soon
    runs, has open tasks    these
    runs, has none          WORKING: between two tasks, or not begun by Conductor
    ======================  ===============================================================
    """
    below = reading.sub_workflows.get(task.sub_workflow_id)
    reachable = (
        len(path) < MAX_DEPTH
        and len(reading.followed) < MAX_SUB_WORKFLOWS
        and task.sub_workflow_id not in reading.followed
    )
    if reachable:
        reading.followed.add(task.sub_workflow_id)
    if below is None or not reachable:
        if reachable:
            reading.wanted.append(task.sub_workflow_id)
        reading.blockers.append(_blocker_of_sub_workflow(task, Phase.UNREAD, path, task.start_time))
        return
    status = _status(below)
    if status is WorkflowStatus.RUNNING:
        found = len(reading.blockers)
        _read(reading, below, path=(*path, task.reference_name), follow=True)
        if len(reading.blockers) > found:
            return
        last_end = max((inner.end_time for inner in below.tasks), default=0)
        phase, since = Phase.WORKING, max(task.start_time, last_end)
    elif status is WorkflowStatus.PAUSED:
        _read(reading, below, path=path, follow=False)
        phase, since = Phase.PAUSED, below.update_time or task.start_time
    else:
        _read(reading, below, path=path, follow=False)
        phase, since = Phase.WORKING, below.end_time or task.start_time
    reading.blockers.append(_blocker_of_sub_workflow(task, phase, path, since, below))


def _blocker_of_sub_workflow(
    task: Task, phase: Phase, path: tuple[str, ...], since: int, below: Workflow | None = None
) -> Blocker:
    return Blocker(
        phase=phase,
        reference_name=task.reference_name,
        path=path,
        kind=task.kind,
        task_id=task.task_id,
        attempt=task.retry_count + 1,
        since=since,
        moved=since,
        by_server=True,
        sub_workflow_id=task.sub_workflow_id,
        sub_workflow_ended=below is not None and _status(below).ended,
        begun=below is None or bool(below.tasks) or _status(below).ended,
    )


def _fingerprint(task: Task) -> str:
    """A task's part of the fingerprint. It has no counter and no time, since these change without progress."""
    status = str(task.data.get("status"))
    if task.is_open and is_polled_for(task) and task.poll_count:
        # A worker that postpones its task and takes it again has made no progress.
        status = "TAKEN"
    elif is_container(task) and task.is_open:
        status = "OPEN"
    return f"{task.task_id}={status}/{task.retry_count}"


def _next_change(blockers: tuple[Blocker, ...]) -> int | None:
    if any(blocker.phase.should_move or blocker.phase is Phase.UNREAD for blocker in blockers):
        return None
    return min((blocker.due for blocker in blockers if blocker.due is not None), default=None)


def _wanted_queues(blockers: tuple[Blocker, ...], now: int) -> tuple[str, ...]:
    """The queues of tasks that have been due for ``PICKUP_GRACE``."""
    return tuple(
        dict.fromkeys(
            blocker.queue
            for blocker in blockers
            if blocker.phase in (Phase.QUEUED, Phase.RETRY_DUE)
            and not blocker.polls_known
            and now - blocker.moved >= PICKUP_GRACE
        )
    )
