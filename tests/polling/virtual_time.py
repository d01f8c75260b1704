"""An event loop whose time jumps to the next thing that is due: hours pass in milliseconds, in the right order."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0

RESOLUTION = 1e-6
"""A float of this size cannot be moved by less."""


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the time that would have been waited is added to the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = EPOCH

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits for somebody else: nothing will ever happen")
            self.now += max(RESOLUTION, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` is seconds since an epoch of its own, and so is the clock that tests hand out."""

    def __init__(self) -> None:
        self.jumping = _Jumping()
        self.begun: list[asyncio.Task[Any]] = []
        self.closing: list[Callable[[], Awaitable[None]]] = []
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time, and end what :attr:`VirtualLoop.begun` has; whatever else is left is an error."""
    loop = VirtualLoop()

    async def to_the_end() -> T:
        result = await main
        for task in loop.begun:
            task.cancel()
        await asyncio.gather(*loop.begun, return_exceptions=True)
        for close in loop.closing:
            await close()
        return result

    try:
        result = loop.run_until_complete(to_the_end())
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        assert not left, f"left running: {left}"
        return result
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test to the end in virtual time."""

    @functools.wraps(test)
    def ran(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return ran


def now() -> float:
    return asyncio.get_running_loop().time()
