"""Waiting for a workflow, as a flow: one loop for every mode, whoever drives it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from airflow_provider_conductor.client.call import Flow, Now, Sleep
from airflow_provider_conductor.client.capabilities import reached
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorConfigError,
    ConductorNotFound,
    ConductorRequestError,
)
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.waiting.clock import ServerClock
from airflow_provider_conductor.waiting.deadline import Deadline, Verdict, judge
from airflow_provider_conductor.waiting.look import Look, look, search_ended
from airflow_provider_conductor.waiting.messages import describe
from airflow_provider_conductor.waiting.schedule import first_look, next_look, next_look_after_failure
from airflow_provider_conductor.waiting.wording import clock_time, duration

__all__ = ["WaitEvent", "WaitPlan", "wait"]

TIMEOUT = "timeout"
STALLED = "stalled"
TASK_ENDED = "task_ended"
STILL_RUNNING = "still_running"
GONE = "gone"

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
        wait_until_task_ref: wait only until this task has ended.
        told: what people have been told last, so that it is not told again after a deferral.
    """

    workflow_id: str
    started_at: float
    deadline: float | None = None
    stall_timeout: float | None = None
    poll_interval: float | None = None
    exponential_backoff: bool = False
    max_wait: float | None = None
    wait_until_task_ref: str | None = None
    told: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

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
    ``task_ended``                                    the task waited for has, the workflow goes on
    ``timeout``                                       the whole time is over
    ``stalled``                                       nothing got ahead for ``stall_timeout``
    ``gone``                                          the server does not know the workflow (any more)
    ``still_running``                                 the caller's patience is over; never in a trigger's event
    ================================================  ====================================================

    ``message`` says why, for people. ``told`` goes on into the plan of a deferral.
    """

    workflow_id: str
    status: str
    message: str = ""
    told: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"workflow_id": self.workflow_id, "status": self.status, "message": self.message[:MESSAGE_LIMIT]}

    @classmethod
    def from_json(cls, event: object) -> WaitEvent:
        """Read an event that crossed processes.

        Raises:
            ValueError: not an event of this package.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("status"), str) or not event.get("workflow_id"):
            raise ValueError(f"not the event of a wait for a workflow: {event!r}")
        return cls(
            workflow_id=str(event["workflow_id"]), status=event["status"], message=str(event.get("message") or "")
        )


@dataclass(slots=True)
class _Wait:
    """One wait under way."""

    plan: WaitPlan
    say: Callable[[str], None]
    jitter: Callable[[], float]
    limits: Deadline
    begun: float
    give_up: float | None
    told: str
    clock: ServerClock = field(default_factory=ServerClock)
    looks: int = 0
    failures: int = 0
    away_since: float = 0.0
    last: Look | None = None

    def event(self, status: str, message: str = "") -> WaitEvent:
        return WaitEvent(workflow_id=self.plan.workflow_id, status=status, message=message, told=self.told)

    def needs_all(self, now: float) -> bool:
        """Whether the next look must read the tasks: one of them is waited for, or it may be the last look."""
        ends = [end for end in (self.give_up, self.limits.end) if end is not None]
        return bool(self.plan.wait_until_task_ref) or any(now >= end for end in ends)

    def tell(self, look: Look) -> None:
        """One line when something has changed, none when nothing has."""
        progress = look.progress
        if progress is None or progress.key == self.told:
            return
        self.told = progress.key
        if progress.holdups or progress.phase.name == "PAUSED":
            self.say(describe(progress, look.server_now))


def wait(
    plan: WaitPlan,
    say: Callable[[str], None],
    *,
    patience: float | None = None,
    jitter: Callable[[], float] = random.random,
) -> Flow[WaitEvent]:
    """Wait until the workflow (or the plan's task) has ended, a limit has come, or ``patience`` seconds are over.

    A look falls exactly on each limit, so a workflow that has just ended is not a time-out. A server that cannot be
    reached is not a failed workflow: the wait goes on, backing off, until the plan's deadline.

    Args:
        say: takes the lines for people.
        patience: with it, the caller holds the line: first looks are close together, and the wait gives up after
            so many seconds with ``still_running``.
        jitter: random numbers in [0, 1).

    Raises:
        ConductorAuthError: the server refuses the credentials; waiting cannot help.
        ConductorRequestError: the very first look got an answer that shows a wrong address.
    """
    begun: float = yield Now()
    timeout = None if plan.deadline is None else max(0.0, plan.deadline - plan.started_at)
    state = _Wait(
        plan=plan,
        say=say,
        jitter=jitter,
        limits=Deadline(began=plan.started_at, timeout=timeout, stall_timeout=plan.stall_timeout),
        begun=begun,
        give_up=None if patience is None else begun + patience,
        told=plan.told,
    )
    while True:
        try:
            seen: Look = yield from look(
                plan.workflow_id, state.clock, state.last, whole=state.needs_all((yield Now()))
            )
        except (ConductorAuthError, ConductorConfigError):
            raise
        except ConductorNotFound:
            return (yield from _not_found(state))
        except ConductorRequestError as error:
            if error.status is not None and error.status < 500 and not state.looks and not error.repeatable:
                raise
            event, pause = _away(state, error, (yield Now()))
        else:
            state.clock = seen.clock
            event, pause = _judge(state, seen, seen.received)
            state.last = seen
        state.looks += 1
        if event is not None:
            return event
        yield Sleep(max(0.0, pause))


def _judge(state: _Wait, seen: Look, now: float) -> tuple[WaitEvent | None, float]:
    """After a look: the event that ends the wait, or how long to pause, counted from when the look was sent."""
    if state.failures:
        state.say(f"the server is back after {duration((now - state.away_since) * 1000)}")
        state.failures = 0
    workflow = seen.workflow
    state.tell(seen)
    if workflow.status.ended:
        return state.event(str(workflow.status), workflow.reason), 0.0
    if state.plan.wait_until_task_ref and reached(workflow, state.plan.wait_until_task_ref):
        return state.event(TASK_ENDED), 0.0
    progress = seen.progress
    judgement = judge(state.limits, progress, now, seen.clock)
    what = describe(progress, seen.server_now) if progress else f"it is {workflow.status}"
    match judgement.verdict:
        case Verdict.TIMED_OUT:
            return state.event(TIMEOUT, what), 0.0
        case Verdict.STALLED:
            since = clock_time(seen.clock.server(judgement.since or now), seen.server_now)
            return state.event(STALLED, f"no progress since {since}: {what}"), 0.0
        case Verdict.WARN if progress is not None:
            state.limits = state.limits.after_warning(progress)
            state.say(f"WARNING: no worker takes its task: {what}")
    if state.give_up is not None and now >= state.give_up:
        return state.event(STILL_RUNNING, what), 0.0
    return None, _pause(state, seen, now, judgement.look_by)


def _pause(state: _Wait, seen: Look, now: float, look_by: float | None) -> float:
    plan = state.plan
    ends = [end for end in (look_by, state.give_up) if end is not None]
    interval = plan.poll_interval
    if interval is not None and plan.exponential_backoff:
        interval = backed_off(interval, state.looks + 1, state.jitter(), plan.max_wait)
    progress = seen.progress or (state.last.progress if state.last else None)
    if progress is None:
        return first_look(0.0)
    at = next_look(
        progress,
        now,
        seen.clock,
        jitter=state.jitter(),
        poll_interval=interval,
        look_by=min(ends, default=None),
    )
    if state.give_up is not None and interval is None:
        at = min(at, now + first_look(now - state.begun))
    return at - now


def backed_off(interval: float, looks: int, jitter: float, longest: float | None) -> float:
    """Airflow's own sensor back-off: twice the interval each time, and up to as much again by chance."""
    base = max(1.0, interval * 2.0 ** min(looks - 2, 32))
    pause = base * (1 + jitter)
    return pause if longest is None else min(pause, longest)


def _away(state: _Wait, error: ConductorRequestError, now: float) -> tuple[WaitEvent | None, float]:
    """The server could not be asked: one line when that begins, and on, until the deadline."""
    if not state.failures:
        state.away_since = now
        state.say(f"the server cannot be asked, the wait goes on: {error}")
    state.failures += 1
    judgement = judge(state.limits, None, now, state.clock)
    if judgement.verdict is Verdict.TIMED_OUT:
        away = duration((now - state.away_since) * 1000)
        return state.event(TIMEOUT, f"the server could not be asked for {away}: {error}"), 0.0
    if state.give_up is not None and now >= state.give_up:
        return state.event(STILL_RUNNING, f"the server cannot be asked: {error}"), 0.0
    ends = [end for end in (judgement.look_by, state.give_up) if end is not None]
    return None, next_look_after_failure(
        state.failures, now, jitter=state.jitter(), look_by=min(ends, default=None)
    ) - now


def _not_found(state: _Wait) -> Flow[WaitEvent]:
    """Servers archive and expire what has ended; the index may still know how."""
    ended: Workflow | None = yield from search_ended(state.plan.workflow_id)
    if ended is not None and ended.status.ended:
        state.say(f"the server has archived the workflow; its index says {ended.status}")
        return state.event(str(ended.status), ended.reason)
    return state.event(GONE, "the server does not know this workflow (any more); how it ended is unknown")


def with_told(plan: WaitPlan, event: WaitEvent) -> WaitPlan:
    """The plan of a wait that goes on elsewhere."""
    return replace(plan, told=event.told)
