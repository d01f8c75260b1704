"""The server's event stream, if it has one: it reports ends faster than polling, and nothing depends on it.

Conductor 3.32 reports what happens to any workflow under ``/agent/stream/{id}``, its end 2 to 6 ms after it (seen). It
keeps this in one node's memory, replays old events, and promises nothing, so an event only brings the next poll
forward. Regular polls continue: an event that is lost makes no end late.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import (
    ConductorAnswerError,
    ConductorNotFoundError,
    ConductorRequestError,
    NotConductorError,
)

log = logging.getLogger(__name__)

MAX_STREAMS = 100
"""Streams open at the same time in a poller: each is a socket here and on the server. The other waits are polled."""

PROMPTS = frozenset({"done", "error", "waiting"})
"""Events worth a poll: the end, a task that failed, a pause."""

AGAIN_AFTER = 0.2
"""Seconds after which an event's workflow is polled once more: the event may have come before the status."""

REOPEN_AFTER = 10.0
"""Seconds after which a stream that has ended or broken is opened again."""


class EventStreams:
    """One stream for each workflow that is waited for, up to :data:`MAX_STREAMS`.

    Args:
        client: gives the connection's client.
        prompt: called with a workflow's id when it is to be polled now.
        sleep: replaced by tests.
    """

    def __init__(
        self,
        client: Callable[[], AsyncConductorClient],
        prompt: Callable[[str], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.off = False
        self._client = client
        self._prompt = prompt
        self._sleep = sleep
        self._holders: Counter[str] = Counter()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def hold(self, workflow_id: str) -> None:
        """Somebody waits for it: listen, if there is room."""
        self._holders[workflow_id] += 1
        if not self.off and workflow_id not in self._tasks and len(self._tasks) < MAX_STREAMS:
            self._tasks[workflow_id] = asyncio.create_task(
                self._listen_on(workflow_id), name="conductor-stream", context=contextvars.Context()
            )

    def release(self, workflow_id: str) -> None:
        """A wait for it has ended."""
        self._holders[workflow_id] -= 1
        if self._holders[workflow_id] <= 0:
            del self._holders[workflow_id]
            task = self._tasks.pop(workflow_id, None)
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen_on(self, workflow_id: str) -> None:
        while not self.off:
            try:
                await self._listen(workflow_id)
            except ConductorNotFoundError:
                return
            except (NotConductorError, ConductorAnswerError) as error:
                if error.conclusive:
                    self.off = True
                    log.info("The server has no event stream for us, its workflows are polled instead: %s", error)
                    return
            except ConductorRequestError as error:
                log.debug("The event stream of workflow %s broke: %s", workflow_id, error)
            await self._sleep(REOPEN_AFTER)

    async def _listen(self, workflow_id: str) -> None:
        async with contextlib.aclosing(self._client().listen(workflow_id)) as events:
            async for event in events:
                if event in PROMPTS:
                    self._prompt(workflow_id)
                    await self._sleep(AGAIN_AFTER)
                    self._prompt(workflow_id)
