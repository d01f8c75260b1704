"""Waiting for a task, ending it and signalling, and what real servers do with each state of a task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_conductor.client import ConductorRequestError, Task
from airflow_provider_conductor.exceptions import (
    ConductorInvalidStateError,
    ConductorTaskNotReadyError,
    ConductorTaskUnreachableError,
)
from airflow_provider_conductor.operators import ConductorCompleteTaskOperator, ConductorSignalWorkflowOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor
from tests.integration.waiting_lab import WaitingLab
from tests.operators.airflow_standin import context_of
from tests.waiting_modes.modes import Outcome, run_task

pytestmark = pytest.mark.integration

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "deferrable": {"deferrable": True},
}
in_each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module", params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Iterator[WaitingLab]:
    lab = WaitingLab(request.getfixturevalue(request.param).api_url)
    kinds = [lab.simple("pack"), *(lab.system(kind, kind.lower()) for kind in ("WAIT", "HUMAN"))]
    pack, wait, human = kinds
    lab.define("pack_first", pack, lab.system("WAIT", "then"))
    lab.define("wait_first", wait, lab.system("WAIT", "then"))
    lab.define("human_first", human, lab.system("WAIT", "then"))
    lab.define("human_may_fail", human | {"optional": True}, lab.system("WAIT", "then"))
    retried = lab.workflow(lab.simple("patient"), what="patient", policy={"patient": {"retryCount": 2}})
    lab.client.register_task_defs(
        {"name": lab.name("patient"), "retryCount": 2, "retryDelaySeconds": 600, "ownerEmail": "tests@example.com"}
    )
    assert retried
    below = {"name": lab.name("wait_first"), "version": 1}
    lab.define("parent", lab.system("SUB_WORKFLOW", "child", subWorkflowParam=below))
    yield lab
    lab.client.close()


@pytest.fixture(autouse=True)
def connection(lab: WaitingLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{lab.client.settings.api_url}"}}'
    )


@pytest.fixture
def begin(lab: WaitingLab) -> Iterator[Any]:
    """Start a workflow; it is ended with the test."""
    begun = []

    def start(what: str, ref: str | None = None) -> str:
        workflow_id = lab.client.start_workflow_by_name(lab.name(what))
        begun.append(workflow_id)
        if ref:
            lab.eventually(lambda: lab.client.get_workflow(workflow_id).latest_attempt(ref))
        return workflow_id

    yield start
    for workflow_id in begun:
        with contextlib.suppress(ConductorRequestError):  # it may be ending by itself
            if not lab.client.get_workflow(workflow_id, include_tasks=False).status.ended:
                lab.client.terminate_workflow(workflow_id, "the test is over")


def newest(lab: WaitingLab, workflow_id: str, ref: str) -> Task:
    task = lab.client.get_workflow(workflow_id).latest_attempt(ref)
    assert task is not None
    return task


def complete(workflow_id: str, ref: str, **arguments: Any) -> Outcome:
    return run_task(ConductorCompleteTaskOperator, workflow_id=workflow_id, task_reference_name=ref, **arguments)


def signal(workflow_id: str, **arguments: Any) -> Outcome:
    return run_task(ConductorSignalWorkflowOperator, workflow_id=workflow_id, **arguments)


def sense(workflow_id: str, ref: str, mode: str = "poke", **arguments: Any) -> Outcome:
    defaults = {"workflow_id": workflow_id, "task_reference_name": ref, "poke_interval": 0.3}
    return run_task(ConductorTaskSensor, **{**defaults, **MODES[mode], **arguments})


# Completing


@pytest.mark.covers("POST /tasks")
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"])
@pytest.mark.parametrize("kind", ["pack", "wait", "human"])
def test_an_open_task_ends_as_asked(lab: WaitingLab, begin: Any, kind: str, status: str) -> None:
    workflow_id = begin(f"{kind}_first", kind)
    done = complete(workflow_id, kind, status=status, task_output={"by": "Ana"}, reason="as seen")
    assert done.error is None
    task = newest(lab, workflow_id, kind)
    assert done.result == {
        "workflow_id": workflow_id,
        "task_id": task.task_id,
        "task_reference_name": kind,
        "status": status,
    }
    assert (task.status, task.output, task.reason) == (status, {"by": "Ana"}, "as seen")
    assert task.worker_id.startswith("airflow:nightly_orders:")
    if status == "COMPLETED":
        assert lab.eventually(lambda: lab.status_of(workflow_id, "then")) in ("SCHEDULED", "IN_PROGRESS")
    else:
        assert lab.ended(workflow_id).status == "FAILED"


@pytest.mark.parametrize("status", ["FAILED", "FAILED_WITH_TERMINAL_ERROR"])
def test_an_optional_task_fails_as_asked_though_the_server_says_otherwise(
    lab: WaitingLab, begin: Any, status: str
) -> None:
    workflow_id = begin("human_may_fail", "human")
    operator = ConductorCompleteTaskOperator(
        task_id="fail", workflow_id=workflow_id, task_reference_name="human", status=status, retries=2
    )
    task_id = operator.execute(context_of(operator))["task_id"]
    lab.eventually(lambda: lab.status_of(workflow_id, "then") in ("SCHEDULED", "IN_PROGRESS"))
    assert newest(lab, workflow_id, "human").status == "COMPLETED_WITH_ERRORS"
    again = operator.execute(context_of(operator, try_number=2))
    assert (again["task_id"], again["status"]) == (task_id, "COMPLETED_WITH_ERRORS")


def test_a_task_may_be_named_by_its_id(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("wait_first", "wait")
    task = newest(lab, workflow_id, "wait")
    done = run_task(ConductorCompleteTaskOperator, workflow_id=workflow_id, conductor_task_id=task.task_id)
    assert (done.error, done.result["task_reference_name"]) == (None, "wait")
    assert newest(lab, workflow_id, "wait").status == "COMPLETED"


def test_a_task_that_a_worker_is_at_is_ended_over_its_head(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("pack_first", "pack")
    taken = lab.take("pack")
    assert complete(taken.data["workflowInstanceId"], "pack", task_output={"boxes": 1}).error is None
    lab.client.update_task(taken.data["workflowInstanceId"], taken.task_id, "COMPLETED", {"boxes": 2})
    assert newest(lab, taken.data["workflowInstanceId"], "pack").output == {"boxes": 1}
    assert workflow_id


def test_the_present_attempt_is_ended_during_a_retry_delay(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("patient", "patient")
    first = newest(lab, workflow_id, "patient")
    lab.client.update_task(workflow_id, first.task_id, "FAILED", reason="not yet")
    lab.eventually(lambda: newest(lab, workflow_id, "patient").retry_count == 1)
    assert complete(workflow_id, "patient", task_output={"by": "hand"}).error is None
    workflow = lab.ended(workflow_id)
    assert (workflow.status, newest(lab, workflow_id, "patient").output) == ("COMPLETED", {"by": "hand"})


def test_a_failure_is_not_repeated_by_an_airflow_retry(lab: WaitingLab, begin: Any) -> None:
    """The first try was killed after the server had its update."""
    workflow_id = begin("patient", "patient")
    operator = ConductorCompleteTaskOperator(
        task_id="fail", workflow_id=workflow_id, task_reference_name="patient", status="FAILED", retries=2
    )
    result = operator.execute(context_of(operator))
    lab.eventually(lambda: newest(lab, workflow_id, "patient").retry_count == 1)
    assert operator.execute(context_of(operator, try_number=2)) == result
    assert [str(task.status) for task in lab.client.get_workflow(workflow_id).tasks] == ["FAILED", "SCHEDULED"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_what_is_so_already_is_a_success(lab: WaitingLab, begin: Any, status: str) -> None:
    workflow_id = begin("wait_first", "wait")
    task = newest(lab, workflow_id, "wait")
    lab.client.update_task(workflow_id, task.task_id, status, {"by": "Bo"}, worker_id="Bo")
    done = complete(workflow_id, "wait", status=status, task_output={"by": "Ana"})
    assert done.error is None
    assert done.told(f"is already {status} by Bo")
    assert newest(lab, workflow_id, "wait").output == {"by": "Bo"}


@pytest.mark.parametrize(("is_now", "asked"), [("COMPLETED", "FAILED"), ("FAILED", "COMPLETED")])
def test_what_has_ended_otherwise_is_refused(lab: WaitingLab, begin: Any, is_now: str, asked: str) -> None:
    workflow_id = begin("wait_first", "wait")
    lab.client.update_task(workflow_id, newest(lab, workflow_id, "wait").task_id, is_now)
    error = complete(workflow_id, "wait", status=asked).error
    assert isinstance(error, ConductorInvalidStateError)
    assert f"is {is_now}, not open: it cannot become {asked}" in str(error)
    assert newest(lab, workflow_id, "wait").status == is_now


def test_a_task_that_is_not_there_yet_is_told_with_what_is_there(begin: Any) -> None:
    error = complete(begin("wait_first", "wait"), "then").error
    assert isinstance(error, ConductorTaskNotReadyError)
    assert "does not exist yet: the workflow is RUNNING, open tasks are 'wait' (WAIT IN_PROGRESS)" in str(error)
    assert "ConductorTaskSensor" in str(error)


def test_nothing_is_ended_in_a_workflow_that_has_ended(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("wait_first", "wait")
    lab.client.terminate_workflow(workflow_id, "by somebody")
    for ref, says in (("wait", "is CANCELED"), ("then", "ended as TERMINATED and has no task 'then'")):
        error = complete(workflow_id, ref).error
        assert isinstance(error, ConductorInvalidStateError)
        assert says in str(error)


def test_a_task_of_a_paused_workflow_is_ended_and_the_pause_is_told(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("wait_first", "wait")
    lab.client.pause_workflow(workflow_id)
    done = complete(workflow_id, "wait")
    assert done.error is None
    assert done.told("is PAUSED: it continues when it is resumed")
    assert newest(lab, workflow_id, "wait").status == "COMPLETED"


def test_what_stands_for_other_tasks_is_refused(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("parent", "child")
    lab.eventually(lambda: newest(lab, workflow_id, "child").sub_workflow_id)
    error = complete(workflow_id, "child").error
    assert isinstance(error, ConductorInvalidStateError)
    assert "is a SUB_WORKFLOW" in str(error)
    assert not newest(lab, workflow_id, "child").status.ended


# Signals


@pytest.mark.covers("POST /tasks/{workflowId}/{status}/signal/sync")
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_a_signal_ends_the_first_open_wait(lab: WaitingLab, begin: Any, status: str) -> None:
    workflow_id = begin("wait_first", "wait")
    done = signal(workflow_id, status=status, task_output={"go": True})
    assert (done.error, done.result["task_reference_name"]) == (None, "wait")
    task = newest(lab, workflow_id, "wait")
    assert (task.status, task.output) == (status, {"go": True})


def test_two_signals_end_two_waits_but_a_retry_of_one_does_not(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("wait_first", "wait")
    operator = ConductorSignalWorkflowOperator(task_id="go", workflow_id=workflow_id, retries=2)
    first = operator.execute(context_of(operator))
    lab.eventually(lambda: lab.status_of(workflow_id, "then"))
    assert operator.execute(context_of(operator, try_number=2)) == first
    assert lab.status_of(workflow_id, "then") in ("SCHEDULED", "IN_PROGRESS")
    assert signal(workflow_id).result["task_reference_name"] == "then"
    assert lab.ended(workflow_id).status == "COMPLETED"


def test_a_signal_goes_down_to_a_running_sub_workflow(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("parent", "child")
    child = lab.sub_workflow_at(workflow_id, "child", "wait")
    operator = ConductorSignalWorkflowOperator(task_id="go", workflow_id=workflow_id, retries=1)
    done = operator.execute(context_of(operator))
    assert (done["workflow_id"], done["task_reference_name"]) == (child, "wait")
    assert newest(lab, child, "wait").status == "COMPLETED"
    assert operator.execute(context_of(operator, try_number=2)) == done


def test_where_nothing_waits_a_signal_is_refused(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("human_first", "human")
    error = signal(workflow_id).error
    assert isinstance(error, ConductorTaskNotReadyError)
    assert (
        "is RUNNING and no WAIT task is open, in it or in its sub-workflows; open tasks are 'human' (HUMAN IN_PROGRESS)"
        in str(error)
    )
    assert not newest(lab, workflow_id, "human").status.ended
    lab.client.terminate_workflow(workflow_id)
    error = signal(workflow_id).error
    assert isinstance(error, ConductorInvalidStateError)
    assert "is TERMINATED: there is nothing left to signal" in str(error)


# The sensor


@in_each_mode
@pytest.mark.parametrize("kind", ["pack", "wait", "human"])
def test_a_task_that_is_open_is_seen(lab: WaitingLab, begin: Any, kind: str, mode: str) -> None:
    workflow_id = begin(f"{kind}_first")
    assert sense(workflow_id, kind, mode, expected_status=["SCHEDULED", "IN_PROGRESS"]).error is None


@in_each_mode
def test_a_task_that_ends_well_gives_its_output(lab: WaitingLab, begin: Any, mode: str) -> None:
    workflow_id = begin("human_first", "human")
    task = newest(lab, workflow_id, "human")

    def sign_off(xcoms: Any = None) -> None:
        lab.client.update_task(workflow_id, task.task_id, "COMPLETED", {"by": "Ana"})

    if mode == "deferrable":
        done = sense(workflow_id, "human", mode, return_output=True, on_start=sign_off)
    else:
        lab.later(1.0, sign_off)
        done = sense(workflow_id, "human", mode, return_output=True)
    assert (done.error, done.result) == (None, {"by": "Ana"})
    assert done.deferrals == (1 if mode == "deferrable" else 0)


@in_each_mode
def test_a_retry_delay_is_waited_through(lab: WaitingLab, begin: Any, mode: str) -> None:
    workflow_id = begin("patient", "patient")
    lab.client.update_task(workflow_id, newest(lab, workflow_id, "patient").task_id, "FAILED")
    assert isinstance(sense(workflow_id, "patient", mode, timeout=2).error, AirflowSensorTimeout)
    assert sense(workflow_id, "patient", mode, expected_status="FAILED").error is None


@in_each_mode
@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda lab, workflow_id, task: lab.client.update_task(workflow_id, task, "FAILED", reason="no"), "is FAILED"),
        (lambda lab, workflow_id, task: lab.client.terminate_workflow(workflow_id, "no"), "is CANCELED"),
    ],
    ids=["failed", "terminated"],
)
def test_what_cannot_come_any_more_fails(lab: WaitingLab, begin: Any, mode: str, act: Any, says: str) -> None:
    workflow_id = begin("wait_first", "wait")
    lab.later(1.0, act, lab, workflow_id, newest(lab, workflow_id, "wait").task_id)
    error = sense(workflow_id, "wait", mode).error
    assert isinstance(error, ConductorTaskUnreachableError)
    assert f"task 'wait' {says}" in str(error)


def test_an_approval_is_waited_for_given_and_seen(lab: WaitingLab, begin: Any) -> None:
    workflow_id = begin("human_first")
    assert sense(workflow_id, "human", "deferrable", expected_status="IN_PROGRESS").error is None
    assert complete(workflow_id, "human", task_output={"approved": True}).error is None
    assert sense(workflow_id, "human", "deferrable", return_output=True).result == {"approved": True}
