"""One poller for all waits of a connection in an event loop.

The waits' pauses lie in a queue. Those due together are polled together. A wait whose workflow has not changed pauses
on without being woken, so it costs next to nothing. One whose workflow has changed reads it with its tasks, logs why
it is still running, and pauses again. Such reads share requests, too, as do those of waits that begin.

All moments in here are on the monotonic clock. A wait's own are on the wall clock as it was when the wait began here,
since they cross processes: ``PausedWait.ahead`` is the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import ConductorAuthError, ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, Now, Sleep, Step, Steps
from airflow_provider_conductor.polling.bulk_reader import BulkReader
from airflow_provider_conductor.polling.event_stream import EventStreams
from airflow_provider_conductor.polling.next_poll import LONGEST, SHORTEST, adaptive_pause
from airflow_provider_conductor.polling.observation import LAST_POLL
from airflow_provider_conductor.polling.outage import Outage
from airflow_provider_conductor.polling.pause_queue import PausedWait, PauseQueue
from airflow_provider_conductor.polling.poll_pause import PollPause, PollResult
from airflow_provider_conductor.polling.poller_client import PollerClient, PollerLimits
from airflow_provider_conductor.polling.shared_reads import POLL_DATA, SharedPollData, SharedReads, id_to_read

T = TypeVar("T")

WOKEN_AT_ONCE = 100
"""Waits woken in one turn of the event loop: each takes about 0.2 ms then, so a thousand would block it."""


@dataclass(slots=True)
class Counts:
    """What a poller has done so far, for metrics and tests.

    Attributes:
        waits: how many there are now.
        requests, errors: see :class:`PollerClient`.
        polls: workflows that were polled on behalf of a wait.
        woken: waits that were woken.
        lag: seconds by which the latest poll of the last sweep came after it was due.
    """

    waits: int = 0
    requests: int = 0
    errors: int = 0
    polls: int = 0
    woken: int = 0
    lag: float = 0.0


class Poller:
    """Polls workflows for many waits.

    Args:
        client: the connection's client; this poller is its only user and closes it.
        renew: makes the connection's client anew: called when the server refuses the credentials or stays unreachable,
            since somebody may have changed the connection.
        on_counts: called with the counts after each sweep.
        limits: what it takes of its event loop and of the server.
        clock, monotonic, sleep, jitter: replaced by tests.
    """

    def __init__(
        self,
        client: AsyncConductorClient,
        *,
        renew: Callable[[], Awaitable[AsyncConductorClient]] | None = None,
        on_counts: Callable[[Counts], None] | None = None,
        limits: PollerLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.counts = Counts()
        self.outage = Outage()
        self._client = PollerClient(
            client, renew, self.outage, limits or PollerLimits(), monotonic=monotonic, sleep=sleep, jitter=jitter
        )
        self._reader = BulkReader(self._client)
        self._shared_reads = SharedReads(self._client)
        self._shared_poll_data = SharedPollData(self._client)
        self._on_counts = on_counts
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._queue = PauseQueue(self.outage)
        self._sweeping: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._due: list[PausedWait] = []
        self._polled: list[PausedWait] = []
        self._alarm = math.inf
        """When the first of those being polled must poll by itself."""
        self._streams = EventStreams(lambda: self.client, self._prompt, sleep=sleep)
        self._streams.off = not client.settings.completion_stream
        self._prompted: set[str] = set()

    @property
    def client(self) -> AsyncConductorClient:
        """The connection's client, as it is now."""
        return self._client.current

    async def run(self, flow: Flow[T]) -> T:
        """Drive one wait, and poll on its behalf in its pauses. Cancelled, it is closed and leaves nothing behind."""
        self.counts.waits += 1
        held = ""
        ahead = self._clock() - self._monotonic()
        try:
            for step in (steps := Steps(flow)):
                with steps:
                    if not isinstance(step, PollPause):
                        steps.reply = await self._do(step, ahead)
                        continue
                    if not held:
                        held = step.workflow_id
                        self._streams.hold(held)
                    waiting = self._pause(step, ahead)
                    try:
                        # No coroutine that awaits another: ten thousand waits pause in theirs.
                        steps.reply = await waiting
                    finally:
                        self._queue.unregister(waiting)
            return steps.result
        finally:
            self.counts.waits -= 1
            if held:
                self._streams.release(held)
                self._prompted.discard(held)

    async def close(self) -> None:
        """Stop polling; waits still in a pause are left to whoever cancels them."""
        await self._streams.close()
        await self._shared_reads.close()
        for task in (self._sweeping, self._polling):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._report_counts()
        await self._client.close()

    def _do(self, step: Step, ahead: float) -> Awaitable[Any]:
        if isinstance(step, Sleep):
            return self._sleep(step.seconds)
        if isinstance(step, Now):
            return self._now(ahead)
        if step.within is not None and step.within <= LAST_POLL:
            return self._client.poll_at_deadline(step)
        if workflow_id := id_to_read(step):
            return self._shared_reads.read(workflow_id, step)
        if step.route == POLL_DATA:
            return self._shared_poll_data.read(step)
        return self._client.poll(step)

    async def _now(self, ahead: float) -> float:
        return self._monotonic() + ahead

    def _pause(self, pause: PollPause, ahead: float) -> PausedWait:
        waiting = PausedWait(pause, ahead)
        self._queue.register(waiting)
        if pause.away and self.outage.error is not None:
            waiting.outage_seen = self.outage.number
        self._queue.push(waiting, self._monotonic(), 0.0 if pause.workflow_id in self._prompted else pause.seconds)
        self._prompted.discard(pause.workflow_id)
        if self._sweeping is None or self._sweeping.done():
            # A context of its own: the first wait's log is not where the sweep's lines belong.
            self._sweeping = asyncio.create_task(
                self._sweep_on(), name="conductor-poller", context=contextvars.Context()
            )
        return waiting

    def _prompt(self, workflow_id: str) -> None:
        """Something has happened to it: poll now. An answer that is under way may be from before."""
        self._prompted.add(workflow_id)
        self._queue.prompt(workflow_id, self._monotonic())

    async def _sweep_on(self) -> None:
        """Poll what is due, until no wait pauses."""
        while self._queue or self._due or self._polling is not None:
            try:
                await self._until_due()
                self._take_due()
                if self._due and self._polling is None:
                    due, self._due = self._due, []
                    self._polling = asyncio.create_task(self._sweep(due), name="conductor-poll")
            except Exception as error:  # a defect of ours must not leave anybody waiting forever
                self._client.log_defect(error)
                await asyncio.sleep(SHORTEST)
                due, self._due = [*self._due, *self._queue.clear()], []
                self._wake_all(due)

    async def _until_due(self) -> None:
        self._queue.sooner.clear()
        pause = min(min(self._queue.next_due, self._alarm) - self._monotonic(), LONGEST)
        if pause <= 0:
            return
        sleeper = asyncio.ensure_future(self._sleep(pause))
        sooner = asyncio.ensure_future(self._queue.sooner.wait())
        try:
            await asyncio.wait((sleeper, sooner), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            sooner.cancel()

    def _take_due(self) -> None:
        """Take those due by now, and those that may be polled early; wake those that must poll by themselves.

        Also those whose own time has come while they are polled: a server that hangs delays no limit.
        """
        now = self._monotonic()
        if now >= self._alarm:
            polled = [item for item in (*self._due, *self._polled) if item.polled and not item.done()]
            self._wake_all(item for item in polled if item.wake_at <= now)
            self._alarm = min((item.wake_at for item in polled if item.wake_at > now), default=math.inf)
        self._due += self._queue.take_due(now, lambda waiting: self._is_to_be_polled(waiting, now))

    def _is_to_be_polled(self, waiting: PausedWait, now: float) -> bool:
        if waiting.pause.revision is None or waiting.wake_at <= now:
            self._wake(waiting)
        elif now < self.outage.until:
            self._put_off([waiting])
        else:
            self._alarm = min(self._alarm, waiting.wake_at)
            return True
        return False

    async def _sweep(self, due: list[PausedWait]) -> None:
        """One sweep, beside which those are woken whose own time comes: its requests may hang."""
        self._polled = due
        try:
            now = self._monotonic()
            self.counts.lag = max(now - waiting.due for waiting in due)
            try:
                if now < self.outage.until:
                    self._put_off(due)
                else:
                    await self._poll(due)
                    self.outage.answered(self._monotonic())
            except ConductorAuthError:
                # Perhaps only for one workflow: if the connection has not changed, each wait finds out by itself.
                renewed, now = await self._client.renewed(), self._monotonic()
                for waiting in due:
                    if not renewed:
                        self._wake(waiting)
                    elif not waiting.done():
                        self._queue.push(waiting, now, 0.0)
            except ConductorRequestError as error:
                self.outage.failed(error, self._monotonic(), self._jitter())
                self._put_off(due)
                if self.outage.wants_renewal:
                    await self._client.renewed()
            self._report_counts()
        except Exception as error:  # whatever it is: each polls by itself, and the next sweep is another one
            self._client.log_defect(error)
            self._wake_all(due)
        finally:
            self._polled = []
            self._polling = None
            self._queue.sooner.set()

    async def _poll(self, due: list[PausedWait]) -> None:
        """Poll those due and answer them; each that has been answered leaves the list."""
        by_id: dict[str, list[PausedWait]] = {}
        for waiting in due:
            if not waiting.done():
                by_id.setdefault(waiting.pause.workflow_id, []).append(waiting)
        ids = list(by_id)
        polled = 0
        while polled < len(ids):
            count, results = await self._reader.read(ids[polled:])
            now, woken = self._monotonic(), self.counts.woken
            for workflow_id in ids[polled : polled + count]:
                for waiting in by_id.pop(workflow_id):
                    self._answer(waiting, results.get(workflow_id), now)
                if self.counts.woken - woken >= WOKEN_AT_ONCE:
                    await asyncio.sleep(0)  # let these run before there are more of them
                    woken = self.counts.woken
            polled += count
            due[:] = itertools.chain.from_iterable(by_id.values())

    def _answer(self, waiting: PausedWait, result: PollResult | None, now: float) -> None:
        """Let it pause on if nothing has changed; without a result it has to poll by itself."""
        self.counts.polls += 1
        pause = waiting.pause
        if waiting.done():
            return
        if result is None or pause.revision is None:
            return self._wake(waiting)
        waiting.blind = not result.revision.update_time
        if pause.away or not pause.revision.matches(result.revision):
            return self._wake(waiting, result)
        seconds = pause.poll_interval
        if waiting.prompted:
            seconds = 0.0
        elif seconds is None:
            seconds = adaptive_pause(now + waiting.ahead - pause.started, self._jitter())
        self._queue.push(waiting, now, seconds)

    def _wake(self, waiting: PausedWait, result: PollResult | None = None) -> None:
        if not waiting.done():
            self.counts.woken += 1
            waiting.set_result(result)

    def _wake_all(self, waits: Iterable[PausedWait]) -> None:
        for waiting in waits:
            self._wake(waiting)

    def _put_off(self, waits: Iterable[PausedWait]) -> None:
        """Nothing is sent now. A wait that is due learns of an outage once: it logs that, and its limits count."""
        now, outage = self._monotonic(), self.outage
        for waiting in waits:
            if waiting.done():
                continue
            if waiting.outage_seen == outage.number or outage.is_rate_limit:
                self._queue.push(waiting, now, 0.0)
            else:
                waiting.outage_seen = outage.number
                self._wake(waiting)

    def _report_counts(self) -> None:
        self.counts.requests, self.counts.errors = self._client.requests, self._client.errors
        if self._on_counts is not None:
            try:
                self._on_counts(self.counts)
            except Exception as error:  # metrics that fail must not end a wait
                self._client.log_defect(error)
