"""One poller for all waits of a connection in an event loop: made for the first, closed after the last."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.sdk import AirflowNotFoundException, Stats

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.polling.poller import Counts, Poller

__all__ = ["shared_poller"]

log = logging.getLogger(__name__)

LOOK_UP_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds after each failed look-up of the connection: a minute in all, as long as a deploy takes."""

METRICS_EVERY = 1.0
"""Seconds between two reports of the metrics, at least."""


@dataclass(slots=True, eq=False)
class _Shared:
    """A poller, being made or made, and how many use it."""

    made: asyncio.Task[Poller]
    users: int = 0


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


@dataclass(slots=True, eq=False)
class _Use:
    """One wait's use of its connection's poller. A generator for each would weigh a tenth of what a wait does."""

    conductor_conn_id: str
    shared: _Shared | None = None

    async def __aenter__(self) -> Poller:
        of_loop = _of_this_loop()
        shared = of_loop.get(self.conductor_conn_id)
        if shared is None or _failed(shared.made):
            shared = of_loop[self.conductor_conn_id] = _Shared(asyncio.create_task(_make(self.conductor_conn_id)))
        shared.users += 1
        self.shared = shared
        try:
            # Shielded: one wait's cancellation must not take away what the others wait for.
            return await asyncio.shield(shared.made)
        except BaseException:
            await self._end(shared)
            raise

    async def __aexit__(self, *_: object) -> None:
        if self.shared is not None:
            await self._end(self.shared)

    async def _end(self, shared: _Shared) -> None:
        shared.users -= 1
        if not shared.users:
            of_loop = _of_this_loop()
            if of_loop.get(self.conductor_conn_id) is shared:
                del of_loop[self.conductor_conn_id]
            await _close(shared.made)


def shared_poller(conductor_conn_id: str) -> AbstractAsyncContextManager[Poller]:
    """The poller of this connection: one session, one token, one look-up of the connection for all its waits.

    Raises:
        ConductorConfigError, AirflowNotFoundException: the connection cannot be used; each wait gets the error.
    """
    return _Use(conductor_conn_id)


def _of_this_loop() -> dict[str, _Shared]:
    return _pollers.setdefault(asyncio.get_running_loop(), {})


def _failed(made: asyncio.Task[Poller]) -> bool:
    return made.done() and (made.cancelled() or made.exception() is not None)


async def _make(conductor_conn_id: str) -> Poller:
    async def renew() -> AsyncConductorClient:
        return await _client(conductor_conn_id)

    return Poller(await _patient_client(conductor_conn_id), renew=renew, on_counts=_Metrics(conductor_conn_id))


async def _close(made: asyncio.Task[Poller]) -> None:
    if not made.done():
        made.cancel()
    elif not _failed(made):
        await made.result().close()


async def _client(conductor_conn_id: str) -> AsyncConductorClient:
    from airflow_provider_conductor.hooks.conductor import ConductorHook

    return await ConductorHook(conductor_conn_id).async_client()


async def _patient_client(conductor_conn_id: str) -> AsyncConductorClient:
    """The connection's client. A look-up that fails (a deploy, an unreachable secrets backend) is tried again."""
    for pause in LOOK_UP_PAUSES:
        try:
            return await _client(conductor_conn_id)
        except (ConductorError, AirflowNotFoundException):
            raise
        except Exception as error:  # whatever the metadata database or a secrets backend raises
            log.warning("Connection %s cannot be looked up: %s", conductor_conn_id, error)
            await asyncio.sleep(pause)
    return await _client(conductor_conn_id)


class _Metrics:
    """Reports a poller's counts to Airflow's Stats, tagged with the connection.

    Gauge ``conductor.waits``, counters ``conductor.requests``, ``conductor.errors``, ``conductor.polls`` and
    ``conductor.woken``, gauge ``conductor.lag`` (seconds between due and polled).
    """

    def __init__(self, conductor_conn_id: str) -> None:
        self._tags = {"conn_id": conductor_conn_id}
        self._reported = Counts()
        self._next = 0.0

    def __call__(self, counts: Counts) -> None:
        now = time.monotonic()
        if now < self._next and counts.waits:
            return
        self._next = now + METRICS_EVERY
        try:
            Stats.gauge("conductor.waits", counts.waits, tags=self._tags)
            Stats.gauge("conductor.lag", round(counts.lag, 3), tags=self._tags)
            for name in ("requests", "errors", "polls", "woken"):
                more = getattr(counts, name) - getattr(self._reported, name)
                if more:
                    Stats.incr(f"conductor.{name}", more, tags=self._tags)
        except Exception as error:  # a metrics backend that fails must not end a wait
            log.debug("The metrics could not be reported: %s", error)
        self._reported = replace(counts)
