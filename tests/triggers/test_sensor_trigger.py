"""The trigger of a sensor that begins in the triggerer: it makes the plan, and its clock never begins anew."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import timezone
from airflow.triggers.base import BaseTrigger

from airflow_provider_conductor._airflow import triggers_render_templates
from airflow_provider_conductor.testing import ConductorStandIn, Script
from airflow_provider_conductor.triggers import ConductorSensorTrigger, sensor as module
from tests.operators.airflow_standin import first_event

SOON = 0.4

RENDERS = triggers_render_templates()


class TaskInstance:
    """As a triggerer's, without the DAG."""

    dag_id, task_id, run_id, map_index, try_number = "orders", "sense", "run", -1, 2

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.pulls: list[dict[str, Any]] = []

    def xcom_pull(self, *_: Any, **kwargs: Any) -> Any:
        self.pulls.append(kwargs)
        return "pulled"


@pytest.fixture(autouse=True)
def xcom(monkeypatch: pytest.MonkeyPatch) -> None:
    """XCom, without Airflow's supervisor."""

    async def push_xcom(ti: Any, key: str, value: Any) -> None:
        ti.xcoms[key] = value

    monkeypatch.setattr(module, "push_xcom", push_xcom)


def waiting_for(workflow_id: Any, times_out_at: datetime | None = None, **arguments: Any) -> ConductorSensorTrigger:
    defaults: dict[str, Any] = {"timeout": 60.0, "deferral_timeout": 360.0, "poll_interval": 0.1, "templated": False}
    trigger = ConductorSensorTrigger(workflow_id=workflow_id, **{**defaults, **arguments})
    trigger.task_instance = TaskInstance()
    trigger.timeout_after = times_out_at
    return trigger


def test_it_waits_and_writes_id_and_page_before(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.plays(conductor.add(), Script(after=SOON, output={"total": 42}))
    trigger = waiting_for(workflow_id)
    assert first_event(trigger) == {"workflow_id": workflow_id, "status": "COMPLETED", "message": ""}
    url = f"{conductor.url}/execution/{workflow_id}"
    assert trigger.task_instance.xcoms == {"workflow_id": workflow_id, "workflow_url": url}


async def never(*_: Any) -> None:
    await asyncio.Event().wait()


async def fails(*_: Any) -> None:
    raise RuntimeError("the API is away")


def test_an_argument_that_it_does_not_have_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(TypeError, match="stall_timout"):
        ConductorSensorTrigger(workflow_id="abc", timeout=60, deferral_timeout=360, stall_timout=5)


@pytest.mark.parametrize("push_xcom", [never, fails])
def test_a_wait_goes_on_without_xcom(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, push_xcom: Any
) -> None:
    monkeypatch.setattr(module, "push_xcom", push_xcom)
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.1)
    trigger = waiting_for(conductor.plays(conductor.add(), Script(after=SOON)))
    assert first_event(trigger)["status"] == "COMPLETED"


def test_the_deadline_is_counted_from_the_task_and_not_from_the_triggerer(conductor: ConductorStandIn) -> None:
    """Airflow's timeout of the deferral, 360 s after the task began, is in 300 s: the deadline is now."""
    times_out_at = timezone.utcnow() + timedelta(seconds=300)
    workflow_id = conductor.add()
    for _ in ("one triggerer", "the next"):
        trigger = waiting_for(workflow_id, times_out_at)
        assert first_event(trigger)["status"] == "timeout"
        assert trigger.spec.started_at == pytest.approx(times_out_at.timestamp() - 360)
        assert trigger.spec.deadline == pytest.approx(times_out_at.timestamp() - 300)


def test_a_moment_without_a_zone_is_utc() -> None:
    """Some databases keep none."""
    at = timezone.utcnow()
    assert waiting_for("abc", at.replace(tzinfo=None))._started_at() == waiting_for("abc", at)._started_at()


def test_without_a_time_out_of_airflows_it_begins_now(conductor: ConductorStandIn) -> None:
    before = time.time()
    trigger = waiting_for(conductor.add("COMPLETED"))
    first_event(trigger)
    assert before <= trigger.spec.started_at <= time.time()


@pytest.mark.parametrize("expected", ["IN_PROGRESS, COMPLETED", ["IN_PROGRESS", "COMPLETED"]])
def test_a_task_can_be_waited_for(conductor: ConductorStandIn, expected: Any) -> None:
    pack = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "IN_PROGRESS"}
    trigger = waiting_for(conductor.add(tasks=[pack]), task_reference_name="pack", expected_status=expected)
    assert first_event(trigger)["status"] == "task_ended"
    assert trigger.spec.wait_until_task_status == "IN_PROGRESS,COMPLETED"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"workflow_id": ""}, "workflow_id must not be empty"),
        ({"workflow_id": " "}, "workflow_id must not be empty"),
        ({"workflow_id": "None"}, "workflow_id must not be empty, but was rendered to 'None'"),
        ({"workflow_id": None}, "workflow_id must not be empty"),
        ({"workflow_id": "['a', 'b']"}, "workflow_id must be the id of one workflow, not a list"),
        ({"task_reference_name": "", "expected_status": "COMPLETED"}, "task_reference_name must not be empty"),
        ({"task_reference_name": "pack", "expected_status": "DONE"}, "DONE"),
    ],
)
def test_nothing_of_use_is_an_event_and_no_request(
    conductor: ConductorStandIn, arguments: dict[str, Any], says: str
) -> None:
    event = first_event(waiting_for(**{"workflow_id": "abc", **arguments}))
    assert (event["status"], event["error"]) == ("error", "ConductorConfigError")
    assert says in event["message"]
    assert event["workflow_id"]
    assert not conductor.requests


# Templates


def rendering(monkeypatch: pytest.MonkeyPatch, render: Any) -> ConductorSensorTrigger:
    """A trigger whose templates Airflow renders so."""
    monkeypatch.setattr(BaseTrigger, "render_template_fields", render, raising=False)
    trigger = waiting_for("{{ ti.xcom_pull(task_ids='start') }}", templated=True)
    trigger.template_fields = ("workflow_id",)
    trigger.render_template_fields({"ti": trigger.task_instance})
    return trigger


def test_only_what_the_supervisor_answers_is_pulled(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a map index, Airflow's ``xcom_pull`` asks for what a triggerer's supervisor leaves unanswered."""

    def render(self: Any, context: Any, jinja_env: Any = None) -> None:
        for ti in (context["ti"], context["task_instance"]):
            assert ti.task_id == "sense"
            self.workflow_id = ti.xcom_pull(task_ids="start")
            ti.xcom_pull(task_ids="start", map_indexes=3)

    trigger = rendering(monkeypatch, render)
    assert first_event(trigger)["workflow_id"] == "pulled"
    pulls = [{"map_indexes": -1, "task_ids": "start"}, {"map_indexes": 3, "task_ids": "start"}]
    assert trigger.task_instance.pulls == pulls * 2


def test_a_template_that_fails_is_told(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def render(self: Any, context: Any, jinja_env: Any = None) -> None:
        raise KeyError("the_id")

    event = first_event(rendering(monkeypatch, render))
    assert event["status"] == "error"
    assert "KeyError: 'the_id'" in event["message"]
    assert "deferrable=True" in event["message"]


async def test_a_template_that_is_never_answered_is_told(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greenback waits in the task of the trigger itself, which a timeout can interrupt."""
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.1)

    def render(self: Any, context: Any, jinja_env: Any = None) -> None:
        if not RENDERS:  # nor has this Airflow greenback
            raise TimeoutError
        import greenback

        greenback.await_(asyncio.Event().wait())

    trigger = rendering(monkeypatch, render)
    if RENDERS:
        import greenback

        await greenback.ensure_portal()
    (event,) = [event async for event in trigger.run()]
    assert event.payload["status"] == "error"
    assert "does not answer in a triggerer" in event.payload["message"]


def test_a_dag_that_was_changed_meanwhile_is_told(conductor: ConductorStandIn) -> None:
    """Airflow then gives the trigger nothing to render with."""
    trigger = waiting_for("{{ ti.xcom_pull(task_ids='start') }}", templated=True)
    event = first_event(trigger)
    assert event["status"] == "error"
    assert "the DAG was changed" in event["message"]
    assert not conductor.requests
