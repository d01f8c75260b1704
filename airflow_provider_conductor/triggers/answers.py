"""Reads the answers for all approvals of a triggerer, where Airflow does not resume answered tasks itself."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from airflow_provider_conductor._required_actions import AirflowAnswer, read_answer

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two reads of an answer, as of Airflow's own trigger; more where there are many."""

GAP = 0.1
"""Seconds after each read. There is one answer to a request, so a thousand approvals are read every 100 seconds."""

_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, AnswerReader] = WeakKeyDictionary()


def shared_reader() -> AnswerReader:
    """The reader of this event loop."""
    return _readers.setdefault(asyncio.get_running_loop(), AnswerReader())


class AnswerReader:
    """One read at a time, in turn, for as long as anybody waits.

    Args:
        read: replaced by tests, as
        sleep: is.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[AirflowAnswer | None]] = read_answer,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read, self._sleep = read, sleep
        self._waits: dict[str, asyncio.Future[AirflowAnswer]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, ti_id: str) -> AirflowAnswer:
        """Wait for the answer."""
        waiting: asyncio.Future[AirflowAnswer] = asyncio.get_running_loop().create_future()
        self._waits[ti_id] = waiting
        if self._reading is None or self._reading.done():
            # A context of its own: the first wait's log is not where the lines of the others belong.
            self._reading = asyncio.create_task(self._read_on(), name="answers", context=contextvars.Context())
        try:
            return await waiting
        finally:
            if self._waits.get(ti_id) is waiting:
                del self._waits[ti_id]

    async def _read_on(self) -> None:
        failed: set[str] = set()
        while self._waits:
            slept = 0.0
            for ti_id, waiting in list(self._waits.items()):
                if waiting.done():
                    continue
                try:
                    answer = await self._read(ti_id)
                except Exception as error:  # whatever the supervisor answers; the next read may succeed
                    if ti_id not in failed:
                        failed.add(ti_id)
                        log.warning("The answer to a required action cannot be read: %s", error)
                else:
                    if answer is not None and not waiting.done():
                        waiting.set_result(answer)
                await self._sleep(GAP)
                slept += GAP
            await self._sleep(max(0.0, INTERVAL - slept))
