"""The pauses of many waits, by the moment at which each is due to be polled."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable

from airflow_provider_conductor.polling.next_poll import LONGEST
from airflow_provider_conductor.polling.outage import Outage
from airflow_provider_conductor.polling.poll_pause import PollPause, PollResult

TICK = 0.25
"""Seconds by which any poll may be early, so that those due at almost the same time share a request."""

EARLY = 0.05
"""The share of its pause by which a poll may be early: 3 s of a minute. A poll that comes early is not a late one."""

SPARE = 64
"""Places in the heap that may mean nothing any more, besides as many as there are waits."""


class PausedWait(asyncio.Future[PollResult | None]):
    """One wait in its pause, which ends with this future. Moments are on the monotonic clock.

    Python's garbage collector walks through all objects of ten thousand waits, so each has as few as possible.

    Attributes:
        ahead: seconds by which the wait's own clock is ahead of the monotonic one.
        due, earliest: when it is polled, and when it may be polled together with others.
        polled: whether it is being polled, or will be next; it has no place in the heap then.
        prompted: whether something has happened to its workflow while it was being polled.
        outage_seen: the number of the last outage that it was woken for.
        blind: whether the last answer about it had no ``updateTime``.
    """

    __slots__ = ("ahead", "blind", "due", "earliest", "outage_seen", "pause", "polled", "prompted")

    def __init__(self, pause: PollPause, ahead: float) -> None:
        super().__init__()
        self.pause = pause
        self.ahead = ahead
        self.due = self.earliest = 0.0
        self.polled = self.prompted = self.blind = False
        self.outage_seen = 0

    @property
    def wake_at(self) -> float:
        """When the wait must poll by itself."""
        return (self.pause.blind_wake_at if self.blind else self.pause.wake_at) - self.ahead

    def is_at(self, due: float) -> bool:
        """Whether the place at ``due`` in the heap is its own; a prompt leaves an earlier one behind."""
        return self.due == due and not self.polled and not self.done()


class PauseQueue:
    """A heap of :class:`PausedWait`, and all of them, also those that are being polled.

    Attributes:
        sooner: set when the next one is due sooner than before.
    """

    def __init__(self, outage: Outage) -> None:
        self.sooner = asyncio.Event()
        self._outage = outage
        self._heap: list[tuple[float, int, PausedWait]] = []
        self._order = itertools.count()
        self._waits: set[PausedWait] = set()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_due(self) -> float:
        """When the next one is due; infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def register(self, waiting: PausedWait) -> None:
        """Note it, so that a prompt finds it."""
        self._waits.add(waiting)

    def unregister(self, waiting: PausedWait) -> None:
        self._waits.discard(waiting)
        self._compact()

    def push(self, waiting: PausedWait, now: float, seconds: float) -> None:
        """Let it pause for so many seconds, longer in an outage, but not beyond its own time."""
        waiting.polled = waiting.prompted = False
        due = max(now + seconds * self._outage.stretch, self._outage.until)
        waiting.due = max(now, min(due, waiting.wake_at))
        waiting.earliest = waiting.due - min(max(TICK, seconds * EARLY), LONGEST * EARLY)
        self._push(waiting)

    def prompt(self, workflow_id: str, now: float) -> None:
        """Make those who wait for it due at once."""
        for waiting in self._waits:
            if waiting.pause.workflow_id != workflow_id:
                continue
            waiting.prompted = True
            if not waiting.done() and not waiting.polled and waiting.due > now:
                waiting.due = waiting.earliest = now
                self._push(waiting)

    def take_due(self, now: float, accept: Callable[[PausedWait], bool]) -> list[PausedWait]:
        """Those due by now that are accepted; with one of them, also those that may be polled early."""
        due: list[PausedWait] = []
        later: list[PausedWait] = []
        while self._heap and self._heap[0][0] <= (now + LONGEST * EARLY if due else now):
            at, _, waiting = heapq.heappop(self._heap)
            if not waiting.is_at(at):
                continue
            if waiting.earliest > now:
                later.append(waiting)
            elif accept(waiting):
                waiting.polled = True
                due.append(waiting)
        for waiting in later:
            self._push(waiting)
        return due

    def clear(self) -> list[PausedWait]:
        """Empty the heap; returns those that were in it."""
        waits = [item[2] for item in self._heap]
        self._heap.clear()
        return waits

    def _push(self, waiting: PausedWait) -> None:
        if waiting.due < self.next_due:
            self.sooner.set()
        heapq.heappush(self._heap, (waiting.due, next(self._order), waiting))
        self._compact()

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._waits) + SPARE:
            self._heap = [item for item in self._heap if item[2].is_at(item[0])]
            heapq.heapify(self._heap)
