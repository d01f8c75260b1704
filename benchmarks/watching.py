"""Many waits on one poller, whose time can be made to jump so that all of them fall due at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

from airflow_provider_conductor.client import AsyncConductorClient
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec

__all__ = ["CountingClient", "JumpingClock", "Waits"]

T = TypeVar("T")

QUIET = 0.6
"""Seconds without a request after which a sweep is over; the poller puts looks together over a quarter of one."""

POLL_INTERVAL = 240.0
"""Seconds between looks of waits that are to look only when time jumps."""


class CountingClient(AsyncConductorClient):
    """Counts what it is asked to send, and knows whether an answer is awaited."""

    requests = 0
    under_way = 0

    async def send(self, call: Call[T]) -> T:
        self.requests += 1
        self.under_way += 1
        try:
            return await super().send(call)
        finally:
            self.under_way -= 1


class JumpingClock:
    """Real time, until it is made to jump: whoever sleeps then wakes where that was due."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._jumped = asyncio.Event()

    def __call__(self) -> float:
        return time.time() + self._ahead

    def jump(self, seconds: float) -> None:
        self._ahead += seconds
        jumped, self._jumped = self._jumped, asyncio.Event()
        jumped.set()

    async def sleep(self, seconds: float) -> None:
        end = self() + seconds
        while (left := end - self()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._jumped.wait(), left)


class Waits:
    """Waits for these workflows on one poller; an async context manager.

    Args:
        api_url: the server's API.
        workflow_ids: one wait each.
        interval: gives each wait its poll interval; by default so long that nothing happens but by :meth:`sweep`.
    """

    def __init__(
        self, api_url: str, workflow_ids: Sequence[str], interval: Callable[[], float] = lambda: POLL_INTERVAL
    ) -> None:
        self.clock = JumpingClock()
        self.client = CountingClient(api_url, sleep=self.clock.sleep, clock=self.clock, monotonic=self.clock)
        self.poller = Poller(self.client, clock=self.clock, monotonic=self.clock, sleep=self.clock.sleep)
        self.events: list[WaitEvent] = []
        self._ids = workflow_ids
        self._interval = interval
        self._tasks: list[asyncio.Task[None]] = []
        self._begun: set[str] = set()

    async def __aenter__(self) -> Waits:
        self._tasks = [asyncio.create_task(self._one(workflow_id)) for workflow_id in self._ids]
        # A wait logs what its first look has seen; further ones may begin before all have had theirs.
        while len(self._begun) < len(self._ids):
            await asyncio.sleep(QUIET)
            self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.poller.close()

    async def _one(self, workflow_id: str) -> None:
        spec = WaitSpec(workflow_id=workflow_id, started_at=self.clock(), poll_interval=self._interval())
        self.events.append(await self.poller.run(wait(spec, lambda line: self._begun.add(workflow_id))))

    async def at_rest(self) -> None:
        """Until nothing has been asked for a while: not where waits look again and again.

        Raises:
            RuntimeError: a wait broke off.
        """
        asked = -1
        while self.client.under_way or self.client.requests > asked:
            asked = self.client.requests
            await asyncio.sleep(QUIET)
        self._check()

    def _check(self) -> None:
        broken = [task.exception() for task in self._tasks if task.done() and task.exception()]
        if broken:
            raise RuntimeError(f"{len(broken)} waits broke off, the first with {broken[0]!r}")

    async def sweep(self) -> tuple[int, float]:
        """Let all of them fall due at once; returns the requests, and the seconds of this process's CPU."""
        await self.at_rest()
        requests, cpu = self.client.requests, time.process_time()
        self.clock.jump(POLL_INTERVAL + 1)
        await self.at_rest()
        return self.client.requests - requests, time.process_time() - cpu
