"""What a workflow is doing, and what it waits for: a pure decision over what the server answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Any, NamedTuple

from airflow_provider_conductor.client.models import PollData, Task, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.polling.blocker import (
    PICKUP_GRACE,
    Blocker,
    Phase,
    blocker_of,
    is_container,
    is_polled_for,
    run_by_server,
)

MAX_DEPTH = 5
"""Levels of sub-workflows that are followed; what is deeper counts as UNREAD."""

MAX_SUB_WORKFLOWS = 20
"""Open sub-workflows that are followed in all; of a fan-out of hundreds the rest counts as UNREAD."""

_ORDER = {phase: rank for rank, phase in enumerate(Phase)} | {Phase.UNREAD: 0.5}
"""Branches at work first, then what should make progress, then what does so by itself, then what waits for somebody."""


class Wants(NamedTuple):
    """What else to read for a more exact answer; then call :func:`assess` again."""

    sub_workflows: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


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
    status = known_status(workflow)
    ended_or_paused = Phase.PAUSED if status is WorkflowStatus.PAUSED else Phase.ENDED if status.ended else None
    started = max(workflow.start_time or workflow.create_time, workflow.last_retried_time)
    reading = _Reading(now, sub_workflows or {}, poll_data or {})
    _read(reading, workflow, path=(), follow=ended_or_paused is None)
    fingerprint = blake2s("\n".join(reading.fingerprints).encode(errors="surrogatepass"), digest_size=8).hexdigest()

    if ended_or_paused is not None:
        since = workflow.update_time or started
        if ended_or_paused is Phase.ENDED:
            since = workflow.end_time or since
        return Progress(status=status, phase=ended_or_paused, since=since, started=started, fingerprint=fingerprint)

    blockers = tuple(sorted(reading.blockers, key=lambda blocker: (_ORDER[blocker.phase], blocker.since)))
    phases = {blocker.phase for blocker in blockers}
    phase = blockers[0].phase if blockers else Phase.WORKING
    should_move = any(phase.should_move for phase in phases)
    dues = [blocker.due for blocker in blockers if blocker.due is not None]
    overdue = [
        blocker.queue
        for blocker in blockers
        if blocker.phase in (Phase.QUEUED, Phase.RETRY_DUE)
        and not blocker.polls_known
        and now - blocker.moved >= PICKUP_GRACE
    ]
    wants = Wants(tuple(reading.wanted), tuple(dict.fromkeys(overdue)))
    return Progress(
        status=status,
        phase=phase,
        since=min((blocker.since for blocker in blockers if blocker.phase is phase), default=reading.moved),
        started=started,
        next_change=None if should_move or Phase.UNREAD in phases else min(dues, default=None),
        blockers=blockers,
        unscheduled=() if blockers else _unscheduled(workflow),
        stalled_since=min(reading.moved, now) if Phase.UNREAD not in phases and (should_move or not blockers) else None,
        fingerprint=fingerprint,
        wants=wants if any(wants) else NOTHING,
    )


def known_status(workflow: Workflow) -> WorkflowStatus:
    """Its status; RUNNING for one that this package has never heard of."""
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
                rerun = before is not None and _rerun_since(workflow, before)
                reading.blockers.append(
                    blocker_of(task, reading.now, path=path, before=before, rerun=rerun, polls=reading.polls)
                )
    if follow and len(reading.blockers) == found:
        reading.blockers.extend(_blocked_joins(workflow, path, moved, soon=reading.now - moved < PICKUP_GRACE))
    reading.moved = max(reading.moved, moved, *(blocker.moved for blocker in reading.blockers[found:]))


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
    defined = set(_references(workflow, everything=True))
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
        yield run_by_server(task, Phase.JOIN_BLOCKED, path, since, missing=missing, undefined=undefined)


def _unscheduled(workflow: Workflow) -> tuple[str, ...]:
    tasks = {task.reference_name for task in workflow.tasks}
    return tuple(ref for ref in _references(workflow) if ref not in tasks)


def _references(workflow: Workflow, *, everything: bool = False) -> Iterator[str]:
    """Reference names of the definition's tasks, into forks; with ``everything`` also into cases and loops."""
    definition = workflow.data.get("workflowDefinition")
    left: list[Any] = [definition.get("tasks")] if isinstance(definition, Mapping) else []
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
    name, found = task.sub_workflow_id, len(reading.blockers)
    reachable = len(path) < MAX_DEPTH and len(reading.followed) < MAX_SUB_WORKFLOWS and name not in reading.followed
    below = reading.sub_workflows.get(name) if reachable else None
    status = None if below is None else known_status(below)
    phase, since = Phase.WORKING, task.start_time
    if reachable:
        reading.followed.add(name)
    if below is None or status is None:
        phase = Phase.UNREAD
        reading.wanted += [name] if reachable else []
    elif status is WorkflowStatus.RUNNING:
        _read(reading, below, path=(*path, task.reference_name), follow=True)
        if len(reading.blockers) > found:
            return
        since = max(since, *(inner.end_time for inner in below.tasks), 0)
    else:
        _read(reading, below, path=path, follow=False)
        if status is WorkflowStatus.PAUSED:
            phase = Phase.PAUSED
        since = (below.end_time if status.ended else below.update_time) or since
    ended = status is not None and status.ended
    begun = below is None or bool(below.tasks) or ended
    reading.blockers.append(
        run_by_server(task, phase, path, since, sub_workflow_id=name, sub_workflow_ended=ended, begun=begun)
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
