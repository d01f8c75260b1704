"""The first polls of waits that know no more than an id, read together."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
)
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.polling.bulk_reader import WholeReader
from airflow_provider_conductor.polling.poller_client import PollerClient

GATHER = 0.25
"""Seconds for which first polls are gathered after one that was sent: triggers begin one after the other."""

ANSWERED_AT_ONCE = 50
"""Waits answered in one turn of the event loop: each then finds out what its workflow is doing."""


@dataclass(slots=True, eq=False)
class _FirstPoll:
    """A poll to be sent with others; ``done`` takes the workflow, or None where the wait has to poll by itself."""

    workflow_id: str
    done: asyncio.Future[Workflow | None]


class FirstPolls:
    """Sends the first of them at once, and those that come within a blink after it in one ``bulk/search`` with tasks.

    What that does not answer (a missing workflow, one that makes it fail, a server without the endpoint, an outage) its
    wait asks by itself, as it would without all this.
    """

    def __init__(self, client: PollerClient) -> None:
        self._client = client
        self._reader = WholeReader(client)
        self._sent_at = -math.inf
        self._gathered: list[_FirstPoll] = []
        self._reading: set[asyncio.Task[None]] = set()

    async def read(self, workflow_id: str, call: Call[Workflow]) -> Workflow:
        """Send the call, or read the same with others.

        Raises:
            ConductorRequestError: as the call by itself.
        """
        now = self._client.monotonic()
        lone = not self._gathered and now >= self._sent_at + GATHER
        if lone or not self._reader.bulk_works:
            self._sent_at = now
            return await self._client.poll(call)
        poll = _FirstPoll(workflow_id, asyncio.get_running_loop().create_future())
        if not self._gathered:
            # A context of its own: the first wait's log is not where lines about all of them belong.
            reading = asyncio.create_task(self._gather(), name="conductor-first-polls", context=contextvars.Context())
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        self._gathered.append(poll)
        found = await poll.done
        return await self._client.poll(call) if found is None else found

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
            polls, self._gathered = self._gathered, []
            self._sent_at = self._client.monotonic()
        try:
            await self._answer(polls)
        except ConductorRequestError:
            pass  # each wait finds out by itself, without a request where the outage forbids it
        except Exception as error:  # a defect of ours must not leave anybody waiting forever
            self._client.log_defect(error)
        finally:
            _resolve(polls, {})

    async def _answer(self, polls: Sequence[_FirstPoll]) -> None:
        """Read and answer them, as far as that works.

        Raises:
            ConductorRequestError: Conductor is unreachable, or refuses.
        """
        client, outage = self._client, self._client.outage
        async with client.slots:
            while True:
                polls = [poll for poll in polls if not poll.done.done()]
                ids = list(dict.fromkeys(poll.workflow_id for poll in polls))
                if len(ids) <= 1:
                    return
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
                read = frozenset(ids[:count])
                answered = [poll for poll in polls if poll.workflow_id in read]
                for begin in range(0, len(answered), ANSWERED_AT_ONCE):
                    _resolve(answered[begin : begin + ANSWERED_AT_ONCE], found)
                    await asyncio.sleep(0)  # let these run before there are more of them


def id_to_read(call: Call[Any]) -> str:
    """The workflow that the call reads with its tasks; "" for any other call."""
    if call.route != "GET /workflow/{workflow_id}" or ("includeTasks", "true") not in call.params:
        return ""
    return unquote(call.path.rpartition("/")[2])


def _resolve(polls: Sequence[_FirstPoll], found: dict[str, Workflow]) -> None:
    for poll in polls:
        if not poll.done.done():
            poll.done.set_result(found.get(poll.workflow_id))
