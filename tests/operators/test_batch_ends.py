"""How a batch ends before its time: timeouts, standstills, kills, a triggerer that does not answer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout

from airflow_provider_conductor.exceptions import ConductorBatchFailedError, ConductorWorkflowTimeoutError
from airflow_provider_conductor.operators import deferral
from airflow_provider_conductor.testing import Request
from tests.operators.airflow_standin import (
    context_of,
    deferred,
    error_of,
    first_event,
    in_a_thread,
    refusal,
    result,
    sent_through_airflow,
)
from tests.operators.batch_standin import Orders, batch, until_ended
from tests.operators.impatient import both_ways

as_asked = pytest.mark.parametrize(("on_timeout", "left"), [("terminate", "TERMINATED"), ("leave", "RUNNING")])


@contextmanager
def interrupted(after: float, error: BaseException) -> Iterator[None]:
    """Raise this after so many seconds, as Airflow does: in a signal handler."""

    def interrupt(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_only(request: Request) -> tuple[int, str, bytes] | None:
    """A key that may look and start, and not terminate."""
    if request.path == "/workflow/bulk/terminate" or request.method == "DELETE":
        return refusal(403, "read only")
    return None


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    """Collects what a task logs from now on."""

    def collect(task: Any) -> list[str]:
        lines: list[str] = []
        for level in ("info", "warning", "error"):
            monkeypatch.setattr(task.log, level, lambda line, *values: lines.append(line % values if values else line))
        return lines

    return collect


@contextmanager
def running(task: Any, context: dict[str, Any], ended: int) -> Iterator[list[BaseException]]:
    """The task while it runs in another thread, once so many items have ended; then what it has raised."""
    thread, raised = in_a_thread(lambda: task.execute(context))
    until_ended(task, ended)
    yield raised
    thread.join(20)


# Timeouts


@as_asked
@both_ways
def test_a_timeout_terminates_what_runs_and_only_that(
    orders: Orders, on_timeout: Any, left: str, deferrable: bool
) -> None:
    orders.never = {3, 4}
    orders.fail = {5: "no stock"}
    task = batch(timeout=3, on_timeout=on_timeout, deferrable=deferrable, wait_for_seconds=0)
    told = error_of(task, ConductorWorkflowTimeoutError, "10 of 12 ended")
    assert ("were terminated" if on_timeout == "terminate" else "keep running") in str(told)
    assert [orders.status(number) for number in (2, 3, 4, 5)] == ["COMPLETED", left, left, "FAILED"]


def test_a_retry_after_a_timeout_goes_on(orders: Orders) -> None:
    orders.never = {3}
    task = batch(timeout=2, retries=2)
    error_of(task, ConductorWorkflowTimeoutError)
    orders.fail, orders.never = {}, set()
    assert result(task, try_number=2)[3] == {"shipped": 3}
    assert len(orders.sent) == 12


@as_asked
@both_ways
def test_execution_timeout_is_a_timeout_like_others(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, on_timeout: Any, left: str, deferrable: bool
) -> None:
    """Where Airflow resumes the task; it does not on 2.11."""
    monkeypatch.setattr(deferral, "TIMEOUT_FORESTALLS_RESUMPTION", False)
    orders.never = {3}
    more = {"deferrable": deferrable, "wait_for_seconds": 0, "cancel_on_kill": on_timeout == "leave"}
    task = batch(execution_timeout=timedelta(seconds=3), on_timeout=on_timeout, **more)
    error_of(task, ConductorWorkflowTimeoutError, "11 of 12 ended")
    assert (orders.status(2), orders.status(3)) == ("COMPLETED", left)


@as_asked
def test_execution_timeout_that_interrupts_does_what_was_asked(orders: Orders, on_timeout: Any, left: str) -> None:
    """Airflow's own comes where ours was late."""
    orders.never = {3}
    task = batch(on_timeout=on_timeout, cancel_on_kill=on_timeout == "leave")
    with interrupted(2.0, AirflowTaskTimeout("time is over")), pytest.raises(AirflowTaskTimeout):
        task.execute(context_of(task))
    assert (orders.status(2), orders.status(3)) == ("COMPLETED", left)


@as_asked
def test_where_airflow_resumes_nothing_the_trigger_ends_what_runs(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, on_timeout: Any, left: str
) -> None:
    monkeypatch.setattr(deferral, "TIMEOUT_FORESTALLS_RESUMPTION", True)
    orders.never = {3}
    task = batch(execution_timeout=timedelta(seconds=4), on_timeout=on_timeout, deferrable=True, wait_for_seconds=0)
    trigger = sent_through_airflow(deferred(task, context_of(task)).trigger)
    assert first_event(trigger)["status"] == "timeout"
    assert orders.status(3) == left


def test_a_timeout_that_cannot_terminate_says_so(orders: Orders) -> None:
    orders.never = {3}
    orders.conductor.instead = read_only
    error_of(batch(timeout=2), ConductorWorkflowTimeoutError, "could not be terminated")
    assert orders.status(3) == "RUNNING"


# A standstill

STUCK = {
    "taskId": "1",
    "referenceTaskName": "pack",
    "taskType": "SIMPLE",
    "taskDefName": "pack",
    "status": "SCHEDULED",
    "scheduledTime": 1,
    "updateTime": 1,
}


@as_asked
@both_ways
def test_one_that_stands_still_has_failed_and_the_others_go_on(
    orders: Orders, on_timeout: Any, left: str, deferrable: bool
) -> None:
    orders.stuck = {3: STUCK}
    orders.never = {3}
    task = batch(stall_timeout=1.5, on_timeout=on_timeout, deferrable=deferrable, wait_for_seconds=0)
    failed = error_of(task, ConductorBatchFailedError)
    assert (failed.failed, failed.total) == (1, 12)
    assert failed.causes[0]["item"] == "3"
    assert "pack" in failed.causes[0]["reason"]
    assert [orders.status(number) for number in (2, 3)] == ["COMPLETED", left]


# Kills


@pytest.mark.parametrize(("cancel_on_kill", "left"), [(True, "TERMINATED"), (False, "RUNNING")])
def test_a_kill_terminates_what_runs_and_only_that(
    orders: Orders, logged: Callable[[Any], list[str]], cancel_on_kill: bool, left: str
) -> None:
    orders.never = {7, 8}
    orders.fail = {5: "no stock"}
    task = batch(cancel_on_kill=cancel_on_kill, retries=1)
    lines = logged(task)
    with running(task, context_of(task), ended=10) as raised:
        task.on_kill()
    assert "killed" in str(raised[0])
    assert [orders.status(number) for number in (5, 7, 8, 9)] == ["FAILED", left, left, "COMPLETED"]
    done = "2 workflows were terminated" if cancel_on_kill else "2 workflows keep running"
    assert f"The batch has stopped; {done}" in lines


def test_a_killed_try_is_followed_by_new_workflows(orders: Orders) -> None:
    orders.never = {7}
    task = batch(retries=1)
    with running(task, context_of(task), ended=11):
        task.on_kill()
    orders.never = set()
    assert result(batch(retries=1), try_number=2)[7] == {"shipped": 7}
    assert (orders.sent.count(7), len(orders.sent)) == (2, 13)


def test_a_signal_ends_the_run_at_once(orders: Orders) -> None:
    """Airflow raises in a signal handler; what is sent by then is there for the next try."""
    orders.never = set(range(12))
    task = batch(max_active=3)
    with (
        interrupted(2.0, AirflowException("Task received SIGTERM signal")),
        pytest.raises(AirflowException, match="SIGTERM"),
    ):
        task.execute(context_of(task))
    assert not [thread for thread in threading.enumerate() if thread.name == "conductor-batch"]
    assert len(orders.sent) == 3


@as_asked
def test_a_kill_by_execution_timeout_is_a_timeout(orders: Orders, on_timeout: Any, left: str) -> None:
    """Airflow calls ``on_kill`` for that, too."""
    orders.never = {7}
    task = batch(on_timeout=on_timeout, cancel_on_kill=on_timeout == "leave")
    context = context_of(task)
    with running(task, context, ended=11):
        task._guard.alarm_at = context["ti"].start_date.timestamp()
        task.on_kill()
    assert orders.status(7) == left


def test_a_kill_that_cannot_terminate_says_so(orders: Orders, logged: Callable[[Any], list[str]]) -> None:
    orders.never = {7, 8}
    orders.conductor.instead = read_only
    task = batch()
    lines = logged(task)
    with running(task, context_of(task), ended=10) as raised:
        task.on_kill()
    assert "killed" in str(raised[0])
    assert any("2 workflows could not be terminated" in line for line in lines)
    assert not [line for line in lines if "were terminated" in line]


# A triggerer that does not answer


def unanswered(orders: Orders, **arguments: Any) -> tuple[Any, dict[str, Any]]:
    """A batch that was deferred with two running workflows, and its context; another process resumes it."""
    orders.after = 0.0
    orders.never = {3, 4}
    orders.fail = {5: "no stock"}
    arguments = {"deferrable": True, "wait_for_seconds": 0, "timeout": 60, **arguments}
    context = context_of(task := batch(**arguments))
    deferred(task, context)
    return batch(**arguments), context


@pytest.mark.parametrize("left_out", [0, 3])
@as_asked
def test_a_deferral_that_airflow_ends_does_with_what_runs_what_was_asked(
    orders: Orders, on_timeout: Any, left: str, left_out: int
) -> None:
    task, context = unanswered(orders, on_timeout=on_timeout)
    orders.leave_out(left_out)
    with pytest.raises(AirflowException):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert [orders.status(number) for number in (2, 3, 4, 5)] == ["COMPLETED", left, left, "FAILED"]


def test_only_items_that_may_have_been_started_are_searched_for(orders: Orders) -> None:
    many = [{"order": number} for number in range(1_000)]
    task, context = unanswered(orders, workflow_inputs=many, max_active=12)
    orders.conductor.requests.clear()
    with pytest.raises(AirflowException):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert [orders.status(number) for number in (3, 4)] == ["TERMINATED", "TERMINATED"]
    assert len([request for request in orders.conductor.requests if request.path == "/workflow/search"]) == 1


def test_a_trigger_that_failed_leaves_sound_workflows(orders: Orders) -> None:
    task, context = unanswered(orders)
    with pytest.raises(AirflowException):
        task.resume_execution("__fail__", {"error": "Trigger failure"}, context)
    assert [orders.status(number) for number in (3, 4)] == ["RUNNING", "RUNNING"]


@pytest.mark.parametrize("trouble", ["read only", "other inputs"])
def test_where_that_goes_wrong_the_task_fails_as_it_would_have(
    orders: Orders, logged: Callable[[Any], list[str]], trouble: str
) -> None:
    task, context = unanswered(orders)
    if trouble == "read only":
        orders.conductor.instead = read_only
    else:
        task.workflow_inputs = "rendered to something else"
    lines = logged(task)
    with pytest.raises(AirflowException) as raised:
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert type(raised.value).__name__ in ("TaskDeferralTimeout", "TaskDeferralError")
    assert any("could not be terminated" in line for line in lines)


# A server without a look-up


def test_without_a_look_up_a_batch_keeps_its_worker_and_says_so(
    orders: Orders, logged: Callable[[Any], list[str]]
) -> None:
    orders.conductor.looks_up, orders.after = False, 1.0
    task = batch(deferrable=True, wait_for_seconds=0)
    lines = logged(task)
    assert len(task.execute(context_of(task))) == 12
    assert sum("does not find workflows by their correlation id" in line for line in lines) == 1
