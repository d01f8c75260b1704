"""The sensor: three ways to wait for somebody else's workflow, with one outcome."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
    timezone,
)

from airflow_provider_conductor.client import ConductorAuthError
from airflow_provider_conductor.exceptions import (
    ConductorOutputMissingError,
    ConductorOutputTooLargeError,
    ConductorWorkflowFailedError,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, in_a_thread
from tests.sensors.triggerer import run_anywhere

SOON = 0.4

WAYS: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "deferrable": {"deferrable": True},
    "triggerer": {"start_from_trigger": True},
}

in_each_mode = pytest.mark.parametrize("way", WAYS)


def sensor(workflow_id: str, way: str, **arguments: Any) -> ConductorWorkflowSensor:
    return ConductorWorkflowSensor(
        task_id="sense", workflow_id=workflow_id, **{"poke_interval": 0.1, **WAYS[way], **arguments}
    )


def sense(workflow_id: str, way: str, **arguments: Any) -> Any:
    operator = sensor(workflow_id, way, **arguments)
    return run_anywhere(operator, context_of(operator))


# Success


@in_each_mode
def test_an_output_too_large_is_an_error_only_if_asked_for(conductor: ConductorStandIn, way: str) -> None:
    workflow_id = conductor.plays(conductor.add(), Script(after=SOON, output={"rows": "x" * 500}))
    with pytest.raises(ConductorOutputTooLargeError):
        sense(workflow_id, way, return_output=True, max_output_bytes=100)
    assert sense(workflow_id, way, max_output_bytes=100) is None


@in_each_mode
def test_it_can_wait_for_one_task_only(conductor: ConductorStandIn, way: str) -> None:
    workflow_id = conductor.add()
    pack = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "outputData": {"boxes": 2}}
    conductor.has_tasks(workflow_id, {**pack, "status": "IN_PROGRESS"})

    def finish() -> None:
        conductor.has_tasks(workflow_id, {**pack, "status": "COMPLETED"})

    threading.Timer(SOON, finish).start()
    result = sense(workflow_id, way, wait_until_task_ref="pack", return_output=True)
    assert (result["output"], result["status"]) == ({"boxes": 2}, "RUNNING")


def test_an_output_that_was_archived_before_it_is_read_fails_only_who_wants_it(conductor: ConductorStandIn) -> None:
    event = {"workflow_id": "archived", "status": "task_ended"}
    operator = sensor("archived", "deferrable", wait_until_task_ref="pack", return_output=True)
    with pytest.raises(ConductorOutputMissingError, match="archived or deleted it since"):
        operator.execute_complete(context_of(operator), event)
    operator = sensor("archived", "deferrable", wait_until_task_ref="pack")
    assert operator.execute_complete(context_of(operator), event) is None


@in_each_mode
def test_id_and_page_are_in_xcom_before_the_first_look(conductor: ConductorStandIn, way: str) -> None:
    workflow_id = conductor.plays(conductor.add(), Script(after=SOON))
    operator = sensor(workflow_id, way)
    context = context_of(operator, conductor.journal)
    run_anywhere(operator, context)
    assert conductor.journal[:2] == ["xcom workflow_id", "xcom workflow_url"]
    assert context["ti"].xcoms["workflow_url"] == f"{conductor.url}/execution/{workflow_id}"


# Failure


@in_each_mode
@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "TERMINATED"])
@pytest.mark.parametrize("before", ["already", "soon"])
def test_a_workflow_that_ends_badly_fails_the_task(
    conductor: ConductorStandIn, way: str, status: str, before: str
) -> None:
    workflow_id = conductor.add(status if before == "already" else "RUNNING", reason="no tea left")
    conductor.plays(workflow_id, Script(after=SOON, status=status, reason="no tea left"))
    with pytest.raises(ConductorWorkflowFailedError, match="no tea left") as failure:
        sense(workflow_id, way)
    assert (failure.value.workflow_id, failure.value.status) == (workflow_id, status)
    assert failure.value.url == f"{conductor.url}/execution/{workflow_id}"
    assert conductor.status(workflow_id) == status


@in_each_mode
def test_refused_credentials_fail_the_task_at_once(conductor: ConductorStandIn, way: str) -> None:
    workflow_id = conductor.add()
    conductor.instead = lambda request: (401, "application/json", b'{"message": "go away", "retryable": false}')
    with pytest.raises(ConductorAuthError, match="go away"):
        sense(workflow_id, way, timeout=600)
    assert len(conductor.requests) == 1


# Skipping


@in_each_mode
@pytest.mark.parametrize("before", ["already", "soon"])
@pytest.mark.parametrize("leniency", ["soft_fail", "never_fail"])
def test_a_lenient_sensor_is_skipped_when_the_workflow_fails(
    conductor: ConductorStandIn, way: str, before: str, leniency: str
) -> None:
    workflow_id = conductor.add("FAILED" if before == "already" else "RUNNING")
    conductor.plays(workflow_id, Script(after=SOON, status="FAILED"))
    with pytest.raises(AirflowSkipException):
        sense(workflow_id, way, **{leniency: True})
    assert conductor.status(workflow_id) == "FAILED"


# Timeouts


@in_each_mode
@pytest.mark.parametrize(("arguments", "then"), [({}, "RUNNING"), ({"on_timeout": "terminate"}, "TERMINATED")])
def test_a_timeout_is_airflows_and_leaves_the_workflow_unless_told(
    conductor: ConductorStandIn, way: str, arguments: dict[str, Any], then: str
) -> None:
    workflow_id = conductor.add()
    with pytest.raises(AirflowSensorTimeout):
        sense(workflow_id, way, timeout=SOON, **arguments)
    assert conductor.status(workflow_id) == then


@pytest.mark.parametrize("leniency", [{}, {"soft_fail": True}])
def test_a_deferral_that_airflow_ends_does_with_the_workflow_what_was_asked(
    conductor: ConductorStandIn, leniency: dict[str, Any]
) -> None:
    """The triggerer was away until the backstop: no event comes, Airflow resumes the task to fail it."""
    workflow_id = conductor.add()
    for on_timeout, then in (("leave", "RUNNING"), ("terminate", "TERMINATED")):
        operator = sensor(workflow_id, "deferrable", timeout=60, on_timeout=on_timeout, **leniency)
        context = context_of(operator)
        with pytest.raises(TaskDeferred):
            operator.execute(context)
        with pytest.raises(AirflowException):
            operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
        assert conductor.status(workflow_id) == then


@in_each_mode
def test_a_timeout_may_be_a_timedelta(conductor: ConductorStandIn, way: str) -> None:
    with pytest.raises(AirflowSensorTimeout):
        sense(conductor.add(), way, timeout=timedelta(seconds=SOON), poke_interval=timedelta(seconds=0.1))


# Kills


@pytest.mark.parametrize(("arguments", "then"), [({}, "RUNNING"), ({"cancel_on_kill": True}, "TERMINATED")])
def test_a_kill_leaves_somebody_elses_workflow_unless_told(
    conductor: ConductorStandIn, arguments: dict[str, Any], then: str
) -> None:
    workflow_id = conductor.add()
    operator = sensor(workflow_id, "poke", **arguments)
    waiting, _ = in_a_thread(lambda: operator.execute(context_of(operator)))
    give_up = time.monotonic() + 120
    while not conductor.requests:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    operator.on_kill()
    assert conductor.status(workflow_id) == then
    if then == "RUNNING":
        conductor.end(workflow_id, "COMPLETED")
    waiting.join(120)
    assert not waiting.is_alive()


# Between looks


def test_a_deferrable_sensor_does_not_defer_for_what_has_ended(conductor: ConductorStandIn) -> None:
    operator = sensor(conductor.add("COMPLETED", output={"total": 42}), "deferrable", return_output=True)
    assert operator.execute(context_of(operator)) == {"total": 42}


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "COMPLETED"}, {"workflow_id": "abc", "status": "NEW"}], ids=repr
)
def test_an_event_nobody_knows_fails_the_task(conductor: ConductorStandIn, event: Any) -> None:
    operator = sensor("abc", "deferrable")
    with pytest.raises(Exception, match=r"unknown|failed"):
        operator.execute_complete(context_of(operator), event)


@pytest.mark.parametrize("name", ["timeout", "stall_timeout", "poke_interval", "max_wait"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e15], ids=str)
@in_each_mode
def test_a_duration_that_cannot_be_is_an_error_of_the_dag_file(way: str, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds"):
        sensor("abc", way, **{name: value})


@pytest.mark.parametrize("way", ["poke", "reschedule"])
@pytest.mark.parametrize(("age", "pause"), [(10, 1.0), (1_000, 20.0), (86_400, 60.0)])
def test_pokes_without_an_interval_go_by_the_workflows_age(
    conductor: ConductorStandIn, way: str, age: float, pause: float
) -> None:
    """As a deferred wait does: the first poke of a sensor may be at a workflow of days."""
    workflow_id = conductor.add()
    began = int((time.time() - age) * 1000)
    conductor.workflows[workflow_id].update(createTime=began, startTime=began)
    operator = ConductorWorkflowSensor(task_id="sense", workflow_id=workflow_id, **WAYS[way])
    assert not operator.poke(context_of(operator))
    interval = operator._get_next_poke_interval(time.monotonic(), lambda: 0.0, 1)
    assert pause * 0.9 - 2 < interval <= pause * 1.02 + 0.1


@pytest.mark.parametrize("way", ["poke", "reschedule"])
@pytest.mark.parametrize("whose", ["its own", "default_args"])
def test_an_interval_that_was_given_is_airflows(conductor: ConductorStandIn, way: str, whose: str) -> None:
    workflow_id = conductor.add()
    given = {"default_args": {"poke_interval": 7.0}} if whose == "default_args" else {"poke_interval": 7.0}
    operator = ConductorWorkflowSensor(task_id="sense", workflow_id=workflow_id, **WAYS[way], **given)
    assert not operator.poke(context_of(operator))
    assert operator._get_next_poke_interval(time.monotonic(), lambda: 0.0, 1) == 7.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_between_two_pokes_moves_no_limit(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    operator = sensor(conductor.add(), "poke", timeout=600)
    context = context_of(operator)
    assert not operator.poke(context)
    began = operator._spec.deadline
    monkeypatch.setattr(operator.hook.client._exchange, "clock", lambda: time.time() + step)
    monkeypatch.setattr("airflow_provider_conductor.sensors.base.timezone", SetBy(step))
    assert not operator.poke(context)
    assert operator._spec.deadline == pytest.approx(began + step, abs=1)


class SetBy:
    """Airflow's ``timezone`` on a clock that somebody has set."""

    def __init__(self, step: float) -> None:
        self.step = step

    def utcnow(self) -> Any:
        return timezone.utcnow() + timedelta(seconds=self.step)


def test_poke_tells_whether_it_is_done(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()
    operator = sensor(workflow_id, "poke", return_output=True)
    context = context_of(operator)
    assert not operator.poke(context)
    conductor.end(workflow_id, "COMPLETED", output={"total": 42})
    done = operator.poke(context)
    assert (bool(done), done.xcom_value) == (True, {"total": 42})
