"""The trigger of asset watchers, against the stand-in: on Airflow 3.3 as its triggerer runs it, before by ``run``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from airflow_provider_conductor.testing import ConductorStandIn, Request
from airflow_provider_conductor.testing.server import Answer
from airflow_provider_conductor.triggers import ConductorWorkflowEventTrigger

pytestmark = pytest.mark.airflow_versions(since="3.0")

confirmed = pytest.mark.airflow_versions(since="3.3")


class Store:
    """An asset's state store."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.fails = False

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        if self.fails:
            raise RuntimeError("no store today")
        self.values[key] = value


def trigger(**arguments: Any) -> ConductorWorkflowEventTrigger:
    given: dict[str, Any] = {"workflow_name": "orders", "poll_interval": 0.1, **arguments}
    return ConductorWorkflowEventTrigger(**given)


async def until(what: Callable[[], Any], seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - what changes is another program's
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(watch: ConductorWorkflowEventTrigger) -> AsyncIterator[list[dict[str, Any]]]:
    """Its events, in a loop of its own."""
    events: list[dict[str, Any]] = []

    async def collect() -> None:
        async for event in watch.run():
            events.append(event.payload)

    task = asyncio.create_task(collect())
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.wait([task])


def searches(conductor: ConductorStandIn) -> int:
    return conductor.journal.count("GET /workflow/search")


async def test_each_end_is_one_event(conductor: ConductorStandIn) -> None:
    conductor.add("COMPLETED")
    async with running(trigger()) as events:
        await until(lambda: searches(conductor) > 1)
        await asyncio.sleep(0.1)
        ended = conductor.add("COMPLETED", output={"parcel": "P-7"}, correlation_id="7")
        conductor.add("FAILED")
        conductor.add("COMPLETED", name="returns")
        await until(lambda: events)
        await asyncio.sleep(0.5)
    (event,) = events
    assert event["url"] == f"{conductor.url}/execution/{ended}"
    assert event["event_id"].startswith(f"{ended}:")
    assert (event["workflow_id"], event["workflow_name"], event["workflow_version"]) == (ended, "orders", 1)
    assert (event["status"], event["correlation_id"]) == ("COMPLETED", "7")
    assert (event["output"], event["output_omitted"]) == ({"parcel": "P-7"}, None)
    assert event["end_time"].endswith("+00:00")


async def test_many_watchers_share_a_search(conductor: ConductorStandIn) -> None:
    conductor.add("COMPLETED")
    async with contextlib.AsyncExitStack() as stack:
        one = trigger(workflow_name=["orders", "returns"], asset_name="0")
        found = [await stack.enter_async_context(running(one))]
        found += [await stack.enter_async_context(running(trigger(asset_name=str(n)))) for n in range(1, 50)]
        await until(lambda: searches(conductor) > 4)
        before = searches(conductor)
        await asyncio.sleep(1.0)
        assert searches(conductor) - before <= 11
        conductor.add("COMPLETED")
        await until(lambda: all(found))
        assert [len(events) for events in found] == [1] * 50


HOSTILE: dict[str, Answer] = {
    "unavailable": (503, "text/plain", b"later"),
    "unauthorized": (401, "application/json", b'{"message": "no valid token"}'),
    "broken": (500, "text/html", b"<html>"),
    "hangs up": (0, "", b""),
    "a sign-in page": (200, "text/html", b"<html>"),
    "no answer's shape": (200, "application/json", b"[]"),
    "no workflows": (200, "application/json", b'{"totalHits": 2, "results": [7, null]}'),
    "nameless workflows": (200, "application/json", b'{"totalHits": 1, "results": [{}]}'),
}


@pytest.mark.parametrize("of_search", [True, False], ids=["the search", "the read of what was found"])
@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_an_outage_ends_nothing(conductor: ConductorStandIn, of_search: bool, answer: Answer) -> None:
    refused: list[Request] = []

    def refuse(request: Request) -> Answer | None:
        if (request.path == "/workflow/search") is not of_search:
            return None
        refused.append(request)
        return answer

    conductor.add("COMPLETED")
    async with running(trigger()) as events:
        await until(lambda: searches(conductor) > 1)
        conductor.instead = refuse
        ended = conductor.add("COMPLETED")
        await until(lambda: refused and (len(refused) > 1 or events))
        conductor.instead = lambda request: None
        await until(lambda: events)
        later = conductor.add("COMPLETED", output={"parcel": "P-7"})
        await until(lambda: len(events) > 1)
    assert [event["workflow_id"] for event in events] == [ended, later]
    assert events[1]["output"] == {"parcel": "P-7"}


async def test_a_search_that_hangs_ends_nothing(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(read_timeout=0.3))
    released, hung = threading.Event(), threading.Event()

    def hang(request: Request) -> Answer | None:
        hung.set()
        released.wait(30)
        return None

    conductor.add("COMPLETED")
    async with running(trigger()) as events:
        await until(lambda: searches(conductor) > 1)
        conductor.instead = hang
        await until(hung.is_set)
        ended = conductor.add("COMPLETED")
        before = searches(conductor)
        await until(lambda: searches(conductor) > before)
        conductor.instead = lambda request: None
        released.set()
        await until(lambda: events)
    assert [event["workflow_id"] for event in events] == [ended]


@confirmed
async def test_a_killed_triggerer_repeats_what_was_not_confirmed(conductor: ConductorStandIn) -> None:
    from airflow.triggers.shared_stream import SharedStreamManager

    store = Store()
    conductor.add("COMPLETED")

    async def life(confirms: int) -> list[str]:
        """One triggerer, which confirms so many events and is then lost."""
        watch = trigger()
        watch.trigger_id = 1
        watch.asset_state_store = store
        key = watch.shared_stream_key()
        streams = SharedStreamManager()
        got: list[str] = []

        async def collect() -> None:
            stream = streams.subscribe(trigger_id=1, trigger=watch, key=key)
            async for event in watch.filter_shared_stream(stream):
                seq = streams.bind_pending_event(trigger_id=1, key=key)
                got.append(event.payload["workflow_id"])
                if len(got) <= confirms:
                    streams.confirm_persisted([seq])

        task = asyncio.create_task(collect())
        await until(lambda: store.values)
        for _ in range(6):
            ids.append(conductor.add("COMPLETED"))
        await until(lambda: set(ids) - done <= set(got))
        saved = store.values["conductor_position"]
        await asyncio.sleep(0.5)
        store.fails = True  # a process that is killed writes nothing more
        task.cancel()
        await asyncio.wait([task])
        await streams.stop_all()
        store.fails = False
        assert saved
        return got

    ids: list[str] = []
    done: set[str] = set()
    first = await life(confirms=4)
    done |= set(first[:4])
    second = await life(confirms=100)
    assert first == ids[:6]
    assert sorted(second) == sorted([*first[4:], *ids[6:]])
    done |= set(second)
    assert sorted(await life(confirms=100)) == sorted(ids[12:])


@confirmed
def test_without_a_store_it_runs_by_itself() -> None:
    assert trigger().shared_stream_key() is None


def test_it_is_made_again_from_its_arguments() -> None:
    made = trigger(workflow_name=["a", "b"], status=["FAILED", "TIMED_OUT"], asset_name="x", catch_up=60)
    path, arguments = made.serialize()
    assert path == "airflow_provider_conductor.triggers.ConductorWorkflowEventTrigger"
    assert ConductorWorkflowEventTrigger(**arguments).serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workflow_name": None}, "workflow_name_prefix"),
        ({"workflow_name_prefix": "or"}, "not by both"),
        ({"workflow_name": ["orders", ""]}, "workflow_name"),
        ({"status": "RUNNING"}, "COMPLETED, FAILED, TIMED_OUT, TERMINATED"),
        ({"status": []}, "status takes"),
        ({"poll_interval": -1}, "poll_interval"),
    ],
)
def test_what_cannot_be_watched_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trigger(**arguments)
