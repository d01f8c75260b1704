"""What is there of many workflows, asked the way that is cheapest on this server for these workflows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Answer, Call, T
from airflow_provider_conductor.client.capabilities import Capabilities, read_status
from airflow_provider_conductor.client.driving import drive_async
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorNotFound,
    ConductorRequestError,
    MissingRoute,
    TooManyRequests,
)
from airflow_provider_conductor.waiting.rest import Mark

__all__ = ["Asker", "Seen", "Sends"]

BULK_BYTES = 2_000_000
"""Bytes of a bulk answer that are aimed at: parsing them holds the event loop for about 20 ms."""

BULK_BYTES_AT_MOST = 16_000_000
"""Bytes of a bulk answer that are read: where workflows turn out larger than those before, it is given up."""

BULK_BYTES_SURELY = 2_000
"""Bytes a workflow up to which bulk requests win without measuring: a ``/status`` costs about 0.1 ms of CPU, parsing
2 kB a fifth of that."""

BULK_BYTES_NEVER = 40_000
"""Bytes a workflow from which they lose without measuring: fifty fill an answer."""

FIRST_BATCH = 50
"""Ids of the first bulk request, when it is not known how large their workflows are."""

GROWTH = 4
"""How much larger than the one before a bulk request may be: the next workflows may be larger ones."""

PROBE = 20
"""Ids with which the other way is measured."""

MEASURE_AGAIN = 300.0
"""Seconds after which the way that lost is measured again, and bulk requests that failed are tried again."""

STATUS_BATCH = 200
"""Ids asked by ``/status`` before their waits are told."""

STATUS_AT_ONCE = 8
"""``/status`` requests under way at the same time."""

PASSING = 8
"""Failures of single workflows, without any success between, that are the server's."""


class Sends(Protocol):
    """The client, as far as it is needed here."""

    capabilities: Capabilities

    async def send(self, call: Call[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One workflow as an answer has it; ``reason`` where the answer carries one."""

    mark: Mark
    reason: str = ""


@dataclass(slots=True)
class _Way:
    """One way to ask, and what it has cost."""

    seconds_each: float = 0.0
    measured_at: float = -1e9

    def measured(self, seconds: float, ids: int, now: float) -> None:
        each = seconds / ids
        known = self.measured_at > 0
        self.seconds_each = (self.seconds_each + each) / 2 if known else each
        self.measured_at = now


class Asker:
    """Asks by ``bulk/search``, by ``/status``, or by a ``get`` without tasks, in this order of preference.

    Bulk answers carry whole workflows: with large definitions and inputs, one ``/status`` each is cheaper. Both are
    measured (seconds of a request, the server's included, by ids) where it is not plain from the bytes.

    Attributes:
        requests, errors: how many so far.
    """

    def __init__(
        self, client: Sends, *, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self.client = client
        self.requests = 0
        self.errors = 0
        self._clock = clock
        self._timer = timer
        self._bulk_again = 0.0
        self._bytes_each = BULK_BYTES / FIRST_BATCH
        self._last_batch = FIRST_BATCH // GROWTH
        self._bulk, self._status = _Way(), _Way()

    async def ask(self, ids: Sequence[str]) -> tuple[int, dict[str, Seen]]:
        """Ask about the first so many of ``ids``: how many that were, and what the server has of them.

        An id that is not in the answer has to be looked at for itself: the server does not know it, or could not
        answer for it.

        Raises:
            ConductorRequestError: the server cannot be asked.
        """
        bulk, count = self._choose()
        batch = ids[:count]
        if bulk:
            seen = await self._ask_bulk(batch)
            if seen is not None:
                return len(batch), seen
            batch = batch[:STATUS_BATCH]
        return len(batch), await self._ask_each(batch)

    # Choosing

    def _choose(self) -> tuple[bool, int]:
        """Whether to ask in bulk, and about how many."""
        now = self._clock()
        size = max(1, min(endpoints.MAX_BULK_IDS, int(BULK_BYTES / self._bytes_each), self._last_batch * GROWTH))
        if now < self._bulk_again:
            return False, STATUS_BATCH
        if self._bytes_each <= BULK_BYTES_SURELY or self._bulk.measured_at < 0:
            return True, size
        if now >= self._bulk.measured_at + MEASURE_AGAIN:
            return True, min(size, FIRST_BATCH)
        if self._bytes_each >= BULK_BYTES_NEVER:
            return False, STATUS_BATCH
        if now >= self._status.measured_at + MEASURE_AGAIN:
            return False, PROBE
        if self._bulk.seconds_each <= self._status.seconds_each:
            return True, size
        return False, STATUS_BATCH

    # In bulk

    async def _ask_bulk(self, batch: Sequence[str]) -> dict[str, Seen] | None:
        """None where bulk requests do not work here, or not now."""
        began = self._timer()
        try:
            call: Call[Any] = endpoints.bulk_search(batch)
            # Our own parse: no model for each of a thousand workflows, and the answer's size.
            size, items = await self._send(replace(call, parse=_size_and_items, max_bytes=BULK_BYTES_AT_MOST))
        except TooManyRequests:
            raise
        except ConductorRequestError as error:
            # The server may lack or refuse it, one broken or very slow workflow fails it for all, and a gateway may
            # cut large answers. Where the server answers for one of them alone, it is not away.
            if error.repeatable or isinstance(error, ConductorAuthError):
                await self._ask_one(batch[0])
            self._bulk_again = self._clock() + MEASURE_AGAIN
            self._last_batch = FIRST_BATCH // GROWTH
            return None
        self._bulk.measured(self._timer() - began, len(batch), self._clock())
        self._last_batch = max(len(batch), FIRST_BATCH // GROWTH)
        self._bytes_each = max(1.0, size / len(batch))
        return {item["workflowId"]: _seen(item) for item in items if _is_workflow(item)}

    # One by one

    async def _ask_each(self, batch: Sequence[str]) -> dict[str, Seen]:
        seen: dict[str, Seen] = {}
        failed: list[ConductorRequestError] = []
        ids = iter(batch)
        began = self._timer()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(STATUS_AT_ONCE, len(batch))):
                group.create_task(self._ask_some(ids, seen, failed))
        if failed and not seen:
            raise failed[0]
        self._status.measured(self._timer() - began, len(batch), self._clock())
        return seen

    async def _ask_some(self, ids: Iterator[str], seen: dict[str, Seen], failed: list[ConductorRequestError]) -> None:
        for workflow_id in ids:
            if len(failed) >= PASSING and not seen:
                return
            try:
                found = await self._ask_one(workflow_id)
            except ConductorRequestError as error:
                if isinstance(error, (ConductorAuthError, TooManyRequests)) and not seen:
                    failed[:0] = [error] * PASSING
                    return
                failed.append(error)
            else:
                if found is not None:
                    seen[workflow_id] = found

    async def _ask_one(self, workflow_id: str) -> Seen | None:
        """One workflow by ``/status``, or by a ``get`` where the server has none; None where it is unknown."""
        try:
            workflow = await drive_async(read_status(self.client.capabilities, workflow_id), self._send)
        except ConductorNotFound:
            return None
        return Seen(Mark(str(workflow.status), workflow.update_time), workflow.reason)

    async def _send(self, call: Any) -> Any:
        self.requests += 1
        try:
            return await self.client.send(replace(call, once=True))
        except (ConductorNotFound, MissingRoute):
            raise
        except ConductorRequestError:
            self.errors += 1
            raise


def _size_and_items(answer: Answer) -> tuple[int, list[Any]]:
    found = answer.json()["bulkSuccessfulResults"]
    if not isinstance(found, list):
        raise ValueError("a bulk answer without results")
    return len(answer.content), found


def _is_workflow(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("workflowId"), str) and isinstance(item.get("status"), str)


def _seen(item: dict[str, Any]) -> Seen:
    # 3.32 says updatedTime here and updateTime elsewhere.
    time_ms = item.get("updatedTime") or item.get("updateTime") or 0
    return Seen(Mark(item["status"], int(time_ms)), str(item.get("reasonForIncompletion") or ""))
