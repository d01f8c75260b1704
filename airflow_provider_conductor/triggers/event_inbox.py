"""What an event trigger does while it runs: it gets ends, hands events to Airflow, and saves how far it is."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import Logger
from airflow_provider_conductor.triggers.end_feed import Feed, watching
from airflow_provider_conductor.watching.ends import End, Wanted
from airflow_provider_conductor.watching.payload import payload
from airflow_provider_conductor.watching.position import OpenEnd, Position
from airflow_provider_conductor.watching.sweep import Watcher

POSITION = "conductor_position"
"""The key of a watcher's position in its asset's state store."""

AT_ONCE = 50
"""Events of one watcher that Airflow may have without having confirmed that they are stored. A triggerer that is killed
repeats no more than these."""

SAVE_EVERY = 60.0
"""Seconds after which a position is saved that has moved without an event."""

FIRST_SAVE = 1.0
"""Seconds after which a new watcher tries to save its first position."""


class Watching(Protocol):
    """What is used of the trigger; durations are seconds."""

    conductor_conn_id: str
    workflow_name_prefix: str | None
    correlation_id: str | None
    include_sub_workflows: bool
    poll_interval: float
    index_lag: float
    catch_up: float
    max_output_bytes: int

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def statuses(self) -> tuple[str, ...]: ...
    @property
    def log(self) -> Logger: ...


class EventInbox:
    """The ends that a trigger has got and not yet handed over, or whose events are not yet confirmed."""

    def __init__(self, trigger: Watching, position: Position | None = None) -> None:
        self._trigger = trigger
        self._feed: Feed
        self._events: dict[OpenEnd, dict[str, Any]] = {}
        self._new: OrderedDict[OpenEnd, None] = OrderedDict()
        self._arrived = asyncio.Event()
        self.watcher = Watcher(
            wanted=Wanted(
                names=trigger.names,
                prefix=trigger.workflow_name_prefix or "",
                statuses=trigger.statuses,
                correlation_id=trigger.correlation_id,
                sub_workflows=trigger.include_sub_workflows,
            ),
            lag=round(trigger.index_lag * 1000),
            catch_up=round(trigger.catch_up * 1000),
            max_output_bytes=trigger.max_output_bytes,
            report=self._report,
            unconfirmed=self._events.keys,
            position=position,
        )
        self._watching = watching(trigger.conductor_conn_id, self.watcher, trigger.poll_interval)

    async def __aenter__(self) -> EventInbox:
        self._feed = await self._watching.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._watching.__aexit__(*raised)

    def _report(self, end: End, workflow: Workflow | None) -> None:
        url, limit = self._feed.workflow_url(end.workflow_id), self._trigger.max_output_bytes
        key = (end.workflow_id, end.time)
        self._events[key] = payload(end, workflow, url=url, max_output_bytes=limit)
        self._new[key] = None
        self._arrived.set()

    @property
    def handed_over(self) -> int:
        return len(self._events) - len(self._new)

    async def get(self) -> OpenEnd:
        """The next end, the first first."""
        while not self._new:
            self._arrived.clear()
            await self._arrived.wait()
        return self._new.popitem(last=False)[0]

    def event(self, end: OpenEnd) -> dict[str, Any]:
        return self._events[end]

    def confirm(self, end: OpenEnd) -> dict[str, Any]:
        """It is Airflow's now."""
        return self._events.pop(end)


class ConfirmedEvents:
    """A ``SharedStreamProducer`` of Airflow 3.3: it hands events over, and saves the position once they are stored.

    In this order an event is never lost. What a killed triggerer had handed over since its last save is repeated.
    """

    def __init__(self, trigger: Watching, store: Any) -> None:
        self._trigger = trigger
        self._store = store
        self._inbox: EventInbox | None = None
        self._saved: Any = None
        self._room = asyncio.Event()

    async def open_stream(self) -> AsyncIterator[tuple[dict[str, Any], OpenEnd]]:
        async with EventInbox(self._trigger, await self._restored()) as inbox:
            self._inbox = inbox
            saving = asyncio.create_task(self._save_now_and_then())
            try:
                while True:
                    while inbox.handed_over >= AT_ONCE:
                        self._room.clear()
                        await self._room.wait()
                    end = await inbox.get()
                    yield inbox.event(end), end
            finally:
                saving.cancel()

    async def advance(self, batch: Sequence[Any]) -> None:
        """Airflow has stored these events."""
        for item in batch:
            # One that was not stored stays open, so that the position does not pass it; the trigger starts anew then.
            if item.outcome.is_clean and self._inbox is not None:
                self._inbox.confirm(item.broker_payload)
        self._room.set()
        await self._save()

    def get_advance_lane(self, end: OpenEnd) -> None:
        """All in one."""

    async def aclose(self) -> None:
        """The stream has closed what there is."""

    async def _restored(self) -> Position | None:
        """The position of the last triggerer. It must not begin anew only because the store fails just now."""
        stored = await self._store.aget(POSITION)
        position = Position.restored(stored, round(self._trigger.index_lag * 1000))
        if position is None and stored is not None:
            self._trigger.log.warning("The position of the watcher cannot be read, so it begins now: %s", stored)
        self._saved = stored
        return position

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FIRST_SAVE if self._saved is None else SAVE_EVERY)
            await self._save()

    async def _save(self) -> None:
        if self._inbox is None or self._inbox.watcher.position is None:
            return
        stored = self._inbox.watcher.position.stored(self._inbox.watcher.unconfirmed())
        if stored == self._saved:
            return
        try:
            await self._store.aset(POSITION, stored)
            self._saved = stored
        except Exception as error:  # whatever Airflow's API raises: the next save has all of it
            self._trigger.log.warning("The position of the watcher could not be saved: %s", error)
