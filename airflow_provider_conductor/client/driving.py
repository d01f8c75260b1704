"""Taking a flow through its steps: what is written once and done by a blocking client, an event loop or a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from airflow_provider_conductor.client.call import Call, Flow, Now, Sleep

__all__ = ["Step", "drive", "drive_async", "steady"]

T = TypeVar("T")

Step: TypeAlias = Call[Any] | Sleep | Now


def steady(clock: Callable[[], float], monotonic: Callable[[], float]) -> Callable[[], float]:
    """A clock that begins at the wall clock's time and is moved by the monotonic clock: nobody sets it."""
    ahead = clock() - monotonic()
    return lambda: monotonic() + ahead


def drive(flow: Flow[T], do: Callable[[Step], Any]) -> T:
    """Do each step, hand its result to the flow or throw its exception in, and return what the flow returns.

    What is no ``Exception`` (an interrupt) is not the flow's to handle; however it ends, the flow is closed.
    """
    try:
        step = next(flow)
        while True:
            try:
                result = do(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def drive_async(flow: Flow[T], do: Callable[[Step], Awaitable[Any]]) -> T:
    """The same in an event loop; a cancelled flow is closed."""
    try:
        step = next(flow)
        while True:
            try:
                result = await do(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        flow.close()
