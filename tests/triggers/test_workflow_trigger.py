"""The trigger: one event, small and plain; nothing of the loop is blocked and nothing is killed by mistake."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor._airflow import TaskNow
from airflow_provider_conductor.polling.wait import WaitPlan
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from airflow_provider_conductor.triggers import ConductorWorkflowTrigger, workflow as triggers
from tests.operators.airflow_standin import first_event, sent_through_airflow

SOON = 0.4


def waiting_for(workflow_id: str, kill_reason: str | None = None, **plan: Any) -> ConductorWorkflowTrigger:
    whole = WaitPlan(workflow_id=workflow_id, started_at=time.time(), **{"poll_interval": 0.1, **plan})
    return ConductorWorkflowTrigger(
        conductor_conn_id="conductor_default", plan=whole.to_json(), kill_reason=kill_reason
    )


# The event


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"])
def test_the_event_has_the_id_and_the_status_and_no_reason(conductor: ConductorStandIn, status: str) -> None:
    script = Script(after=SOON, status=status, output={"card": "4711"}, reason="no tea left")
    workflow_id = conductor.plays(conductor.add(), script)
    event = first_event(waiting_for(workflow_id))
    assert event == {"workflow_id": workflow_id, "status": status, "message": ""}


def test_no_output_goes_into_the_metadata_database(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.plays(conductor.add(), Script(after=0.1, output={"card": "4711"}))
    assert "4711" not in json.dumps(first_event(waiting_for(workflow_id)))


def test_a_long_reason_is_cut(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("FAILED", reason="tea " * 10_000)
    assert len(json.dumps(first_event(waiting_for(workflow_id)))) < 2_000


def test_the_deadline_is_an_event(conductor: ConductorStandIn) -> None:
    event = first_event(waiting_for(conductor.add(), deadline=time.time() + SOON))
    assert event["status"] == "timeout"
    assert event["message"]


def test_the_task_waited_for_is_an_event(conductor: ConductorStandIn) -> None:
    pack = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "COMPLETED"}
    workflow_id = conductor.add(tasks=[pack])
    event = first_event(waiting_for(workflow_id, wait_until_task_ref="pack"))
    assert (event["workflow_id"], event["status"]) == (workflow_id, "task_ended")


def test_refused_credentials_are_an_event_and_not_a_wait(conductor: ConductorStandIn) -> None:
    conductor.instead = lambda request: (401, "application/json", b'{"message": "go away", "retryable": false}')
    event = first_event(waiting_for("abc"))
    assert (event["workflow_id"], event["status"]) == ("abc", "error")
    assert "go away" in event["message"]


def test_a_connection_that_cannot_be_used_is_an_event(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(read_timeot=5))
    event = first_event(waiting_for("abc"))
    assert event["status"] == "error"
    assert "read_timeot" in event["message"]


def test_a_server_that_is_away_for_a_moment_is_no_event(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.plays(conductor.add(), Script(after=SOON, output={"total": 42}))
    answers = [(503, "text/plain", b"away"), (0, "", b"")]
    conductor.instead = lambda request: answers.pop() if answers else None
    assert first_event(waiting_for(workflow_id))["status"] == "COMPLETED"
    assert not answers


# Between processes


def test_it_survives_airflows_own_serialisation(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.plays(conductor.add(), Script(after=0.1))
    trigger = waiting_for(
        workflow_id, kill_reason="Airflow task was killed", deadline=time.time() + 60, stall_timeout=300.0
    )
    arrived = sent_through_airflow(trigger)
    assert arrived.serialize() == trigger.serialize()
    assert first_event(arrived)["status"] == "COMPLETED"


def test_its_arguments_are_plain_json(conductor: ConductorStandIn) -> None:
    _, arguments = waiting_for("abc", deadline=time.time()).serialize()
    assert json.loads(json.dumps(arguments, allow_nan=False)) == arguments


# In the triggerer's loop


def test_the_loop_is_never_blocked(conductor: ConductorStandIn) -> None:
    """A slow server holds up this wait and none of the thousand others."""

    def slowly(request: Request) -> None:
        time.sleep(0.5)

    conductor.instead = slowly
    workflow_id = conductor.plays(conductor.add(), Script(after=SOON))
    gaps = []

    async def heartbeat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def both() -> None:
        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0)
        async for _ in waiting_for(workflow_id).run():
            break
        beating.cancel()

    warm_up = conductor.add("COMPLETED")
    first_event(waiting_for(warm_up))  # imports and the first look-up of a connection are not what is measured
    asyncio.run(both())
    assert len(gaps) > 20


async def run_until_cancelled(trigger: ConductorWorkflowTrigger, conductor: ConductorStandIn) -> None:
    """The trigger in the middle of its wait, then cancelled, as the triggerer does."""
    running = asyncio.create_task(anext(trigger.run()))
    give_up = time.monotonic() + 10
    while not conductor.requests:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def task_instance() -> Any:
    return SimpleNamespace(dag_id="orders", task_id="execute", run_id="run", map_index=-1, try_number=1)


async def stop_because_killed(trigger: ConductorWorkflowTrigger, conductor: ConductorStandIn) -> None:
    """What Airflow does with the trigger of a task that was marked or cleared: 3.3 says so, earlier ones cancel."""
    await run_until_cancelled(trigger, conductor)
    if hasattr(trigger, "on_kill") and triggers.TRIGGERS_HEAR_OF_KILLS:
        await trigger.on_kill()


def now_in_state(monkeypatch: pytest.MonkeyPatch, state: str | None, *, deferred_last: bool = True) -> None:
    async def task_now(_: Any) -> TaskNow:
        return TaskNow(state, deferred_last=deferred_last)

    monkeypatch.setattr(triggers, "task_now", task_now)


async def test_a_cancelled_trigger_terminates_nothing(conductor: ConductorStandIn) -> None:
    """A triggerer that is restarted cancels its triggers; another one takes them over."""
    workflow_id = conductor.add()
    await run_until_cancelled(waiting_for(workflow_id), conductor)
    assert conductor.status(workflow_id) == "RUNNING"
    assert conductor.sent("DELETE") == []


async def test_a_trigger_that_moves_to_another_triggerer_terminates_nothing(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.3 reports that as a kill; the task is still deferred."""
    now_in_state(monkeypatch, "deferred")
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason="Airflow task was killed")
    trigger.task_instance = task_instance()
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == "RUNNING"


@pytest.mark.parametrize("state", ["failed", "success", None])
async def test_a_killed_task_takes_its_workflow_along(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    now_in_state(monkeypatch, state)
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason="Airflow task was killed")
    trigger.task_instance = task_instance()
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == "TERMINATED"
    assert conductor.reason(workflow_id) == "Airflow task was killed"


@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "up_for_retry", "restarting", "removed"])
async def test_an_event_that_another_triggerer_has_delivered_is_no_kill(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    now_in_state(monkeypatch, state)
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason="Airflow task was killed")
    trigger.task_instance = task_instance()
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == "RUNNING"


@pytest.mark.parametrize("state", ["success", "failed", "skipped", None])
async def test_nor_is_the_end_that_a_worker_has_given_the_task_since(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    """After ``wait_until_task_ref`` the task has succeeded, and its workflow runs on rightfully."""
    now_in_state(monkeypatch, state, deferred_last=False)
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason="Airflow task was killed")
    trigger.task_instance = task_instance()
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == "RUNNING"


async def test_a_second_cancellation_does_not_stop_the_termination(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow cancels a trigger again at each of its heartbeats, until it has ended."""
    asked = asyncio.Event()
    goes_on = asyncio.Event()

    async def slow(_: Any) -> TaskNow:
        asked.set()
        await goes_on.wait()
        return TaskNow("failed", deferred_last=True)

    monkeypatch.setattr(triggers, "task_now", slow)
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason="Airflow task was killed")
    trigger.task_instance = task_instance()
    killed = asyncio.create_task(stop_because_killed(trigger, conductor))
    if triggers.TRIGGERS_HEAR_OF_KILLS:
        await asked.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        assert killed.cancelled()
        assert conductor.status(workflow_id) == "RUNNING"
    goes_on.set()
    await asyncio.gather(killed, *triggers._endings, return_exceptions=True)
    assert conductor.status(workflow_id) == "TERMINATED"


async def test_a_killed_task_whose_workflow_is_to_live_leaves_it(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_in_state(monkeypatch, "failed")
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason=None)
    trigger.task_instance = task_instance()
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == "RUNNING"


async def test_where_the_tasks_state_cannot_be_read_nothing_is_terminated(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Any) -> str:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(triggers, "task_now", away)
    workflow_id = conductor.add()
    trigger = waiting_for(workflow_id, kill_reason="Airflow task was killed")
    trigger.task_instance = task_instance()
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == "RUNNING"
