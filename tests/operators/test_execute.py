"""Execute: start, tell, wait. On the worker or in the triggerer, the outcome is the same."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferred,
    timeout,
)

from airflow_provider_conductor.client import ConductorError
from airflow_provider_conductor.exceptions import (
    ConductorOutputMissingError,
    ConductorOutputTooLargeError,
    ConductorTaskUnreachableError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import (
    context_of,
    deferred,
    error_of,
    in_a_thread,
    refusal,
    result,
    run,
    sent_through_airflow,
)
from tests.operators.impatient import both_ways, execute, retry, sensor

SOON = 0.4


# Results


@both_ways
def test_the_output_is_the_result(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=SOON, output={"total": 42})
    assert result(execute(deferrable=deferrable)) == {"total": 42}
    assert len(conductor.started) == 1


def test_a_short_workflow_is_not_deferred(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0.1, output={"total": 42})
    operator = execute(deferrable=True, wait_for_seconds=5)
    assert operator.execute(context_of(operator)) == {"total": 42}


def test_what_the_last_look_has_read_is_not_read_again(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0, output={"total": 42})
    operator = execute(wait_for_seconds=30)
    assert operator.execute(context_of(operator)) == {"total": 42}
    assert [request.path for request in conductor.sent("GET")] == [f"/workflow/{conductor.only_workflow}"]


EVENT = {"workflow_id": "archived", "status": "COMPLETED", "message": ""}


@pytest.mark.parametrize("path", [None, "total"])
@pytest.mark.parametrize(
    "make",
    [
        execute,
        lambda **more: execute(wait_for_completion=False, **more),
        lambda **more: retry("archived", **more),
        lambda **more: sensor("archived", return_output=True, **more),
    ],
    ids=["execute", "snapshot", "retry", "sensor"],
)
def test_an_output_that_is_gone_is_no_success(conductor: ConductorStandIn, make: Any, path: str | None) -> None:
    operator = make(output_path=path)
    with pytest.raises(ConductorOutputMissingError, match=r"archived has done .* archive listener") as told:
        operator.execute_complete(context_of(operator), EVENT)
    assert isinstance(told.value, AirflowFailException)
    nobody = make(output_path=path, do_xcom_push=False)
    assert nobody.execute_complete(context_of(nobody), EVENT) is None


def test_a_sensor_that_returns_nothing_does_without(conductor: ConductorStandIn) -> None:
    operator = sensor("archived")
    assert operator.execute_complete(context_of(operator), EVENT) is None


@pytest.mark.parametrize("ref", [None, "pack"])
def test_so_it_is_without_a_deferral(conductor: ConductorStandIn, ref: str | None) -> None:
    """The wait learns of the end from the index, which keeps a summary of what the database has no more."""
    conductor.default_script = Script(after=0)

    def archived(request: Request) -> tuple[int, str, bytes] | None:
        if request.method == "GET" and request.path.startswith("/workflow/") and "search" not in request.path:
            return refusal(404, "No such workflow found by id")
        return None

    conductor.instead = archived
    operator = execute(wait_until_task_ref=ref, wait_for_completion=False, wait_for_seconds=1)
    error_of(operator, ConductorOutputMissingError, "has done what was waited for")


@both_ways
def test_it_can_wait_for_one_task_only(conductor: ConductorStandIn, deferrable: bool) -> None:
    operator = execute(deferrable=deferrable, wait_until_task_ref="pack")

    def pack() -> None:
        while not conductor.workflows:
            time.sleep(0.01)
        time.sleep(SOON)
        done = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "COMPLETED"}
        conductor.has_tasks(conductor.only_workflow, {**done, "outputData": {"boxes": 2}})

    threading.Thread(target=pack, daemon=True).start()
    found = result(operator)
    assert found["output"] == {"boxes": 2}
    assert (found["workflow_id"], found["status"]) == (conductor.only_workflow, "RUNNING")


def test_a_task_that_a_rerun_took_back_is_no_success(conductor: ConductorStandIn) -> None:
    operator = execute(wait_until_task_ref="pack")
    event = {"workflow_id": conductor.add(tasks=[]), "status": "task_ended"}
    with pytest.raises(ConductorTaskUnreachableError, match="somebody restarted it, or reran it") as missed:
        operator.execute_complete(context_of(operator), event)
    assert missed.value.task_reference_name == "pack"


@pytest.mark.parametrize("status", ["COMPLETED", "task_ended"])
@pytest.mark.parametrize("wait_for_completion", [True, False])
def test_archived_before_it_is_read_the_task_of_it_has_no_output(
    conductor: ConductorStandIn, status: str, wait_for_completion: bool
) -> None:
    event = {"workflow_id": "archived", "status": status}
    operator = execute(wait_until_task_ref="pack", wait_for_completion=wait_for_completion)
    with pytest.raises(ConductorOutputMissingError, match="archived has done what was waited for"):
        operator.execute_complete(context_of(operator), event)
    nobody_wants_it = execute(wait_until_task_ref="pack", wait_for_completion=wait_for_completion, do_xcom_push=False)
    assert nobody_wants_it.execute_complete(context_of(nobody_wants_it), event) == {
        "workflow_id": "archived",
        "status": "COMPLETED" if status == "COMPLETED" else None,
        "output": None,
        "progress": "task pack cannot be read: the workflow was archived or deleted",
    }


@both_ways
def test_an_output_too_large_for_xcom_is_an_error_with_a_way_out(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=SOON, output={"rows": "x" * 500})
    operator = execute(deferrable=deferrable, max_output_bytes=400)
    told = error_of(operator, ConductorOutputTooLargeError, "max_output_bytes")
    assert conductor.only_workflow in str(told)
    assert result(execute(deferrable=deferrable, max_output_bytes=600)) == {"rows": "x" * 500}


# Told before the wait


@both_ways
def test_id_and_page_are_in_xcom_before_the_wait(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=SOON)
    operator = execute(deferrable=deferrable)
    context = context_of(operator, conductor.journal)
    run(operator, context)
    workflow_id = conductor.only_workflow
    looks = [place for place, entry in enumerate(conductor.journal) if entry.startswith(f"GET /workflow/{workflow_id}")]
    places = [conductor.journal.index(entry) for entry in ("POST /workflow", "xcom workflow_id", "xcom workflow_url")]
    assert places == sorted(places)
    assert places[-1] < min(looks)
    assert context["ti"].xcoms["workflow_id"] == workflow_id
    assert context["ti"].xcoms["workflow_url"] == f"{conductor.url}/execution/{workflow_id}"


# Failures


@both_ways
@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "TERMINATED"])
def test_a_workflow_that_ends_badly_fails_the_task(conductor: ConductorStandIn, deferrable: bool, status: str) -> None:
    conductor.default_script = Script(after=SOON, status=status, reason="no tea left")
    failure = error_of(execute(deferrable=deferrable), ConductorWorkflowFailedError, "no tea left")
    workflow_id = conductor.only_workflow
    assert (failure.workflow_id, failure.status) == (workflow_id, status)
    assert failure.url == f"{conductor.url}/execution/{workflow_id}"
    assert failure.reason == "no tea left"
    for told in (workflow_id, failure.url):
        assert told in str(failure)
    assert conductor.status(workflow_id) == status


@pytest.mark.parametrize(
    "event",
    [
        None,
        "COMPLETED",
        {},
        [],
        {"status": "COMPLETED"},
        {"workflow_id": "abc"},
        {"workflow_id": "", "status": "COMPLETED"},
        {"workflow_id": "abc", "status": None},
        {"workflow_id": "abc", "status": "SOMETHING_NEW"},
        {"workflow_id": "abc", "status": "still_running"},
    ],
    ids=repr,
)
def test_an_event_nobody_knows_fails_the_task(conductor: ConductorStandIn, event: Any) -> None:
    operator = execute()
    with pytest.raises((AirflowException, ConductorError)):
        operator.execute_complete(context_of(operator), event)


def test_an_event_of_success_is_not_believed_blindly(conductor: ConductorStandIn) -> None:
    """The output is read from the server, never from the event."""
    workflow_id = conductor.add("COMPLETED", output={"total": 42})
    event = {"workflow_id": workflow_id, "status": "COMPLETED", "output": {"total": 0}}
    operator = execute()
    assert operator.execute_complete(context_of(operator), event) == {"total": 42}


def test_an_error_of_the_trigger_is_the_tasks_error(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()
    operator = execute()
    with pytest.raises((AirflowException, ConductorError), match="credentials were refused"):
        operator.execute_complete(
            context_of(operator), {"workflow_id": workflow_id, "status": "error", "message": "credentials were refused"}
        )


# Deferring


def deferral(**arguments: Any) -> TaskDeferred:
    operator = execute(deferrable=True, **arguments)
    return deferred(operator, context_of(operator))


def test_what_goes_to_the_triggerer_is_plain_json_without_secrets(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = conductor.connection_uri(headers={"X-Gate": "header-secret"}, proxy=None)
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", written)
    waits = deferral(timeout=60, stall_timeout=timedelta(minutes=5), workflow_input={"card": "4711"})
    classpath, arguments = waits.trigger.serialize()
    assert json.loads(json.dumps(arguments, allow_nan=False)) == arguments
    assert conductor.only_workflow in json.dumps(arguments)
    assert arguments["conductor_conn_id"] == "conductor_default"
    for private in ("header-secret", "4711"):
        assert private not in json.dumps(arguments)
    assert classpath == "airflow_provider_conductor.triggers.ConductorWorkflowTrigger"


def test_airflow_hands_the_trigger_over_unchanged(conductor: ConductorStandIn) -> None:
    trigger = deferral(timeout=60, stall_timeout=300, wait_until_task_ref="pack").trigger
    arrived = sent_through_airflow(trigger)
    assert type(arrived) is type(trigger)
    assert arrived.serialize() == trigger.serialize()


def test_airflows_own_deferral_timeout_comes_after_ours(conductor: ConductorStandIn) -> None:
    assert deferral().timeout is None
    bounded = deferral(timeout=60).timeout
    assert bounded is not None
    assert bounded > timedelta(seconds=60)


# Timeouts


@both_ways
@pytest.mark.parametrize(("on_timeout", "then"), [("terminate", "TERMINATED"), ("leave", "RUNNING")])
def test_a_timeout_fails_the_task_and_does_with_the_workflow_what_was_asked(
    conductor: ConductorStandIn, deferrable: bool, on_timeout: str, then: str
) -> None:
    told = error_of(execute(deferrable=deferrable, timeout=SOON, on_timeout=on_timeout), ConductorWorkflowTimeoutError)
    workflow_id = conductor.only_workflow
    assert conductor.status(workflow_id) == then
    assert told.workflow_id == workflow_id
    assert workflow_id in str(told)
    if on_timeout == "terminate":
        assert "nightly_orders.execute" in conductor.reason(workflow_id)


@both_ways
def test_what_ended_just_in_time_is_no_timeout(conductor: ConductorStandIn, deferrable: bool) -> None:
    """The deadline falls between two looks, and one more is taken at it."""
    conductor.default_script = Script(after=SOON, output={"total": 42})
    assert result(execute(deferrable=deferrable, poll_interval=30, timeout=2 * SOON)) == {"total": 42}


@both_ways
def test_the_earlier_of_timeout_and_execution_timeout_holds(conductor: ConductorStandIn, deferrable: bool) -> None:
    operator = execute(deferrable=deferrable, timeout=60, execution_timeout=timedelta(seconds=SOON))
    error_of(operator, ConductorWorkflowTimeoutError)
    assert conductor.status(conductor.only_workflow) == "TERMINATED"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("timeout", "stall_timeout", "poll_interval", "wait_for_seconds")
        for value in (float("inf"), float("nan"), 1e15, timedelta.max, True, -0.1, timedelta(seconds=-1))
    ]
    + [("wait_for_seconds", None), ("wait_for_seconds", "10")],
    ids=str,
)
def test_a_duration_that_cannot_be_is_an_error_of_the_dag_file(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        execute(**{name: value})


@pytest.mark.parametrize(
    ("given", "number"), [(0, 0), (0.5, 0.5), (600, 600), (timedelta(0), 0), (timedelta(minutes=2), 120)], ids=repr
)
def test_the_wait_on_the_worker_is_a_number_or_timedelta(given: Any, number: float) -> None:
    assert execute(wait_for_seconds=given).wait_for_seconds == number


@both_ways
def test_an_execution_timeout_beyond_all_time_is_no_limit(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=SOON, output={"total": 42})
    assert result(execute(deferrable=deferrable, execution_timeout=timedelta.max)) == {"total": 42}


@pytest.mark.parametrize(("on_timeout", "then"), [("terminate", "TERMINATED"), ("leave", "RUNNING")])
def test_airflows_alarm_during_the_wait_is_a_timeout_like_ours(
    conductor: ConductorStandIn, on_timeout: str, then: str
) -> None:
    operator = execute(on_timeout=on_timeout)
    with pytest.raises(AirflowTaskTimeout), timeout(1):
        operator.execute(context_of(operator))
    operator.on_kill()  # Airflow calls it after the alarm
    assert conductor.status(conductor.only_workflow) == then


@contextmanager
def alarm_raises_airflows_timeout() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise AirflowTaskTimeout("the task's time is over")

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


def test_an_alarm_in_the_middle_of_our_own_clearing_up_leaves_no_orphan(conductor: ConductorStandIn) -> None:
    """Our deadline and Airflow's alarm come at almost the same moment; the interrupted termination is done again."""
    interrupted = []

    def ring_once(request: Any) -> tuple[int, str, bytes] | None:
        if request.method != "DELETE" or interrupted:
            return None
        interrupted.append(request)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)
        return 0, "", b""

    conductor.instead = ring_once
    operator = execute(timeout=SOON)
    with alarm_raises_airflows_timeout(), pytest.raises(AirflowTaskTimeout):
        operator.execute(context_of(operator))
    operator.on_kill()
    assert interrupted
    assert conductor.status(conductor.only_workflow) == "TERMINATED"


# Kills


@contextmanager
def executing(operator: ConductorExecuteWorkflowOperator, conductor: ConductorStandIn) -> Iterator[list[BaseException]]:
    """The operator in the middle of its wait, in a thread; at the end its workflow is ended and the errors are here."""
    thread, errors = in_a_thread(lambda: operator.execute(context_of(operator)))
    give_up = time.monotonic() + 120
    while not any(entry.startswith("GET /workflow/") for entry in conductor.journal):
        assert time.monotonic() < give_up, errors
        time.sleep(0.01)
    yield errors
    if conductor.status(conductor.only_workflow) == "RUNNING":
        conductor.end(conductor.only_workflow, "COMPLETED")
    thread.join(120)
    assert not thread.is_alive()


def test_a_kill_terminates_the_workflow_and_says_who_did(conductor: ConductorStandIn) -> None:
    operator = execute()
    with executing(operator, conductor) as errors:
        operator.on_kill()
        assert conductor.status(conductor.only_workflow) == "TERMINATED"
        assert "nightly_orders.execute" in conductor.reason(conductor.only_workflow)
    assert isinstance(errors[0], ConductorWorkflowFailedError)


def test_a_kill_leaves_a_workflow_that_is_to_outlive_its_task(conductor: ConductorStandIn) -> None:
    operator = execute(cancel_on_kill=False)
    with executing(operator, conductor):
        operator.on_kill()
        assert conductor.status(conductor.only_workflow) == "RUNNING"
    assert conductor.sent("DELETE") == []


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT"])
def test_a_kill_leaves_as_it_is_what_has_just_ended(conductor: ConductorStandIn, status: str) -> None:
    """A server overwrites FAILED with TERMINATED when it is asked to terminate."""
    operator = execute(poll_interval=0.5)
    with executing(operator, conductor):
        conductor.end(conductor.only_workflow, status, reason="by itself")
        operator.on_kill()
    assert conductor.status(conductor.only_workflow) == status
    assert conductor.reason(conductor.only_workflow) == "by itself"
    assert conductor.sent("DELETE") == []


def test_a_kill_before_the_start_touches_nothing(conductor: ConductorStandIn) -> None:
    execute().on_kill()
    assert conductor.requests == []


def test_a_kill_survives_a_server_that_is_away(conductor: ConductorStandIn) -> None:
    operator = execute()
    with executing(operator, conductor):
        conductor.instead = lambda request: (0, "", b"")
        operator.on_kill()
        conductor.instead = lambda request: None
    assert conductor.status(conductor.only_workflow) == "COMPLETED"
