"""What waits read at almost the same time, in shared requests: whole workflows, and the poll data of a queue."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import unquote
from weakref import WeakValueDictionary

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
)
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import PollData, Workflow
from airflow_provider_conductor.polling.bulk_reader import WholeReader
from airflow_provider_conductor.polling.observation import LAST_POLL
from airflow_provider_conductor.polling.poller_client import PollerClient

GATHER = 0.25
"""Seconds for which reads are gathered after one that was sent: waits begin, and workflows change, one by one."""

ANSWERED_AT_ONCE = 50
"""Waits answered in one turn of the event loop: each then finds out what its workflow is doing."""


@dataclass(slots=True, eq=False)
class _Read:
    """A read to be sent with others; ``done`` takes the workflow, or None where the wait has to read by itself."""

    workflow_id: str
    call: Call[Workflow]
    done: asyncio.Future[Workflow | None]


class SharedReads:
    """Sends the first read at once, and those that come within ``GATHER`` after it in one ``bulk/search`` with tasks.

    A wait reads by itself what that does not answer: a missing workflow, one that makes it fail, any on a server
    without the endpoint or in an outage.
    """

    def __init__(self, client: PollerClient) -> None:
        self._client = client
        self._reader = WholeReader(client)
        self._sent_at = -math.inf
        self._gathered: list[_Read] = []
        self._reading: set[asyncio.Task[None]] = set()

    async def read(self, workflow_id: str, call: Call[Workflow]) -> Workflow:
        """Send the call, which reads this workflow, or read the same with others.

        Raises:
            ConductorRequestError: as the call by itself.
        """
        now = self._client.monotonic()
        lone = not self._gathered and now >= self._sent_at + GATHER
        if lone or not self._reader.bulk_works:
            self._sent_at = now
            return await self._client.poll(call)
        read = _Read(workflow_id, call, asyncio.get_running_loop().create_future())
        if not self._gathered:
            # A context of its own: the first wait's log is not where lines about all of them belong.
            reading = asyncio.create_task(self._gather(), name="conductor-shared-reads", context=contextvars.Context())
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        self._gathered.append(read)
        found = await read.done
        if found is not None:
            return found
        if call.within is not None:  # its deadline has not moved
            call = replace(call, within=max(LAST_POLL, call.within - (self._client.monotonic() - now)))
        return await self._client.poll(call)

    async def close(self) -> None:
        """Stop reading; waits that still wait for it are left to whoever cancels them."""
        for reading in tuple(self._reading):
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _gather(self) -> None:
        try:
            await self._client.sleep(max(0.0, self._sent_at + GATHER - self._client.monotonic()))
        finally:
            reads, self._gathered = self._gathered, []
            self._sent_at = self._client.monotonic()
        try:
            left = await self._answer(reads)
            if len(left) > 1:  # several waits for tasks of one workflow
                _resolve(left, {left[0].workflow_id: await self._client.poll(left[0].call)})
        except ConductorRequestError:
            pass  # each wait finds out by itself, without a request where the outage forbids it
        except Exception as error:  # a defect of ours must not leave anybody waiting forever
            self._client.log_defect(error)
        finally:
            _resolve(reads, {})

    async def _answer(self, reads: Sequence[_Read]) -> Sequence[_Read]:
        """Read and answer them, as far as that works; returns those of a single workflow, which are left.

        Raises:
            ConductorRequestError: Conductor is unreachable, or refuses.
        """
        client, outage = self._client, self._client.outage
        async with client.slots:
            while True:
                reads = [read for read in reads if not read.done.done()]
                ids = list(dict.fromkeys(read.workflow_id for read in reads))
                if len(ids) <= 1:
                    return reads
                if pause := outage.own_poll_after(client.monotonic()):
                    await client.sleep(pause)
                try:
                    count, found = await self._reader.read(ids)
                except ConductorAuthError:
                    raise  # perhaps of one workflow alone
                except ConductorRequestError as error:
                    outage.failed(error, client.monotonic(), client.jitter())
                    if isinstance(error, ConductorTooManyRequestsError):
                        continue
                    raise
                if found:
                    outage.answered(client.monotonic())
                covered = frozenset(ids[:count])
                answered = [read for read in reads if read.workflow_id in covered]
                for begin in range(0, len(answered), ANSWERED_AT_ONCE):
                    _resolve(answered[begin : begin + ANSWERED_AT_ONCE], found)
                    await asyncio.sleep(0)  # let these run before there are more of them


POLL_DATA = "GET /tasks/queue/polldata"

PollDataOfQueue: TypeAlias = tuple[PollData, ...]


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Queue:
    """A queue whose poll data are being read, with the latest answer, or the error in place of one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    answered_at: float = -math.inf
    found: PollDataOfQueue = ()
    error: ConductorRequestError | None = None


class SharedPollData:
    """Reads a queue's poll data once for all waits that want them at the same time: thousands may lack its workers."""

    def __init__(self, client: PollerClient) -> None:
        self._client = client
        self._queues: WeakValueDictionary[Any, _Queue] = WeakValueDictionary()

    async def read(self, call: Call[PollDataOfQueue]) -> PollDataOfQueue:
        """Send the call, unless an answer for the same queue comes while another wait's call is under way.

        Raises:
            ConductorRequestError: as the call by itself.
        """
        asked_at = self._client.monotonic()
        queue = self._queues.setdefault(call.params, _Queue())
        async with queue.lock:
            if queue.answered_at < asked_at:
                try:
                    queue.found, queue.error = await self._client.poll(call), None
                except ConductorRequestError as error:
                    queue.error = error
                queue.answered_at = self._client.monotonic()
            if queue.error is not None:
                raise queue.error.with_traceback(None)
            return queue.found


def id_to_read(call: Call[Any]) -> str:
    """The workflow that the call reads with its tasks; "" for any other call."""
    if call.route != "GET /workflow/{workflow_id}" or ("includeTasks", "true") not in call.params:
        return ""
    return unquote(call.path.rpartition("/")[2])


def _resolve(reads: Sequence[_Read], found: dict[str, Workflow]) -> None:
    for read in reads:
        if not read.done.done():
            read.done.set_result(found.get(read.workflow_id))
