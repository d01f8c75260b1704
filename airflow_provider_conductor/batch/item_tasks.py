"""The asyncio tasks of a batch: one for each active item, which starts its workflow and waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class ItemTasks:
    """The tasks by the places of their items, and when one of them has progressed."""

    clock: Callable[[], float]
    starting: set[int] = field(default_factory=set)
    """Items whose start is under way."""
    moved_at: float = 0.0
    """When an item was started or ended last."""
    error: BaseException | None = None
    """What ended a task, and so ends the batch."""
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def launch(self, index: int, work: Coroutine[Any, Any, None], *, starting: bool = False) -> None:
        if starting:
            self.starting.add(index)
        self._tasks[index] = task = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._done(index, done))

    def _done(self, index: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(index, None)
        if not task.cancelled() and task.exception() is not None:
            self.error = self.error or task.exception()
        self.started(index)

    def started(self, index: int) -> None:
        self.starting.discard(index)
        self.moved_at = self.clock()
        self._moved.set()

    async def wait_for_progress(self, until: float | None) -> None:
        """Return when an item has been started or has ended, or at the given time."""
        # Not wait_for: that of Python 3.11 swallows a cancellation, and with it a kill, if the event was just set.
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - self.clock())):
                await self._moved.wait()
        self._moved.clear()

    def cancel_waits(self) -> None:
        """Cancel the tasks whose start is over."""
        for index, task in self._tasks.items():
            if index not in self.starting:
                task.cancel()

    async def cancel(self) -> None:
        """Cancel all and wait until none is left."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
