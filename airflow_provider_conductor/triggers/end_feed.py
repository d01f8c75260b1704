"""One read of the search index for all watchers of a connection in a triggerer, however many there are."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.text import LINE_LIMIT, one_line
from airflow_provider_conductor.polling.next_poll import next_poll_after_failure
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.triggers.shared_poller import shared_poller
from airflow_provider_conductor.watching.sweep import Watcher, begin, sweep

log = logging.getLogger(__name__)

_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Feed]] = WeakKeyDictionary()


@asynccontextmanager
async def watching(conductor_conn_id: str, watcher: Watcher, poll_interval: float) -> AsyncIterator[Feed]:
    """Report ends to this watcher; the shortest ``poll_interval`` of a connection's watchers is the one of all."""
    of_loop = _feeds.setdefault(asyncio.get_running_loop(), {})
    feed = of_loop.get(conductor_conn_id)
    if feed is None:
        feed = of_loop[conductor_conn_id] = Feed(conductor_conn_id)
    member = _Member(watcher, poll_interval)
    feed.join(member)
    try:
        yield feed
    finally:
        if not feed.leave(member):
            if of_loop.get(conductor_conn_id) is feed:
                del of_loop[conductor_conn_id]
            await feed.close()


@dataclass(eq=False, slots=True)
class _Member:
    watcher: Watcher
    poll_interval: float
    began: asyncio.Event = field(default_factory=asyncio.Event)


class Feed:
    """Reads the ends for its members until the last one has left."""

    def __init__(self, conductor_conn_id: str) -> None:
        self._conn_id = conductor_conn_id
        self._members: list[_Member] = []
        self._joined = asyncio.Event()
        self._failures = 0
        self._reading: asyncio.Task[None] | None = None
        self._settings: ConductorSettings | None = None

    def workflow_url(self, workflow_id: str) -> str:
        """The page of a workflow that was found, in Conductor's UI."""
        return self._settings.workflow_url(workflow_id) if self._settings else ""

    def join(self, member: _Member) -> None:
        self._members.append(member)
        self._joined.set()
        if self._reading is None:
            # A context of its own: the first watcher's log is not where the lines of all belong.
            self._reading = asyncio.create_task(self._read_on(), name="conductor-ends", context=contextvars.Context())

    def leave(self, member: _Member) -> bool:
        """Whether there are others."""
        self._members.remove(member)
        return bool(self._members)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read_on(self) -> None:
        """Read for ever: a watcher that fails would be started again at once, and fail again."""
        while True:
            try:
                # The connection is looked up again after a failure: it may have been changed.
                async with shared_poller(self._conn_id) as poller:
                    while True:
                        await self._read(poller)
                        if self._failures:
                            log.info("The ends of workflows can be read again by connection %s", self._conn_id)
                        self._failures = 0
                        await self._pause()
            except Exception as error:  # whatever it is, a later attempt may succeed, and misses nothing
                self._failures += 1
                pause = next_poll_after_failure(self._failures, 0.0, jitter=random.random())
                log.warning(
                    "The ends of workflows cannot be read by connection %s, next attempt in %.0f s: %s: %s",
                    *(self._conn_id, pause, type(error).__name__, one_line(error, LINE_LIMIT)),
                )
                await asyncio.sleep(pause)

    async def _read(self, poller: Poller) -> None:
        self._settings = poller.client.settings
        members = list(self._members)
        new = [member for member in members if not member.began.is_set()]
        if new:
            await poller.run(begin([member.watcher for member in new], self._warn))
            for member in new:
                member.began.set()
        await poller.run(sweep([member.watcher for member in members]))

    async def _pause(self) -> None:
        """Until the next read is due, or somebody has joined."""
        self._joined.clear()
        if all(member.began.is_set() for member in self._members):
            interval = min((member.poll_interval for member in self._members), default=1.0)
            try:
                await asyncio.wait_for(self._joined.wait(), interval)
            except TimeoutError:
                return
        # Those that join one after the other, as after a start of the triggerer, share a read.
        await asyncio.sleep(1.0)

    def _warn(self, line: str) -> None:
        log.warning("Connection %s: %s", self._conn_id, line)
