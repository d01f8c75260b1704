"""The pauses of many waits, by the moment at which each is due to be polled."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from airflow_provider_conductor.polling.next_poll import LONGEST
from airflow_provider_conductor.polling.poll_pause import PollPause, PollResult

__all__ = ["PauseQueue", "PausedWait"]

TICK = 0.25
"""Seconds by which any poll may be early, so that those due at almost the same time share a request."""

EARLY = 0.05
"""The share of its pause by which a poll may be early: 3 s of a minute. A poll that comes early is not a late one."""

COMPACT_FROM = 64
"""Waits in the heap from which those that have left it are removed once they are half of it."""


@dataclass(slots=True, eq=False)
class PausedWait:
    """One wait in its pause. Moments are on the monotonic clock.

    Attributes:
        done: takes the answer to the wait.
        ahead: seconds by which the wait's own clock is ahead of the monotonic one.
        due, earliest: when it is polled, and when it may be polled together with others.
        polled: whether it is being polled, or will be next; it has no place in the heap then.
        prompted: whether something has happened to its workflow while it was being polled.
        told_of: the number of the outage that it has been told of.
        blind: whether the last answer about it had no ``updateTime``.
    """

    pause: PollPause
    done: asyncio.Future[PollResult | None]
    ahead: float
    due: float = 0.0
    earliest: float = 0.0
    polled: bool = False
    prompted: bool = False
    told_of: int = 0
    blind: bool = False

    @property
    def wake_at(self) -> float:
        """When the wait must poll by itself."""
        return (self.pause.blind_wake_at if self.blind else self.pause.wake_at) - self.ahead

    def is_at(self, due: float) -> bool:
        """Whether the place at ``due`` in the heap is its own; a prompt leaves an earlier one behind."""
        return self.due == due and not self.polled and not self.done.done()


class PauseQueue:
    """A heap of :class:`PausedWait`, and which of them wait for a workflow."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, PausedWait]] = []
        self._order = itertools.count()
        self._left = 0
        self._by_id: dict[str, set[PausedWait]] = {}

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_due(self) -> float:
        """When the next one is due; infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def register(self, waiting: PausedWait) -> None:
        """Note what it waits for, so that a prompt finds it."""
        self._by_id.setdefault(waiting.pause.workflow_id, set()).add(waiting)

    def unregister(self, waiting: PausedWait) -> None:
        others = self._by_id[waiting.pause.workflow_id]
        others.discard(waiting)
        if not others:
            del self._by_id[waiting.pause.workflow_id]

    def push(
        self, waiting: PausedWait, now: float, seconds: float, *, stretch: float = 1.0, not_before: float = -math.inf
    ) -> bool:
        """Let it pause for so many seconds, but not beyond its own time; whether it is due before all others."""
        waiting.polled = waiting.prompted = False
        waiting.due = max(now, min(max(now + seconds * stretch, not_before), waiting.wake_at))
        waiting.earliest = waiting.due - min(max(TICK, seconds * EARLY), LONGEST * EARLY)
        return self._push(waiting)

    def prompt(self, workflow_id: str, now: float) -> bool:
        """Make those who wait for it due at once; whether that changes when the next one is due."""
        sooner = False
        for waiting in self._by_id.get(workflow_id, ()):
            waiting.prompted = True
            if not waiting.done.done() and not waiting.polled and waiting.due > now:
                self.left(1)
                waiting.due = waiting.earliest = now
                sooner = self._push(waiting) or sooner
        return sooner

    def take_due(self, now: float, accept: Callable[[PausedWait], bool]) -> list[PausedWait]:
        """Those due by now that are accepted; with one of them, also those that may be polled early."""
        due: list[PausedWait] = []
        later: list[PausedWait] = []
        while self._heap and self._heap[0][0] <= (now + LONGEST * EARLY if due else now):
            at, _, waiting = heapq.heappop(self._heap)
            if not waiting.is_at(at):
                self._left = max(0, self._left - 1)
            elif waiting.earliest > now:
                later.append(waiting)
            elif accept(waiting):
                waiting.polled = True
                due.append(waiting)
        for waiting in later:
            self._push(waiting)
        return due

    def left(self, count: int) -> None:
        """So many places in the heap mean nothing any more; they are removed when they are half of it."""
        self._left += count
        if self._left * 2 > len(self._heap) >= COMPACT_FROM:
            self._heap = [item for item in self._heap if item[2].is_at(item[0])]
            heapq.heapify(self._heap)
            self._left = 0

    def clear(self) -> Iterable[PausedWait]:
        """Empty the heap; returns those that were in it."""
        waits = [item[2] for item in self._heap]
        self._heap.clear()
        self._left = 0
        return waits

    def _push(self, waiting: PausedWait) -> bool:
        first = waiting.due < self.next_due
        heapq.heappush(self._heap, (waiting.due, next(self._order), waiting))
        return first
