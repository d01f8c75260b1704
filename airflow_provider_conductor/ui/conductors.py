"""The Conductors that the pages read: one client a connection, in the API server's event loop.

Secrets of a connection stay in this process. Requests are made in the event loop, so that a slow Conductor holds none
of the threads in which Airflow's API works.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TypeVar

from fastapi.concurrency import run_in_threadpool

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.hooks.conductor import connection_settings

T = TypeVar("T")

LIMIT = 20.0
"""Seconds for all requests of one page or button; then the page says that Conductor does not answer."""

CONNECT_LIMIT = 5.0
"""Seconds to connect, at most."""


class ConductorRefusedError(Exception):
    """Conductor cannot be read from here; the message says why, and what to do."""


class Conductors:
    """Clients by connection id; renewed when the connection has changed."""

    def __init__(self) -> None:
        self._clients: dict[str, AsyncConductorClient] = {}

    async def run(self, conn_id: str, flow: Flow[T]) -> T:
        """Drive a flow against a connection's Conductor.

        Raises:
            ConductorError: what the flow raises.
            ConductorRefusedError: the connection cannot be used, or Conductor does not answer in time.
        """
        client = await self.client(conn_id)
        try:
            async with asyncio.timeout(LIMIT):
                return await client.run(flow)
        except TimeoutError:
            raise ConductorRefusedError(
                f"Conductor at {client.settings.api_url} (connection {conn_id}) did not answer within {LIMIT:.0f} s. "
                "Check whether it is overloaded; this page asks again"
            ) from None

    async def client(self, conn_id: str) -> AsyncConductorClient:
        """The client of a connection.

        Raises:
            ConductorRefusedError: the connection is missing, or cannot be used.
        """
        settings = await run_in_threadpool(_settings, conn_id)
        known = self._clients.get(conn_id)
        if known is not None and known.settings == settings:
            return known
        self._clients[conn_id] = client = AsyncConductorClient(settings)
        if known is not None:
            await known.close()
        return client


def _settings(conn_id: str) -> ConductorSettings:
    """The connection's settings, with the patience of somebody who looks at a page."""
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        settings = connection_settings(Connection.get_connection_from_secrets(conn_id))
    except AirflowNotFoundException:
        raise ConductorRefusedError(
            f"Airflow's API server knows no connection {conn_id!r}: define it where the API server finds it, too, in "
            "Airflow's database or in a secrets backend"
        ) from None
    except ConductorConfigError as error:
        raise ConductorRefusedError(f"connection {conn_id!r} cannot be used: {error}") from None
    return replace(
        settings,
        max_attempts=min(2, settings.max_attempts),
        connect_timeout=min(CONNECT_LIMIT, settings.connect_timeout),
    )
