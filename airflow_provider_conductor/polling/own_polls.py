"""The polls that a wait sends by itself: to find out why its workflow is still running, and at its deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorConnectionLostError,
    ConductorError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.polling.bulk_reader import unreadable
from airflow_provider_conductor.polling.outage import Outage
from airflow_provider_conductor.polling.renewable_client import RenewableClient

__all__ = ["OwnPolls"]

POLLS_AT_ONCE = 8
"""Requests of woken waits under way at the same time, and as many of waits at their deadline; the rest of the pool's
connections is the sweep's."""


class OwnPolls:
    """Sends the waits' own requests, as far as the outage allows.

    Attributes:
        requests, errors: how many so far.
    """

    def __init__(
        self,
        client: RenewableClient,
        outage: Outage,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        on_defect: Callable[[Exception], None],
    ) -> None:
        self.requests = 0
        self.errors = 0
        self._client = client
        self._outage = outage
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._on_defect = on_defect
        self._slots = asyncio.Semaphore(POLLS_AT_ONCE)
        self._slots_at_deadline = asyncio.Semaphore(POLLS_AT_ONCE)
        self._unanswered: ConductorRequestError | None = None
        self._unanswered_times = 0
        self._unanswered_at = -math.inf

    async def poll(self, call: Call[Any]) -> Any:
        """Send it, unless there is an outage."""
        async with self._slots:
            pause = self._outage.own_poll_after(self._monotonic())
            if pause:
                await self._sleep(pause)
            return await self._send(call)

    async def poll_at_deadline(self, call: Call[Any]) -> Any:
        """Send it whatever happened before, and even if others' requests hang: there is no later time to poll.

        After several that got no answer, the many that may have the same deadline are not sent one after the other.
        """
        began = self._monotonic()
        async with self._slots_at_deadline:
            if self._unanswered is not None and self._unanswered_at >= began:
                raise self._unanswered.with_traceback(None)
            try:
                found = await self._send(call)
            except (ConductorUnreachableError, ConductorConnectionLostError, ConductorTooManyRequestsError) as error:
                self._unanswered_times += 1
                if self._unanswered_times >= POLLS_AT_ONCE:
                    self._unanswered, self._unanswered_at = error, self._monotonic()
                raise
            except ConductorRequestError:
                self._unanswered_times = 0
                raise
            self._unanswered, self._unanswered_times = None, 0
            return found

    async def _send(self, call: Call[Any]) -> Any:
        self.requests += 1
        client = self._client.current
        try:
            found = await client.send(call)
        except ConductorAuthError:
            if client is self._client.current and not await self._client.renewed():
                raise
            return await self._client.current.send(call)
        except (ConductorUnreachableError, ConductorTooManyRequestsError) as error:
            # Anything else may be this workflow's alone.
            self.errors += 1
            self._outage.failed(error, self._monotonic(), self._jitter())
            raise
        except ConductorError:
            raise
        except Exception as error:
            self.errors += 1
            self._on_defect(error)
            raise unreadable(call, error) from error
        self._outage.answered(self._monotonic())
        return found
