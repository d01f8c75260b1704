"""What one open task is waiting for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from airflow_provider_conductor.client.models import UNTIMED, PollData, Task, TaskStatus
from airflow_provider_conductor.client.task_types import CONTAINERS, without_iterations

PICKUP_GRACE = 10_000
"""Milliseconds that a due task may wait for a worker before its queue's poll data are read."""

FRESH_POLL = 60_000
"""Milliseconds for which a queue's last poll shows that a worker is there."""


class Phase(StrEnum):
    """What a workflow, or one branch of it, is doing or waiting for."""

    WORKING = "working"
    """A worker or the server itself runs the task."""
    RETRY_DUE = "retry due"
    """The retry is due and no worker has taken it."""
    QUEUED = "queued"
    """The task is due and no worker has taken it."""
    RATE_LIMITED = "rate limited"
    """Workers poll the queue and do not get the task, and its definition sets a limit: probably because of that."""
    JOIN_BLOCKED = "join blocked"
    """A JOIN waits for tasks that the workflow does not have, and no other task is open."""
    RETRY_DELAY = "retry delay"
    """The task failed, and the server waits before the next attempt."""
    POSTPONED = "postponed"
    """The task's own worker has asked to get it again later."""
    START_DELAY = "start delay"
    """The definition delays the start."""
    TIMED_WAIT = "timed wait"
    """A WAIT task with an end."""
    WAITING_FOR_SIGNAL = "waiting for a signal"
    """A WAIT task without an end, or a system task that is completed from outside."""
    WAITING_FOR_PERSON = "waiting for a person"
    """A HUMAN task."""
    PAUSED = "paused"
    UNREAD = "inside a sub-workflow"
    """A sub-workflow whose own tasks have not been read (yet)."""
    ENDED = "ended"

    @property
    def should_move(self) -> bool:
        """Whether a worker or the server should act now: only then does time without progress count."""
        return self in (Phase.WORKING, Phase.RETRY_DUE, Phase.QUEUED, Phase.RATE_LIMITED, Phase.JOIN_BLOCKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """An open task and what it waits for. Times are the server's clock in ms.

    Attributes:
        path: reference names of the SUB_WORKFLOW tasks above it, outermost first.
        max_attempts: None if the definition sets no limit or a manual retry went past it.
        retry: whether it follows a failed attempt; False after a rerun from this task.
        reason: why that attempt failed.
        due: when it is or was due; None if that is not known, or if it is waiting for somebody.
        moved: when it last made progress.
        by_server: whether the server runs it instead of a worker.
        polls_known: whether the queue's poll data has been read.
        last_poll: the last poll of its queue in its domain.
        other_domains: domains of the same queue ("" is none) that workers do poll.
        unpolled_since: since when it is due and no worker has polled; None if one has, or if it is not known.
        begun: False for a task of the server's own that it has queued and not executed yet; and for a sub-workflow
            that has been created and has no task yet. Conductor begins it from the queue that it evaluates all running
            workflows from, so a busy server may take minutes to.
        missing: for a JOIN, the references that it waits for and the workflow has no task of.
        undefined: those of them that the workflow's definition does not have either.
    """

    phase: Phase
    reference_name: str
    moved: int
    path: tuple[str, ...] = ()
    kind: str = ""
    task_id: str = ""
    attempt: int = 1
    max_attempts: int | None = None
    retry: bool = False
    reason: str = ""
    since: int = 0
    due: int | None = None
    by_server: bool = False
    worker_id: str = ""
    queue: str = ""
    domain: str = ""
    polls_known: bool = False
    last_poll: PollData | None = None
    other_domains: tuple[str, ...] = ()
    unpolled_since: int | None = None
    sub_workflow_id: str = ""
    sub_workflow_ended: bool = False
    begun: bool = True
    missing: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()

    def is_of(self, task_ref: str) -> bool:
        """Whether it is this task of the workflow, an iteration of it, or in the sub-workflow that the task runs."""
        outermost = self.path[0] if self.path else self.reference_name
        return task_ref in (outermost, without_iterations(outermost))


WORKER_KINDS = frozenset({"", "SIMPLE", "DYNAMIC", "USER_DEFINED"})

SIGNALLED = frozenset({"PULL_WORKFLOW_MESSAGES", "WAIT_FOR_WEBHOOK", "WAIT_FOR_EVENT", "YIELD"})
"""Besides WAIT: ended by something from outside."""

AI_TYPES = frozenset(
    {"LLM_CHAT_COMPLETE", "LLM_TEXT_COMPLETE", "LLM_GENERATE_EMBEDDINGS", "LLM_INDEX_TEXT", "LLM_STORE_EMBEDDINGS"}
    | {"LLM_SEARCH_INDEX", "LLM_SEARCH_EMBEDDINGS", "LLM_GET_EMBEDDINGS", "LIST_MCP_TOOLS", "CALL_MCP_TOOL"}
    | {"GENERATE_IMAGE", "GENERATE_AUDIO", "GENERATE_VIDEO", "GENERATE_PDF"}
    | {"AGENT", "GET_AGENT_CARD", "CANCEL_AGENT"}
)
"""Those of its documentation's page on AI tasks; the server runs them itself."""

SERVER_TYPES = frozenset(
    {"HTTP", "INLINE", "LAMBDA", "EVENT", "KAFKA_PUBLISH", "JSON_JQ_TRANSFORM", "JDBC", "SET_VARIABLE", "NOOP"}
    | {"TERMINATE", "START_WORKFLOW", "SUB_WORKFLOW", "WAIT", "HUMAN"}
    | CONTAINERS
    | SIGNALLED
    | AI_TYPES
)
"""Types that a DYNAMIC task can turn out to be, and that no worker polls for."""


def is_container(task: Task) -> bool:
    return task.kind in CONTAINERS or task.task_type in CONTAINERS


def is_polled_for(task: Task) -> bool:
    """Whether workers poll for it. An unknown type counts as the server's, so that no worker is missed wrongly."""
    if task.task_type in SERVER_TYPES:
        return False
    return task.kind in WORKER_KINDS or not task.workflow_task


def run_by_server(task: Task, phase: Phase, path: tuple[str, ...], since: int, **more: Any) -> Blocker:
    """The blocker that a JOIN or a SUB_WORKFLOW task is, since this moment."""
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
        **more,
    )


def attempts_of(task: Task) -> tuple[int, int | None]:
    """Which attempt it is, and of how many; None if the definition sets no limit or a manual retry went past it."""
    attempt, maximum = task.retry_count + 1, task.max_attempts
    return attempt, None if maximum is None or attempt > maximum else maximum


def blocker_of(
    task: Task,
    now: int,
    *,
    path: tuple[str, ...],
    before: Task | None = None,
    rerun: bool = False,
    polls: Mapping[str, Sequence[PollData]],
) -> Blocker:
    """What an open task (neither a container nor a started sub-workflow) waits for.

    ============  =================================  ====================
    status        and                                phase
    ============  =================================  ====================
    SCHEDULED     due later, taken before            POSTPONED
    SCHEDULED     due later, a retry                 RETRY_DELAY
    SCHEDULED     due later, first attempt           START_DELAY
    SCHEDULED     due, the server's own task         WORKING
    SCHEDULED     due, polled freshly, has a limit   RATE_LIMITED
    SCHEDULED     due, a retry never taken           RETRY_DUE
    SCHEDULED     due                                QUEUED
    IN_PROGRESS   HUMAN                              WAITING_FOR_PERSON
    IN_PROGRESS   WAIT that is due to end            WORKING
    IN_PROGRESS   WAIT with an end                   TIMED_WAIT
    IN_PROGRESS   WAIT, or completed from outside    WAITING_FOR_SIGNAL
    IN_PROGRESS   put back by its worker             POSTPONED
    IN_PROGRESS   else                               WORKING
    one unknown                                      WORKING
    ============  =================================  ====================

    Args:
        before: the attempt that this one follows.
        rerun: whether a user has rerun the task since that attempt, which then explains nothing.
    """
    retry = task.retry_count > 0 and not rerun
    status = task.known_status
    workers = is_polled_for(task)
    due: int | None
    if status is TaskStatus.SCHEDULED:
        phase, since, due = _phase_of_scheduled(task, now, workers, retry)
    elif status is TaskStatus.IN_PROGRESS:
        phase, since, due = _phase_in_progress(task, now, workers)
    else:
        phase, since, due = Phase.WORKING, task.start_time or task.scheduled_time, None

    moved = since
    if phase.should_move and due is not None:
        moved = due
    elif phase is Phase.WORKING and workers:
        # Only a worker's own tasks: the server touches the updateTime of its own while nothing advances.
        moved = max(since, task.update_time)

    attempt, max_attempts = attempts_of(task)
    blocker = Blocker(
        phase=phase,
        reference_name=task.reference_name,
        path=path,
        kind=task.kind,
        task_id=task.task_id,
        attempt=attempt,
        max_attempts=max_attempts,
        retry=retry,
        reason=((before.reason if before else "") or task.reason) if retry else "",
        since=since,
        due=due,
        moved=moved,
        by_server=not workers,
        begun=workers or status is not TaskStatus.SCHEDULED,
        worker_id=task.worker_id,
        queue=task.task_type if workers else "",
        domain=task.domain,
    )
    if workers and phase in (Phase.QUEUED, Phase.RETRY_DUE):
        return _with_poll_data(blocker, task, now, polls)
    return blocker


def _phase_of_scheduled(task: Task, now: int, workers: bool, retry: bool) -> tuple[Phase, int, int]:
    taken_before = workers and task.poll_count > 0
    # The server copies a failed attempt's updateTime to its successor (seen on 3.13), hence the max.
    since = max(task.scheduled_time, task.update_time if taken_before else 0)
    due = since + (task.callback_after_seconds * 1000 if workers or not task.poll_count else 0)
    if retry and not taken_before and task.callback_after_seconds and due <= now:
        # A jitter delays the message in the queue, but no field of the task shows by how much (seen on 3.32).
        due += int(task.definition.get("backoffJitterMs") or 0)
    if due > now and due > since:
        if taken_before:
            return Phase.POSTPONED, since, due
        return (Phase.RETRY_DELAY if retry else Phase.START_DELAY), since, due
    if not workers:
        return Phase.WORKING, due, due
    return (Phase.RETRY_DUE if retry and not taken_before else Phase.QUEUED), due, due


def _phase_in_progress(task: Task, now: int, workers: bool) -> tuple[Phase, int, int | None]:
    since = task.start_time or task.scheduled_time
    if task.kind == "HUMAN" or task.task_type == "HUMAN":
        return Phase.WAITING_FOR_PERSON, since, None
    if task.kind == "WAIT" or task.task_type == "WAIT":
        return _phase_of_wait(task, now, since)
    if workers:
        due = max(task.update_time, since) + task.callback_after_seconds * 1000
        if task.callback_after_seconds and due > now:
            return Phase.POSTPONED, max(task.update_time, since), due
        return Phase.WORKING, since, None
    if task.async_complete or task.kind in SIGNALLED:
        return Phase.WAITING_FOR_SIGNAL, since, None
    return Phase.WORKING, since, None


def _phase_of_wait(task: Task, now: int, since: int) -> tuple[Phase, int, int | None]:
    # Its input decides: an untimed WAIT that a manual retry brought back carries the server's own polling
    # interval (30) in callbackAfterSeconds, not Integer.MAX_VALUE (seen on 3.32); 3.13 has 0 there.
    timed = any(str(task.input.get(key) or "").strip() for key in ("duration", "until"))
    delay = task.callback_after_seconds
    if not timed:
        return Phase.WAITING_FOR_SIGNAL, since, None
    if not 0 < delay < UNTIMED:
        # 3.13 does not report when a WAIT until a date ends.
        return Phase.TIMED_WAIT, since, None
    # The server rounds what is left down to whole seconds (its Wait.java and WaitTaskMapper.java), so that a WAIT
    # would seem over up to a second before it is. A date has whole seconds itself.
    if task.poll_count and task.update_time:  # evaluated since: the field holds what was left at that time
        due = task.update_time + (delay + 1) * 1000
    elif str(task.input.get("until") or "").strip():
        due = -(-(since + delay * 1000) // 1000) * 1000
    else:
        due = since + delay * 1000
    return (Phase.TIMED_WAIT if due > now else Phase.WORKING), since, due


def _with_poll_data(blocker: Blocker, task: Task, now: int, polls: Mapping[str, Sequence[PollData]]) -> Blocker:
    if blocker.queue not in polls:
        return blocker
    seen = polls[blocker.queue]
    last = max((p for p in seen if p.domain == blocker.domain), key=lambda p: p.last_poll_time, default=None)
    due = blocker.due or blocker.since
    quiet_since = max(due, last.last_poll_time if last else 0)
    polled = last is not None and last.last_poll_time >= due and now - last.last_poll_time <= FRESH_POLL
    limited = task.rate_limit_per_frequency > 0 or int(task.definition.get("concurrentExecLimit") or 0) > 0
    return replace(
        blocker,
        phase=Phase.RATE_LIMITED if polled and limited else blocker.phase,
        polls_known=True,
        last_poll=last,
        other_domains=tuple(
            sorted({p.domain for p in seen if p.domain != blocker.domain and now - p.last_poll_time <= FRESH_POLL})
        ),
        unpolled_since=quiet_since if now - quiet_since >= PICKUP_GRACE else None,
    )
