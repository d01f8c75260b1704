"""The client of a connection that may be changed while waits use it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from airflow_provider_conductor.client.aio import AsyncConductorClient

__all__ = ["RenewableClient"]

RENEW_PAUSE = 30.0
"""Seconds for which a connection that has not changed is not looked up again."""


class RenewableClient:
    """A client, and the look-up that makes it anew.

    Args:
        client: the connection's client, which this object closes.
        renew: looks the connection up again; None if that is not possible.
        monotonic: replaced by tests.
    """

    def __init__(
        self,
        client: AsyncConductorClient,
        renew: Callable[[], Awaitable[AsyncConductorClient]] | None,
        monotonic: Callable[[], float],
    ) -> None:
        self.current = client
        self._renew = renew
        self._monotonic = monotonic
        self._renew_again = -math.inf
        self._retired: list[AsyncConductorClient] = []

    async def renewed(self) -> bool:
        """Look the connection up again, but not in vain time after time; whether it has changed."""
        if self._renew is None or self._monotonic() < self._renew_again:
            return False
        before = self.current
        try:
            fresh = await self._renew()
        except Exception:  # whatever the metadata database or a secrets backend raises: the old one stays
            return False
        if before is not self.current or fresh.settings == before.settings:
            await fresh.close()
            self._renew_again = self._monotonic() + RENEW_PAUSE
            return before is not self.current
        self._retired.append(before)  # some of its requests may be under way
        self.current = fresh
        return True

    async def close(self) -> None:
        for client in (self.current, *self._retired):
            await client.close()
