"""Waiting for a workflow, as a flow: one loop for every mode, whoever drives it."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorConfigError,
    ConductorNotFoundError,
    ConductorRequestError,
    NotConductorError,
)
from airflow_provider_conductor.client.flow import Flow, current_time
from airflow_provider_conductor.client.flows import reached
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.awaited_task import AwaitedTask, awaited_task, task_statuses, why_missing
from airflow_provider_conductor.polling.formatting import clock_time, duration
from airflow_provider_conductor.polling.limits import Deadline, Verdict, judge
from airflow_provider_conductor.polling.messages import describe, next_message
from airflow_provider_conductor.polling.next_poll import (
    HELD,
    HELD_PAUSE,
    JUST_IN_CASE,
    adaptive_pause,
    next_poll,
    next_poll_after_failure,
    wake_at,
)
from airflow_provider_conductor.polling.observation import (
    FEW_TASKS,
    Observation,
    confirm_missing,
    observe,
    without_reasons,
)
from airflow_provider_conductor.polling.poll_pause import PollPause, PollResult, Revision
from airflow_provider_conductor.polling.progress import Progress
from airflow_provider_conductor.polling.server_clock import ServerClock
from airflow_provider_conductor.polling.user_actions import Lifecycle, user_actions

__all__ = ["WaitEvent", "WaitPlan", "wait"]

log = logging.getLogger(__name__)

TIMEOUT = "timeout"
STALLED = "stalled"
TASK_ENDED = "task_ended"
TASK_MISSED = "task_missed"
STILL_RUNNING = "still_running"
GONE = "gone"
GONE_REASON = "neither Conductor nor its search index has this workflow; how it ended is unknown"
ERROR = "error"

UNREAD_LOGGED = "unread"
"""In place of the situations that have been logged, once it has been logged that the tasks cannot be read."""

REFUSED_FOR = 1_800.0
"""Seconds for which something in front of Conductor may refuse the credentials, as a firewall does while its rules are
changed; after that, those of the connection are wrong."""

REFUSED_AT_FIRST = 120.0
"""Seconds for which it may answer anything before Conductor has, as a gateway does while it is reloaded; after these,
the address is wrong."""

MESSAGE_LIMIT = 1_000
"""Characters of an event's message: it is stored in Airflow's metadata database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPlan:
    """What is waited for and for how long; plain JSON values, so it can be a trigger's argument.

    Moments are seconds since the epoch on Airflow's clock (they cross processes), durations are seconds.

    Attributes:
        workflow_id: the workflow.
        started_at: when this wait began, deferrals included.
        deadline: when the whole wait is over, the earlier of ours and Airflow's; None for never.
        stall_timeout: time without progress after which the wait is over; None for a warning only.
        poll_interval: between looks; None adapts.
        exponential_backoff, max_wait: Airflow's sensor arguments, applied to ``poll_interval``.
        wait_until_task_ref: wait only until this task has ended, or has one of
        wait_until_task_status: these statuses, joined by commas.
        told, warned, seen, away_since, refused_since: what people have been told last, the standstill they were warned
            about, the last look's lifecycle, since when Conductor is unreachable, and since when something in front
            of it refuses, so that nothing is told again after a deferral or at the next poke.
        rest: a :class:`~airflow_provider_conductor.polling.poll_pause.PollPause` as JSON: what the last look saw and
            when the next is due, so that a wait that goes on elsewhere begins at rest; None for a look at once.
    """

    workflow_id: str
    started_at: float
    deadline: float | None = None
    stall_timeout: float | None = None
    poll_interval: float | None = None
    exponential_backoff: bool = False
    max_wait: float | None = None
    wait_until_task_ref: str | None = None
    wait_until_task_status: str = ""
    told: str = ""
    warned: str = ""
    seen: str = ""
    away_since: float | None = None
    refused_since: float | None = None
    rest: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults: a triggerer keeps it for each of its waits."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) != item.default}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WaitPlan:
        """Read a plan that an earlier, or a later, version of this package may have stored."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitEvent:
    """How a wait ended.

    ================================================  ====================================================
    status                                            meaning
    ================================================  ====================================================
    COMPLETED, FAILED, TIMED_OUT, TERMINATED          the workflow has ended so
    ``task_ended``                                    the task waited for has, the workflow goes on; or it has the
                                                      status that it was waited for
    ``task_missed``                                   the task cannot come to that status any more, or the workflow
                                                      has completed without it
    ``timeout``                                       the whole time is over
    ``stalled``                                       nothing got ahead for ``stall_timeout``
    ``gone``                                          the server does not know the workflow (any more)
    ``still_running``                                 the caller's patience is over; never in a trigger's event
    ``error``                                         waiting cannot help; only in a trigger's event
    ================================================  ====================================================

    ``message`` says why, for people. ``plan`` is for a wait that goes on elsewhere, and ``next_poll`` is when it would
    poll next if nobody else's patience counted (a sensor's next poke). ``error`` is the kind of error
    (a name in :mod:`~airflow_provider_conductor.client.errors`) where the status is ``error``: waiting cannot help.
    ``workflow`` is what the last look has read, with its tasks; None where it read less, and where the event has
    crossed processes.
    """

    workflow_id: str
    status: str
    message: str = ""
    plan: WaitPlan | None = None
    error: str = ""
    next_poll: float | None = field(default=None, compare=False)
    workflow: Workflow | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # An event that the metadata database refuses ends the triggerer, and again each time it starts.
        object.__setattr__(self, "message", one_line(self.message, MESSAGE_LIMIT))

    def to_json(self) -> dict[str, Any]:
        data = {"workflow_id": self.workflow_id, "status": self.status, "message": self.message}
        return data | {"error": self.error} if self.error else data

    @classmethod
    def from_json(cls, event: object) -> WaitEvent:
        """Read an event that crossed processes.

        Raises:
            ValueError: not an event of this package.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("status"), str) or not event.get("workflow_id"):
            raise ValueError(f"not the event of a wait for a workflow: {event!r}")
        return cls(
            workflow_id=str(event["workflow_id"]),
            status=event["status"],
            message=str(event.get("message") or ""),
            error=str(event.get("error") or ""),
        )


@dataclass(slots=True)
class _Wait:
    """One wait under way."""

    plan: WaitPlan
    say: Callable[[str], None]
    warn: Callable[[str], None]
    jitter: Callable[[], float]
    limits: Deadline
    begun: float
    give_up: float | None
    told: str
    lifecycle: Lifecycle | None
    away_since: float | None
    clock: ServerClock = field(default_factory=ServerClock)
    looks: int = 0
    failures: int = 0
    tasks_read: float | None = None
    few_tasks: bool = False
    progress: Progress | None = None
    poll_by: float | None = None
    """The latest moment of the next look, our caller's patience included."""
    refused_since: float | None = None
    """Since when a gateway's refusals have come and nothing else."""
    limit: float | None = None
    """The same without it: what holds for the wait wherever it goes on."""
    rest: PollPause | None = None
    traced: bool = False
    """Whether an unexpected answer has been logged with its traceback."""

    @classmethod
    def of(
        cls,
        plan: WaitPlan,
        say: Callable[[str], None],
        warn: Callable[[str], None],
        jitter: Callable[[], float],
        begun: float,
        patience: float | None,
    ) -> _Wait:
        return cls(
            plan=plan,
            say=say,
            warn=warn,
            jitter=jitter,
            limits=Deadline(
                began=plan.started_at,
                timeout=None if plan.deadline is None else max(0.0, plan.deadline - plan.started_at),
                stall_timeout=plan.stall_timeout,
                warned=plan.warned,
            ),
            begun=begun,
            give_up=None if patience is None else begun + patience,
            told=plan.told,
            lifecycle=Lifecycle.read(plan.seen),
            away_since=plan.away_since,
            refused_since=plan.refused_since,
            failures=0 if plan.away_since is None else 1,
            rest=_stored_rest(plan, begun),
        )

    @property
    def reached(self) -> bool:
        """Whether the server has answered before, in this process or in an earlier one."""
        return self.lifecycle is not None or self.progress is not None

    def event(self, status: str, message: str = "", *, seen: Observation | None = None) -> WaitEvent:
        going_on = replace(
            self.plan,
            told=self.told,
            warned=self.limits.warned,
            seen=str(self.lifecycle or ""),
            away_since=self.away_since,
            refused_since=self.refused_since,
            rest=None if self.rest is None else self.rest.to_json(),
        )
        return WaitEvent(
            workflow_id=self.plan.workflow_id,
            status=status,
            message=message,
            plan=going_on,
            workflow=seen.workflow if seen is not None and seen.whole else None,
        )

    @property
    def refused_until(self) -> float:
        """When the wait is given up if something in front of Conductor goes on refusing."""
        if self.refused_since is None:
            return math.inf
        return self.refused_since + (REFUSED_FOR if self.reached else REFUSED_AT_FIRST)

    def gives_up(self, error: ConductorRequestError, now: float) -> bool:
        """Whether something in front of Conductor has refused for so long that the connection must be wrong."""
        passes = (
            isinstance(error, NotConductorError) and error.repeatable and (error.refused_by_gateway or not self.reached)
        )
        self.refused_since = (self.refused_since or now) if passes else None
        return now >= self.refused_until

    def needs_all(self, now: float) -> bool:
        """Whether the next look must read the tasks: one of them is waited for, it may be the last look, or one of them
        has fallen due, which is why it is looked at now."""
        change = None if self.progress is None else self.progress.next_change
        due = change is not None and now >= self.clock.ours(change)
        return bool(self.plan.wait_until_task_ref) or due or (self.poll_by is not None and now >= self.poll_by)

    def resting(self, at: float, now: float) -> PollPause:
        """The rest until ``at``. What is known of the workflow stays as it was while Conductor is unreachable."""
        rest = self.rest or PollPause(0.0, workflow_id=self.plan.workflow_id, wake_at=at, blind_wake_at=at)
        rest = replace(rest, seconds=max(0.0, at - now), away=self.away_since is not None)
        if not rest.away:
            return rest
        # Before ``at`` it must not even try, and what is due meanwhile can wait.
        end = min(self.limits.end or math.inf, self.refused_until)
        return replace(
            rest, wake_at=min(end, max(at, rest.wake_at)), blind_wake_at=min(end, max(at, rest.blind_wake_at))
        )

    def back(self, now: float) -> None:
        """The server has answered; a line if it was away."""
        self.refused_since = None
        if self.away_since is not None:
            self.say(f"Conductor is reachable again after {duration((now - self.away_since) * 1000)}")
            self.away_since, self.failures = None, 0

    def tell(self, seen: Observation) -> None:
        """A line for what somebody has done, and one when something has changed; none when nothing has."""
        self.back(seen.received)
        if seen.progress is None:
            return
        self.progress = seen.progress
        if seen.unread:
            if self.told != UNREAD_LOGGED:
                self.told = UNREAD_LOGGED
                self.warn(f"{seen.unread}; polling continues with the status alone")
            return
        for action in user_actions(self.lifecycle, seen.workflow):
            self.say(action)
        self.lifecycle = Lifecycle.of(seen.workflow)
        line, self.told = next_message(seen.progress, seen.server_now, self.told)
        if line:
            self.say(line)


def wait(
    plan: WaitPlan,
    say: Callable[[str], None],
    *,
    warn: Callable[[str], None] | None = None,
    patience: float | None = None,
    jitter: Callable[[], float] = random.random,
    reasons: bool = True,
) -> Flow[WaitEvent]:
    """Wait until the workflow (or the plan's task) has ended, a limit has come, or ``patience`` seconds are over.

    A poll falls exactly on each limit, so a workflow that has just ended is not a timeout: at the deadline the server
    is always asked, whatever went before. A server that cannot be reached is not a failed workflow: the wait goes on,
    backing off, until the plan's deadline. An answer that cannot be read, or a single "not found", ends nothing either.

    Args:
        say: takes the lines for people.
        warn: takes the lines that deserve more attention; left out, ``say`` does.
        patience: with it, the caller holds the line: first looks are close together, and the wait gives up after
            so many seconds with ``still_running``.
        jitter: random numbers in [0, 1).
        reasons: False leaves workers' failure reasons out of all lines and of the event.

    Raises:
        ConductorAuthError: the server refuses the credentials; waiting cannot help.
        NotConductorError: something in front of Conductor has refused for too long (``REFUSED_FOR``,
            ``REFUSED_AT_FIRST``).
        ConductorRequestError: the very first look got an answer that shows a wrong address.
    """
    state = _Wait.of(plan, say, warn or say, jitter, (yield from current_time()), patience)
    event = None if state.rest is None else (yield from _rest(state, state.rest))
    while event is None:
        sent = yield from current_time()
        try:
            seen = yield from _look(state)
            if not reasons:
                seen = without_reasons(seen)
        except (ConductorAuthError, ConductorConfigError):
            raise
        except ConductorRequestError as error:
            if not state.reached and not error.temporary:
                raise
            now = yield from current_time()
            if state.gives_up(error, now):
                raise
            event, at = _away(state, error, sent, now)
        else:
            event, at = _understand(state, seen) if isinstance(seen, Observation) else (_not_found(state, seen), 0.0)
            del seen  # a whole workflow, which must not lie in memory while ten thousand waits rest
        state.looks += 1
        if event is None:
            event = yield from _rest(state, state.resting(at, (yield from current_time())))
    if event.status == "COMPLETED" and not reasons:
        return replace(event, message="")
    return event


def _rest(state: _Wait, rest: PollPause) -> Flow[WaitEvent | None]:
    """PollPause until there is something to look at; the event, where the driver has seen the end in our stead."""
    while True:
        seen: PollResult | None = yield rest
        if seen is None:
            return None
        now = yield from current_time()
        if seen.revision.status == "COMPLETED" and not state.plan.wait_until_task_ref:
            state.back(now)
            # Any other end has a reason in its tasks, which is worth a look.
            return state.event("COMPLETED", seen.reason)
        if rest.revision is None or not rest.revision.matches(seen.revision):
            return None
        state.back(now)
        pause = rest.poll_interval or adaptive_pause(now - rest.started, state.jitter())
        rest = state.resting(now + pause, now)


def _look(state: _Wait) -> Flow[Observation | Workflow | None]:
    """A look; what the index has instead, where the server does not know the workflow: it archives and expires."""

    def once() -> Flow[Observation]:
        whole = state.needs_all((yield from current_time()))
        return (
            yield from observe(
                state.plan.workflow_id,
                state.clock,
                state.tasks_read,
                whole=whole,
                few=state.few_tasks,
                end=state.limits.end,
            )
        )

    try:
        return (yield from once())
    except ConductorNotFoundError as error:
        return (yield from confirm_missing(state.plan.workflow_id, error, once, state.limits.end))


def _understand(state: _Wait, seen: Observation) -> tuple[WaitEvent | None, float]:
    """Judge a look. One that cannot be judged (a field of another kind than Conductor's) is judged by its status."""
    try:
        return _judge(state, seen)
    except Exception as error:
        if seen.unread:
            raise
        if not state.traced:
            state.traced = True
            log.warning("The answer about workflow %s is not understood", state.plan.workflow_id, exc_info=True)
        return _judge(state, seen.status_only(f"{type(error).__name__}: {error}"))


def _judge(state: _Wait, seen: Observation) -> tuple[WaitEvent | None, float]:
    """After a look: the event that ends the wait, or the moment of the next look."""
    if seen.unread:
        seen = seen.assessed(state.plan.started_at)
    state.tasks_read, state.clock, now = seen.tasks_read, seen.clock, seen.received
    state.tell(seen)
    workflow = seen.workflow
    if seen.whole:
        state.few_tasks = len(workflow.tasks) <= FEW_TASKS
    if state.plan.wait_until_task_ref and state.plan.wait_until_task_status:
        awaited = awaited_task(
            workflow, state.plan.wait_until_task_ref, task_statuses(state.plan.wait_until_task_status)
        )
        if seen.unread:
            awaited = AwaitedTask(unreachable=seen.unread if workflow.status.ended else "")
        if awaited.reached or awaited.unreachable:
            return state.event(TASK_ENDED if awaited.reached else TASK_MISSED, awaited.unreachable, seen=seen), now
    elif workflow.status.ended:
        asked_for = "" if seen.unread else state.plan.wait_until_task_ref
        missing = why_missing(workflow, asked_for) if asked_for else ""
        if missing and workflow.status.successful:
            return state.event(TASK_MISSED, missing, seen=seen), now
        return state.event(str(workflow.status), workflow.reason, seen=seen), now
    elif state.plan.wait_until_task_ref and reached(workflow, state.plan.wait_until_task_ref):
        return state.event(TASK_ENDED, seen=seen), now
    judgement = judge(state.limits, seen.progress, now, seen.clock)
    what = seen.unread or (describe(state.progress, seen.server_now) if state.progress else f"it is {workflow.status}")
    match judgement.verdict:
        case Verdict.TIMED_OUT:
            return state.event(TIMEOUT, what), now
        case Verdict.STALLED:
            since = clock_time(seen.clock.server(judgement.since or now), seen.server_now)
            return state.event(STALLED, f"no progress since {since}: {what}"), now
        case Verdict.WARN if seen.progress is not None:
            state.limits = state.limits.after_warning(seen.progress)
            state.warn(f"a task has had no worker for 10 min: {what}")
    if seen.progress is not None:
        state.poll_by = _earlier(judgement.poll_by, state.give_up)
        state.limit = judgement.poll_by
    at, freely = _next_look(state, seen.revision, now)
    if state.give_up is not None and now >= state.give_up:
        return replace(state.event(STILL_RUNNING, what), next_poll=freely), now
    return None, at


def _next_look(state: _Wait, revision: Revision, now: float) -> tuple[float, float]:
    """The moment of the next look, with our caller's patience and without.

    In ``state.rest`` is what a driver needs that looks in our stead.
    """
    plan, held = state.plan, now - state.begun
    assert state.progress is not None  # the first look reads the tasks
    interval = plan.poll_interval
    if interval is not None and plan.exponential_backoff:
        interval = backed_off(interval, state.looks + 1, state.jitter(), plan.max_wait)
    jitter = state.jitter()
    closely = bool(plan.wait_until_task_ref)
    seeing, blind = wake_at(state.progress, now, state.clock, jitter=jitter, poll_by=state.limit, closely=closely)
    if not all(status.ended for status in task_statuses(plan.wait_until_task_status)):
        # That a worker takes a task can only be seen in the task.
        seeing = blind = next_poll(
            state.progress, now, state.clock, jitter=jitter, poll_interval=interval, poll_by=state.limit
        )
    state.rest = PollPause(
        0.0,
        workflow_id=plan.workflow_id,
        revision=revision,
        started=state.clock.ours(state.progress.started),
        poll_interval=interval,
        wake_at=seeing,
        blind_wake_at=blind,
    )
    freely = next_poll(state.progress, now, state.clock, jitter=jitter, poll_interval=interval, poll_by=state.limit)
    at = freely if state.poll_by is None else max(now, min(freely, state.poll_by))
    if state.give_up is not None and interval is None and held < HELD:
        at = min(at, now + HELD_PAUSE)
    return at, freely


def backed_off(interval: float, looks: int, jitter: float, longest: float | None) -> float:
    """Airflow's own sensor back-off: twice the interval each time, and up to as much again by chance."""
    base = max(1.0, interval * 2.0 ** min(looks - 2, 32))
    pause = base * (1 + jitter)
    return pause if longest is None else min(pause, longest)


def _away(state: _Wait, error: ConductorRequestError, sent: float, now: float) -> tuple[WaitEvent | None, float]:
    """Conductor is unreachable: one line when that begins, and on, until a poll ``sent`` at the deadline."""
    if state.away_since is None:
        state.away_since = now
        state.say(f"Conductor is unreachable; polling continues: {error}")
    state.failures += 1
    end = state.limits.end
    if end is not None and sent < end <= now:
        return None, now  # it was sent before the deadline: one more
    judgement = judge(state.limits, None, now, state.clock)
    if judgement.verdict is Verdict.TIMED_OUT:
        away = duration((now - state.away_since) * 1000)
        return state.event(TIMEOUT, f"Conductor has been unreachable for {away}: {error}"), now
    if state.give_up is not None and now >= state.give_up:
        began = state.plan.started_at if state.rest is None else state.rest.started
        event = state.event(STILL_RUNNING, f"Conductor is unreachable: {error}")
        return replace(event, next_poll=now + adaptive_pause(now - began, state.jitter())), now
    poll_by = _earlier(judgement.poll_by, state.give_up)
    return None, next_poll_after_failure(
        state.failures, now, jitter=state.jitter(), poll_by=poll_by, retry_after=error.retry_after
    )


def _not_found(state: _Wait, ended: Workflow | None) -> WaitEvent:
    if ended is None:
        return state.event(GONE, GONE_REASON)
    state.say(f"Conductor has archived the workflow; its search index has it as {ended.status}")
    return state.event(str(ended.status), ended.reason)


def _stored_rest(plan: WaitPlan, now: float) -> PollPause | None:
    """The rest that a wait goes on with; the clock may have been set since, or that of another machine be another."""
    rest = None if plan.rest is None else PollPause.from_json(plan.workflow_id, plan.rest)
    if rest is None:
        return None
    latest = now + JUST_IN_CASE
    return replace(rest, wake_at=min(rest.wake_at, latest), blind_wake_at=min(rest.blind_wake_at, latest))


def _earlier(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def with_told(plan: WaitPlan, event: WaitEvent) -> WaitPlan:
    """The plan of a wait that goes on elsewhere."""
    return event.plan or plan
