"""The task sensor: in each mode the same, and what is wrong is an error when the DAG is parsed."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_conductor.exceptions import (
    ConductorOutputTooLargeError,
    ConductorTaskUnreachableError,
    ConductorWorkflowFailedError,
)
from airflow_provider_conductor.sensors import ConductorTaskSensor
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import context_of
from tests.sensors.test_workflow_sensor import SOON, WAYS, in_each_mode
from tests.sensors.triggerer import run_anywhere

APPROVE = {"taskId": "1", "referenceTaskName": "approve", "taskType": "HUMAN", "outputData": {"by": "Ana"}}


def sensor(workflow_id: str, way: str, **arguments: Any) -> ConductorTaskSensor:
    defaults = {"task_id": "sense", "workflow_id": workflow_id, "task_reference_name": "approve", "poke_interval": 0.1}
    return ConductorTaskSensor(**{**defaults, **WAYS[way], **arguments})


def sense(workflow_id: str, way: str, **arguments: Any) -> Any:
    operator = sensor(workflow_id, way, **arguments)
    return run_anywhere(operator, context_of(operator))


def turns(conductor: ConductorStandIn, status: str, workflow_status: str = "RUNNING") -> str:
    """A workflow whose task gets this status soon."""
    workflow_id = conductor.add(tasks=[{**APPROVE, "status": "IN_PROGRESS"}])

    def act() -> None:
        conductor.has_tasks(workflow_id, {**APPROVE, "status": status})
        if workflow_status != "RUNNING":
            conductor.end(workflow_id, workflow_status)

    threading.Timer(SOON, act).start()
    return workflow_id


@in_each_mode
def test_it_succeeds_when_the_task_has_ended_well(conductor: ConductorStandIn, way: str) -> None:
    assert sense(turns(conductor, "COMPLETED"), way) is None


@in_each_mode
@pytest.mark.parametrize("status", ["COMPLETED", "SKIPPED"])
def test_the_tasks_output_is_the_result_if_asked(conductor: ConductorStandIn, way: str, status: str) -> None:
    assert sense(turns(conductor, status), way, return_output=True) == {"by": "Ana"}


@in_each_mode
def test_it_can_wait_until_the_task_is_open(conductor: ConductorStandIn, way: str) -> None:
    workflow_id = conductor.add()
    open_task = {**APPROVE, "status": "IN_PROGRESS"}
    # A worker that takes a task leaves no trace in the workflow's own times.
    threading.Timer(SOON, lambda: conductor.workflows[workflow_id].update(tasks=[open_task])).start()
    assert sense(workflow_id, way, expected_status=["SCHEDULED", "IN_PROGRESS"]) is None


@in_each_mode
def test_a_failure_may_be_what_is_waited_for(conductor: ConductorStandIn, way: str) -> None:
    assert sense(turns(conductor, "FAILED", "FAILED"), way, expected_status="FAILED") is None


@in_each_mode
@pytest.mark.parametrize(("status", "end"), [("FAILED", "FAILED"), ("FAILED", "RUNNING"), ("CANCELED", "TERMINATED")])
def test_a_task_that_ends_otherwise_fails_the_sensor(
    conductor: ConductorStandIn, way: str, status: str, end: str
) -> None:
    workflow_id = turns(conductor, status, end)
    with pytest.raises(
        ConductorTaskUnreachableError, match=f"'approve' is {status}.*can no longer become COMPLETED"
    ) as missed:
        sense(workflow_id, way)
    assert (missed.value.workflow_id, missed.value.task_reference_name) == (workflow_id, "approve")
    assert missed.value.url == f"{conductor.url}/execution/{workflow_id}"


@in_each_mode
def test_a_workflow_that_ends_without_the_task_fails_the_sensor(conductor: ConductorStandIn, way: str) -> None:
    with pytest.raises(ConductorTaskUnreachableError, match=r"without a task 'appprove'.*'approve'"):
        sense(turns(conductor, "COMPLETED", "COMPLETED"), way, task_reference_name="appprove")


@in_each_mode
def test_a_lenient_sensor_is_skipped(conductor: ConductorStandIn, way: str) -> None:
    with pytest.raises(AirflowSkipException, match="can no longer become COMPLETED"):
        sense(turns(conductor, "FAILED"), way, soft_fail=True)


@in_each_mode
def test_an_archived_workflow_keeps_no_tasks(conductor: ConductorStandIn, way: str) -> None:
    summary = {"workflowId": "archived", "status": "COMPLETED"}

    def answer(request: Any) -> tuple[int, str, bytes] | None:
        if request.path != "/workflow/search":
            return None
        return 200, "application/json", json.dumps({"totalHits": 1, "results": [summary]}).encode()

    conductor.instead = answer
    with pytest.raises(ConductorTaskUnreachableError, match="ended as COMPLETED and was archived"):
        sense("archived", way)


@in_each_mode
def test_a_workflow_that_is_gone_fails_the_sensor(conductor: ConductorStandIn, way: str) -> None:
    with pytest.raises(ConductorWorkflowFailedError, match="no-such-id is gone"):
        sense("no-such-id", way)


@in_each_mode
def test_a_timeout_says_what_was_waited_for(conductor: ConductorStandIn, way: str) -> None:
    workflow_id = conductor.add(tasks=[{**APPROVE, "status": "IN_PROGRESS"}])
    with pytest.raises(AirflowSensorTimeout, match="task 'approve' is not COMPLETED or FAILED:"):
        sense(workflow_id, way, expected_status="COMPLETED,FAILED", timeout=SOON)
    assert conductor.status(workflow_id) == "RUNNING"


def test_an_output_too_large_is_an_error(conductor: ConductorStandIn) -> None:
    with pytest.raises(ConductorOutputTooLargeError, match="approve"):
        sense(turns(conductor, "COMPLETED"), "poke", return_output=True, max_output_bytes=5)


def test_the_trigger_waits_for_the_same(conductor: ConductorStandIn) -> None:
    operator = sensor(conductor.add(), "deferrable", expected_status=["FAILED", "TIMED_OUT"])
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context_of(operator))
    _, kwargs = deferred.value.trigger.serialize()
    assert (kwargs["wait_until_task_ref"], kwargs["wait_until_task_status"]) == ("approve", "FAILED,TIMED_OUT")


# Parsing


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"expected_status": "DONE"}, "DONE"),
        ({"expected_status": ["COMPLETED", "TERMINATED"]}, "TERMINATED"),
        ({"expected_status": []}, "one or several"),
        ({"workflow_id": ""}, "workflow_id must not be empty"),
        ({"workflow_id": None}, "workflow_id must not be empty"),
        ({"task_reference_name": " "}, "task_reference_name must not be empty"),
    ],
)
def test_what_is_wrong_is_told_when_the_dag_is_parsed(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sensor(**{"workflow_id": "abc", "way": "poke", **arguments})


def test_templates_are_read_when_the_task_runs(conductor: ConductorStandIn) -> None:
    operator = sensor(conductor.add(), "poke", expected_status="{{ params.wanted }}")
    operator.render_template_fields({"params": {"wanted": "DONE"}})
    with pytest.raises(ValueError, match="DONE"):
        operator.execute(context_of(operator))
