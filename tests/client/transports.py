"""Both clients behind one face, so that one test speaks of both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client import AsyncConductorClient, ConductorClient, ConductorSettings
from airflow_provider_conductor.client.flow import Call, Flow
from tests.client.fault_server import FaultServer


@dataclass
class Clock:
    """A time that passes only when somebody sleeps; ``sleeps`` holds how long each time.

    ``set_by`` is how far somebody has set the wall clock meanwhile.
    ``meanwhile`` is called in each sleep: what happens in the world while the client waits.
    """

    now: float = 1_800_000_000.0
    set_by: float = 0.0
    sleeps: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now + self.set_by

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        self.meanwhile()

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Transport:
    """A client that blocks, whichever it is inside. ``close`` gives its sockets back."""

    client: Any
    send: Callable[[Call[Any]], Any]
    run: Callable[[Flow[Any]], Any]
    close: Callable[[], None]

    def wait(self) -> None:
        """Let the client notice what happened to its sockets."""


Serve = Callable[..., FaultServer]
"""The fixture that starts a server with a behaviour."""

Connect = Callable[..., Transport]
"""The fixture that opens a client to a server: the blocking one, then the asyncio one."""

Meet = Callable[..., tuple[Transport, FaultServer]]
"""The fixture that does both: a server with a behaviour, and a client with these settings."""


class SyncTransport(Transport):
    def __init__(self, settings: ConductorSettings, clock: Clock) -> None:
        self.client = ConductorClient(settings, sleep=clock.sleep, clock=clock, monotonic=clock.monotonic)
        self.send, self.run, self.close = self.client.send, self.client.run, self.client.close


class AsyncTransport(Transport):
    """The asyncio client in an event loop that runs in a thread of its own."""

    def __init__(self, settings: ConductorSettings, clock: Clock) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client = AsyncConductorClient(settings, sleep=clock.sleep_async, clock=clock, monotonic=clock.monotonic)

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def send(self, call: Call[Any]) -> Any:  # type: ignore[override]
        return self._await(self.client.send(call))

    def run(self, flow: Flow[Any]) -> Any:  # type: ignore[override]
        return self._await(self.client.run(flow))

    def wait(self) -> None:
        self._await(asyncio.sleep(0.05))

    def close(self) -> None:  # type: ignore[override]
        self._await(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()
