"""What a killed task does to the workflows that its trigger waits for, and that nothing else does it."""

from __future__ import annotations

import asyncio
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState

from airflow_provider_conductor._airflow import DELETED, TaskNow, state_in_answer, triggers_hear_of_kills
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import (
    ConductorSensorTrigger,
    ConductorWorkflowsTrigger,
    ConductorWorkflowTrigger,
    base,
)
from airflow_provider_conductor.triggers.base import ConductorTrigger, is_kill

KILLED = "Airflow task was killed"

KINDS = ("workflow", "batch")

MARKED = ("failed", "success", "skipped", None)


def task_instance() -> Any:
    return SimpleNamespace(dag_id="orders", task_id="execute", run_id="run", map_index=-1, try_number=1)


async def run_until_cancelled(trigger: ConductorTrigger, conductor: ConductorStandIn) -> None:
    """The trigger in the middle of its wait, then cancelled, as the triggerer does."""
    running = asyncio.create_task(anext(trigger.run()))
    give_up = time.monotonic() + 10
    while not conductor.requests:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def stop_because_killed(trigger: ConductorTrigger, conductor: ConductorStandIn) -> None:
    """What Airflow does with the trigger of a task that was marked or cleared: 3.3 calls it, earlier ones cancel."""
    await run_until_cancelled(trigger, conductor)
    if triggers_hear_of_kills():
        await trigger.on_kill()


def now_in_state(monkeypatch: pytest.MonkeyPatch, state: str | None, *, deferred_last: bool = True) -> None:
    async def task_now(_: Any) -> TaskNow:
        return TaskNow(state, deferred_last=deferred_last)

    monkeypatch.setattr(base, "task_now", task_now)


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
    async with asyncio.timeout(120):
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


# What a cancelled trigger reads as a kill


STATES = (
    *("scheduled", "queued", "running", "restarting", "deferred", "success", "failed", "skipped", "upstream_failed"),
    *("up_for_retry", "up_for_reschedule", "removed", DELETED, None),
)


def rows() -> list[tuple[str | None, bool, bool]]:
    """The cases in the docstring of :func:`is_kill`: state, whether the deferral is the last heard of it, kill."""
    found = []
    for line in (is_kill.__doc__ or "").splitlines():
        cells = re.split(r"  +", line.strip())
        if len(cells) < 4 or cells[2] not in ("yes", "no"):
            continue
        for state in cells[0].split(", "):
            for last in {"yes": (True,), "no": (False,), "any": (True, False)}[cells[1]]:
                found.append((None if state == "None" else state, last, cells[2] == "yes"))
    return found


def cases() -> dict[tuple[str | None, bool], bool]:
    wanted = {(state, last): kill for state, last, kill in rows()}
    other = {last: wanted[("and whatever else Airflow may add", last)] for last in (True, False)}
    return {(state, last): wanted.get((state, last), other[last]) for state in STATES for last in (True, False)}


@pytest.mark.parametrize(("state", "last"), cases())
def test_the_table(state: str | None, last: bool) -> None:
    assert is_kill(TaskNow(state, deferred_last=last)) is cases()[(state, last)]


def test_of_airflows_own_states_only_the_marked_ones_are_a_kill() -> None:
    kills = {str(state.value) for state in TaskInstanceState if is_kill(TaskNow(str(state.value), deferred_last=True))}
    assert kills == {"success", "failed", "skipped", "upstream_failed"}


@pytest.mark.parametrize(
    ("task_id", "map_index", "answer", "state"),
    [
        ("t", -1, {"t": "deferred"}, "deferred"),
        ("t", -1, {"t": None}, None),
        ("t", 3, {"t_3": "deferred"}, "deferred"),
        ("t_3", -1, {"t_3": "failed"}, "failed"),
        ("t_3", 0, {"t_3_0": "deferred"}, "deferred"),
        ("t", 0, {"t_0": None}, None),
        ("t", 3, {}, DELETED),
    ],
)
def test_the_state_of_a_task_mapped_or_not(
    task_id: str, map_index: int, answer: dict[str, Any], state: str | None
) -> None:
    states = {"run": answer} if answer else {}
    assert state_in_answer(states, run_id="run", task_id=task_id, map_index=map_index) == state


@pytest.mark.parametrize("answer", [{"t": "failed"}, {"t_30": "failed"}, {"t_3": "deferred", "t": "failed"}])
def test_an_answer_about_another_task_is_none(answer: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match="t_3"):
        state_in_answer({"run": answer}, run_id="run", task_id="t", map_index=3)
