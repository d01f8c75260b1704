"""The operators that control workflows: selection, results, errors, and the wait for the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_conductor.client import ConductorNotFoundError, ConductorUnreachableError
from airflow_provider_conductor.exceptions import ConductorInvalidStateError, ConductorWorkflowFailedError
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
from tests.operators.airflow_standin import context_of, run
from tests.operators.impatient import both_ways

AGAIN = [
    pytest.param(ConductorRestartWorkflowOperator, "FAILED", id="restart"),
    pytest.param(ConductorRetryWorkflowOperator, "FAILED", id="retry"),
    pytest.param(ConductorResumeWorkflowOperator, "PAUSED", id="resume"),
]


def act(kind: type, workflow_id: Any = None, try_number: int = 1, **arguments: Any) -> Any:
    operator = kind(task_id="control", workflow_id=workflow_id, **arguments)
    return run(operator, context_of(operator, try_number=try_number))


def acted(conductor: ConductorStandIn) -> list[Request]:
    """What was sent that may change something."""
    reading = ("/search", "/correlated")
    return [item for item in conductor.requests if item.method != "GET" and not item.path.endswith(reading)]


# Rendered to nothing, or to something else


@pytest.mark.parametrize("task_ref", ["", " "])
def test_a_task_that_came_to_nothing_does_not_rerun_the_whole(conductor: ConductorStandIn, task_ref: str) -> None:
    rerun = ConductorRerunWorkflowOperator(
        task_id="control", workflow_id=conductor.add("FAILED"), from_task_ref="{{ params.ref }}"
    )
    rerun.render_template_fields({"params": {"ref": task_ref}})
    with pytest.raises(AirflowFailException, match="from_task_ref must not be empty"):
        rerun.execute(context_of(rerun))
    assert acted(conductor) == []


def test_an_output_that_came_as_a_text_is_refused(conductor: ConductorStandIn) -> None:
    skip = ConductorSkipTaskOperator(
        task_id="control", workflow_id=conductor.add(), task_ref="ship", task_output="{{ params.output }}"
    )
    skip.render_template_fields({"params": {"output": {"parcel": 7}}})
    with pytest.raises(AirflowFailException, match=r"task_output is text.*render_template_as_native_obj"):
        skip.execute(context_of(skip))
    assert acted(conductor) == []


# Selection


def test_a_list_may_come_as_the_text_a_template_makes_of_it(conductor: ConductorStandIn) -> None:
    ids = [conductor.add() for _ in range(2)]
    assert act(ConductorPauseWorkflowOperator, str(ids)) == ids


def test_a_label_selects(conductor: ConductorStandIn) -> None:
    ours = [conductor.add(correlation_id="monday") for _ in range(2)]
    other = conductor.add(correlation_id="tuesday")
    assert act(ConductorPauseWorkflowOperator, workflow_name="orders", correlation_id="monday") == ours
    assert conductor.status(other) == "RUNNING"


def test_a_query_selects(conductor: ConductorStandIn) -> None:
    failed = [conductor.add("FAILED") for _ in range(2)]
    completed = conductor.add("COMPLETED")
    query = "workflowType IN (orders) AND status IN (FAILED)"
    assert act(ConductorRetryWorkflowOperator, query=query) == failed
    assert conductor.status(completed) == "COMPLETED"


@pytest.mark.parametrize(
    "how", [{"query": "status IN (RUNNING)"}, {"workflow_name": "orders", "correlation_id": "monday"}], ids=list
)
def test_more_than_the_bound_fails_for_good_and_nothing_is_done(
    conductor: ConductorStandIn, how: dict[str, str]
) -> None:
    ids = [conductor.add(correlation_id="monday") for _ in range(4)]
    with pytest.raises(
        AirflowFailException, match="selects 4 workflows, more than max_workflows=3: no workflow was changed"
    ):
        act(ConductorTerminateWorkflowOperator, max_workflows=3, **how)
    assert acted(conductor) == []
    assert {conductor.status(item) for item in ids} == {"RUNNING"}


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
    pause = ConductorPauseWorkflowOperator(task_id="control", query="{{ params.query }}")
    pause.render_template_fields({"params": {"query": query}})
    with pytest.raises(AirflowFailException, match="Nothing was sent"):
        pause.execute(context_of(pause))
    assert conductor.requests == []


def test_conditions_select(conductor: ConductorStandIn) -> None:
    failed, timed_out = conductor.add("FAILED"), conductor.add("TIMED_OUT")
    conductor.add("FAILED", name="invoices")
    conductor.add("COMPLETED")
    how = {"workflow_name": "orders", "status": ["FAILED", "TIMED_OUT"], "started_after": timedelta(hours=1)}
    assert act(ConductorDeleteWorkflowOperator, **how) == [failed, timed_out]


def test_an_index_without_end_times_deletes_nothing(conductor: ConductorStandIn) -> None:
    conductor.indexed.discard("endTime")
    ids = [conductor.add("COMPLETED") for _ in range(2)]
    with pytest.raises(AirflowFailException, match="No workflow was changed"):
        act(ConductorDeleteWorkflowOperator, ended_before=timedelta(days=30))
    assert acted(conductor) == []
    assert list(conductor.workflows) == ids


@pytest.mark.parametrize("rendered", [None, "", "None", []])
def test_a_condition_that_renders_to_nothing_does_not_widen_the_selection(
    conductor: ConductorStandIn, rendered: Any
) -> None:
    conductor.add("FAILED")
    operator = ConductorDeleteWorkflowOperator(
        task_id="control", workflow_name="{{ params.name }}", status="FAILED", started_before="{{ ts }}"
    )
    operator.workflow_name, operator.started_before = rendered, "2100-01-01"
    with pytest.raises(AirflowFailException, match="workflow_name must not be empty"):
        operator.execute(context_of(operator))
    assert conductor.requests == []


def test_what_was_ended_to_be_deleted_still_counts_as_selected(conductor: ConductorStandIn) -> None:
    ids = [conductor.add() for _ in range(2)]
    assert act(ConductorDeleteWorkflowOperator, status="RUNNING", terminate_running=True) == ids


def test_a_selection_that_finds_nothing_is_a_success(conductor: ConductorStandIn) -> None:
    assert act(ConductorTerminateWorkflowOperator, query="status IN (RUNNING)") == []
    assert acted(conductor) == []


@pytest.mark.parametrize("rendered", ["", "None", [""], ["abc", None], "[abc"])
def test_what_renders_to_no_id_fails_for_good(conductor: ConductorStandIn, rendered: Any) -> None:
    operator = ConductorDeleteWorkflowOperator(task_id="control", workflow_id="{{ params.id }}")
    operator.workflow_id = rendered
    with pytest.raises(AirflowFailException, match=r"workflow id|looks like a list"):
        operator.execute(context_of(operator))
    assert conductor.requests == []


def test_an_empty_list_of_ids_is_a_success(conductor: ConductorStandIn) -> None:
    assert act(ConductorDeleteWorkflowOperator, "[]") == []
    assert conductor.requests == []


# What the task raises


def test_what_did_work_has_worked_where_others_failed(conductor: ConductorStandIn) -> None:
    running, completed = conductor.add(), conductor.add("COMPLETED")
    with pytest.raises(ConductorInvalidStateError, match=f"workflow {completed} is COMPLETED") as error:
        act(ConductorPauseWorkflowOperator, [running, completed])
    assert running not in str(error.value)
    assert conductor.status(running) == "PAUSED"


def test_what_the_server_refuses_may_be_retried(conductor: ConductorStandIn) -> None:
    failed = conductor.add("FAILED")
    refusal = (500, "application/json", b'{"message":"database is locked","status":500,"retryable":false}')
    conductor.instead = lambda request: refusal if request.path.endswith("/restart") else None
    with pytest.raises(AirflowException, match="database is locked") as error:
        act(ConductorRestartWorkflowOperator, failed)
    assert not isinstance(error.value, AirflowFailException)


def test_unknown_ids_alone_are_told_as_not_found(conductor: ConductorStandIn) -> None:
    with pytest.raises(ConductorNotFoundError, match="no-such-id, nor-this"):
        act(ConductorPauseWorkflowOperator, ["no-such-id", "nor-this"])


def test_a_server_that_is_away_is_reported_as_that(conductor: ConductorStandIn) -> None:
    conductor.close()
    with pytest.raises(ConductorUnreachableError):
        act(ConductorPauseWorkflowOperator, "abc")


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


@pytest.mark.parametrize("archive", [True, False])
def test_it_is_archived_or_not(conductor: ConductorStandIn, archive: bool) -> None:
    act(ConductorDeleteWorkflowOperator, conductor.add("FAILED"), archive=archive)
    (request,) = acted(conductor)
    assert request.query == {"archiveWorkflow": str(archive).lower()}


@pytest.mark.parametrize("latest", [True, False])
def test_a_restart_takes_the_latest_definition_or_not(conductor: ConductorStandIn, latest: bool) -> None:
    act(ConductorRestartWorkflowOperator, conductor.add("FAILED"), use_latest_definition=latest)
    (request,) = acted(conductor)
    assert request.query == {"useLatestDefinitions": str(latest).lower()}
