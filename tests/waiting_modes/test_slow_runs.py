"""The warning that a run takes long, in each mode in which a task waits."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.serialization import serialized_objects

from airflow_provider_conductor._airflow import tasks_have_state_store
from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from airflow_provider_conductor.triggers import ConductorWorkflowTrigger
from tests.waiting_modes.modes import ALL, SENSOR, Heard, Outcome, run_task

SLOW = "longer than"

FORGETFUL = () if tasks_have_state_store() else ("sensor reschedule",)
"""Modes whose pokes know nothing of each other on this Airflow."""


class EndsAfterWarning(Heard):
    """A logger at whose warning the workflow ends, a few polls later."""

    def __init__(self, conductor: ConductorStandIn) -> None:
        super().__init__()
        self.conductor = conductor

    def _keep(self, line: Any, *values: Any, **more: Any) -> None:
        super()._keep(line, *values, **more)
        if SLOW in self.lines[-1]:
            (running,) = [key for key in self.conductor.workflows if self.conductor.status(key) == "RUNNING"] or [None]
            if running is not None:
                threading.Timer(0.5, self.conductor.end, [running, "COMPLETED"]).start()

    info = warning = error = exception = _keep


def waits(conductor: ConductorStandIn, mode: str, *, ends_after: float = 600, **arguments: Any) -> Outcome:
    """Run a task that waits for a workflow which ends soon after it was called slow."""
    arguments = {**ALL[mode], "warn_after": 0.5, "heard": EndsAfterWarning(conductor), **arguments}
    if mode in SENSOR:
        workflow_id = conductor.plays(conductor.add(), Script(after=ends_after))
        return run_task(ConductorWorkflowSensor, workflow_id=workflow_id, poke_interval=0.1, **arguments)
    conductor.default_script = Script(after=ends_after)
    more = {"workflow_name": "orders", "wait_for_seconds": 0.1, "poll_interval": 0.1}
    return run_task(ConductorExecuteWorkflowOperator, **{**more, **arguments})


def warnings(outcome: Outcome) -> list[str]:
    return [line for line in outcome.lines if SLOW in line and "trigger reported" not in line]


def has_run(conductor: ConductorStandIn, *seconds: float, name: str = "orders") -> None:
    """Let the index have completed runs that took so long."""
    for took in seconds:
        run = conductor.workflows[conductor.add("COMPLETED", name=name)]
        run["startTime"] -= int(took * 1000)


def searches(conductor: ConductorStandIn) -> list[Request]:
    return [request for request in conductor.sent("GET") if request.path == "/workflow/search"]


@pytest.mark.parametrize("mode", ALL)
def test_a_slow_run_is_warned_of_once_and_then_awaited(conductor: ConductorStandIn, mode: str) -> None:
    outcome = waits(conductor, mode)
    assert outcome.error is None
    if mode not in FORGETFUL:
        assert len(warnings(outcome)) == 1, outcome.lines
    assert "the workflow has been running for" in outcome.told(SLOW)
    assert outcome.deferrals <= 1
    assert not searches(conductor)


@pytest.mark.parametrize("mode", ALL)
def test_the_callback_is_called_once_and_the_wait_continues(conductor: ConductorStandIn, mode: str) -> None:
    calls: list[dict[str, Any]] = []
    if mode in FORGETFUL:
        with pytest.raises(ValueError, match=r"needs Airflow 3\.3 or later"):
            ConductorWorkflowSensor(
                task_id="wait", workflow_id="w", mode="reschedule", deferrable=False, warn_after=1,
                on_warning_callback=calls.append,
            )  # fmt: skip
        return
    broken = lambda context: 1 / 0  # noqa: E731
    outcome = waits(conductor, mode, on_warning_callback=[broken, lambda c: calls.append(dict(c["conductor_warning"]))])
    assert outcome.error is None
    (warning,) = calls
    assert warning["workflow_id"] == conductor.only_workflow
    assert SLOW in warning["message"]
    assert len(warnings(outcome)) == 1
    assert outcome.told("on_warning_callback failed; the wait continues")
    assert outcome.deferrals == (2 if ALL[mode].get("deferrable") else 0)


@pytest.mark.parametrize("mode", ALL)
def test_a_run_that_is_not_slow_is_not_warned_of(conductor: ConductorStandIn, mode: str) -> None:
    calls: list[Any] = []
    mode_arguments = {} if mode in FORGETFUL else {"on_warning_callback": calls.append}
    outcome = waits(conductor, mode, warn_after=600, ends_after=1, **mode_arguments)
    assert outcome.error is None
    assert not warnings(outcome)
    assert not calls


@pytest.mark.parametrize("mode", ALL)
def test_a_timeout_counts_from_the_beginning_of_the_wait_and_not_from_the_warning(
    conductor: ConductorStandIn, mode: str
) -> None:
    conductor.default_script = Script(after=600)
    callback = {} if mode in FORGETFUL else {"on_warning_callback": lambda context: None}
    if mode in SENSOR:
        more: dict[str, Any] = {"workflow_id": conductor.add(), "poke_interval": 0.1}
        kind: type = ConductorWorkflowSensor
    else:
        more = {"workflow_name": "orders", "wait_for_seconds": 0.1, "poll_interval": 0.1}
        kind = ConductorExecuteWorkflowOperator
    outcome = run_task(kind, warn_after=1, timeout=3, **callback, **more, **ALL[mode])
    assert "Timeout" in type(outcome.error).__name__
    assert warnings(outcome)


@pytest.mark.parametrize("mode", ALL)
def test_the_last_runs_give_the_percentile(conductor: ConductorStandIn, mode: str) -> None:
    has_run(conductor, *[0.2] * 96, *[900.0] * 4)
    has_run(conductor, *[900.0] * 40, name="others")
    outcome = waits(conductor, mode, warn_after="p95")
    assert outcome.error is None
    assert "Of the last 100 completed runs of orders, 95 % took at most" in outcome.told("a warning follows")
    assert warnings(outcome)
    if mode not in FORGETFUL:
        assert len(searches(conductor)) == 1


def test_the_percentile_is_that_of_the_last_hundred(conductor: ConductorStandIn) -> None:
    has_run(conductor, *[900.0] * 100)
    for run in conductor.workflows.values():
        run["updateTime"] -= 60_000
        run["endTime"] -= 60_000
    has_run(conductor, *[0.2] * 100)
    assert warnings(waits(conductor, "execute deferrable", warn_after="p99"))


@pytest.mark.parametrize("mode", ALL)
def test_few_runs_are_looked_up_once_and_nothing_follows(conductor: ConductorStandIn, mode: str) -> None:
    has_run(conductor, *[0.1] * 19)
    outcome = waits(conductor, mode, warn_after="p95", ends_after=1)
    assert "the index has 19 completed ones of orders, and 20 are needed" in outcome.told("No warning after p95")
    assert not warnings(outcome)
    if mode not in FORGETFUL:
        assert len(searches(conductor)) == 1


@pytest.mark.parametrize("mode", ALL)
def test_a_search_that_fails_costs_only_the_warning(conductor: ConductorStandIn, mode: str) -> None:
    conductor.instead = lambda request: (500, "text/plain", b"no index") if "search" in request.path else None
    outcome = waits(conductor, mode, warn_after="p95", ends_after=1)
    assert outcome.error is None
    assert outcome.told("No warning after p95 of the last runs: the search failed")
    if mode not in FORGETFUL:
        assert len(searches(conductor)) == 1


def test_what_an_index_has_of_unknown_shapes_does_not_count(conductor: ConductorStandIn) -> None:
    has_run(conductor, *[0.1] * 20)
    strange = [
        {"workflowType": "orders", "workflowId": "1", "status": "ASLEEP", "startTime": 1, "endTime": 2},
        {"workflowType": "orders", "workflowId": "2", "status": "COMPLETED", "startTime": "soon", "endTime": []},
        {"workflowType": "orders", "workflowId": "3", "status": "COMPLETED"},
    ]
    answer = json.dumps({"totalHits": 3, "results": strange}).encode()
    conductor.instead = lambda request: (
        (200, "application/json", answer) if request.path == "/workflow/search" else None
    )
    outcome = waits(conductor, "execute deferrable", warn_after="p95", ends_after=1)
    assert outcome.error is None
    assert outcome.told("No warning after p95 of the last runs")


def test_what_ends_soon_costs_no_search(conductor: ConductorStandIn) -> None:
    outcome = waits(conductor, "execute deferrable", warn_after="p95", ends_after=0.1, wait_for_seconds=60)
    assert outcome.error is None
    assert not searches(conductor)


def test_the_sensor_of_a_task_warns_too(conductor: ConductorStandIn) -> None:
    waits_for_task = {"workflow_id": conductor.add(), "task_reference_name": "pack", "deferrable": True}
    outcome = run_task(
        ConductorTaskSensor, warn_after=0.5, poke_interval=0.1, heard=EndsAfterWarning(conductor), **waits_for_task
    )
    assert warnings(outcome)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"warn_after": "p0"}, "'p1' to 'p99'"),
        ({"warn_after": "p100"}, "'p1' to 'p99'"),
        ({"warn_after": "soon"}, "'p1' to 'p99'"),
        ({"warn_after": 0}, "above 0"),
        ({"warn_after": 5, "on_warning_callback": "page"}, "a function or notifier"),
        ({"on_warning_callback": print}, "never called without warn_after"),
    ],
)
@pytest.mark.parametrize("kind", [ConductorExecuteWorkflowOperator, ConductorWorkflowSensor])
def test_bad_arguments_are_refused_at_once(kind: type, arguments: dict[str, Any], wrong: str) -> None:
    needed = {"workflow_name": "orders"} if kind is ConductorExecuteWorkflowOperator else {"workflow_id": "w"}
    with pytest.raises(ValueError, match=wrong):
        kind(task_id="wait", **needed, **arguments)


def test_a_sensor_that_warns_begins_on_a_worker(conductor: ConductorStandIn) -> None:
    sensor = ConductorWorkflowSensor(task_id="wait", workflow_id="w", start_from_trigger=True, warn_after=5)
    assert sensor.deferrable
    assert not sensor.start_from_trigger


def test_mapped_tasks_take_both(conductor: ConductorStandIn) -> None:
    """Airflow stores the DAG with what ``partial`` got; a worker reads it in the DAG's file."""
    notifier = ConductorNotifier(action="terminate", workflow_id="w")
    with DAG("mapped", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        mapped = ConductorExecuteWorkflowOperator.partial(
            task_id="wait", workflow_name="orders", warn_after="p95", on_warning_callback=[notifier, print]
        ).expand(workflow_input=[{"a": 1}, {"a": 2}])
    storage = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    stored = json.dumps(storage.to_dict(dag))
    assert "wait" in stored
    assert mapped.partial_kwargs["warn_after"] == "p95"


def test_a_trigger_refuses_what_is_no_duration() -> None:
    with pytest.raises(ValueError, match="warn_after must be a number of seconds"):
        ConductorWorkflowTrigger(workflow_id="w", warn_after=-1)
