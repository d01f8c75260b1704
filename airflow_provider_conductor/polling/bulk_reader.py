"""Read many workflows in bulk: their status, in the way that is cheapest on this server, or all of them."""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints import reading
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
)
from airflow_provider_conductor.client.flow import Answer, Call, T, drive_async
from airflow_provider_conductor.client.flows import get_workflow_status
from airflow_provider_conductor.client.models import Workflow, WorkflowStatus
from airflow_provider_conductor.polling.poll_pause import PollResult, Revision
from airflow_provider_conductor.polling.poller_client import STATUS_AT_ONCE, PollerClient

BULK_BYTES_AT_MOST = 16_000_000
"""Bytes of a bulk answer that are read: if workflows are larger than those before, the answer is dropped."""

BULK_BYTES_SURELY = 2_000
"""Bytes a workflow up to which bulk requests win without measuring: a ``/status`` costs about 0.1 ms of CPU, parsing
2 kB a fifth of that."""

BULK_BYTES_NEVER = 40_000
"""Bytes a workflow from which they lose without measuring: fifty fill an answer."""

FIRST_BATCH = 50
"""Ids of the first bulk request, before it is known how large the workflows are."""

GROWTH = 4
"""How much larger than the one before a bulk request may be: the next workflows may be larger ones."""

PROBE = 20
"""Ids in the request that measures the other way."""

MEASURE_AGAIN = 300.0
"""Seconds after which the way that lost is measured again, and bulk requests that failed are tried again."""

BULK_AGAIN = 10.0
"""Seconds after which bulk requests are tried again after a first failure; each further failure doubles them."""

SPLITS = 24
"""Bulk requests that may fail during the search for the workflow that makes them fail: two in a thousand take 20."""

PROBE_WITHIN = 10.0
"""Seconds for an answer that shows whether the server is reachable, after a bulk request without one."""

STATUS_BATCH = 200
"""Ids polled by ``/status`` before their waits get the answers."""

PASSING = 8
"""Failures of single workflows in a row after which the server has failed, not the workflows."""

STATUSES = frozenset(map(str, WorkflowStatus))

R = TypeVar("R")


@dataclass(slots=True)
class _Way:
    """One way to poll, and what it has cost."""

    seconds_each: float = 0.0
    measured_at: float = -math.inf

    def measured(self, seconds: float, ids: int, now: float) -> None:
        each = seconds / ids
        self.seconds_each = each if self.measured_at == -math.inf else (self.seconds_each + each) / 2
        self.measured_at = now


class _BulkReader(ABC, Generic[R]):
    """Reads by ``bulk/search`` where that works, and finds by halving who makes such a request fail.

    A workflow that makes a bulk request fail, or its answer unreadable, is read alone from then on.
    """

    include_tasks: ClassVar[bool]
    bulk_within: ClassVar[float | None] = None
    """Seconds for a bulk answer; None for the read timeout."""

    def __init__(self, client: PollerClient, timer: Callable[[], float] = time.perf_counter) -> None:
        self._client = client
        self._timer = timer
        self._bulk_again = -math.inf
        self._bulk_failures = 0
        self._alone: dict[str, float] = {}
        self._bytes_each = client.limits.bulk_answer_bytes / FIRST_BATCH
        self._last_batch = FIRST_BATCH // GROWTH
        self._bulk = _Way()

    @abstractmethod
    def _choose(self) -> tuple[bool, int]:
        """Whether to read in bulk, and how many."""

    @abstractmethod
    def _parse(self, answer: Answer) -> dict[str, R]:
        """What a bulk answer has of each workflow; ``ValueError`` where it is none."""

    @abstractmethod
    async def _read_each(self, batch: Sequence[str], *, measured: bool = True) -> dict[str, R]:
        """Read one by one; without those that their waits have to read themselves."""

    @abstractmethod
    async def _read_one(self, workflow_id: str, *, within: float | None = None) -> R | None:
        """Read one; None where it is unknown."""

    @property
    def bulk_works(self) -> bool:
        """Whether bulk requests work, as far as is known now."""
        return self._client.monotonic() >= self._bulk_again

    def _batch_size(self) -> int:
        """Ids of the next bulk request."""
        fitting = int(self._client.limits.bulk_answer_bytes / self._bytes_each)
        return max(1, min(endpoints.MAX_BULK_IDS, fitting, self._last_batch * GROWTH))

    async def read(self, ids: Sequence[str]) -> tuple[int, dict[str, R]]:
        """Read the first ones of ``ids``.

        Returns:
            How many were read, and the results by id. A wait whose id has no result has to poll by itself: the
            server does not know the workflow, or could not answer for it.

        Raises:
            ConductorRequestError: Conductor is unreachable.
        """
        bulk, count = self._choose()
        batch = ids[:count]
        if bulk:
            now = self._client.monotonic()
            alone = [workflow_id for workflow_id in batch if self._alone.get(workflow_id, now) > now]
            together = [workflow_id for workflow_id in batch if workflow_id not in alone] if alone else batch
            found: dict[str, R] | None = {}
            if together:
                began = self._timer()
                try:
                    found = await self._read_bulk(together)
                except ConductorTooManyRequestsError:
                    raise
                except ConductorRequestError as error:
                    found = await self._read_despite(error, together)
                else:
                    self._bulk.measured(self._timer() - began, len(together), self._client.monotonic())
                    self._bulk_failures = 0
                    # Halved at most: the few ids that remain after a large request must not make the next one small.
                    self._last_batch = max(len(together), self._last_batch // 2, FIRST_BATCH // GROWTH)
            if found is not None:
                return len(batch), found | await self._read_each(alone, measured=False)
            batch = batch[:STATUS_BATCH]
        return len(batch), await self._read_each(batch)

    async def _read_bulk(self, batch: Sequence[str]) -> dict[str, R]:
        def parse(answer: Answer) -> tuple[int, dict[str, R]]:
            return len(answer.content), self._parse(answer)

        plain: Call[Any] = endpoints.bulk_search(batch, include_tasks=self.include_tasks)
        call: Call[tuple[int, dict[str, R]]] = replace(
            plain, parse=parse, max_bytes=BULK_BYTES_AT_MOST, once=True, within=self.bulk_within
        )
        with self._client.counted(call):
            size, found = await self._client.current.send(call)
        self._bytes_each = max(1.0, size / len(batch))
        return found

    async def _read_despite(self, error: ConductorRequestError, batch: Sequence[str]) -> dict[str, R] | None:
        """After a bulk request that failed: what can be read all the same; None where bulk requests do not work now.

        The server may lack or refuse it, one broken or very slow workflow fails it for all, and a gateway may cut large
        answers. If the server answers for one of them alone, it is not unreachable.
        """
        missing = isinstance(error, ConductorMissingRouteError)
        if error.repeatable or isinstance(error, ConductorAuthError):
            try:
                await self._read_one(batch[0], within=PROBE_WITHIN)
            except ConductorRequestError as answer:
                if not _concerns_one(answer):
                    raise
        elif not missing and (found := await self._read_halves(batch)) is not None:
            return found
        pause = BULK_AGAIN * 2.0 ** min(self._bulk_failures, 10)
        self._bulk_again = self._client.monotonic() + (MEASURE_AGAIN if missing else min(MEASURE_AGAIN, pause))
        self._bulk_failures += 1
        self._last_batch = FIRST_BATCH // GROWTH
        return None

    async def _read_halves(self, batch: Sequence[str]) -> dict[str, R] | None:
        """Find who makes a bulk request fail; None where it is not one or two of them."""
        found: dict[str, R] = {}
        culprits: list[str] = []
        failures = 1
        parts = [batch]
        while parts:
            part = parts.pop()
            if len(part) == 1:
                culprits += part
                continue
            for half in (part[: len(part) // 2], part[len(part) // 2 :]):
                try:
                    found |= await self._read_bulk(half)
                except (ConductorTooManyRequestsError, ConductorAuthError):
                    raise
                except ConductorRequestError as error:
                    failures += 1
                    if error.repeatable or failures > SPLITS:
                        return None
                    parts.append(half)
        if not found:
            return None
        now = self._client.monotonic()
        self._alone = {name: until for name, until in self._alone.items() if until > now}
        self._alone |= dict.fromkeys(culprits, now + MEASURE_AGAIN)
        return found | await self._read_each(culprits, measured=False)

    async def _send(self, call: Call[T], within: float | None = None) -> T:
        with self._client.counted(call):
            return await self._client.current.send(replace(call, once=True, within=within))


class BulkReader(_BulkReader[PollResult]):
    """Polls by ``bulk/search``, by ``/status``, or by a ``get`` without tasks, in this order of preference.

    Bulk answers contain whole workflows: with large definitions and inputs, one ``/status`` each is cheaper. Both are
    measured (seconds of a request, the server's included, by ids) unless the bytes decide it.

    Args:
        timer: replaced by tests.
    """

    include_tasks = False

    def __init__(self, client: PollerClient, timer: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(client, timer)
        self._status = _Way()

    def _choose(self) -> tuple[bool, int]:
        now, size = self._client.monotonic(), self._batch_size()
        if not self.bulk_works:
            return False, STATUS_BATCH
        if self._bytes_each <= BULK_BYTES_SURELY or self._bulk.measured_at == -math.inf:
            return True, size
        if now >= self._bulk.measured_at + MEASURE_AGAIN:
            return True, min(size, FIRST_BATCH)
        if self._bytes_each >= BULK_BYTES_NEVER:
            return False, STATUS_BATCH
        if now >= self._status.measured_at + MEASURE_AGAIN:
            return False, PROBE
        bulk = self._bulk.seconds_each <= self._status.seconds_each
        return bulk, size if bulk else STATUS_BATCH

    def _parse(self, answer: Answer) -> dict[str, PollResult]:
        # No model for each of a thousand workflows.
        return {workflow_id: result for item in _items(answer) for workflow_id, result in _results(item)}

    async def _read_each(self, batch: Sequence[str], *, measured: bool = True) -> dict[str, PollResult]:
        seen: dict[str, PollResult] = {}
        failed: list[ConductorRequestError] = []
        ids = iter(batch)
        began = self._timer()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(STATUS_AT_ONCE, len(batch))):
                group.create_task(self._read_some(ids, seen, failed))
        if failed and not seen and (len(failed) >= PASSING or (measured and not all(map(_concerns_one, failed)))):
            raise failed[0]
        if measured and seen:
            self._status.measured(self._timer() - began, len(batch), self._client.monotonic())
        return seen

    async def _read_some(
        self, ids: Iterator[str], seen: dict[str, PollResult], failed: list[ConductorRequestError]
    ) -> None:
        for workflow_id in ids:
            if len(failed) >= PASSING and not seen:
                return
            try:
                found = await self._read_one(workflow_id)
            except ConductorRequestError as error:
                if isinstance(error, (ConductorAuthError, ConductorTooManyRequestsError)) and not seen:
                    failed[:0] = [error] * PASSING
                    return
                failed.append(error)
            else:
                if found is not None:
                    seen[workflow_id] = found

    async def _read_one(self, workflow_id: str, *, within: float | None = None) -> PollResult | None:
        """By ``/status``, or by a ``get`` where the server has none."""
        capabilities = self._client.current.capabilities
        try:
            workflow = await drive_async(
                get_workflow_status(capabilities, workflow_id), partial(self._send, within=within)
            )
        except ConductorNotFoundError:
            return None
        return PollResult(Revision.of(workflow.status, workflow.update_time), _text(workflow.reason))


class WholeReader(_BulkReader[Workflow]):
    """Reads workflows with their tasks by ``bulk/search``; what that does not answer is left to their waits.

    Read one by one they would have as many bytes, so there is nothing to measure.
    """

    include_tasks = True
    bulk_within = PROBE_WITHIN

    def _choose(self) -> tuple[bool, int]:
        size = self._batch_size()
        if size == 1 and self._client.monotonic() >= self._bulk.measured_at + MEASURE_AGAIN:
            size = 2  # these may be smaller
        bulk = size > 1 and self.bulk_works
        return bulk, size if bulk else endpoints.MAX_BULK_IDS

    def _parse(self, answer: Answer) -> dict[str, Workflow]:
        return reading.whole_workflows(answer)

    async def _read_each(self, batch: Sequence[str], *, measured: bool = True) -> dict[str, Workflow]:
        return {}

    async def _read_one(self, workflow_id: str, *, within: float | None = None) -> Workflow | None:
        try:
            return await self._send(endpoints.get_workflow(workflow_id, include_tasks=False), within)
        except ConductorNotFoundError:
            return None


def _concerns_one(error: ConductorRequestError) -> bool:
    """Whether an answer says nothing about other workflows: it cannot be read, or the server fails at this one."""
    return error.conclusive and not error.concerns_server


def _items(answer: Answer) -> list[Any]:
    found = answer.json()["bulkSuccessfulResults"]
    if not isinstance(found, list):
        raise ValueError("a bulk answer without results")
    return found


def _results(item: Any) -> Iterator[tuple[str, PollResult]]:
    """One entry of a bulk answer: the id and its state, or nothing where the entry cannot be read."""
    if not isinstance(item, dict):
        return
    workflow_id, status = item.get("workflowId"), item.get("status")
    if isinstance(workflow_id, str) and isinstance(status, str) and status in STATUSES:
        # 3.32 says updatedTime here and updateTime elsewhere.
        revision = Revision.of(status, item.get("updatedTime") or item.get("updateTime"))
        yield workflow_id, PollResult(revision, _text(item.get("reasonForIncompletion")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
