"""No workflow is ended, orphaned or reported wrongly because something around it failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred, timezone

from airflow_provider_conductor._airflow import NEVER_EXPIRE
from airflow_provider_conductor.client import ConductorServerError, ConductorSettings, endpoints
from airflow_provider_conductor.client.retry import worth_repeating
from airflow_provider_conductor.exceptions import (
    ConductorInvalidStateError,
    ConductorOutputTooLargeError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import (
    ConductorExecuteWorkflowOperator,
    ConductorStartWorkflowOperator,
    waiting,
)
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from airflow_provider_conductor.submission.start_record import StartRecord
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.client.transports import AsyncTransport, Clock, SyncTransport, Transport
from tests.operators.airflow_standin import (
    AIRFLOW_2,
    TaskInstanceStandIn,
    context_of,
    first_event,
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


def deferred(operator: Any, context: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(context)
    return deferral.value


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
    again = execute(deferrable=True, retries=1)
    assert run(again, context_of(again, try_number=2)) == {"total": 42}
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
    monkeypatch.setattr(waiting, "TIMEOUT_FORESTALLS_RESUMPTION", True)
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
    monkeypatch.setattr(waiting, "TIMEOUT_FORESTALLS_RESUMPTION", True)
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
    monkeypatch.setattr(waiting, "TIMEOUT_FORESTALLS_RESUMPTION", forestalls)
    operator = execute(deferrable=True, **arguments)
    trigger = deferred(operator, context_of(operator)).trigger
    assert trigger.timeout_reason is None
    assert first_event(trigger)["status"] == "timeout"
    assert conductor.status(conductor.only_workflow) == "RUNNING"


def test_airflow_2_is_known_to_resume_nothing() -> None:
    assert waiting.TIMEOUT_FORESTALLS_RESUMPTION is AIRFLOW_2


@both_ways
def test_a_sensors_execution_timeout_is_no_sensor_timeout(conductor: ConductorStandIn, deferrable: bool) -> None:
    """Which Airflow would not retry."""
    operator = sensor(conductor.add(), deferrable=deferrable, **LIMITED)
    with pytest.raises(ConductorWorkflowTimeoutError):
        run(operator, context_of(operator))


# How long the worker waits


@pytest.mark.parametrize(
    ("given", "number"),
    [(0, 0), (0.5, 0.5), (600, 600), (timedelta(0), 0), (timedelta(minutes=2), 120)],
    ids=repr,
)
def test_the_wait_on_the_worker_is_a_number_or_timedelta(given: Any, number: float) -> None:
    assert execute(wait_for_seconds=given).wait_for_seconds == number


@pytest.mark.parametrize(
    "given", [None, "10", float("nan"), float("inf"), -1, -0.1, timedelta(seconds=-1), True], ids=repr
)
def test_what_is_no_time_is_refused_when_the_dag_is_parsed(given: Any) -> None:
    with pytest.raises(ValueError, match="wait_for_seconds"):
        execute(wait_for_seconds=given)


# An output that is kept elsewhere


PATH = "workflow/output/8c1d.json"


def kept_elsewhere(conductor: ConductorStandIn) -> None:
    """The server moves every output into its external storage, and answers an empty one."""

    def move(request: Request) -> None:
        for workflow in conductor.workflows.values():
            for item in (workflow, *workflow["tasks"]):
                item["externalOutputPayloadStoragePath"] = PATH

    conductor.instead = move


@both_ways
@every_kind
def test_an_output_in_external_storage_is_an_error_that_names_the_place(
    conductor: ConductorStandIn, kind: str, deferrable: bool
) -> None:
    kept_elsewhere(conductor)
    conductor.default_script = Script(after=SOON)
    more = {"return_output": True} if kind == "sensor" else {}
    operator = by_kind(kind, conductor, deferrable=deferrable, **more)
    if kind != "execute":
        conductor.plays(conductor.only_workflow, Script(after=SOON))
    with pytest.raises(ConductorOutputTooLargeError, match=PATH) as told:
        run(operator, context_of(operator))
    assert conductor.only_workflow in str(told.value)


def test_so_is_the_output_of_the_task_that_was_waited_for(conductor: ConductorStandIn) -> None:
    kept_elsewhere(conductor)
    pack = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "COMPLETED"}
    operator = sensor(conductor.add(tasks=[pack]), wait_until_task_ref="pack", return_output=True)
    with pytest.raises(ConductorOutputTooLargeError, match=PATH) as told:
        run(operator, context_of(operator))
    assert "pack" in str(told.value)


def test_a_sensor_that_wants_no_output_does_not_mind(conductor: ConductorStandIn) -> None:
    kept_elsewhere(conductor)
    operator = sensor(conductor.add("COMPLETED"))
    assert run(operator, context_of(operator)) is None


def test_an_output_that_is_there_is_taken_wherever_else_it_is(conductor: ConductorStandIn) -> None:
    kept_elsewhere(conductor)
    conductor.default_script = Script(after=0, output={"total": 42})
    operator = execute()
    assert run(operator, context_of(operator)) == {"total": 42}


@pytest.mark.parametrize("kind", [ConductorOutputTooLargeError, ConductorInvalidStateError])
def test_what_would_be_the_same_again_is_not_retried(kind: type[Exception]) -> None:
    assert issubclass(kind, AirflowFailException)


# Retry, of what has completed


@pytest.mark.parametrize(
    ("try_number", "max_tries", "retries"),
    [(1, 0, 0), (1, 3, 3), (2, 1, 0), (3, 2, 0), (4, 6, 3)],
    ids=["first try", "first of several", "cleared", "cleared twice", "cleared after two tries"],
)
def test_a_completed_workflow_cannot_be_retried_by_the_first_try_of_a_series(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, try_number: int, max_tries: int, retries: int
) -> None:
    monkeypatch.setattr(TaskInstanceStandIn, "max_tries", property(lambda _: max_tries))
    operator = retry(conductor.add("COMPLETED"), retries=retries)
    with pytest.raises(ConductorInvalidStateError, match="COMPLETED"):
        run(operator, context_of(operator, try_number=try_number))


@pytest.mark.parametrize(
    ("try_number", "max_tries", "retries"),
    [(2, 1, 1), (4, 3, 3), (5, 6, 3)],
    ids=["second try", "last try", "second try after a clear"],
)
def test_an_automatic_retry_finds_completed_what_the_try_before_has_retried(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, try_number: int, max_tries: int, retries: int
) -> None:
    monkeypatch.setattr(TaskInstanceStandIn, "max_tries", property(lambda _: max_tries))
    operator = retry(conductor.add("COMPLETED", output={"total": 42}), retries=retries)
    assert run(operator, context_of(operator, try_number=try_number)) == {"total": 42}


# Without waiting for completion


KEYS = {"workflow_id", "status", "output", "progress"}


@pytest.mark.parametrize("answer", [(0, "", b""), (503, "text/plain", b"away")], ids=["no answer", "503"])
def test_a_server_that_goes_away_after_the_start_does_not_fail_the_task(
    conductor: ConductorStandIn, answer: tuple[int, str, bytes]
) -> None:
    conductor.instead = lambda request: answer if request.method == "GET" else None
    operator = execute(wait_for_completion=False)
    result = run(operator, context_of(operator))
    assert result.keys() == KEYS
    assert (result["workflow_id"], result["status"], result["output"]) == (conductor.only_workflow, "RUNNING", {})
    assert "Conductor is unreachable" in result["progress"]
    assert conductor.status(conductor.only_workflow) == "RUNNING"


def test_a_workflow_that_is_quick_gives_a_result_of_the_same_shape(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0.1, output={"total": 42})
    operator = execute(wait_for_completion=False, wait_for_seconds=10)
    result = run(operator, context_of(operator))
    assert result.keys() == KEYS
    assert result["workflow_id"] == conductor.only_workflow
    assert (result["status"], result["output"]) == ("COMPLETED", {"total": 42})


# A task state store that fails


class BrokenStore:
    """Airflow's task state store, with its API away."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def _fail(self, what: str) -> Any:
        self.asked.add(what)
        raise RuntimeError("the API server is away")

    def get(self, key: str, *_: Any, **__: Any) -> Any:
        return self._fail("get")

    def set(self, key: str, value: Any, **_: Any) -> None:
        self._fail("set")

    def delete(self, key: str, **_: Any) -> None:
        self._fail("delete")


def needs_a_store(test: Callable[..., None]) -> Callable[..., None] | None:
    """The test, on an Airflow that has a task state store; elsewhere there is nothing to test."""
    return test if NEVER_EXPIRE is not None else None


@needs_a_store
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
    assert store.asked == {"get", "set", "delete"}
    assert len(conductor.workflows) == 1


# What was found by its label alone may be another task's


def found_by_label(conductor: ConductorStandIn, **arguments: Any) -> tuple[Any, Any, str]:
    """A second try without a record of the first: Execute, its context, and the workflow that it finds."""
    operator = execute(correlation_id="order-17", retries=1, **arguments)
    context = context_of(operator, try_number=2)
    context["dag_run"].start_date -= timedelta(minutes=10)
    return operator, context, conductor.add(correlation_id="order-17")


def test_it_is_not_terminated_after_a_timeout(conductor: ConductorStandIn) -> None:
    operator, context, theirs = found_by_label(conductor, timeout=0.2, wait_for_seconds=0)
    with pytest.raises(ConductorWorkflowTimeoutError):
        operator.execute(context)
    assert {item: conductor.status(item) for item in conductor.workflows} == {theirs: "RUNNING"}


def test_nor_when_the_task_is_killed(conductor: ConductorStandIn) -> None:
    operator, context, theirs = found_by_label(conductor)
    operator._begin(context)
    operator._protect(operator._start())
    operator.on_kill()
    assert conductor.status(theirs) == "RUNNING"


def test_nor_when_the_task_is_killed_before_it_waits(conductor: ConductorStandIn) -> None:
    operator, context, theirs = found_by_label(conductor)
    context["ti"].xcom_push = lambda key, value, **_: operator.on_kill()
    operator._begin(context)
    with pytest.raises(AirflowException, match="was killed"):
        operator._start()
    assert conductor.status(theirs) == "RUNNING"


@pytest.mark.parametrize(("by_label", "then"), [(True, "RUNNING"), (False, "TERMINATED")])
def test_nor_when_the_kill_comes_while_it_is_put_down(conductor: ConductorStandIn, by_label: bool, then: str) -> None:
    operator, context, theirs = found_by_label(conductor)
    operator._begin(context)
    plan = operator._start_plan()
    record = StartRecord(max_tries=1, first_try=1, sent_at=1.0, workflow_id=theirs, by_label=by_label)
    operator._save_record(record)
    operator._terminate_sent_start(plan)
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


# The client beneath


@contextmanager
def client(kind: type[Transport], server: str, clock: Clock, max_attempts: int) -> Iterator[Transport]:
    transport = kind(ConductorSettings(server, max_attempts=max_attempts), clock)  # type: ignore[call-arg]
    try:
        yield transport
    finally:
        transport.close()


def answers(conductor: ConductorStandIn, *statuses: int) -> list[int]:
    """The next requests are answered so; what is left of them is in the list."""
    left = list(statuses)
    conductor.instead = lambda request: (left.pop(0), "text/plain", b"") if left else None
    return left


transports = pytest.mark.parametrize("transport", [SyncTransport, AsyncTransport], ids=["blocking", "asyncio"])


@transports
@pytest.mark.parametrize("status", [408, 425])
def test_a_gateway_out_of_patience_is_asked_again(
    conductor: ConductorStandIn, transport: type[Transport], status: int
) -> None:
    workflow_id = conductor.add()
    answers(conductor, status, status)
    with client(transport, conductor.url, Clock(), max_attempts=3) as conn:
        assert conn.send(endpoints.get_workflow(workflow_id)).workflow_id == workflow_id
    assert len(conductor.requests) == 3


@transports
@pytest.mark.parametrize("status", [408, 425])
def test_what_became_of_a_start_it_gave_up_on_is_unknown(
    conductor: ConductorStandIn, transport: type[Transport], status: int
) -> None:
    answers(conductor, status)
    gave_up = pytest.raises(ConductorServerError)
    with client(transport, conductor.url, Clock(), max_attempts=3) as conn, gave_up as lost:
        conn.send(endpoints.start_workflow({"name": "orders"}))
    assert lost.value.fate_unknown
    assert not worth_repeating(lost.value)
    assert len(conductor.requests) == 1


@transports
@pytest.mark.parametrize(("once", "sent"), [(True, 1), (False, 5)])
def test_a_call_whose_caller_repeats_it_is_sent_once(
    conductor: ConductorStandIn, transport: type[Transport], once: bool, sent: int
) -> None:
    answers(conductor, *[503] * 9)
    with client(transport, conductor.url, Clock(), max_attempts=5) as conn, pytest.raises(ConductorServerError):
        conn.send(replace(endpoints.get_workflow("abc"), once=once))
    assert len(conductor.requests) == sent


@transports
def test_a_wait_says_once_that_the_server_is_away_and_once_that_it_is_back(
    conductor: ConductorStandIn, transport: type[Transport], caplog: pytest.LogCaptureFixture
) -> None:
    workflow_id = conductor.add()
    clock = Clock(now=time.time())
    said: list[str] = []

    def go_away() -> None:
        if len(clock.sleeps) == 2:
            left.extend([503] * 4)
        elif len(clock.sleeps) > 20:
            conductor.end(workflow_id, "COMPLETED")

    left = answers(conductor)
    clock.meanwhile = go_away
    spec = WaitSpec(workflow_id=workflow_id, started_at=clock.now, deadline=clock.now + 3600, poll_interval=1.0)
    caplog.set_level(logging.INFO, "airflow_provider_conductor.client")
    with client(transport, conductor.url, clock, max_attempts=5) as conn:
        event = conn.run(wait(spec, said.append))
    assert event.status == "COMPLETED"
    assert sum("Conductor is unreachable" in line for line in said) == 1
    assert sum("Conductor is reachable again" in line for line in said) == 1
    assert [record for record in caplog.records if "sent again" in record.getMessage()] == []
