"""The operators that control workflows: selection, results, errors, and the wait for the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_conductor.client import ConductorUnreachableError
from airflow_provider_conductor.exceptions import (
    ConductorInvalidStateError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import (
    ConductorDeleteWorkflowOperator,
    ConductorPauseWorkflowOperator,
    ConductorRerunWorkflowOperator,
    ConductorRestartWorkflowOperator,
    ConductorResumeWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import context_of, error_of, refusal, run
from tests.operators.impatient import both_ways

AGAIN = [
    pytest.param(ConductorRestartWorkflowOperator, "FAILED", id="restart"),
    pytest.param(ConductorRetryWorkflowOperator, "FAILED", id="retry"),
    pytest.param(ConductorResumeWorkflowOperator, "PAUSED", id="resume"),
]


def act(kind: type, workflow_id: Any = None, try_number: int = 1, **arguments: Any) -> Any:
    operator = kind(task_id="control", workflow_id=workflow_id, **arguments)
    return run(operator, context_of(operator, try_number=try_number))


def rendered(kind: type, rendered: dict[str, Any], **arguments: Any) -> Any:
    """A task whose templates have been rendered to this."""
    operator = kind(task_id="control", **arguments, **{name: f"{{{{ params.{name} }}}}" for name in rendered})
    for name, value in rendered.items():
        setattr(operator, name, value)
    return operator


def acted(conductor: ConductorStandIn) -> list[Request]:
    """What was sent that may change something."""
    reading = ("/search", "/correlated")
    return [item for item in conductor.requests if item.method != "GET" and not item.path.endswith(reading)]


# Rendered to nothing, or to something else


@pytest.mark.parametrize(
    ("kind", "arguments", "given", "told"),
    [
        (ConductorRerunWorkflowOperator, {}, {"from_task_ref": ""}, "from_task_ref must not be empty"),
        (ConductorRerunWorkflowOperator, {}, {"from_task_ref": " "}, "from_task_ref must not be empty"),
        (
            ConductorSkipTaskOperator,
            {"task_ref": "ship"},
            {"task_output": "{'parcel': 7}"},
            r"task_output is text.*render_template_as_native_obj",
        ),
    ],
    ids=str,
)
def test_it_is_refused(
    conductor: ConductorStandIn, kind: type, arguments: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    """Without a task to begin with, the whole workflow would run again."""
    error_of(rendered(kind, given, workflow_id=conductor.add("FAILED"), **arguments), AirflowFailException, told)
    assert acted(conductor) == []


# Selection


def test_a_list_may_come_as_the_text_a_template_makes_of_it(conductor: ConductorStandIn) -> None:
    ids = [conductor.add() for _ in range(2)]
    assert act(ConductorPauseWorkflowOperator, str(ids)) == ids


def test_the_bound_is_small_unless_told(conductor: ConductorStandIn) -> None:
    for _ in range(101):
        conductor.add()
    with pytest.raises(AirflowFailException, match="selects 101 workflows, more than max_workflows=100"):
        act(ConductorTerminateWorkflowOperator, query="status IN (RUNNING)")
    assert len(act(ConductorTerminateWorkflowOperator, query="status IN (RUNNING)", max_workflows=101)) == 101


@pytest.mark.parametrize("query", ["state IN (FAILED)", "status != COMPLETED", "status IN (RUNNING)\nAND x = 1"])
def test_a_query_that_is_not_certain_is_an_error_of_the_dag_file(conductor: ConductorStandIn, query: str) -> None:
    with pytest.raises(ValueError, match="Nothing was sent"):
        ConductorPauseWorkflowOperator(task_id="control", query=query)
    error_of(rendered(ConductorPauseWorkflowOperator, {"query": query}), AirflowFailException, "Nothing was sent")
    assert conductor.requests == []


def test_an_index_without_end_times_deletes_nothing(conductor: ConductorStandIn) -> None:
    conductor.indexed.discard("endTime")
    ids = [conductor.add("COMPLETED") for _ in range(2)]
    with pytest.raises(AirflowFailException, match="No workflow was changed"):
        act(ConductorDeleteWorkflowOperator, ended_before=timedelta(days=30))
    assert acted(conductor) == []
    assert list(conductor.workflows) == ids


@pytest.mark.parametrize("nothing", [None, "", "None", []])
def test_a_condition_that_renders_to_nothing_does_not_widen_the_selection(
    conductor: ConductorStandIn, nothing: Any
) -> None:
    conductor.add("FAILED")
    given = {"workflow_name": nothing, "started_before": "2100-01-01"}
    operator = rendered(ConductorDeleteWorkflowOperator, given, status="FAILED")
    error_of(operator, AirflowFailException, "workflow_name must not be empty")
    assert conductor.requests == []


def test_what_was_ended_to_be_deleted_still_counts_as_selected(conductor: ConductorStandIn) -> None:
    ids = [conductor.add() for _ in range(2)]
    assert act(ConductorDeleteWorkflowOperator, status="RUNNING", terminate_running=True) == ids


def test_a_selection_that_finds_nothing_is_a_success(conductor: ConductorStandIn) -> None:
    conductor.add("COMPLETED")
    assert act(ConductorTerminateWorkflowOperator, query="status IN (RUNNING)") == []
    assert acted(conductor) == []


@pytest.mark.parametrize("given", ["", "None", [""], ["abc", None], "[abc"])
def test_what_renders_to_no_id_fails_for_good(conductor: ConductorStandIn, given: Any) -> None:
    operator = rendered(ConductorDeleteWorkflowOperator, {"workflow_id": given})
    error_of(operator, AirflowFailException, r"workflow id|looks like a list")
    assert conductor.requests == []


def test_an_empty_list_of_ids_is_a_success(conductor: ConductorStandIn) -> None:
    assert act(ConductorDeleteWorkflowOperator, "[]") == []
    assert conductor.requests == []


# What the task raises


def test_what_the_server_refuses_may_be_retried(conductor: ConductorStandIn) -> None:
    failed = conductor.add("FAILED")
    refused = refusal(500, "database is locked")
    conductor.instead = lambda request: refused if request.path.endswith("/restart") else None
    with pytest.raises(AirflowException, match="database is locked") as error:
        act(ConductorRestartWorkflowOperator, failed)
    assert not isinstance(error.value, AirflowFailException)


def test_a_server_that_is_away_is_reported_as_that(conductor: ConductorStandIn) -> None:
    conductor.close()
    with pytest.raises(ConductorUnreachableError):
        act(ConductorPauseWorkflowOperator, "abc")


def test_what_completes_between_the_look_and_a_termination_is_no_error(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()

    def complete_just_before(request: Request) -> None:
        if request.method == "DELETE":
            conductor.end(workflow_id, "COMPLETED")

    conductor.instead = complete_just_before
    assert act(ConductorTerminateWorkflowOperator, workflow_id) == []
    assert conductor.status(workflow_id) == "COMPLETED"


STOP = {"referenceTaskName": "stop", "taskType": "TERMINATE", "status": "COMPLETED", "seq": 2}


@pytest.mark.parametrize("wait", [False, True], ids=["not waiting", "waiting"])
@pytest.mark.parametrize(("last", "told"), [([STOP], "TERMINATE"), ([], "none of its tasks has failed")])
def test_a_retry_that_would_do_nothing_returns_no_old_result(
    conductor: ConductorStandIn, last: list[dict[str, Any]], told: str, wait: bool
) -> None:
    check = {"referenceTaskName": "check", "taskType": "check", "status": "COMPLETED", "seq": 1}
    workflow_id = conductor.add("FAILED", reason="stock not there yet", tasks=[check, *last])
    if last:
        conductor.workflows[workflow_id]["workflowDefinition"]["tasks"] = [{"type": "TERMINATE"}]
    with pytest.raises(ConductorInvalidStateError, match=rf"{told}.*ConductorRestartWorkflowOperator"):
        act(ConductorRetryWorkflowOperator, workflow_id, wait_for_completion=wait)
    assert len(acted(conductor)) == (0 if last else 1)


# An Airflow retry


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ConductorResumeWorkflowOperator, "RUNNING"),
        (ConductorRestartWorkflowOperator, "RUNNING"),
        (ConductorRerunWorkflowOperator, "RUNNING"),
        (ConductorRetryWorkflowOperator, "COMPLETED"),
    ],
)
def test_what_the_earlier_try_did_is_a_success(conductor: ConductorStandIn, kind: type, status: str) -> None:
    workflow_id = conductor.add(status)
    with pytest.raises(ConductorInvalidStateError):
        act(kind, workflow_id)
    act(kind, workflow_id, try_number=2)
    assert acted(conductor) == []


# Waiting


@both_ways
@pytest.mark.parametrize(("kind", "before"), AGAIN)
def test_waiting_for_the_end_returns_the_output(
    conductor: ConductorStandIn, kind: type, before: str, deferrable: bool
) -> None:
    workflow_id = conductor.add(before)
    conductor.default_script = script = Script(after=0.3, output={"total": 42})
    if before == "PAUSED":
        conductor.instead = lambda request: (
            conductor.plays(workflow_id, script) and None if request.path.endswith("/resume") else None
        )
    arguments = {"wait_for_completion": True, "poll_interval": 0.1, "deferrable": deferrable}
    assert act(kind, workflow_id, **arguments) == {"total": 42}


@both_ways
def test_failing_again_fails_the_task(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=0.3, status="FAILED", reason="still no tea")
    arguments = {"wait_for_completion": True, "poll_interval": 0.1, "deferrable": deferrable}
    with pytest.raises(ConductorWorkflowFailedError, match="still no tea"):
        act(ConductorRestartWorkflowOperator, conductor.add("FAILED"), **arguments)


@both_ways
@pytest.mark.parametrize(("on_timeout", "then"), [("terminate", "TERMINATED"), ("leave", "RUNNING")])
def test_a_timeout_does_with_the_workflow_what_was_asked(
    conductor: ConductorStandIn, deferrable: bool, on_timeout: str, then: str
) -> None:
    workflow_id = conductor.add("FAILED")
    arguments = {"wait_for_completion": True, "deferrable": deferrable, "poll_interval": 0.1, "timeout": 0.3}
    with pytest.raises(ConductorWorkflowTimeoutError, match=workflow_id):
        act(ConductorRetryWorkflowOperator, workflow_id, on_timeout=on_timeout, **arguments)
    assert conductor.status(workflow_id) == then


def test_the_page_is_in_xcom_before_the_command(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0.3)
    workflow_id = conductor.add("FAILED")
    operator = ConductorRetryWorkflowOperator(task_id="retry", workflow_id=workflow_id, wait_for_completion=True)
    run(operator, context_of(operator, conductor.journal))
    told = ["xcom workflow_id", "xcom workflow_url", f"POST /workflow/{workflow_id}/retry"]
    assert [entry for entry in conductor.journal if entry in told] == told


@pytest.mark.parametrize("count", [0, 2])
def test_only_one_can_be_waited_for(conductor: ConductorStandIn, count: int) -> None:
    ids = [conductor.add("FAILED") for _ in range(count)]
    with pytest.raises(AirflowFailException, match=f"workflow_id has {count}: nothing was sent"):
        act(ConductorRestartWorkflowOperator, str(ids), wait_for_completion=True)
    assert conductor.requests == []


def test_a_list_of_one_can_be_waited_for(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0, output={"total": 42})
    assert act(ConductorRestartWorkflowOperator, str([conductor.add("FAILED")]), wait_for_completion=True) == {
        "total": 42
    }


# Delete


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_what_runs_is_ended_before_it_is_deleted(conductor: ConductorStandIn, status: str) -> None:
    ids = [conductor.add(status), conductor.add("FAILED")]
    assert act(ConductorDeleteWorkflowOperator, ids, terminate_running=True) == ids
    methods = [f"{request.method} {request.path}" for request in acted(conductor)]
    assert methods == [f"DELETE /workflow/{ids[0]}", "DELETE /workflow/bulk/remove"]
    assert conductor.workflows == {}


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    ("kind", "argument", "parameter"),
    [
        (ConductorDeleteWorkflowOperator, "archive", "archiveWorkflow"),
        (ConductorRestartWorkflowOperator, "use_latest_definition", "useLatestDefinitions"),
        (ConductorRetryWorkflowOperator, "resume_subworkflow_tasks", "resumeSubworkflowTasks"),
    ],
)
def test_a_choice_is_sent(conductor: ConductorStandIn, kind: type, argument: str, parameter: str, asked: bool) -> None:
    act(kind, conductor.add("FAILED"), **{argument: asked})
    (request,) = acted(conductor)
    assert request.query[parameter] == str(asked).lower()
