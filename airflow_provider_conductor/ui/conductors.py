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
from airflow_provider_conductor.ui.recent_answers import RecentAnswers

T = TypeVar("T")

READ_LIMIT = 20.0
"""Seconds for all requests of one page; then the page shows that Conductor does not answer."""

ACTION_LIMIT = 60.0
"""Seconds for all requests of a button, which verifies its effect."""

CONNECT_LIMIT = 5.0
"""Seconds to connect, at most."""

SETTINGS_FOR = 30.0
"""Seconds after which a connection is looked up again, which may ask a secrets backend."""


class ConductorUnavailableError(Exception):
    """Conductor cannot be read from here; the message says why, and what to do."""


class Conductors:
    """Clients by connection id; renewed when the connection has changed."""

    def __init__(self) -> None:
        self._clients: dict[str, AsyncConductorClient] = {}
        self._settings = RecentAnswers()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, conn_id: str, flow: Flow[T], *, changes: bool = False) -> T:
        """Drive a flow against a connection's Conductor.

        Args:
            changes: whether it changes something: then it may take longer, and its effect may be unknown.

        Raises:
            ConductorError: what the flow raises.
            ConductorUnavailableError: the connection cannot be used, or Conductor does not answer in time.
        """
        client = await self.client(conn_id)
        limit = ACTION_LIMIT if changes else READ_LIMIT
        try:
            async with asyncio.timeout(limit):
                return await client.run(flow)
        except TimeoutError:
            advice = (
                "The action may have been carried out: check the workflow before you try again"
                if changes
                else "Check whether it is overloaded; this page retries"
            )
            raise ConductorUnavailableError(
                f"Conductor at {client.settings.api_url} (connection {conn_id}) did not answer within {limit:.0f} s. "
                f"{advice}"
            ) from None

    async def client(self, conn_id: str) -> AsyncConductorClient:
        """The client of a connection.

        Raises:
            ConductorUnavailableError: the connection is missing, or cannot be used.
        """

        async def look_up() -> ConductorSettings:
            return await run_in_threadpool(_settings, conn_id)

        settings = await self._settings.get((conn_id,), look_up, lambda _: SETTINGS_FOR)
        known = self._clients.get(conn_id)
        if known is not None and known.settings == settings:
            return known
        self._clients[conn_id] = client = AsyncConductorClient(settings)
        if known is not None:
            closing = asyncio.create_task(_close_later(known))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return client


async def _close_later(client: AsyncConductorClient) -> None:
    """Close it when the requests under way are over."""
    await asyncio.sleep(ACTION_LIMIT)
    await client.close()


def _settings(conn_id: str) -> ConductorSettings:
    """The connection's settings, with the patience of a user in front of a page."""
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        settings = connection_settings(Connection.get_connection_from_secrets(conn_id))
    except AirflowNotFoundException:
        raise ConductorUnavailableError(
            f"Airflow's API server has no connection {conn_id!r}: define it where the API server finds it, too, in "
            "Airflow's database or in a secrets backend"
        ) from None
    except ConductorConfigError as error:
        raise ConductorUnavailableError(f"connection {conn_id!r} cannot be used: {error}") from None
    return replace(
        settings,
        max_attempts=min(2, settings.max_attempts),
        connect_timeout=min(CONNECT_LIMIT, settings.connect_timeout),
    )
