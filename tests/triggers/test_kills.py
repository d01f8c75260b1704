"""What a killed task does to the workflows that its trigger waits for, and that nothing else does it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_conductor._airflow import TaskNow, triggers_hear_of_kills
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import (
    ConductorSensorTrigger,
    ConductorWorkflowsTrigger,
    ConductorWorkflowTrigger,
    base,
)
from airflow_provider_conductor.triggers.base import ConductorTrigger
from tests.triggers.kills import KILLED, now_in_state, run_until_cancelled, stop_because_killed, task_instance

KINDS = ("workflow", "batch")

MARKED = ("failed", "success", "skipped", None)


def waiting(kind: str, *workflow_ids: str, kill_reason: str | None = KILLED) -> ConductorTrigger:
    trigger: ConductorTrigger
    if kind == "batch":
        trigger = ConductorWorkflowsTrigger(workflow_ids=workflow_ids, poll_interval=0.1, kill_reason=kill_reason)
    else:
        trigger = ConductorWorkflowTrigger(workflow_id=workflow_ids[0], poll_interval=0.1, kill_reason=kill_reason)
    trigger.task_instance = task_instance()
    return trigger


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("state", "deferred_last", "kill_reason", "then"),
    [
        *((state, True, KILLED, "TERMINATED") for state in MARKED),
        # A worker has taken over since: after wait_until_task_ref the task has succeeded, and its workflow still runs.
        *((state, False, KILLED, "RUNNING") for state in MARKED),
        # The trigger moves to another triggerer, which Airflow 3.3 reports as a kill.
        ("deferred", True, KILLED, "RUNNING"),
        # Another triggerer has delivered the event.
        *((state, True, KILLED, "RUNNING") for state in ("scheduled", "queued", "running", "up_for_retry", "removed")),
        ("failed", True, None, "RUNNING"),
    ],
)
async def test_a_killed_task_terminates_its_workflows_and_nothing_else_does(
    conductor: ConductorStandIn,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    state: str | None,
    deferred_last: bool,
    kill_reason: str | None,
    then: str,
) -> None:
    now_in_state(monkeypatch, state, deferred_last=deferred_last)
    workflow_id = conductor.add()
    await stop_because_killed(waiting(kind, workflow_id, kill_reason=kill_reason), conductor)
    assert conductor.status(workflow_id) == then
    if then == "TERMINATED":
        assert conductor.reason(workflow_id) == KILLED


async def test_of_a_batch_only_what_runs_is_terminated(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_in_state(monkeypatch, "failed")
    ids = [conductor.add(status) for status in ("RUNNING", "FAILED", "COMPLETED", "PAUSED")]
    await stop_because_killed(waiting("batch", *ids), conductor)
    assert [conductor.status(name) for name in ids] == ["TERMINATED", "FAILED", "COMPLETED", "TERMINATED"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_trigger_leaves_nothing_behind(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A triggerer that is restarted cancels its triggers; another one takes them over."""
    now_in_state(monkeypatch, "deferred")
    before = len(asyncio.all_tasks())
    ids = [conductor.add() for _ in range(5)]
    async with asyncio.timeout(20):
        await run_until_cancelled(waiting(kind, *ids), conductor)
    assert len(asyncio.all_tasks()) == before
    assert conductor.sent("DELETE") == []


async def test_a_second_cancellation_does_not_stop_the_termination(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow cancels a trigger again at each of its heartbeats, until it has ended."""
    asked = asyncio.Event()
    answered = asyncio.Event()

    async def slow(_: Any) -> TaskNow:
        asked.set()
        await answered.wait()
        return TaskNow("failed", deferred_last=True)

    monkeypatch.setattr(base, "task_now", slow)
    workflow_id = conductor.add()
    killed = asyncio.create_task(stop_because_killed(waiting("workflow", workflow_id), conductor))
    if triggers_hear_of_kills():
        await asked.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        assert killed.cancelled()
        assert conductor.status(workflow_id) == "RUNNING"
    answered.set()
    await asyncio.gather(killed, *base._terminations, return_exceptions=True)
    assert conductor.status(workflow_id) == "TERMINATED"


async def test_where_the_tasks_state_cannot_be_read_nothing_is_terminated(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Any) -> str:
        raise RuntimeError("the database is unreachable")

    monkeypatch.setattr(base, "task_now", fails)
    workflow_id = conductor.add()
    await stop_because_killed(waiting("workflow", workflow_id), conductor)
    assert conductor.status(workflow_id) == "RUNNING"


@pytest.mark.parametrize(("cancel_on_kill", "then"), [(True, "TERMINATED"), (False, "RUNNING")])
async def test_a_killed_sensor_terminates_its_workflow_if_asked(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, cancel_on_kill: bool, then: str
) -> None:
    async def push_xcom(*_: Any) -> None: ...

    monkeypatch.setattr("airflow_provider_conductor.triggers.sensor.push_xcom", push_xcom)
    now_in_state(monkeypatch, "failed")
    workflow_id = conductor.add()
    trigger = ConductorSensorTrigger(
        workflow_id=workflow_id, timeout=60, deferral_timeout=360, templated=False, cancel_on_kill=cancel_on_kill
    )
    trigger.task_instance = task_instance()
    await trigger.on_kill()  # before it is known what is waited for
    assert not conductor.requests
    await stop_because_killed(trigger, conductor)
    assert conductor.status(workflow_id) == then
    if cancel_on_kill:
        assert conductor.reason(workflow_id) == "Airflow task was killed: orders.execute run run try 1"
