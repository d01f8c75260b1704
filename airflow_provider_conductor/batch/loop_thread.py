"""An event loop in a thread of its own, for a worker whose main thread must stay free for signals.

Airflow interrupts a task by raising in a signal handler. Inside an event loop such an exception may land in any
callback, and the loop swallows it; in the main thread, which only waits here, it goes where it should.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["InAThread"]

T = TypeVar("T")


class InAThread(Generic[T]):
    """Runs a coroutine to its end in a loop of its own.

    Args:
        main: makes the coroutine, in that loop.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._main = main
        self._result: T
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._ended = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conductor-batch", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._begun.wait()

    def _run(self) -> None:
        try:
            self._result = asyncio.run(self._as_task())
        except BaseException as error:  # told to whoever waits
            self._error = error
        finally:
            self._begun.set()
            self._ended.set()

    async def _as_task(self) -> T:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._begun.set()
        return await self._main()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        return self._ended.wait(seconds)

    def result(self) -> T:
        """What it returned, or the error it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Cancel it and wait until nothing of it is left."""
        if self._task is not None:
            self.call(self._task.cancel)
        self._ended.wait()

    def call(self, act: Callable[[], Any]) -> None:
        """Do this in its loop, soon; nothing where it has ended."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(act)
        except RuntimeError:  # the loop is closed
            return
