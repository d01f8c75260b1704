"""What an earlier version stored in Airflow's database is still read: a wait survives an upgrade in its middle.

The recordings under ``tests/recorded/stored`` are of released versions, one for each kind of Airflow; they are kept,
never changed. ``tests/recorded/record_stored.py`` makes those of the version that comes next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import timezone

from airflow_provider_conductor import __version__, _airflow
from airflow_provider_conductor.polling.wait_spec import WaitState
from airflow_provider_conductor.testing import ConductorStandIn, Script
from airflow_provider_conductor.triggers import (
    ConductorSensorTrigger,
    ConductorWorkflowsTrigger,
    ConductorWorkflowTrigger,
    sensor as sensor_trigger,
)
from airflow_provider_conductor.triggers.base import ConductorTrigger
from tests.operators.airflow_standin import context_of, first_event, sent_through_airflow
from tests.recorded import airflow_rows, record_stored
from tests.recorded.record_stored import BEGUN, LONG, PACK, TASKS, WATCHED, Store, watched
from tests.sensors.triggerer import TaskInstanceInTriggerer, push_xcom

FILES = sorted(record_stored.HERE.glob(f"*/{airflow_rows.KIND}.json"))

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
"""When the recorded tasks began, at the latest: none looks for workflows that are older."""


def recordings(kind: str) -> list[Any]:
    """Each recording of this kind, of each version."""
    return [
        pytest.param(name, stored, id=f"{file.parent.name} {name}")
        for file in FILES
        for name, stored in json.loads(file.read_text())[kind].items()
    ]


each_trigger = pytest.mark.parametrize(("name", "stored"), recordings("triggers"))
each_task = pytest.mark.parametrize(("name", "stored"), recordings("tasks"))


def each_beginning(test: Callable[..., None]) -> Callable[..., None] | None:
    """For each sensor that begins in the triggerer; no test at all where Airflow has none that begins there."""
    if not _airflow.triggers_render_templates():
        return None
    return pytest.mark.parametrize(("name", "stored"), recordings("begun in the triggerer"))(test)


def trigger_of(stored: Mapping[str, Any]) -> Any:
    return airflow_rows.trigger_from(stored["classpath"], stored["kwargs"])


def complete(conductor: ConductorStandIn, workflow_id: str = WATCHED) -> None:
    conductor.has_tasks(workflow_id, {**PACK, "status": "COMPLETED"})
    conductor.end(workflow_id, "COMPLETED", output={"shipped": True})


# Triggers


@pytest.mark.parametrize("name", record_stored.TRIGGERS)
def test_a_trigger_survives_airflows_own_serialisation(name: str) -> None:
    trigger = record_stored.TRIGGERS[name]()
    arrived = sent_through_airflow(trigger)
    assert type(arrived) is type(trigger)
    assert arrived.serialize() == trigger.serialize()
    _, arguments = trigger.serialize()
    assert json.loads(json.dumps(arguments, allow_nan=False)) == arguments


@each_trigger
def test_a_stored_trigger_waits_to_its_event(conductor: ConductorStandIn, name: str, stored: Any) -> None:
    watched(conductor)
    complete(conductor)
    trigger = trigger_of(stored)
    assert trigger.serialize()[0] == stored["classpath"]
    if name == "workflow, full":
        assert trigger.state != WaitState()
    event = first_event(trigger)
    assert event["status"] == {"workflow, full": "task_ended", "workflow, empty": "COMPLETED"}.get(name, "go_on")


@each_trigger
def test_nothing_of_a_stored_trigger_is_lost(name: str, stored: Any) -> None:
    """Stored again, as the row of another task, it has all that it had."""
    trigger = trigger_of(stored)
    again = airflow_rows.trigger_from(stored["classpath"], airflow_rows.trigger_column(trigger))
    assert again.serialize() == trigger.serialize()
    if airflow_rows.AS_RECORDED:
        assert airflow_rows.trigger_column(trigger) == stored["kwargs"]


NEEDED = {"workflow_id", "workflow_ids"}
"""Arguments that triggers had from the first version on."""


@each_trigger
def test_what_an_older_version_did_not_store_has_its_default(name: str, stored: Any) -> None:
    trigger = trigger_of(stored)
    _, arguments = trigger.serialize()
    for left_out in arguments.keys() - NEEDED:
        type(trigger)(**{key: value for key, value in arguments.items() if key != left_out})
    type(trigger)(**{key: value for key, value in arguments.items() if key in NEEDED})


@each_trigger
def test_an_argument_of_a_newer_version_is_refused_by_its_name(name: str, stored: Any) -> None:
    """It may be what the wait is about. Airflow fails the task; its next try goes on with the workflow."""
    trigger = trigger_of(stored)
    with pytest.raises(TypeError, match="colour"):
        type(trigger)(**trigger.serialize()[1], colour="blue")


def test_what_a_newer_version_has_observed_besides_is_left_out() -> None:
    state = {**record_stored.FULL_STATE, "colour": "blue"}
    trigger = ConductorWorkflowTrigger(workflow_id=WATCHED, state=state)
    assert trigger.state.to_json() == record_stored.FULL_STATE


# Tasks


def resumed(stored: Mapping[str, Any], name: str, conductor: ConductorStandIn) -> tuple[Any, dict[str, Any]]:
    """The recorded task, in the context in which it is resumed."""
    conductor.workflows.update(stored["workflows"])
    task = TASKS[name]()
    context = context_of(task, start_date=BEFORE)  # kept across a deferral
    context["dag_run"].start_date = BEFORE
    context["ti"].xcoms.update(stored["xcom"])
    context["task_state_store"] = Store(dict(stored["task_state_store"]))
    return task, context


def complete_orders(conductor: ConductorStandIn, stored: Mapping[str, Any]) -> None:
    """The recorded workflows complete, and so do those that are started from now on."""
    conductor.script("orders", lambda given: Script(output={"shipped": given["order"]}))
    for workflow_id, workflow in stored["workflows"].items():
        if workflow["status"] == "RUNNING":
            conductor.end(workflow_id, "COMPLETED", output={"shipped": workflow["input"].get("order")})


@each_task
def test_a_stored_task_goes_on_to_its_end(conductor: ConductorStandIn, name: str, stored: Any) -> None:
    task, context = resumed(stored, name, conductor)
    complete_orders(conductor, stored)
    event = first_event(trigger_of(stored["trigger"]))
    kwargs = airflow_rows.next_kwargs_from(stored["next_kwargs"], event)
    found = task.resume_execution(stored["next_method"], kwargs, context)
    if name == "batch":
        assert found == [{"shipped": 0}, None, *({"shipped": number} for number in (2, 3, 4))]
        begun = [body["input"]["order"] for body in conductor.started]
        assert begun == [4], "the others have been started, or refused, before the upgrade"
    else:
        assert found == {"shipped": 1 if name == "execute" else None}
        assert conductor.started == []


@each_task
def test_a_stored_task_without_what_a_newer_version_stores_goes_on(
    conductor: ConductorStandIn, name: str, stored: Any
) -> None:
    """As an older version would have stored it: only the event. A batch looks its workflows up."""
    task, context = resumed(stored, name, conductor)
    complete_orders(conductor, stored)
    event = first_event(trigger_of(stored["trigger"]))
    task.resume_execution(stored["next_method"], {"event": event}, context)
    orders = [workflow["input"].get("order") for workflow in conductor.workflows.values()]
    assert len(orders) == len(set(orders)), "each was started once"


@each_task
def test_a_task_that_a_newer_version_has_deferred_fails_by_name_and_ends_nothing(
    conductor: ConductorStandIn, name: str, stored: Any
) -> None:
    task, context = resumed(stored, name, conductor)
    event = {"status": "COMPLETED", "workflow_id": next(iter(stored["workflows"]))}
    kwargs = airflow_rows.next_kwargs_from(stored["next_kwargs"], event)
    with pytest.raises(TypeError, match="colour"):
        task.resume_execution(stored["next_method"], {**kwargs, "colour": "blue"}, context)
    assert {request.method for request in conductor.requests} <= {"GET"}


@pytest.mark.parametrize(("name", "stored"), [p for p in recordings("tasks") if p.values[0] != "sensor"])
def test_the_try_after_the_upgrade_goes_on_from_what_is_on_record(
    conductor: ConductorStandIn, name: str, stored: Any
) -> None:
    """The start record and the batch's checkpoint are all that a retry has; before Airflow 3.3, only the look-up."""
    conductor.workflows.update(stored["workflows"])
    complete_orders(conductor, stored)
    task = TASKS[name]()
    task.deferrable = False
    context = context_of(task, try_number=2)
    context["dag_run"].start_date = BEFORE
    context["task_state_store"] = Store(dict(stored["task_state_store"]))
    task.execute(context)
    begun = [body["input"]["order"] for body in conductor.started]
    assert sorted(begun) == ([1, 4] if name == "batch" else [])  # the refused one is tried again


# Sensors that begin in the triggerer


@each_beginning
def test_a_stored_beginning_goes_on_to_its_end(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, name: str, stored: Any
) -> None:
    monkeypatch.setattr(sensor_trigger, "push_xcom", push_xcom)
    watched(conductor)
    complete(conductor)
    sensor = BEGUN[name]()
    context = context_of(sensor)
    context["ti"].xcoms["return_value"] = WATCHED  # of the task "start"
    trigger = trigger_of(stored)
    trigger.task_instance = TaskInstanceInTriggerer(context["ti"], sensor)
    trigger.timeout_after = timezone.utcnow() + LONG + timedelta(minutes=5)
    trigger.render_template_fields(context)
    event = first_event(trigger)
    assert event["workflow_id"] == WATCHED
    assert event["status"] == ("task_ended" if name == "sensor of a task" else "COMPLETED")
    sensor.workflow_id = WATCHED  # Airflow renders it for the worker
    sensor.resume_execution(stored["next_method"], {"event": event}, context)


@each_beginning
def test_a_beginning_without_what_a_newer_version_stores_has_defaults(name: str, stored: Any) -> None:
    _, arguments = trigger_of(stored).serialize()
    for left_out in arguments.keys() - {"workflow_id", "timeout", "deferral_timeout"}:
        ConductorSensorTrigger(**{key: value for key, value in arguments.items() if key != left_out})


@each_beginning
def test_a_newer_beginning_is_refused_by_the_arguments_name(name: str, stored: Any) -> None:
    _, arguments = trigger_of(stored).serialize()
    with pytest.raises(TypeError, match="colour"):
        ConductorSensorTrigger(**arguments, colour="blue")


# The recordings


def test_the_present_version_is_recorded() -> None:
    """Record what this version stores, before it is released: ``python -m tests.recorded.record_stored``."""
    (file,) = [file for file in FILES if file.parent.name == __version__]
    there = json.loads(file.read_text())
    assert there["triggers"].keys() == record_stored.TRIGGERS.keys()
    assert there["tasks"].keys() == TASKS.keys()
    begun = BEGUN.keys() if airflow_rows.KIND == "airflow-3.3" else set()
    assert there["begun in the triggerer"].keys() == set(begun)


@each_trigger
def test_the_present_version_stores_no_less(name: str, stored: Any) -> None:
    """A changed form shows here; then the version before has to be read all the same."""
    present = record_stored.TRIGGERS[name]().serialize()[1]
    assert trigger_of(stored).serialize()[1].keys() <= present.keys()


def test_both_kinds_of_airflow_are_recorded() -> None:
    kinds: dict[str, set[str]] = {}
    for file in record_stored.HERE.glob("*/*.json"):
        kinds.setdefault(file.parent.name, set()).add(Path(file).stem)
    assert all(found == {"airflow-2.11", "airflow-3.3"} for found in kinds.values())


def test_every_trigger_is_recorded() -> None:
    assert {type(make()) for make in record_stored.TRIGGERS.values()} == {
        ConductorWorkflowTrigger,
        ConductorWorkflowsTrigger,
    }
    assert issubclass(ConductorSensorTrigger, ConductorTrigger)  # which only a serialised DAG makes: BEGUN
