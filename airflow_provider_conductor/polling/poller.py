"""One poller for all waits of a connection in an event loop.

Waits lie in a heap by their next look. Those due together are asked together. A wait whose workflow has not changed
rests on without being woken, so it costs next to nothing; one whose workflow has changed looks for itself, says why,
and rests again.

All moments in here are on the monotonic clock. A wait's own are on the wall clock as it was when the wait began here,
since they cross processes: ``_Resting.ahead`` is the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import logging
import math
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorConnectionLostError,
    ConductorError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.client.flow import Call, Flow, Now, Sleep, Step, drive_async
from airflow_provider_conductor.polling.bulk_reader import BulkReader, unreadable
from airflow_provider_conductor.polling.event_stream import EventStreams
from airflow_provider_conductor.polling.next_poll import LONGEST, SHORTEST, adaptive_pause, next_poll_after_failure
from airflow_provider_conductor.polling.observation import LAST_POLL
from airflow_provider_conductor.polling.poll_pause import PollPause, PollResult

__all__ = ["Counts", "Poller"]

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK = 0.25
"""Seconds by which any look may be early, so that those due at almost the same time share a request."""

EARLY = 0.05
"""The share of its pause by which a look may be early: 3 s of a minute. A look that comes early is not a late one."""

LOOKS_AT_ONCE = 8
"""Requests of woken waits under way at the same time, and as many of waits at their deadline; the rest of the pool's
connections is the sweep's."""

WOKEN_AT_ONCE = 100
"""Waits woken in one turn of the event loop: each takes about 0.2 ms then, so that a thousand would hold it up."""

MAX_STRETCH = 16.0
"""How far "too many requests" can stretch the pauses; each of them doubles it, each good sweep takes back a tenth."""

BRIEF = 5.0
"""Seconds that a wait's own look waits where the server asks for a pause; for a longer one it is told."""

RENEW_EVERY = 5
"""Sweeps that fail in a row after which the connection is looked up again: it may have been changed."""

RENEW_PAUSE = 30.0
"""Seconds for which a connection that has not changed is not looked up again."""

COMPACT_FROM = 64
"""Waits in the heap from which those that are gone are removed once they are half of it."""


@dataclass(slots=True, eq=False)
class _Resting:
    """One wait at rest."""

    rest: PollPause
    done: asyncio.Future[PollResult | None]
    ahead: float
    """Seconds by which its wait's clock is ahead of the monotonic one."""
    due: float = 0.0
    earliest: float = 0.0
    asked: bool = False
    """Whether it is being asked about, or will be next: it has no place in the heap then."""
    prompted: bool = False
    """Whether something has happened to its workflow while it was being asked about."""
    told_of: int = 0
    """Which trouble it has been woken for."""
    blind: bool = False
    """Whether the last answer about it told no ``updateTime``."""

    @property
    def wake_at(self) -> float:
        return (self.rest.blind_wake_at if self.blind else self.rest.wake_at) - self.ahead

    def is_at(self, due: float) -> bool:
        """Whether the place at ``due`` in the heap is its own; a prompt leaves an earlier one behind."""
        return self.due == due and not self.asked and not self.done.done()


@dataclass(slots=True)
class Counts:
    """What a poller has done so far, for metrics and tests.

    Attributes:
        waits: how many there are now.
        requests, errors: sent, and failed for another reason than that the workflow or endpoint is not there.
        looks: workflows that were looked at in a wait's stead.
        woken: waits that were woken.
        lag: seconds by which the look that was latest in the last sweep came after it was due.
    """

    waits: int = 0
    requests: int = 0
    errors: int = 0
    looks: int = 0
    woken: int = 0
    lag: float = 0.0


class Poller:
    """Looks at workflows for many waits.

    Args:
        client: the connection's client; this poller is its only user and closes it.
        renew: makes the connection's client anew: called when the server refuses the credentials or stays away, for
            somebody may have changed the connection.
        on_counts: told of the counts after each sweep.
        clock, monotonic, sleep, jitter: replaced by tests.
    """

    def __init__(
        self,
        client: AsyncConductorClient,
        *,
        renew: Callable[[], Awaitable[AsyncConductorClient]] | None = None,
        on_counts: Callable[[Counts], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.client = client
        self.counts = Counts()
        self._reader = BulkReader(client, monotonic=monotonic, on_defect=self._log_defect)
        self._renew = renew
        self._on_counts = on_counts
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._heap: list[tuple[float, int, _Resting]] = []
        self._order = itertools.count()
        self._gone = 0
        self._sooner = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._due: list[_Resting] = []
        self._asked: list[_Resting] = []
        self._alarm = math.inf
        self._own_looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._last_looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._unanswered: ConductorRequestError | None = None
        self._unanswered_times = 0
        self._unanswered_at = -math.inf
        self._own_requests = 0
        self._own_errors = 0
        self._trouble: ConductorRequestError | None = None
        self._troubles = 0
        self._failures = 0
        self._not_before = -math.inf
        self._stretch = 1.0
        self._retired: list[AsyncConductorClient] = []
        self._renew_again = -math.inf
        self._defects: set[str] = set()
        self._streams = EventStreams(lambda: self.client, self._prompt, sleep=sleep)
        self._streams.off = not client.settings.completion_stream
        self._by_id: dict[str, set[_Resting]] = {}
        self._prompted: set[str] = set()

    async def run(self, flow: Flow[T]) -> T:
        """Drive one wait; where it rests, look in its stead. Cancelled, it is closed and leaves nothing behind."""
        self.counts.waits += 1
        held = ""
        ahead = self._clock() - self._monotonic()

        def do(step: Step) -> Awaitable[Any]:
            nonlocal held
            if isinstance(step, PollPause) and not held:
                held = step.workflow_id
                self._streams.hold(held)
            return self._do(step, ahead)

        try:
            return await drive_async(flow, do)
        finally:
            self.counts.waits -= 1
            if held:
                self._streams.release(held)
                self._prompted.discard(held)

    async def close(self) -> None:
        """Stop looking; waits still at rest are left to whoever cancels them."""
        await self._streams.close()
        for task in (self._sweeping, self._polling):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._tell_counts()
        for client in (self.client, *self._retired):
            await client.close()

    # One wait's steps

    def _do(self, step: Step, ahead: float) -> Awaitable[Any]:
        # No coroutine that awaits another: ten thousand waits rest in theirs.
        if isinstance(step, PollPause):
            return self._rest(step, ahead)
        if isinstance(step, Sleep):
            return self._sleep(step.seconds)
        if isinstance(step, Now):
            return self._now(ahead)
        if step.within is not None and step.within <= LAST_POLL:
            return self._look_at_deadline(step)
        return self._look_itself(step)

    async def _now(self, ahead: float) -> float:
        return self._monotonic() + ahead

    async def _look_itself(self, call: Call[Any]) -> Any:
        async with self._own_looks:
            pause = self._not_before - self._monotonic()
            if pause > 0 and self._trouble is not None and _is_the_servers(self._trouble):
                if pause > BRIEF or not isinstance(self._trouble, ConductorTooManyRequestsError):
                    raise self._trouble.with_traceback(None)  # that it is over is found out once for all
                await self._sleep(pause)
            return await self._ask(call)

    async def _look_at_deadline(self, call: Call[Any]) -> Any:
        """Ask whatever went before, and though others' requests hang: there is no other time to ask.

        Where several have just got no answer, the many that may have the same deadline are not asked about in turn.
        """
        began = self._monotonic()
        async with self._last_looks:
            if self._unanswered is not None and self._unanswered_at >= began:
                raise self._unanswered.with_traceback(None)
            try:
                found = await self._ask(call)
            except (ConductorUnreachableError, ConductorConnectionLostError, ConductorTooManyRequestsError) as error:
                self._unanswered_times += 1
                if self._unanswered_times >= LOOKS_AT_ONCE:
                    self._unanswered, self._unanswered_at = error, self._monotonic()
                raise
            except ConductorRequestError:
                self._unanswered_times = 0
                raise
            self._unanswered, self._unanswered_times = None, 0
            return found

    async def _ask(self, call: Call[Any]) -> Any:
        self._own_requests += 1
        client = self.client
        try:
            found = await client.send(call)
        except ConductorAuthError:
            if client is self.client and not await self._renewed():
                raise
            return await self.client.send(call)
        except (
            ConductorUnreachableError,
            ConductorTooManyRequestsError,
        ) as error:  # anything else may be this workflow's alone
            self._own_errors += 1
            self._failed(error)
            raise
        except ConductorError:
            raise
        except Exception as error:
            self._own_errors += 1
            self._log_defect(error)
            raise unreadable(call, error) from error
        self._recovered()
        return found

    async def _rest(self, rest: PollPause, ahead: float) -> PollResult | None:
        now = self._monotonic()
        resting = _Resting(rest, asyncio.get_running_loop().create_future(), ahead)
        self._by_id.setdefault(rest.workflow_id, set()).add(resting)
        if rest.away and self._trouble is not None:
            resting.told_of = self._troubles
        heard = rest.workflow_id in self._prompted
        self._prompted.discard(rest.workflow_id)
        self._push(resting, now, 0.0 if heard else rest.seconds)
        if self._sweeping is None or self._sweeping.done():
            # A context of its own: the first wait's log is not where the sweep's lines belong.
            self._sweeping = asyncio.create_task(
                self._sweep_on(), name="conductor-poller", context=contextvars.Context()
            )
        try:
            return await resting.done
        except asyncio.CancelledError:
            if not resting.asked:
                self._gone_from_heap(1)
            raise
        finally:
            others = self._by_id[rest.workflow_id]
            others.discard(resting)
            if not others:
                del self._by_id[rest.workflow_id]

    def _push(self, resting: _Resting, now: float, pause: float) -> None:
        wake_at = resting.wake_at
        resting.asked = resting.prompted = False
        resting.due = max(now, min(max(now + pause * self._stretch, self._not_before), wake_at))
        resting.earliest = resting.due - min(max(TICK, pause * EARLY), LONGEST * EARLY)
        if not self._heap or resting.due < self._heap[0][0]:
            self._sooner.set()
        heapq.heappush(self._heap, (resting.due, next(self._order), resting))

    def _prompt(self, workflow_id: str) -> None:
        """Something has happened to it: look now. An answer that is under way may be from before."""
        now = self._monotonic()
        self._prompted.add(workflow_id)
        for resting in self._by_id.get(workflow_id, ()):
            resting.prompted = True
            if not resting.done.done() and not resting.asked and resting.due > now:
                self._gone_from_heap(1)
                resting.due = resting.earliest = now
                heapq.heappush(self._heap, (now, next(self._order), resting))
                self._sooner.set()

    def _gone_from_heap(self, count: int) -> None:
        """So many places in the heap mean nothing any more; they go when half of them are such."""
        self._gone += count
        if self._gone * 2 > len(self._heap) >= COMPACT_FROM:
            self._heap = [item for item in self._heap if item[2].is_at(item[0])]
            heapq.heapify(self._heap)
            self._gone = 0

    # Sweeping

    async def _sweep_on(self) -> None:
        """Look at what is due, until no wait rests."""
        while self._heap or self._due or self._polling is not None:
            try:
                await self._until_due()
                self._take_due()
                if self._due and self._polling is None:
                    due, self._due = self._due, []
                    self._polling = asyncio.create_task(self._poll(due), name="conductor-poll")
            except Exception as error:  # a defect of ours must not leave anybody waiting forever
                self._log_defect(error)
                await asyncio.sleep(SHORTEST)
                waiting = [*self._due, *(item[2] for item in self._heap)]
                self._due.clear()
                self._heap.clear()
                self._gone = 0
                for resting in waiting:
                    self._wake(resting)

    async def _poll(self, due: list[_Resting]) -> None:
        """One sweep, beside which those are woken whose own time comes: its requests may hang."""
        self._asked = due
        try:
            now = self._monotonic()
            self.counts.lag = max(now - resting.due for resting in due)
            if now < self._not_before:
                self._put_off_all(due)
            else:
                await self._sweep(due)
            self._tell_counts()
        except Exception as error:  # whatever it is: each polls for itself, and the next sweep is another one
            self._log_defect(error)
            for resting in due:
                self._wake(resting)
        finally:
            self._asked = []
            self._polling = None
            self._sooner.set()

    async def _sweep(self, due: list[_Resting]) -> None:
        try:
            await self._look_at(due)
        except ConductorAuthError:
            if await self._renewed():
                self._put_back(due, 0.0)
            else:  # it may be one workflow that we may not see: each finds out for itself
                for resting in due:
                    self._wake(resting)
        except ConductorRequestError as error:
            await self._back_off(due, error)
        else:
            self._recovered()

    async def _until_due(self) -> None:
        self._sooner.clear()
        at = min(self._heap[0][0] if self._heap else math.inf, self._alarm)
        pause = min(at - self._monotonic(), LONGEST)
        if pause <= 0:
            return
        sleeper = asyncio.ensure_future(self._sleep(pause))
        sooner = asyncio.ensure_future(self._sooner.wait())
        try:
            await asyncio.wait((sleeper, sooner), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            sooner.cancel()

    def _take_due(self) -> None:
        """Those due by now, and those who may be looked at early; whoever must look for itself is woken."""
        now = self._monotonic()
        self._wake_asked(now)
        due: list[_Resting] = []
        later: list[_Resting] = []
        while self._heap and self._heap[0][0] <= (now + LONGEST * EARLY if due else now):
            at, _, resting = heapq.heappop(self._heap)
            if not resting.is_at(at):
                self._gone = max(0, self._gone - 1)
            elif resting.earliest > now:
                later.append(resting)
            elif resting.rest.revision is None or resting.wake_at <= now:
                self._wake(resting)
            elif now < self._not_before:
                self._put_off(resting, now)
            else:
                resting.asked = True
                self._alarm = min(self._alarm, resting.wake_at)
                due.append(resting)
        for resting in later:
            heapq.heappush(self._heap, (resting.due, next(self._order), resting))
        self._due += due

    def _wake_asked(self, now: float) -> None:
        """Wake those whose own time has come while they are asked about: a server that hangs holds up no limit."""
        if now < self._alarm:
            return
        self._alarm = math.inf
        for resting in itertools.chain(self._due, self._asked):
            if resting.done.done() or not resting.asked:
                continue
            if resting.wake_at <= now:
                self._wake(resting)
            else:
                self._alarm = min(self._alarm, resting.wake_at)

    async def _look_at(self, due: list[_Resting]) -> None:
        """Ask about those due and answer them; each that has been answered leaves the list."""
        by_id: dict[str, list[_Resting]] = {}
        for resting in due:
            if not resting.done.done():
                by_id.setdefault(resting.rest.workflow_id, []).append(resting)
        ids = list(by_id)
        asked = 0
        while asked < len(ids):
            count, seen = await self._reader.read(ids[asked:])
            now, woken = self._monotonic(), self.counts.woken
            for workflow_id in ids[asked : asked + count]:
                for resting in by_id.pop(workflow_id):
                    self._answer(resting, seen.get(workflow_id), now)
                if self.counts.woken - woken >= WOKEN_AT_ONCE:
                    await asyncio.sleep(0)  # let these go on before there are more of them
                    woken = self.counts.woken
            asked += count
            due[:] = itertools.chain.from_iterable(by_id.values())

    def _put_off(self, resting: _Resting, now: float) -> None:
        """The server is not to be asked now. A wait that is due is told why once; it says so, and counts its time."""
        if resting.told_of == self._troubles or isinstance(self._trouble, ConductorTooManyRequestsError):
            self._push(resting, now, 0.0)
        else:
            resting.told_of = self._troubles
            self._wake(resting)

    def _answer(self, resting: _Resting, seen: PollResult | None, now: float) -> None:
        """Let it rest on where nothing has changed; ``seen`` is None where it has to look for itself."""
        self.counts.looks += 1
        rest = resting.rest
        if resting.done.done():
            return
        if seen is None or rest.revision is None:
            self._wake(resting)
            return
        resting.blind = not seen.revision.update_time
        if not rest.revision.matches(seen.revision) or rest.away:
            self._wake(resting, seen)
        else:
            pause = rest.poll_interval
            if resting.prompted:
                pause = 0.0
            elif pause is None:
                pause = adaptive_pause(now + resting.ahead - rest.started, self._jitter())
            self._push(resting, now, pause)

    def _wake(self, resting: _Resting, seen: PollResult | None = None) -> None:
        if not resting.done.done():
            self.counts.woken += 1
            resting.done.set_result(seen)

    def _put_back(self, due: Iterable[_Resting], pause: float) -> None:
        now = self._monotonic()
        for resting in due:
            if not resting.done.done():
                self._push(resting, now, pause)

    def _put_off_all(self, due: Iterable[_Resting]) -> None:
        now = self._monotonic()
        for resting in due:
            if not resting.done.done():
                self._put_off(resting, now)

    # Trouble

    async def _back_off(self, due: Iterable[_Resting], error: ConductorRequestError) -> None:
        """Conductor is unreachable: pause once for all."""
        self._failed(error)
        self._put_off_all(due)
        if self._failures % RENEW_EVERY == 0:
            await self._renewed()

    def _failed(self, error: ConductorRequestError) -> None:
        """Nothing is sent for a while, but at deadlines: longer with each failure in a row, or as the server asks."""
        now = self._monotonic()
        if now < self._not_before:
            return  # one of several that were under way
        self._failures += 1
        self._not_before = next_poll_after_failure(
            self._failures, now, jitter=self._jitter(), retry_after=error.retry_after
        )
        if isinstance(error, ConductorTooManyRequestsError):
            self._stretch = min(MAX_STRETCH, self._stretch * 2)
        elif self._trouble is None or isinstance(self._trouble, ConductorTooManyRequestsError):
            self._troubles += 1
        self._trouble = error

    def _recovered(self) -> None:
        if isinstance(self._trouble, ConductorTooManyRequestsError) and self._monotonic() < self._not_before:
            return  # a wait at its deadline was answered all the same; the others keep to the pause
        if self._trouble is None:
            self._stretch = max(1.0, self._stretch * 0.9)
        self._failures = 0
        self._trouble = None
        self._not_before = -math.inf

    async def _renewed(self) -> bool:
        """Look the connection up again, but not in vain time after time; whether it has changed."""
        if self._renew is None or self._monotonic() < self._renew_again:
            return False
        before = self.client
        try:
            fresh = await self._renew()
        except Exception:  # whatever the metadata database or a secrets backend raises: the old one stays
            return False
        if before is not self.client or fresh.settings == before.settings:
            await fresh.close()
            self._renew_again = self._monotonic() + RENEW_PAUSE
            return before is not self.client
        self._retired.append(before)  # some of its requests may be under way
        self.client = self._reader.client = fresh
        return True

    def _tell_counts(self) -> None:
        self.counts.requests = self._reader.requests + self._own_requests
        self.counts.errors = self._reader.errors + self._own_errors
        if self._on_counts is not None:
            try:
                self._on_counts(self.counts)
            except Exception as error:  # metrics that fail must not end a wait
                self._log_defect(error)

    def _log_defect(self, error: Exception) -> None:
        """Log an error that nobody has foreseen, once for each kind and place."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
        if where not in self._defects:
            self._defects.add(where)
            log.error(
                "An unexpected error while workflows were polled at %s. The waits go on, and each polls for itself",
                self.client.settings.api_url,
                exc_info=error,
            )


def _is_the_servers(trouble: ConductorRequestError) -> bool:
    """Whether what was answered about others holds for a wait that has not asked yet; it ends at an answer that shows
    a wrong address, which must be one to its own question."""
    return trouble.temporary or isinstance(trouble, ConductorUnreachableError)
