"""One poller for all waits of a connection in an event loop: made for the first, closed after the last."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from socket import gethostname
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.sdk import AirflowNotFoundException, Stats

from airflow_provider_conductor._options import BULK_ANSWER_BYTES, POLLS_AT_ONCE
from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.polling.poller import Counts, Poller
from airflow_provider_conductor.polling.poller_client import PollerLimits

log = logging.getLogger(__name__)

LOOK_UP_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds after each failed look-up of the connection: a minute in all, as long as a deploy takes."""

METRICS_EVERY = 1.0
"""Seconds between two reports of the metrics, at least."""

GAUGES = ("waits", "lag")
COUNTERS = ("requests", "errors", "polls", "woken")
"""The fields of :class:`Counts` that are reported, as ``conductor.<field>``; ``docs/monitoring.md`` explains them."""

_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _SharedPoller]] = WeakKeyDictionary()


def shared_poller(conductor_conn_id: str) -> AbstractAsyncContextManager[Poller]:
    """The poller of this connection: one session, one token, one look-up of the connection for all its waits.

    Raises:
        ConductorConfigError, AirflowNotFoundException: the connection cannot be used; each wait gets the error.
    """
    of_loop = _pollers.setdefault(asyncio.get_running_loop(), {})
    shared = of_loop.get(conductor_conn_id)
    if shared is None or shared.failed:
        shared = of_loop[conductor_conn_id] = _SharedPoller(conductor_conn_id, of_loop)
    return shared


class _SharedPoller:
    """A poller, being made or made, that several waits use. A generator for each would weigh a tenth of a wait."""

    def __init__(self, conductor_conn_id: str, of_loop: dict[str, _SharedPoller]) -> None:
        self._conn_id, self._of_loop = conductor_conn_id, of_loop
        self._users = 0
        self._made = asyncio.create_task(self._make())

    @property
    def failed(self) -> bool:
        return self._made.done() and (self._made.cancelled() or self._made.exception() is not None)

    async def __aenter__(self) -> Poller:
        self._users += 1
        try:
            # Shielded: one wait's cancellation must not take away what the others wait for.
            return await asyncio.shield(self._made)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if self._users:
            return
        if self._of_loop.get(self._conn_id) is self:
            del self._of_loop[self._conn_id]
        if not self._made.done():
            self._made.cancel()
        elif not self.failed:
            await self._made.result().close()

    async def _make(self) -> Poller:
        limits = PollerLimits(POLLS_AT_ONCE.get(), BULK_ANSWER_BYTES.get())
        return Poller(
            await self._patient_client(), renew=self._client, on_counts=_Metrics(self._conn_id), limits=limits
        )

    async def _client(self) -> AsyncConductorClient:
        from airflow_provider_conductor.hooks.conductor import ConductorHook

        return await ConductorHook(self._conn_id).async_client()

    async def _patient_client(self) -> AsyncConductorClient:
        """A look-up that fails (a deploy, an unreachable secrets backend) is tried again."""
        for pause in LOOK_UP_PAUSES:
            try:
                return await self._client()
            except (ConductorError, AirflowNotFoundException):
                raise
            except Exception as error:  # whatever the metadata database or a secrets backend raises
                log.warning("Connection %s cannot be looked up: %s", self._conn_id, error)
                await asyncio.sleep(pause)
        return await self._client()


class _Metrics:
    """Reports a poller's counts to Airflow's Stats, tagged with the connection.

    A gauge has the host as well, as a triggerer's gauges of Airflow have: two triggerers must not overwrite each
    other's.
    """

    def __init__(self, conductor_conn_id: str) -> None:
        self._tags = {"conn_id": conductor_conn_id}
        self._gauge_tags = {**self._tags, "hostname": gethostname()}
        self._reported = Counts()
        self._next = 0.0

    def __call__(self, counts: Counts) -> None:
        now = time.monotonic()
        if now < self._next and counts.waits:
            return
        self._next = now + METRICS_EVERY
        try:
            for name in GAUGES:
                Stats.gauge(f"conductor.{name}", round(getattr(counts, name), 3), tags=self._gauge_tags)
            for name in COUNTERS:
                more = getattr(counts, name) - getattr(self._reported, name)
                if more:
                    Stats.incr(f"conductor.{name}", more, tags=self._tags)
        except Exception as error:  # a metrics backend that fails must not end a wait
            log.debug("The metrics could not be reported: %s", error)
        self._reported = replace(counts)
