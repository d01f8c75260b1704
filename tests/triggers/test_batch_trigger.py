"""The trigger of a batch: when a worker is woken, what a kill and a deadline do to what runs, what is stored of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor.batch.handover import FREE_FOR
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.triggers import ConductorWorkflowsTrigger, base, batch as module
from tests.batch.simulated import Starting
from tests.polling.simulated import watcher_of
from tests.polling.virtual_time import EPOCH, now, run

EIGHT = [f"w{number}" for number in range(8)]


def waiting_for(*workflow_ids: str, **arguments: Any) -> ConductorWorkflowsTrigger:
    defaults: dict[str, Any] = {"max_active": 8, "started_at": EPOCH, "poll_interval": 0.1}
    return ConductorWorkflowsTrigger(workflow_ids=workflow_ids, **{**defaults, **arguments})


# When a worker is woken, in virtual time


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Starting:
    """A server in memory that has eight running workflows, and a poller of it for every connection."""
    server = Starting()
    server.add(*EIGHT)

    @asynccontextmanager
    async def shared_poller(_: str) -> AsyncIterator[Poller]:
        poller = watcher_of(server)
        try:
            yield poller
        finally:
            await poller.close()

    monkeypatch.setattr(base, "shared_poller", shared_poller)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=now, monotonic=now))
    return server


def woken(server: Starting, ends: dict[str, float], **arguments: Any) -> tuple[dict[str, Any], float]:
    """The one event, and after how many seconds it came, where workflows end after so many."""

    async def play() -> None:
        for workflow_id, after in sorted(ends.items(), key=lambda one: one[1]):
            await asyncio.sleep(EPOCH + after - now())
            server.end(workflow_id)

    async def main() -> tuple[dict[str, Any], float]:
        playing = asyncio.create_task(play())
        async with asyncio.timeout(600):
            (event,) = [event async for event in waiting_for(*EIGHT, **{"poll_interval": 1.0, **arguments}).run()]
        at = now() - EPOCH
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        return event.payload, at

    return run(main())


def test_a_free_place_wakes_a_worker_after_a_minute(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0}, more=True)
    assert event == {"status": "go_on", "message": "1 of 8 running workflows have ended", "completed": ["w3"]}
    assert 10 + FREE_FOR <= at < 10 + FREE_FOR + 3


def test_the_minute_is_that_of_the_first_place(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0, "w4": 60.0}, more=True, max_active=80)
    assert event["message"].startswith("2 of 8")
    assert at < 10 + FREE_FOR + 3


def test_a_quarter_of_the_places_wakes_a_worker_at_once(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0, "w4": 20.0}, more=True)
    assert event["message"] == "2 of 8 running workflows have ended"
    assert 20 <= at < 23


def test_where_there_is_nothing_to_start_it_waits_for_all(server: Starting) -> None:
    event, at = woken(server, {workflow_id: 10.0 * number for number, workflow_id in enumerate(EIGHT)})
    assert (event["status"], sorted(event["completed"])) == ("go_on", EIGHT)
    assert at >= 70


def test_a_standstill_counts_as_an_end(server: Starting) -> None:
    """The worker finds it, too, and does with it what was asked."""
    event, _ = woken(server, dict.fromkeys(EIGHT[1:], 5.0), stall_timeout=30.0)
    assert event["status"] == "go_on"
    assert server.workflows["w0"][0] == "RUNNING"


# The deadline


def test_the_deadline_is_an_event_and_ends_nothing(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0}, deadline=EPOCH + 30)
    assert (event["status"], event["completed"]) == ("timeout", ["w3"])
    assert 30 <= at < 31
    assert server.asked["terminate"] == 0


def test_where_nothing_is_resumed_the_trigger_ends_what_runs_and_only_that(server: Starting) -> None:
    server.end("w0", status="FAILED")
    event, _ = woken(server, {"w3": 10.0}, deadline=EPOCH + 30, timeout_reason="too late")
    assert event["status"] == "timeout"
    states = {workflow_id: state for workflow_id, (state, _) in server.workflows.items()}
    assert states == {**dict.fromkeys(EIGHT, "TERMINATED"), "w0": "FAILED", "w3": "COMPLETED"}
    assert set(server.reasons.values()) == {"too late"}


def test_what_ends_before_the_deadline_is_no_time_out(server: Starting) -> None:
    event, _ = woken(server, dict.fromkeys(EIGHT, 10.0), deadline=EPOCH + 30, timeout_reason="too late")
    assert event["status"] == "go_on"
    assert not server.reasons
