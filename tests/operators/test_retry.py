"""Retry: on from the failed tasks, under the same id; other states are told apart before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorNotFoundError
from airflow_provider_conductor.exceptions import (
    ConductorInvalidStateError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import ConductorRetryWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, run
from tests.operators.impatient import both_ways


def retry(workflow_id: str, try_number: int = 1, **arguments: Any) -> Any:
    operator = ConductorRetryWorkflowOperator(
        task_id="retry", workflow_id=workflow_id, **{"poll_interval": 0.1, **arguments}
    )
    return run(operator, context_of(operator, try_number=try_number))


def retries_sent(conductor: ConductorStandIn) -> int:
    return sum(request.path.endswith("/retry") for request in conductor.requests)


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "TERMINATED"])
def test_what_did_not_complete_runs_on_under_the_same_id(conductor: ConductorStandIn, status: str) -> None:
    workflow_id = conductor.add(status)
    assert retry(workflow_id) == workflow_id
    assert conductor.status(workflow_id) == "RUNNING"


def test_what_runs_already_is_left_to_run(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()
    assert retry(workflow_id) == workflow_id
    assert retries_sent(conductor) == 0


@pytest.mark.parametrize(("status", "instead"), [("PAUSED", "ConductorResume"), ("COMPLETED", "ConductorRestart")])
def test_what_cannot_be_retried_is_reported_with_what_would_do(
    conductor: ConductorStandIn, status: str, instead: str
) -> None:
    workflow_id = conductor.add(status)
    with pytest.raises(ConductorInvalidStateError, match=instead) as error:
        retry(workflow_id)
    assert workflow_id in str(error.value)
    assert retries_sent(conductor) == 0
    assert conductor.status(workflow_id) == status


ENDED_ITSELF = [
    {"referenceTaskName": "check", "taskType": "check", "status": "COMPLETED", "seq": 1},
    {"referenceTaskName": "stop", "taskType": "TERMINATE", "status": "COMPLETED", "seq": 2},
]


@pytest.mark.parametrize("wait", [False, True], ids=["not waiting", "waiting"])
@pytest.mark.parametrize(("tasks", "told"), [(2, "TERMINATE"), (1, "none of its tasks has failed")])
def test_a_retry_that_would_do_nothing_returns_no_old_result(
    conductor: ConductorStandIn, tasks: int, told: str, wait: bool
) -> None:
    workflow_id = conductor.add("FAILED", reason="stock not there yet", tasks=ENDED_ITSELF[:tasks])
    if tasks == 2:
        conductor.workflows[workflow_id]["workflowDefinition"]["tasks"] = [{"type": "TERMINATE"}]
    with pytest.raises(ConductorInvalidStateError, match=rf"{told}.*ConductorRestartWorkflowOperator"):
        retry(workflow_id, wait_for_completion=wait)
    assert retries_sent(conductor) == (0 if tasks == 2 else 1)


def test_what_the_earlier_try_retried_and_has_completed_meanwhile_is_a_success(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output={"total": 42})
    assert retry(workflow_id, try_number=2, wait_for_completion=True) == {"total": 42}


def test_a_workflow_that_does_not_exist_fails_the_task(conductor: ConductorStandIn) -> None:
    with pytest.raises(ConductorNotFoundError, match="no-such-id"):
        retry("no-such-id")


@pytest.mark.parametrize(("resume", "sent"), [(True, "true"), (False, "false")])
def test_failed_sub_workflows_are_resumed_or_not(conductor: ConductorStandIn, resume: bool, sent: str) -> None:
    retry(conductor.add("FAILED"), resume_subworkflow_tasks=resume)
    (request,) = (request for request in conductor.requests if request.path.endswith("/retry"))
    assert request.query["resumeSubworkflowTasks"] == sent


@both_ways
def test_waiting_for_the_end_returns_the_output(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=0.3, output={"total": 42})
    workflow_id = conductor.add("FAILED")
    assert retry(workflow_id, wait_for_completion=True, deferrable=deferrable) == {"total": 42}


@both_ways
def test_failing_again_fails_the_task(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=0.3, status="FAILED", reason="still no tea")
    with pytest.raises(ConductorWorkflowFailedError, match="still no tea"):
        retry(conductor.add("FAILED"), wait_for_completion=True, deferrable=deferrable)


@both_ways
@pytest.mark.parametrize(("on_timeout", "then"), [("terminate", "TERMINATED"), ("leave", "RUNNING")])
def test_a_timeout_does_with_the_workflow_what_was_asked(
    conductor: ConductorStandIn, deferrable: bool, on_timeout: str, then: str
) -> None:
    workflow_id = conductor.add("FAILED")
    with pytest.raises(ConductorWorkflowTimeoutError, match=workflow_id):
        retry(workflow_id, wait_for_completion=True, deferrable=deferrable, timeout=0.3, on_timeout=on_timeout)
    assert conductor.status(workflow_id) == then


def test_the_page_is_in_xcom_before_the_wait(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0.3)
    workflow_id = conductor.add("FAILED")
    operator = ConductorRetryWorkflowOperator(
        task_id="retry", workflow_id=workflow_id, wait_for_completion=True, poll_interval=0.1
    )
    run(operator, context_of(operator, conductor.journal))
    journal = conductor.journal
    first = journal.index("xcom workflow_id")
    assert journal[first : first + 2] == ["xcom workflow_id", "xcom workflow_url"]
    assert f"POST /workflow/{workflow_id}/retry" in journal[first:]
