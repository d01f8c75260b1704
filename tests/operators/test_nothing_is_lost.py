"""No workflow is ended, orphaned or reported wrongly because something around it failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred, timezone

from airflow_provider_conductor._airflow import NEVER_EXPIRE
from airflow_provider_conductor.exceptions import ConductorInvalidStateError, ConductorWorkflowTimeoutError
from airflow_provider_conductor.operators import (
    ConductorExecuteWorkflowOperator,
    ConductorStartWorkflowOperator,
    deferral,
)
from airflow_provider_conductor.submission.start_record import StartRecord
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import (
    AIRFLOW_2,
    TaskInstanceStandIn,
    context_of,
    deferred,
    error_of,
    first_event,
    result,
    resume,
    run,
    sent_through_airflow,
)
from tests.operators.impatient import both_ways, execute, retry, sensor

SOON = 0.4

TIMEOUT = "Trigger/execution timeout" if AIRFLOW_2 else "Trigger timeout"
FAILURE = "Trigger failure"


def by_kind(kind: str, conductor: ConductorStandIn, **arguments: Any) -> Any:
    """An Execute that starts a workflow, or a Retry or a sensor for one that is there."""
    if kind == "execute":
        return execute(**arguments)
    return {"retry": retry, "sensor": sensor}[kind](conductor.add(), **arguments)


every_kind = pytest.mark.parametrize("kind", ["execute", "retry", "sensor"])


# A trigger that fails, and one that is too late


@every_kind
@pytest.mark.parametrize(
    ("error", "on_timeout", "then"),
    [
        (FAILURE, "terminate", "RUNNING"),
        (FAILURE, "leave", "RUNNING"),
        (TIMEOUT, "terminate", "TERMINATED"),
        (TIMEOUT, "leave", "RUNNING"),
    ],
)
def test_only_a_deferral_whose_time_is_over_ends_the_workflow(
    conductor: ConductorStandIn, kind: str, error: str, on_timeout: str, then: str
) -> None:
    """A trigger that failed says nothing against the workflow, which the next try goes on with."""
    operator = by_kind(kind, conductor, deferrable=True, on_timeout=on_timeout)
    context = context_of(operator)
    deferred(operator, context)
    workflow_id = conductor.only_workflow
    again = {"on_timeout": on_timeout}
    resumed = execute(**again) if kind == "execute" else {"retry": retry, "sensor": sensor}[kind](workflow_id, **again)
    with pytest.raises(AirflowException):
        resumed.resume_execution("__fail__", {"error": error}, context)
    assert conductor.status(workflow_id) == then
    if then == "TERMINATED":
        assert conductor.reason(workflow_id).startswith("Airflow task timed out")


def test_a_next_try_goes_on_with_the_workflow_of_a_failed_trigger(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=SOON, output={"total": 42})
    operator = execute(deferrable=True, retries=1)
    context = context_of(operator)
    deferred(operator, context)
    with pytest.raises(AirflowException):
        execute(retries=1).resume_execution("__fail__", {"error": FAILURE}, context)
    assert result(execute(deferrable=True, retries=1), try_number=2) == {"total": 42}
    assert len(conductor.started) == 1


def test_a_retry_that_airflow_resumes_is_executed(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 3.0 resumes it with the event of the try before it, and keeps the XComs."""
    monkeypatch.setattr("airflow_provider_conductor.operators.deferral.RETRIES_MAY_RESUME", True)
    conductor.default_script = Script(after=SOON, output={"total": 42})
    operator = execute(deferrable=True, retries=1)
    context = context_of(operator)
    deferred(operator, context)
    with pytest.raises(AirflowException):
        operator.resume_execution("__fail__", {"error": FAILURE}, context)
    context["ti"].try_number = 2
    with pytest.raises(TaskDeferred) as again:
        operator.resume_execution("__fail__", {"error": FAILURE}, context)
    assert resume(operator, context, again.value) == {"total": 42}
    assert len(conductor.started) == 1


def test_a_mapped_tasks_time_out_ends_the_workflow_of_its_own_map_index(conductor: ConductorStandIn) -> None:
    ids = {index: conductor.add() for index in range(3)}
    operator = execute(deferrable=True)
    context = context_of(operator, map_index=1)

    def xcom_pull(task_ids: Any = None, key: str = "", map_indexes: Any = None, **_: Any) -> Any:
        assert task_ids == "execute"
        if key != "workflow_id":
            return None
        return list(ids.values()) if map_indexes is None else ids.get(map_indexes)

    context["ti"].xcom_pull = xcom_pull
    with pytest.raises(AirflowException):
        operator.resume_execution("__fail__", {"error": TIMEOUT}, context)
    assert {index: conductor.status(item) for index, item in ids.items()} == {
        0: "RUNNING",
        1: "TERMINATED",
        2: "RUNNING",
    }


# Where Airflow resumes nothing after execution_timeout, the trigger ends the workflow


LIMITED = {"execution_timeout": timedelta(seconds=1)}


@every_kind
def test_where_airflow_resumes_nothing_the_trigger_ends_what_execution_timeout_cuts_off(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(deferral, "TIMEOUT_FORESTALLS_RESUMPTION", True)
    operator = by_kind(kind, conductor, deferrable=True, on_timeout="terminate", **LIMITED)
    trigger = sent_through_airflow(deferred(operator, context_of(operator)).trigger)
    assert trigger.serialize()[1]["timeout_reason"].startswith("Airflow task timed out")
    event = first_event(trigger)
    workflow_id = conductor.only_workflow
    assert event["status"] == "timeout"
    assert conductor.status(workflow_id) == "TERMINATED"
    assert conductor.reason(workflow_id) == trigger.timeout_reason


def test_the_trigger_ends_nothing_that_has_ended_by_itself(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferral, "TIMEOUT_FORESTALLS_RESUMPTION", True)
    conductor.default_script = Script(after=SOON, status="FAILED", reason="no tea left")
    operator = execute(deferrable=True, **LIMITED)
    assert first_event(deferred(operator, context_of(operator)).trigger)["status"] == "FAILED"
    assert conductor.sent("DELETE") == []


@pytest.mark.parametrize(
    ("forestalls", "arguments"),
    [
        (True, {"timeout": SOON}),
        (True, {"timeout": SOON, "on_timeout": "leave", **LIMITED}),
        (False, {"timeout": SOON, **LIMITED}),
    ],
    ids=["no execution_timeout", "on_timeout=leave", "an Airflow that resumes"],
)
def test_else_the_trigger_leaves_that_to_the_task(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, forestalls: bool, arguments: dict[str, Any]
) -> None:
    monkeypatch.setattr(deferral, "TIMEOUT_FORESTALLS_RESUMPTION", forestalls)
    operator = execute(deferrable=True, **arguments)
    trigger = deferred(operator, context_of(operator)).trigger
    assert trigger.timeout_reason is None
    assert first_event(trigger)["status"] == "timeout"
    assert conductor.status(conductor.only_workflow) == "RUNNING"


@both_ways
def test_a_sensors_execution_timeout_is_no_sensor_timeout(conductor: ConductorStandIn, deferrable: bool) -> None:
    """Which Airflow would not retry."""
    error_of(sensor(conductor.add(), deferrable=deferrable, **LIMITED), ConductorWorkflowTimeoutError)


# Retry, of what has completed


@pytest.mark.parametrize(
    ("try_number", "max_tries", "retries", "first"),
    [
        pytest.param(1, 0, 0, True, id="first try"),
        pytest.param(1, 3, 3, True, id="first of several"),
        pytest.param(2, 1, 0, True, id="cleared"),
        pytest.param(3, 2, 0, True, id="cleared twice"),
        pytest.param(4, 6, 3, True, id="cleared after two tries"),
        pytest.param(2, 1, 1, False, id="second try"),
        pytest.param(4, 3, 3, False, id="last try"),
        pytest.param(5, 6, 3, False, id="second try after a clear"),
    ],
)
def test_only_the_first_try_of_a_series_cannot_retry_what_has_completed(
    conductor: ConductorStandIn,
    monkeypatch: pytest.MonkeyPatch,
    try_number: int,
    max_tries: int,
    retries: int,
    first: bool,
) -> None:
    """An automatic retry finds completed what the try before has retried."""
    monkeypatch.setattr(TaskInstanceStandIn, "max_tries", property(lambda _: max_tries))
    operator = retry(conductor.add("COMPLETED", output={"total": 42}), retries=retries)
    context = context_of(operator, try_number=try_number)
    if first:
        with pytest.raises(ConductorInvalidStateError, match="COMPLETED"):
            run(operator, context)
    else:
        assert run(operator, context) == {"total": 42}


# Without waiting for completion


KEYS = {"workflow_id", "status", "output", "progress"}


@pytest.mark.parametrize("answer", [(0, "", b""), (503, "text/plain", b"away")], ids=["no answer", "503"])
def test_a_server_that_goes_away_after_the_start_does_not_fail_the_task(
    conductor: ConductorStandIn, answer: tuple[int, str, bytes]
) -> None:
    conductor.instead = lambda request: answer if request.method == "GET" else None
    found = result(execute(wait_for_completion=False))
    assert found.keys() == KEYS
    assert (found["workflow_id"], found["status"], found["output"]) == (conductor.only_workflow, "RUNNING", {})
    assert "Conductor is unreachable" in found["progress"]
    assert conductor.status(conductor.only_workflow) == "RUNNING"


def test_a_workflow_that_is_quick_gives_a_result_of_the_same_shape(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0.1, output={"total": 42})
    found = result(execute(wait_for_completion=False, wait_for_seconds=10))
    assert found.keys() == KEYS
    assert found["workflow_id"] == conductor.only_workflow
    assert (found["status"], found["output"]) == ("COMPLETED", {"total": 42})


# A task state store that fails


class BrokenStore:
    """Airflow's task state store, with its API away."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            self.asked.add(name)
            raise RuntimeError("the API server is away")

        return fail


@pytest.mark.parametrize("kind", ["start", "execute", "execute, deferred", "sensor"])
def test_a_task_state_store_that_fails_fails_no_task(conductor: ConductorStandIn, kind: str) -> None:
    conductor.default_script = Script(after=SOON)
    if kind == "start":
        operator: Any = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders")
    elif kind == "sensor":
        operator = sensor(conductor.plays(conductor.add(), conductor.default_script), mode="reschedule", timeout=20)
    else:
        operator = execute(deferrable="deferred" in kind)
    context = context_of(operator, first_reschedule=timezone.utcnow() if kind == "sensor" else None)
    store = context["task_state_store"] = BrokenStore()
    run(operator, context)
    assert store.asked == ({"get", "set", "delete"} if NEVER_EXPIRE is not None else set())
    assert len(conductor.workflows) == 1


# What was found by its label alone may be another task's


def found_by_label(conductor: ConductorStandIn, **arguments: Any) -> tuple[Any, Any, str]:
    """A second try without a record of the first: Execute, its context, and the workflow that it finds."""
    operator = execute(correlation_id="order-17", retries=1, **arguments)
    context = context_of(operator, try_number=2)
    context["dag_run"].start_date -= timedelta(minutes=10)
    return operator, context, conductor.add(correlation_id="order-17")


@pytest.mark.parametrize("moment", ["a timeout", "a kill in the wait", "a kill before the wait"])
def test_it_is_not_terminated(conductor: ConductorStandIn, moment: str) -> None:
    limits = {"timeout": 0.2, "wait_for_seconds": 0} if moment == "a timeout" else {}
    operator, context, theirs = found_by_label(conductor, **limits)
    if moment == "a timeout":
        with pytest.raises(ConductorWorkflowTimeoutError):
            operator.execute(context)
    elif moment == "a kill in the wait":
        operator._begin(context)
        operator._protect(operator._start())
        operator.on_kill()
    else:
        context["ti"].xcom_push = lambda key, value, **_: operator.on_kill()
        operator._begin(context)
        with pytest.raises(AirflowException, match="was killed"):
            operator._start()
    assert {item: conductor.status(item) for item in conductor.workflows} == {theirs: "RUNNING"}


@pytest.mark.parametrize(("by_label", "then"), [(True, "RUNNING"), (False, "TERMINATED")])
def test_nor_when_the_kill_comes_while_it_is_put_down(conductor: ConductorStandIn, by_label: bool, then: str) -> None:
    operator, context, theirs = found_by_label(conductor)
    operator._begin(context)
    plan = operator._start_plan()
    record = StartRecord(max_tries=1, first_try=1, sent_at=1.0, workflow_id=theirs, by_label=by_label)
    operator._save_record(record)
    operator._terminate_start(plan)
    assert conductor.status(theirs) == then


@pytest.mark.parametrize("backstop", [False, True], ids=["the trigger times out", "it does not answer in time"])
def test_nor_by_the_trigger_or_after_it(conductor: ConductorStandIn, backstop: bool) -> None:
    arguments: dict[str, Any] = {"deferrable": True, "timeout": 60, "execution_timeout": timedelta(minutes=5)}
    operator, context, theirs = found_by_label(conductor, **arguments)
    trigger = deferred(operator, context).trigger
    assert (trigger.kill_reason, trigger.timeout_reason) == (None, None)
    again = execute(correlation_id="order-17", retries=1, **arguments)
    event = {"workflow_id": theirs, "status": "timeout", "message": "it has been running"}
    method, kwargs = ("__fail__", {"error": TIMEOUT}) if backstop else ("execute_complete", {"event": event})
    with pytest.raises(AirflowException):
        again.resume_execution(method, kwargs, context)
    again.on_kill()
    assert conductor.status(theirs) == "RUNNING"


# A kill between the start and the wait


class Terminated(BaseException):
    """What Airflow 2.11's handler of SIGTERM raises after ``on_kill``; Airflow 3's lets the task go on."""


@pytest.mark.parametrize("make", [ConductorStartWorkflowOperator, ConductorExecuteWorkflowOperator])
@pytest.mark.parametrize("moment", ["workflow_id", "workflow_url"])
@pytest.mark.parametrize("label", [None, "order-17"], ids=["the task's identity", "own correlation id"])
@pytest.mark.parametrize("raises", [False, True], ids=["Airflow 3", "Airflow 2.11"])
def test_a_kill_while_the_id_is_put_into_xcom_ends_the_workflow(
    conductor: ConductorStandIn, make: type, moment: str, label: str | None, raises: bool
) -> None:
    operator = make(task_id="task", workflow_name="orders", correlation_id=label)
    context = context_of(operator)
    theirs = conductor.add(correlation_id=label)

    def xcom_push(key: str, value: Any, **_: Any) -> None:
        if key == moment:
            operator.on_kill()
            if raises:
                raise Terminated

    context["ti"].xcom_push = xcom_push
    with pytest.raises(Terminated if raises else AirflowException):
        operator.execute(context)
    (ours,) = conductor.workflows.keys() - {theirs}
    assert conductor.status(ours) == "TERMINATED"
    assert conductor.reason(ours).startswith("Airflow task was killed")
    assert conductor.status(theirs) == "RUNNING"
