"""Arguments that an earlier version of this package stored in Airflow's database still make a trigger.

One file a released version and trigger lies under ``tests/recorded/trigger_arguments``; they are kept, never changed.
The one without a trigger in its name is that of a single wait.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor import __version__
from airflow_provider_conductor.polling.wait_spec import WaitState
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import (
    ConductorSensorTrigger,
    ConductorWorkflowsTrigger,
    ConductorWorkflowTrigger,
)
from airflow_provider_conductor.triggers.base import ConductorTrigger
from tests.operators.airflow_standin import first_event, sent_through_airflow

RECORDED = sorted((Path(__file__).parent.parent / "recorded" / "trigger_arguments").glob("*.json"))
PRESENT = [path for path in RECORDED if path.name.startswith(f"{__version__}.")]

each = pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """The trigger that the recorded arguments make, and these."""
    stored = json.loads(path.read_text())
    module, _, name = stored["classpath"].rpartition(".")
    trigger = getattr(importlib.import_module(module), name)(**stored["kwargs"])
    assert trigger.serialize()[0] == stored["classpath"]
    return trigger, stored["kwargs"]


@pytest.mark.parametrize(
    "trigger",
    [
        ConductorWorkflowTrigger(
            workflow_id="abc",
            timeout=60,
            stall_timeout=300.0,
            state=WaitState(warned="a standstill", unreachable_since=1.0).to_json(),
            kill_reason="killed",
        ),
        ConductorWorkflowsTrigger(
            workflow_ids=["abc", "def"],
            more=True,
            deadline=9e9,
            stall_timeout=300.0,
            kill_reason="killed",
            timeout_reason="timed out",
        ),
        ConductorSensorTrigger(
            workflow_id="abc",
            timeout=60.0,
            deferral_timeout=360.0,
            poll_interval=0.1,
            cancel_on_kill=True,
            task_reference_name="pack",
            expected_status=["COMPLETED"],
        ),
    ],
    ids=lambda trigger: type(trigger).__name__,
)
def test_it_survives_airflows_own_serialisation(trigger: ConductorTrigger) -> None:
    arrived = sent_through_airflow(trigger)
    assert type(arrived) is type(trigger)
    assert arrived.serialize() == trigger.serialize()
    _, arguments = trigger.serialize()
    assert json.loads(json.dumps(arguments, allow_nan=False)) == arguments


@each
def test_arguments_stored_by_an_earlier_version_still_load(path):
    trigger, stored = load(path)
    assert stored.items() <= trigger.serialize()[1].items()


@each
def test_and_they_can_be_waited_with(conductor: ConductorStandIn, path):
    trigger, stored = load(path)
    match trigger:
        case ConductorSensorTrigger():
            trigger.workflow_id, trigger.templated = conductor.add("COMPLETED"), False
            spec = trigger._rendered_spec()
            assert spec.stall_timeout == stored["stall_timeout"]
            assert spec.wait_until_task_ref == stored["task_reference_name"]
            status = "task_missed"
        case ConductorWorkflowsTrigger():
            trigger.workflow_ids = [conductor.add("COMPLETED") for _ in stored["workflow_ids"]]
            trigger.deadline = None  # which has passed since
            status = "go_on"
        case _:
            assert trigger.state != WaitState()
            trigger.spec = replace(trigger.spec, workflow_id=conductor.add("COMPLETED"))
            trigger.state = WaitState()
            status = "COMPLETED"
    assert first_event(trigger)["status"] == status


def test_the_present_version_is_recorded():
    """Record what this version stores, before it is released."""
    kinds = {json.loads(path.read_text())["classpath"].rpartition(".")[2] for path in PRESENT}
    assert kinds == {
        kind.__name__ for kind in (ConductorWorkflowTrigger, ConductorWorkflowsTrigger, ConductorSensorTrigger)
    }
