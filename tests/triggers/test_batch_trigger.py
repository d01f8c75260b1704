"""The trigger of a batch: when a worker is woken, what a kill and a deadline do to what runs, what is stored of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor.batch.handover import FREE_FOR
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.testing import ConductorStandIn, Script
from airflow_provider_conductor.triggers import ConductorWorkflowsTrigger, batch as module
from tests.batch.simulated import Starting
from tests.operators.airflow_standin import first_event, sent_through_airflow
from tests.polling.simulated import watcher_of
from tests.polling.virtual_time import EPOCH, now, run
from tests.triggers.test_workflow_trigger import now_in_state, run_until_cancelled, stop_because_killed, task_instance

EIGHT = [f"w{number}" for number in range(8)]

KILLED = "Airflow task was killed"


def waiting_for(*workflow_ids: str, **arguments: Any) -> ConductorWorkflowsTrigger:
    defaults: dict[str, Any] = {"more": False, "max_active": 8, "began": EPOCH, "poll_interval": 0.1}
    trigger = ConductorWorkflowsTrigger(
        conductor_conn_id="conductor_default", workflow_ids=workflow_ids, **{**defaults, **arguments}
    )
    trigger.task_instance = task_instance()
    return trigger


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

    monkeypatch.setattr(module, "shared_poller", shared_poller)
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
    assert event == {"status": "go_on", "message": "1 of 8 running workflows have ended"}
    assert 10 + FREE_FOR <= at < 10 + FREE_FOR + 3


def test_the_minute_is_that_of_the_first_place(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0, "w4": 60.0}, more=True, max_active=80)
    assert event["message"].startswith("2 of 8")
    assert at < 10 + FREE_FOR + 3


def test_a_quarter_of_the_places_wakes_a_worker_at_once(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0, "w4": 20.0}, more=True)
    assert event == {"status": "go_on", "message": "2 of 8 running workflows have ended"}
    assert 20 <= at < 23


def test_where_there_is_nothing_to_start_it_waits_for_all(server: Starting) -> None:
    event, at = woken(server, {workflow_id: 10.0 * number for number, workflow_id in enumerate(EIGHT)})
    assert event == {"status": "go_on", "message": "8 of 8 running workflows have ended"}
    assert at >= 70


def test_a_standstill_counts_as_an_end(server: Starting) -> None:
    """The worker finds it, too, and does with it what was asked."""
    event, _ = woken(server, dict.fromkeys(EIGHT[1:], 5.0), stall_timeout=30.0)
    assert event["status"] == "go_on"
    assert server.workflows["w0"][0] == "RUNNING"


# The deadline


def test_the_deadline_is_an_event_and_ends_nothing(server: Starting) -> None:
    event, at = woken(server, {"w3": 10.0}, deadline=EPOCH + 30)
    assert event == {"status": "timeout", "message": "1 of 8 running workflows have ended"}
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


# What cannot be waited for


def test_refused_credentials_are_an_event(conductor: ConductorStandIn) -> None:
    conductor.instead = lambda request: (401, "application/json", b'{"message": "go away", "retryable": false}')
    event = first_event(waiting_for("abc", "def"))
    assert (event["status"], event["error"]) == ("error", "ConductorAuthError")
    assert "go away" in event["message"]


def test_a_connection_that_cannot_be_used_is_an_event(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(read_timeot=5))
    event = first_event(waiting_for("abc"))
    assert (event["status"], event["error"]) == ("error", "ConductorConfigError")
    assert "read_timeot" in event["message"]


# Between processes


def test_it_survives_airflows_own_serialisation(conductor: ConductorStandIn) -> None:
    ids = [conductor.plays(conductor.add(), Script(after=0.1)) for _ in range(3)]
    trigger = waiting_for(
        *ids,
        more=True,
        deadline=EPOCH * 2,
        stall_timeout=300.0,
        kill_reason=KILLED,
        timeout_reason="Airflow task timed out",
    )
    arrived = sent_through_airflow(trigger)
    assert type(arrived) is ConductorWorkflowsTrigger
    assert arrived.serialize() == trigger.serialize()
    assert {name: vars(arrived)[name] for name in trigger.serialize()[1]} == trigger.serialize()[1]
    assert first_event(arrived)["status"] == "go_on"


def test_its_arguments_are_plain_json() -> None:
    _, arguments = waiting_for("abc", "def").serialize()
    assert json.loads(json.dumps(arguments, allow_nan=False)) == arguments


# Kills


@pytest.mark.parametrize("state", ["failed", "success", None])
async def test_a_killed_task_takes_along_what_runs_and_only_that(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    now_in_state(monkeypatch, state)
    running, failed, completed = conductor.add(), conductor.add("FAILED"), conductor.add("COMPLETED")
    paused = conductor.add("PAUSED")
    trigger = waiting_for(running, failed, completed, paused, kill_reason=KILLED)
    await stop_because_killed(trigger, conductor)
    states = [conductor.status(workflow_id) for workflow_id in (running, failed, completed, paused)]
    assert states == ["TERMINATED", "FAILED", "COMPLETED", "TERMINATED"]
    assert conductor.reason(running) == KILLED


async def test_a_killed_task_whose_workflows_are_to_live_leaves_them(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_in_state(monkeypatch, "failed")
    ids = [conductor.add(), conductor.add()]
    await stop_because_killed(waiting_for(*ids, kill_reason=None), conductor)
    assert [conductor.status(workflow_id) for workflow_id in ids] == ["RUNNING", "RUNNING"]


async def test_a_trigger_that_moves_to_another_triggerer_terminates_nothing(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_in_state(monkeypatch, "deferred")
    ids = [conductor.add(), conductor.add()]
    await stop_because_killed(waiting_for(*ids, kill_reason=KILLED), conductor)
    assert [conductor.status(workflow_id) for workflow_id in ids] == ["RUNNING", "RUNNING"]


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
async def test_an_event_that_another_triggerer_has_delivered_is_no_kill(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    now_in_state(monkeypatch, state)
    ids = [conductor.add(), conductor.add()]
    await stop_because_killed(waiting_for(*ids, kill_reason=KILLED), conductor)
    assert [conductor.status(workflow_id) for workflow_id in ids] == ["RUNNING", "RUNNING"]


async def test_a_cancelled_trigger_leaves_no_wait_behind(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_in_state(monkeypatch, "deferred")
    before = len(asyncio.all_tasks())
    async with asyncio.timeout(20):
        await run_until_cancelled(waiting_for(*(conductor.add() for _ in range(5)), kill_reason=KILLED), conductor)
    assert len(asyncio.all_tasks()) == before
