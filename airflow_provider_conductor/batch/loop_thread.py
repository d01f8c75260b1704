"""An event loop in a thread of its own, for a worker whose main thread must stay free for signals.

Airflow interrupts a task by raising in a signal handler. Inside an event loop such an exception may be raised in any
callback, and the loop swallows it; in the main thread, which only waits here, it ends the task.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LoopThread(Generic[T]):
    """Runs the coroutine that ``main`` makes in a loop of its own, from :meth:`start` on."""

    def __init__(self, main: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._main = main
        self._future: Future[T] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conductor-batch", daemon=True)

    def start(self) -> None:
        """Begin. Whoever made it has it by then, so a signal handler finds what it is to end."""
        self._thread.start()
        self._began.wait()

    def _run(self) -> None:
        try:
            result = asyncio.run(self._as_task())
        except BaseException as error:  # raised to whoever asks for the result
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            self._began.set()

    async def _as_task(self) -> T:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._began.set()
        return await self._main()

    def wait(self, seconds: float) -> bool:
        """Whether it ends within so many seconds. A signal handler may call this while another call waits."""
        return bool(wait((self._future,), seconds).done)

    def result(self) -> T:
        """What it returned, or the error it raised."""
        return self._future.result()

    def cancel(self) -> None:
        """Cancel it and wait until nothing of it is left; nothing happens if it was not started."""
        if self._task is not None:
            self.call(self._task.cancel)
        if self._thread.ident is not None:
            self._thread.join()

    def call(self, function: Callable[[], Any]) -> None:
        """Call this in its loop, soon; nothing happens if it has ended."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed
            return
