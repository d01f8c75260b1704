"""Completing a task: what is wrong is an error when the DAG is parsed, and what the server may do meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_conductor.client import ConductorNotFoundError
from airflow_provider_conductor.exceptions import ConductorInvalidStateError, ConductorTaskNotReadyError
from airflow_provider_conductor.operators import ConductorCompleteTaskOperator, ConductorSignalWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import context_of, error_of

WAIT = {"taskId": "7", "referenceTaskName": "approve", "taskType": "WAIT", "status": "IN_PROGRESS"}


def operator(**arguments: Any) -> ConductorCompleteTaskOperator:
    return ConductorCompleteTaskOperator(
        **{"task_id": "approve", "workflow_id": "abc", "task_reference_name": "approve", **arguments}
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"workflow_id": ""}, "workflow_id must not be empty"),
        ({"workflow_id": None}, "workflow_id must not be empty"),
        ({"task_reference_name": " "}, "task_reference_name must not be empty"),
        ({"task_reference_name": None}, "either task_reference_name or conductor_task_id"),
        ({"conductor_task_id": "7"}, "either task_reference_name or conductor_task_id"),
        ({"task_reference_name": None, "conductor_task_id": ""}, "conductor_task_id must not be empty"),
        ({"status": "DONE"}, "status must be one of 'COMPLETED'"),
        ({"status": "IN_PROGRESS"}, "status must be one of 'COMPLETED'"),
        ({"task_output": ["a"]}, "task_output must be a mapping"),
    ],
)
def test_what_is_wrong_is_reported_when_the_dag_is_parsed(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        operator(**arguments)


@pytest.mark.parametrize("arguments", [{"workflow_id": ""}, {"status": "DONE"}, {"task_output": 7}])
def test_a_signal_is_checked_alike(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        ConductorSignalWorkflowOperator(**{"task_id": "go", "workflow_id": "abc", **arguments})


def test_a_template_is_checked_when_the_task_runs(conductor: ConductorStandIn) -> None:
    late = operator(workflow_id=conductor.add(tasks=[WAIT]), status="{{ params.verdict }}")
    late.render_template_fields({"params": {"verdict": "MAYBE"}})
    error_of(late, AirflowFailException, "MAYBE")
    assert conductor.sent("POST") == []


def test_an_output_that_came_as_a_text_is_refused(conductor: ConductorStandIn) -> None:
    late = operator(workflow_id=conductor.add(tasks=[WAIT]), task_output="{{ params.output }}")
    late.render_template_fields({"params": {"output": {"by": "Ana"}}})
    error_of(late, AirflowFailException, r"task_output is text.*render_template_as_native_obj")
    assert conductor.sent("POST") == []


def test_the_update_carries_what_was_asked_and_who_asked(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add(tasks=[{**WAIT, "outputData": {"asked": "Bo"}}])

    def server(request: Any) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) != ("POST", "/tasks"):
            return None
        (task,) = conductor.workflows[workflow_id]["tasks"]
        sent = request.body
        task.update(status=sent["status"], outputData=sent["outputData"], workerId=sent["workerId"])
        return 200, "text/plain", b"7"

    conductor.instead = server
    approve = operator(workflow_id=workflow_id, task_output={"by": "Ana"}, reason="")
    approve.execute(context_of(approve, conductor.journal))
    (update,) = conductor.sent("POST")
    assert update.body == {
        "workflowInstanceId": workflow_id,
        "taskId": "7",
        "status": "COMPLETED",
        "outputData": {"asked": "Bo", "by": "Ana"},
        "workerId": "airflow:nightly_orders:scheduled__2026-01-01T00:00:00+00:00:approve:-1:1",
    }
    assert conductor.journal[:2] == ["xcom workflow_id", "xcom workflow_url"]
    again = operator(workflow_id=workflow_id, task_output={"by": "Ana"})
    assert again.execute(context_of(again))["status"] == "COMPLETED"
    assert len(conductor.sent("POST")) == 1


@pytest.mark.parametrize("by_bo", ["COMPLETED", "FAILED"])
def test_somebody_else_may_be_faster(conductor: ConductorStandIn, by_bo: str) -> None:
    """Between our look and our update: the server drops the update and says 200."""
    workflow_id = conductor.add(tasks=[WAIT])

    def server(request: Any) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) != ("POST", "/tasks"):
            return None
        conductor.workflows[workflow_id]["tasks"][0].update(status=by_bo, workerId="Bo", outputData={"by": "Bo"})
        return 200, "text/plain", b"7"

    conductor.instead = server
    approve = operator(workflow_id=workflow_id, task_output={"by": "Ana"})
    if by_bo == "COMPLETED":
        assert approve.execute(context_of(approve))["status"] == "COMPLETED"
    else:
        error_of(approve, ConductorInvalidStateError, "is FAILED, not open: it cannot become COMPLETED")


def test_an_update_without_effect_is_no_success(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers 200 to an update that it drops."""
    monkeypatch.setattr("airflow_provider_conductor.control.task_completion.PAUSES", (0.0, 0.01))
    workflow_id = conductor.add(tasks=[WAIT])
    conductor.instead = lambda request: (200, "text/plain", b"7") if request.path == "/tasks" else None
    approve = operator(workflow_id=workflow_id)
    error_of(approve, ConductorTaskNotReadyError, r"accepted the update.*but the task is still IN_PROGRESS")


def test_a_workflow_that_is_not_there_is_an_error(conductor: ConductorStandIn) -> None:
    error_of(operator(workflow_id="no-such-id"), ConductorNotFoundError, "no-such-id")


def test_its_arguments_are_plain_for_airflows_database() -> None:
    assert json.dumps({name: getattr(operator(), name) for name in ConductorCompleteTaskOperator.template_fields})
