"""The event stream brings looks forward, and is believed in nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorSettings,
    ConductorTimeoutError,
    NotConductorError,
)
from airflow_provider_conductor.polling.event_stream import MAX_STREAMS, REOPEN_AFTER
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.polling import simulated
from tests.polling.simulated import (
    ROUTE,
    Server,
    end,
    resting,
    start,
)
from tests.polling.virtual_time import in_virtual_time, now


@dataclass
class Streaming(Server):
    """A server with event streams: what is put into ``events[id]`` comes out of each stream of it.

    ``refusal`` is what opening a stream raises; an exception among the events is raised by the stream, and None
    ends it.
    """

    settings: ConductorSettings = field(
        default_factory=lambda: ConductorSettings("http://conductor:8080", completion_stream=True)
    )
    events: dict[str, asyncio.Queue[Any]] = field(default_factory=dict)
    refusal: ConductorError | None = None
    opened: list[str] = field(default_factory=list)
    open_now: int = 0

    def tell(self, name: str, event: Any) -> None:
        self.events.setdefault(name, asyncio.Queue()).put_nowait(event)

    async def listen(self, workflow_id: str) -> AsyncIterator[str]:
        self.opened.append(workflow_id)
        if self.refusal is not None:
            raise self.refusal
        self.open_now += 1
        try:
            yield ""
            while True:
                event = await self.events.setdefault(workflow_id, asyncio.Queue()).get()
                if event is None:
                    return
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.open_now -= 1


watch = partial(simulated.watch, of=Streaming)


def old(name: str) -> Any:
    """A wait for a workflow that runs for a day: it is looked at once a minute."""
    return resting(name, 60.0, started=now() - 86_400)


@in_virtual_time
async def test_an_end_is_seen_at_once() -> None:
    server, poller = watch("a")
    waiting = start(poller.run(old("a")))
    await asyncio.sleep(10)
    ended = now()
    server.end("a")
    server.tell("a", "done")
    assert (await waiting).revision.status == "COMPLETED"
    assert now() - ended < 0.05
    await end(poller)
    assert server.open_now == 0


@in_virtual_time
async def test_an_event_that_comes_before_the_status_is_looked_at_again() -> None:
    server, poller = watch("a")
    waiting = start(poller.run(old("a")))
    await asyncio.sleep(10)
    told = now()
    server.tell("a", "done")
    await asyncio.sleep(0.1)
    server.end("a")
    await waiting
    assert now() - told < 0.5


@in_virtual_time
async def test_an_event_alone_ends_no_wait() -> None:
    """Old events are replayed after a retry."""
    server, poller = watch("a")
    server.tell("a", "done")
    waiting = start(poller.run(old("a")))
    await asyncio.sleep(30)
    assert not waiting.done()


@pytest.mark.parametrize("silent", [True, False])
@in_virtual_time
async def test_an_end_without_an_event_is_seen_all_the_same(silent: bool) -> None:
    server, poller = watch("a")
    waiting = start(poller.run(resting("a")))
    await asyncio.sleep(5)
    if not silent:
        server.tell("a", "tool_call")
    server.end("a")
    await asyncio.wait_for(waiting, 61)


@in_virtual_time
async def test_an_event_that_is_lost_makes_no_end_late() -> None:
    """The stream is open, and of the end it says nothing: the server keeps events in one node's memory."""
    server, poller = watch("a")
    waiting = start(poller.run(resting("a")))
    await asyncio.sleep(10)
    ended = now()
    server.end("a")
    await waiting
    assert now() - ended <= 1.1


@in_virtual_time
async def test_an_event_while_it_is_asked_about_is_not_lost() -> None:
    """The answer under way is from before the end."""
    server, poller = watch("a", latency=5.0)
    waiting = start(poller.run(resting("a", 20.0, poll_interval=60.0)))
    await asyncio.sleep(17)
    answer = server._answer

    async def early(call: Any) -> Any:
        server._answer = answer  # type: ignore[method-assign]
        server.workflows["a"] = ["RUNNING", 1]
        found = await answer(call)
        server.workflows["a"] = ["COMPLETED", 2]
        return found

    server._answer = early  # type: ignore[method-assign]
    await asyncio.sleep(2)
    server.tell("a", "done")
    await waiting
    assert now() - server.at[0] < 15


@in_virtual_time
async def test_an_event_while_a_wait_looks_for_itself_is_not_lost() -> None:
    server, poller = watch("a", latency=2.0)
    plan = WaitSpec(workflow_id="a", started_at=now(), poll_interval=60.0)
    waiting = start(poller.run(wait(plan, lambda line: None)))
    await asyncio.sleep(61)  # its rest has begun, and with it the stream
    ended = now()
    server.workflows["a"] = ["PAUSED", 2]
    server.tell("a", "waiting")
    await asyncio.sleep(3)  # it is awake and looks
    server.tell("a", "done")
    await asyncio.sleep(1.9)
    server.end("a")
    await waiting
    assert now() - ended < 20


@pytest.mark.parametrize(
    "refusal",
    [
        ConductorMissingRouteError("no such endpoint", status=404, **ROUTE),
        NotConductorError("the answer is not a valid Conductor answer", **ROUTE),
    ],
    ids=["an older server", "something in between"],
)
@in_virtual_time
async def test_it_is_off_where_the_server_has_no_streams(refusal: ConductorError) -> None:
    server, poller = watch("a", "b", refusal=refusal)
    waits = [start(poller.run(resting("a")))]
    await asyncio.sleep(2)
    waits.append(start(poller.run(resting("b"))))
    await asyncio.sleep(300)
    assert server.opened == ["a"]
    server.end("a", "b")
    assert {seen.revision.status for seen in await asyncio.gather(*waits)} == {"COMPLETED"}


@in_virtual_time
async def test_a_workflow_that_the_stream_does_not_know_is_its_own_affair() -> None:
    server, poller = watch(
        "a", "b", refusal=ConductorNotFoundError("No such workflow found by id", status=404, **ROUTE)
    )
    waits = [start(poller.run(resting("a")))]
    await asyncio.sleep(2)
    server.refusal = None
    waits.append(start(poller.run(resting("b"))))
    await asyncio.sleep(2)
    assert server.opened == ["a", "b"]


@pytest.mark.parametrize("event", [None, ConductorTimeoutError("nothing for 45 s", repeatable=True, **ROUTE)])
@in_virtual_time
async def test_a_stream_that_ends_or_breaks_is_opened_again(event: Any) -> None:
    server, poller = watch("a")
    waiting = start(poller.run(old("a")))
    await asyncio.sleep(5)
    server.tell("a", event)
    await asyncio.sleep(REOPEN_AFTER + 1)
    assert server.opened == ["a", "a"]
    assert server.open_now == 1
    await end(poller, waiting)
    assert server.open_now == 0


@in_virtual_time
async def test_the_number_of_streams_is_bounded() -> None:
    names = [f"w{index}" for index in range(MAX_STREAMS + 50)]
    server, poller = watch(*names)
    waits = [start(poller.run(resting(name))) for name in names]
    await asyncio.sleep(5)
    assert server.open_now == MAX_STREAMS
    server.end(*names)
    await asyncio.gather(*waits)
    await asyncio.sleep(0)
    assert server.open_now == 0
    server.add("later")
    start(poller.run(resting("later")))
    await asyncio.sleep(1)
    assert server.open_now == 1, "those that have ended leave room"


@in_virtual_time
async def test_two_waits_for_one_workflow_share_its_stream() -> None:
    server, poller = watch("a")
    waits = [start(poller.run(resting("a"))) for _ in range(2)]
    await asyncio.sleep(1)
    waits[0].cancel()
    await asyncio.sleep(1)
    assert (server.opened, server.open_now) == (["a"], 1)
    await end(poller, *waits)
    assert server.open_now == 0


@in_virtual_time
async def test_nobody_listens_unless_the_connection_asks_for_it() -> None:
    server, poller = watch("a", settings=ConductorSettings("http://conductor:8080"))
    start(poller.run(resting("a")))
    await asyncio.sleep(10)
    assert server.opened == []
