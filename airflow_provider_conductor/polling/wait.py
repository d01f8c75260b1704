"""The wait for one workflow, as a flow: one loop for every mode and every driver."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorNotFoundError,
    ConductorRequestError,
    NotConductorError,
)
from airflow_provider_conductor.client.flow import Flow, current_time
from airflow_provider_conductor.client.flows import reached
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.task_types import may_contain
from airflow_provider_conductor.polling.awaited_task import AwaitedTask, awaited_task, task_statuses, why_missing
from airflow_provider_conductor.polling.formatting import clock_time, duration
from airflow_provider_conductor.polling.limits import Verdict, judge, slow_at
from airflow_provider_conductor.polling.messages import Logged, describe, next_message
from airflow_provider_conductor.polling.missing_workflow import confirm_missing
from airflow_provider_conductor.polling.next_poll import (
    CLOSE_POLL_PAUSE,
    CLOSE_POLLS_FOR,
    JUST_IN_CASE,
    adaptive_pause,
    next_poll,
    next_poll_after_failure,
    sensor_backoff,
    wake_at,
)
from airflow_provider_conductor.polling.observation import FEW_TASKS, Observation, observe, without_reasons
from airflow_provider_conductor.polling.poll_pause import PollPause, PollResult, Revision
from airflow_provider_conductor.polling.progress import Progress
from airflow_provider_conductor.polling.server_clock import EQUAL, ServerClock
from airflow_provider_conductor.polling.user_actions import Lifecycle, user_actions
from airflow_provider_conductor.polling.wait_event import (
    GONE,
    GONE_REASON,
    NO_WORKER,
    SLOW,
    STALLED,
    STILL_RUNNING,
    TASK_ENDED,
    TASK_MISSED,
    TIMEOUT,
    WaitEvent,
)
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState

logger = logging.getLogger(__name__)

UNREAD = Logged(situations=("unread",))
"""What has been logged once the log says that only the status can be read."""

REFUSED_FOR = 1_800.0
"""Seconds for which something in front of Conductor may refuse the credentials, as a firewall does while its rules are
changed. After that, the credentials of the connection are wrong."""

REFUSED_AT_FIRST = 120.0
"""Seconds for which it may answer anything before Conductor has, as a gateway does while it is reloaded. After that,
the address is wrong."""


def wait(
    spec: WaitSpec,
    log: Callable[[str], None],
    *,
    state: WaitState | None = None,
    warn: Callable[[str], None] | None = None,
    return_after: float | None = None,
    jitter: Callable[[], float] = random.random,
    reasons: bool = True,
) -> Flow[WaitEvent]:
    """Wait until the workflow (or the awaited task) has ended, a limit is reached, or ``return_after`` has passed.

    A poll falls exactly on each limit, so a workflow that has just ended is not a timeout: at the deadline the server
    is always polled, whatever happened before. A server that cannot be reached is not a failed workflow: the wait
    continues, with growing pauses, until the deadline. An answer that cannot be read, or a single "not found", ends
    nothing either.

    Args:
        spec: what is waited for.
        log: takes the messages for users.
        state: of the wait's earlier part, in this or another process; it is updated. None begins anew.
        warn: takes the messages that deserve more attention; left out, ``log`` takes them.
        return_after: seconds after which the event ``still_running`` is returned to a caller that waits itself; the
            first polls are then close together. None waits to the end.
        jitter: random numbers in [0, 1).
        reasons: False leaves workers' failure reasons out of all messages and of the event.

    Returns:
        How the wait ended.

    Raises:
        ConductorAuthError: the server refuses the credentials; waiting cannot help.
        NotConductorError: something in front of Conductor has refused for too long (``REFUSED_FOR``,
            ``REFUSED_AT_FIRST``).
        ConductorRequestError: the very first poll got an answer that shows a wrong address.
    """
    began = yield from current_time()
    state = WaitState() if state is None else state
    latest = began + JUST_IN_CASE
    if state.pause is not None and not state.slow and spec.warn_after is not None:
        latest = min(latest, state.pause.started + spec.warn_after)  # perhaps not known when the pause was made
    state.begin_again(latest)
    return_at = math.inf if return_after is None else began + return_after
    waiting = _Wait(
        spec=spec,
        state=state,
        log=log,
        warn=warn or log,
        jitter=jitter,
        began=began,
        return_at=return_at,
        failures=0 if state.unreachable_since is None else 1,
    )
    event = None if state.pause is None else (yield from _pause(waiting, state.pause))
    while event is None:
        sent = yield from current_time()
        try:
            seen = yield from _poll(waiting)
            if not reasons:
                seen = without_reasons(seen)
        except ConductorAuthError:
            raise
        except ConductorRequestError as error:
            event, at = waiting.unreachable(error, sent, (yield from current_time()))
        else:
            event, at = waiting.understand(seen) if isinstance(seen, Observation) else (waiting.not_found(seen), 0.0)
            del seen  # a whole workflow, which must not stay in memory during the pauses of ten thousand waits
        waiting.polls += 1
        if event is None:
            event = yield from _pause(waiting, waiting.pause_until(at, (yield from current_time())))
    return replace(event, message="") if event.status == "COMPLETED" and not reasons else event


def _pause(waiting: _Wait, pause: PollPause) -> Flow[WaitEvent | None]:
    """Pause until the wait has to poll by itself; the event, if the driver has seen that the workflow completed."""
    while True:
        result: PollResult | None = yield pause
        if result is None:
            return None
        now = yield from current_time()
        if result.revision.status == "COMPLETED" and not waiting.spec.wait_until_task_ref:
            waiting.answered(now)
            # Any other end has a reason in its tasks, which is worth a poll.
            return waiting.event("COMPLETED", result.reason)
        if pause.revision is None or not pause.revision.matches(result.revision):
            return None
        waiting.answered(now)
        seconds = pause.poll_interval or adaptive_pause(now - pause.started, waiting.jitter())
        pause = waiting.pause_until(now + seconds, now)


def _poll(waiting: _Wait) -> Flow[Observation | Workflow | None]:
    """Observe the workflow; if the server does not know it (it archives and expires), what its index has instead."""
    workflow_id, end = waiting.spec.workflow_id, waiting.spec.end

    def observed() -> Flow[Observation]:
        whole = waiting.needs_tasks((yield from current_time()))
        seen = observe(workflow_id, waiting.clock, waiting.tasks_read, whole=whole, few=waiting.few_tasks, end=end)
        return (yield from seen)

    try:
        return (yield from observed())
    except ConductorNotFoundError as error:
        return (yield from confirm_missing(workflow_id, error, observed, end))


@dataclass(slots=True, kw_only=True)
class _Wait:
    """A wait in this process: what it decides after each poll. It does no I/O.

    Attributes:
        began: when it began in this process.
        return_at: when it returns ``still_running``.
        failures: polls in a row that did not reach the server.
        limit: the latest moment of the next poll, wherever the wait continues.
        overlooked: whether a task of the workflow may end without a trace in its ``updateTime``.
        traced: whether an unexpected answer has been logged with its traceback.
    """

    spec: WaitSpec
    state: WaitState
    log: Callable[[str], None]
    warn: Callable[[str], None]
    jitter: Callable[[], float]
    began: float
    return_at: float
    failures: int
    clock: ServerClock = EQUAL
    polls: int = 0
    tasks_read: float | None = None
    few_tasks: bool = False
    overlooked: bool | None = None
    progress: Progress | None = None
    limit: float = math.inf
    traced: bool = False

    @property
    def reached(self) -> bool:
        """Whether the server has answered before, in this process or in an earlier one."""
        return self.state.lifecycle is not None or self.progress is not None

    @property
    def poll_by(self) -> float:
        """The latest moment of the next poll in this process."""
        return min(self.limit, self.return_at)

    @property
    def refused_until(self) -> float:
        """When the wait fails if something in front of Conductor keeps refusing."""
        if self.state.refused_since is None:
            return math.inf
        return self.state.refused_since + (REFUSED_FOR if self.reached else REFUSED_AT_FIRST)

    def event(self, status: str, message: str = "", *, seen: Observation | None = None) -> WaitEvent:
        return WaitEvent(
            workflow_id=self.spec.workflow_id,
            status=status,
            message=message,
            state=self.state,
            workflow=seen.workflow if seen is not None and seen.whole else None,
        )

    def overdue(self, status: str, message: str) -> WaitEvent:
        """The event of a wait that a limit ends, with what the workflow was waiting for."""
        waits_for = ""
        if self.progress is not None:
            unpolled = any(blocker.unpolled_since is not None for blocker in self.progress.blockers)
            waits_for = NO_WORKER if unpolled else str(self.progress.phase)
        return replace(self.event(status, message), waits_for=waits_for)

    def is_wrong_address(self, error: ConductorRequestError, now: float) -> bool:
        """Whether the first answer shows it, or something in front of Conductor has refused for too long."""
        passes = (
            isinstance(error, NotConductorError) and error.repeatable and (error.refused_by_gateway or not self.reached)
        )
        self.state.refused_since = (self.state.refused_since or now) if passes else None
        return now >= self.refused_until or not (self.reached or error.temporary)

    def needs_tasks(self, now: float) -> bool:
        """Whether the next poll must read the tasks.

        One of them is waited for, it may be the last poll, or one of them has become due, which is the reason for it.
        """
        change = None if self.progress is None else self.progress.next_change
        due = change is not None and now >= self.clock.ours(change)
        return bool(self.spec.wait_until_task_ref) or due or now >= self.poll_by

    def pause_until(self, at: float, now: float) -> PollPause:
        """The pause until ``at``. What is known of the workflow stays the same while Conductor is unreachable."""
        pause = self.state.pause or PollPause(0.0, workflow_id=self.spec.workflow_id, wake_at=at, blind_wake_at=at)
        pause = replace(pause, seconds=max(0.0, at - now), away=self.state.unreachable_since is not None)
        if not pause.away:
            self.state.pause = pause  # one object in place of two, in each of ten thousand waits
            return pause
        # Before ``at`` it must not even try, and what is due meanwhile can wait.
        end = min(self.spec.end, self.refused_until)
        wake_at, blind_wake_at = (min(end, max(at, moment)) for moment in (pause.wake_at, pause.blind_wake_at))
        return replace(pause, wake_at=wake_at, blind_wake_at=blind_wake_at)

    def answered(self, now: float) -> None:
        """The server has answered; log that if it was unreachable."""
        self.state.refused_since = None
        if self.state.unreachable_since is not None:
            self.log(f"Conductor is reachable again after {self._unreachable_for(now)}")
            self.state.unreachable_since, self.failures = None, 0

    def _unreachable_for(self, now: float) -> str:
        return duration((now - (self.state.unreachable_since or now)) * 1000)

    def understand(self, seen: Observation) -> tuple[WaitEvent | None, float]:
        """Judge an observation; one that cannot be judged (a field of an unexpected type) is judged by its status."""
        try:
            return self._judge(seen)
        except Exception as error:
            if seen.unread:
                raise
            if not self.traced:
                self.traced = True
                logger.warning("The answer about workflow %s is not understood", self.spec.workflow_id, exc_info=True)
            return self._judge(seen.status_only(f"{type(error).__name__}: {error}"))

    def _judge(self, seen: Observation) -> tuple[WaitEvent | None, float]:
        """The event that ends the wait, or the moment of the next poll."""
        if seen.unread:
            seen = seen.assessed(self.spec.started_at)
        self.tasks_read, self.clock, now = seen.tasks_read, seen.clock, seen.received
        self._log_changes(seen)
        workflow = seen.workflow
        if seen.whole:
            self.few_tasks = len(workflow.tasks) <= FEW_TASKS
            if self.overlooked is None:
                definition = workflow.data.get("workflowDefinition")
                self.overlooked = bool(definition) and may_contain(definition, "HUMAN")
        if (event := self._reached_end(seen)) is not None:
            return event, now
        self._log_situation(seen)
        judgement = judge(self.spec, seen.progress, now, seen.clock, warned=self.state.warned)
        what = seen.unread or (
            describe(self.progress, seen.server_now) if self.progress else f"it is {workflow.status}"
        )
        match judgement.verdict:
            case Verdict.TIMED_OUT:
                return self.overdue(TIMEOUT, what), now
            case Verdict.STALLED:
                since = clock_time(seen.clock.server(judgement.since or now), seen.server_now)
                return self.overdue(STALLED, f"no progress since {since}: {what}"), now
            case Verdict.WARN if seen.progress is not None:
                self.state.warned = seen.progress.fingerprint
                self.warn(f"a task has had no worker for 10 min: {what}")
        slow = slow_at(self.spec, self.state, seen.progress, seen.clock)
        slow_message = ""
        if now >= slow:
            self.state.slow, slow, slow_message = True, math.inf, self._slow(seen, what)
            self.warn(slow_message)
        if seen.progress is not None:
            self.limit = min(judgement.poll_by, slow)
        at, unhurried = self._next_poll(seen.revision, now)
        if slow_message and self.spec.reports_slow:
            return self.overdue(SLOW, slow_message), now
        if now >= self.return_at:
            return replace(self.event(STILL_RUNNING, what), next_poll=unhurried), now
        return None, at

    def _slow(self, seen: Observation, what: str) -> str:
        """The warning that the run takes long."""
        started = seen.server_now if self.progress is None else self.progress.started
        age, usual = duration(seen.server_now - started), duration((self.spec.warn_after or 0.0) * 1000)
        return f"the workflow has been running for {age}, longer than {usual}: {what}"

    def _log_changes(self, seen: Observation) -> None:
        """Log what users have done, and that the answer cannot be read; nothing if nothing has changed."""
        self.answered(seen.received)
        if seen.progress is None:
            return
        self.progress = seen.progress
        if seen.unread:
            if self.state.logged != UNREAD:
                self.state.logged = UNREAD
                self.warn(f"{seen.unread}; polling continues with the status alone")
            return
        for action in user_actions(self.state.lifecycle, seen.workflow):
            self.log(action)
        self.state.lifecycle = Lifecycle.of(seen.workflow)

    def _log_situation(self, seen: Observation) -> None:
        """Log what the workflow waits for, or the task that is waited for; nothing if that has not changed."""
        if seen.progress is None or seen.unread:
            return
        progress, task_ref = seen.progress, self.spec.wait_until_task_ref
        own = tuple(blocker for blocker in progress.blockers if blocker.is_of(task_ref)) if task_ref else ()
        message, self.state.logged = next_message(
            replace(progress, blockers=own) if own else progress, seen.server_now, self.state.logged
        )
        if message:
            self.log(message)

    def _reached_end(self, seen: Observation) -> WaitEvent | None:
        """The event, if what was waited for has come or cannot come any more."""
        workflow, task_ref = seen.workflow, self.spec.wait_until_task_ref
        if task_ref and self.spec.wait_until_task_status:
            awaited = awaited_task(workflow, task_ref, task_statuses(self.spec.wait_until_task_status))
            if seen.unread:
                awaited = AwaitedTask(unreachable=seen.unread if workflow.status.ended else "")
            if awaited.unreachable:
                return self.event(TASK_MISSED, awaited.unreachable, seen=seen)
            return self.event(TASK_ENDED, seen=seen) if awaited.reached else None
        if workflow.status.ended:
            missing = why_missing(workflow, task_ref) if task_ref and not seen.unread else ""
            if missing and workflow.status.successful:
                return self.event(TASK_MISSED, missing, seen=seen)
            return self.event(str(workflow.status), workflow.reason, seen=seen)
        return self.event(TASK_ENDED, seen=seen) if task_ref and reached(workflow, task_ref) else None

    def _next_poll(self, revision: Revision, now: float) -> tuple[float, float]:
        """The moment of the next poll, and the same if the caller were not waiting; sets the state's pause."""
        spec = self.spec
        assert self.progress is not None  # the first poll reads the tasks
        interval = spec.poll_interval
        if interval is not None and spec.exponential_backoff:
            interval = sensor_backoff(interval, self.polls + 1, self.jitter(), spec.max_wait)
        jitter = self.jitter()
        unhurried = next_poll(self.progress, now, self.clock, jitter=jitter, poll_interval=interval, poll_by=self.limit)
        if all(status.ended for status in task_statuses(spec.wait_until_task_status)):
            closely = bool(spec.wait_until_task_ref)
            seeing, blind = wake_at(self.progress, now, self.clock, jitter=jitter, poll_by=self.limit, closely=closely)
            if closely:
                # The end of a task before a HUMAN one leaves the workflow's updateTime as it was (seen on 3.32.2).
                blind = min(blind, unhurried)
                seeing = blind if self.overlooked else seeing
        else:
            seeing = blind = unhurried  # that a worker takes a task can only be seen in the task
        self.state.pause = PollPause(
            0.0,
            workflow_id=spec.workflow_id,
            revision=revision,
            started=self.clock.ours(self.progress.started),
            poll_interval=interval,
            wake_at=seeing,
            blind_wake_at=blind,
        )
        at = max(now, min(unhurried, self.poll_by))
        if self.return_at < math.inf and interval is None and now - self.began < CLOSE_POLLS_FOR:
            at = min(at, now + CLOSE_POLL_PAUSE)
        return at, unhurried

    def unreachable(self, error: ConductorRequestError, sent: float, now: float) -> tuple[WaitEvent | None, float]:
        """Conductor is unreachable: log when that begins, and continue until a poll was ``sent`` at the deadline.

        Raises:
            ConductorRequestError: the address is wrong.
        """
        if self.is_wrong_address(error, now):
            raise error
        if self.state.unreachable_since is None:
            self.state.unreachable_since = now
            self.log(f"Conductor is unreachable; polling continues: {error}")
        self.failures += 1
        if now >= self.spec.end:
            if sent < self.spec.end:
                return None, now  # it was sent before the deadline: one more
            return self.event(TIMEOUT, f"Conductor has been unreachable for {self._unreachable_for(now)}: {error}"), now
        if now >= self.return_at:
            started = self.spec.started_at if self.state.pause is None else self.state.pause.started
            event = self.event(STILL_RUNNING, f"Conductor is unreachable: {error}")
            return replace(event, next_poll=now + adaptive_pause(now - started, self.jitter())), now
        poll_by = min(self.spec.end, self.return_at)
        return None, next_poll_after_failure(
            self.failures, now, jitter=self.jitter(), poll_by=poll_by, retry_after=error.retry_after
        )

    def not_found(self, ended: Workflow | None) -> WaitEvent:
        """The server does not know the workflow; ``ended`` is what its search index has of it."""
        if ended is None:
            return self.event(GONE, GONE_REASON)
        self.log(f"Conductor has archived the workflow; its search index has it as {ended.status}")
        return self.event(str(ended.status), ended.reason)
