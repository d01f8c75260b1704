"""The poller's client: the connection may be changed while waits use it, and an outage holds back what they send."""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorConnectionLostError,
    ConductorError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
    NotConductorError,
)
from airflow_provider_conductor.client.flow import Call, T
from airflow_provider_conductor.polling.outage import Outage

log = logging.getLogger(__name__)

STATUS_AT_ONCE = 8
"""A sweep's ``/status`` requests under way at the same time."""

RENEW_PAUSE = 30.0
"""Seconds for which a connection that has not changed is not looked up again."""


@dataclass(frozen=True, slots=True)
class PollerLimits:
    """What a poller takes of its event loop and of the server.

    Attributes:
        polls_at_once: requests of woken waits under way at the same time, and as many of waits at their deadline.
        bulk_answer_bytes: size that a bulk answer should have: parsing 2 MB blocks the event loop for about 20 ms.
    """

    polls_at_once: int = 8
    bulk_answer_bytes: int = 2_000_000

    @property
    def connections(self) -> int:
        """Of the client's pool: the sweep must not wait until others' requests are answered."""
        return STATUS_AT_ONCE + 2 * self.polls_at_once


class PollerClient:
    """Sends the waits' own requests, as far as the outage allows, and counts all of the poller's.

    Attributes:
        current: the connection's client, as it is now; this object closes it.
        requests, errors: sent, and failed for another reason than that the workflow or endpoint is not there.
        slots: for what waits poll by themselves.
    """

    def __init__(
        self,
        client: AsyncConductorClient,
        renew: Callable[[], Awaitable[AsyncConductorClient]] | None,
        outage: Outage,
        limits: PollerLimits,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self.current = client
        self.current.pool = limits.connections
        self.requests = self.errors = 0
        self.outage = outage
        self.limits = limits
        self.monotonic = monotonic
        self.sleep = sleep
        self.jitter = jitter
        self._renew = renew
        self._renew_again = -math.inf
        self._retired: list[AsyncConductorClient] = []
        self.slots = asyncio.Semaphore(limits.polls_at_once)
        self._slots_at_deadline = asyncio.Semaphore(limits.polls_at_once)
        self._unanswered: ConductorRequestError | None = None
        self._unanswered_times = 0
        self._unanswered_at = -math.inf
        self._defects: set[str] = set()

    async def renewed(self) -> bool:
        """Look the connection up again, but not in vain time after time; whether it has changed."""
        if self._renew is None or self.monotonic() < self._renew_again:
            return False
        before = self.current
        try:
            fresh = await self._renew()
        except Exception:  # whatever the metadata database or a secrets backend raises: the old one stays
            return False
        if before is not self.current or fresh.settings == before.settings:
            await fresh.close()
            self._renew_again = self.monotonic() + RENEW_PAUSE
            return before is not self.current
        self._retired.append(before)  # some of its requests may be under way
        self.current = fresh
        self.current.pool = self.limits.connections
        return True

    async def close(self) -> None:
        for client in (self.current, *self._retired):
            await client.close()

    async def poll(self, call: Call[T]) -> T:
        """Send it, unless there is an outage."""
        async with self.slots:
            if pause := self.outage.own_poll_after(self.monotonic()):
                await self.sleep(pause)
            return await self._send(call)

    async def poll_at_deadline(self, call: Call[T]) -> T:
        """Send it whatever happened before, and even if others' requests hang: there is no later time to poll.

        After several that got no answer, the many that may have the same deadline are not sent one after the other.
        """
        began = self.monotonic()
        async with self._slots_at_deadline:
            if self._unanswered is not None and self._unanswered_at >= began:
                raise self._unanswered.with_traceback(None)
            try:
                found = await self._send(call)
            except (ConductorUnreachableError, ConductorConnectionLostError, ConductorTooManyRequestsError) as error:
                self._unanswered_times += 1
                if self._unanswered_times >= self.limits.polls_at_once:
                    self._unanswered, self._unanswered_at = error, self.monotonic()
                raise
            except ConductorRequestError:
                self._unanswered_times = 0
                raise
            self._unanswered, self._unanswered_times = None, 0
            return found

    async def _send(self, call: Call[T]) -> T:
        client = self.current
        try:
            with self.counted(call):
                found = await client.send(call)
        except ConductorAuthError:
            if client is self.current and not await self.renewed():
                raise
            return await self.current.send(call)
        except (ConductorUnreachableError, ConductorTooManyRequestsError) as error:
            # Anything else may be this workflow's alone.
            self.outage.failed(error, self.monotonic(), self.jitter())
            raise
        self.outage.answered(self.monotonic())
        return found

    @contextmanager
    def counted(self, call: Call[Any]) -> Iterator[None]:
        """Count a request. An unexpected error is taken for an answer that cannot be read: it concerns this one alone.

        Raises:
            NotConductorError: in its place.
        """
        self.requests += 1
        try:
            yield
        except (ConductorNotFoundError, ConductorMissingRouteError):
            raise
        except ConductorError as error:
            self.errors += isinstance(error, ConductorRequestError)
            raise
        except Exception as error:
            self.errors += 1
            self.log_defect(error)
            what = f"the answer to {call.method} {call.path} cannot be read: {type(error).__name__}: {error}"
            raise NotConductorError(what, status=200) from error

    def log_defect(self, error: Exception) -> None:
        """Log an unexpected error, once for each kind and place."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
        if where not in self._defects:
            self._defects.add(where)
            log.error(
                "An unexpected error while workflows were polled at %s. The waits continue, and each polls by itself",
                self.current.settings.api_url,
                exc_info=error,
            )
