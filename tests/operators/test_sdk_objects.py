"""Objects of the real SDK in a DAG file: definitions and requests, plain as soon as the file is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, task, timezone
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.simple_task import SimpleTask

from airflow_provider_conductor.client.models import StartWorkflowRequest as OurRequest
from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.operators import (
    ConductorCompleteTaskOperator,
    ConductorExecuteWorkflowOperator,
    ConductorExecuteWorkflowsOperator,
    ConductorRegisterDefinitionsOperator,
    ConductorRerunWorkflowOperator,
    ConductorStartWorkflowOperator,
)
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, error_of, run

STARTING = (ConductorStartWorkflowOperator, ConductorExecuteWorkflowOperator)


def make_orders() -> ConductorWorkflow:
    workflow = ConductorWorkflow(executor=None, name="orders", version=3)
    pack = SimpleTask("pack", "pack_ref")
    pack.input_parameters["day"] = "{{ params.day }}"
    workflow >> pack
    return workflow


orders = pytest.fixture(make_orders, name="orders")


def sent(operator: Any, conductor: ConductorStandIn, **params: Any) -> dict[str, Any]:
    """The start request that the task sends."""
    conductor.default_script = Script(after=0)
    context = context_of(operator)
    context["params"] = params
    operator.render_template_fields(context)
    run(operator, context)
    (body,) = conductor.started
    return body


def pairs(tasks: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(task["name"], task["taskReferenceName"]) for task in tasks]


@pytest.mark.parametrize("kind", STARTING)
@pytest.mark.parametrize("made", [False, True], ids=["ConductorWorkflow", "WorkflowDef"])
def test_a_workflow_of_the_sdk_is_an_inline_definition(
    kind: type, made: bool, orders: ConductorWorkflow, conductor: ConductorStandIn
) -> None:
    body = sent(
        kind(task_id="start", workflow_def=orders.to_workflow_def() if made else orders), conductor, day="monday"
    )
    assert (body["name"], body["workflowDef"]["version"]) == ("orders", 3)
    assert pairs(body["workflowDef"]["tasks"]) == [("pack", "pack_ref")]
    assert body["workflowDef"]["tasks"][0]["inputParameters"]["day"] == "monday"


@pytest.mark.parametrize("kind", STARTING)
def test_a_request_of_the_sdk_is_all_a_start_needs(
    kind: type, orders: ConductorWorkflow, conductor: ConductorStandIn
) -> None:
    request = StartWorkflowRequest(
        name="orders",
        version=3,
        workflow_def=orders.to_workflow_def(),
        input={"a": "{{ params.a }}"},
        correlation_id="mine",
        priority=7,
        task_to_domain={"pack_ref": "europe"},
    )
    body = sent(kind(task_id="start", request=request), conductor, a=15)
    assert (body["name"], body["version"], body["input"]) == ("orders", 3, {"a": "15"})
    assert (body["correlationId"], body["priority"]) == ("mine", 7)
    assert body["taskToDomain"] == {"pack_ref": "europe"}
    assert pairs(body["workflowDef"]["tasks"]) == [("pack", "pack_ref")]


@pytest.mark.parametrize("kind", STARTING)
def test_what_of_a_request_is_no_argument_is_rendered_and_sent(kind: type, conductor: ConductorStandIn) -> None:
    request = StartWorkflowRequest(
        name="orders", created_by="Ana", external_input_payload_storage_path="orders/{{ params.day }}.json"
    )
    body = sent(kind(task_id="start", request=request), conductor, day="monday")
    assert (body["createdBy"], body["externalInputPayloadStoragePath"]) == ("Ana", "orders/monday.json")


def test_a_request_may_come_from_another_task(conductor: ConductorStandIn) -> None:
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None):

        @task
        def choose() -> dict[str, Any]:
            return {"name": "orders", "input": {"a": 1}}

        start = ConductorStartWorkflowOperator(task_id="start", request=choose())
    assert start.upstream_task_ids == {"choose"}
    start.request = {"name": "orders", "input": {"a": 1}}  # as Airflow resolves it before the task runs
    conductor.default_script = Script(after=0)
    start.execute(context_of(start))
    (body,) = conductor.started
    assert (body["name"], body["input"]) == ("orders", {"a": 1})


@pytest.mark.parametrize("came", ["orders", {"nme": "orders"}, None])
def test_a_request_that_came_and_cannot_be_started_is_not_retried(came: Any, conductor: ConductorStandIn) -> None:
    start = ConductorStartWorkflowOperator(task_id="start", request="{{ params.request }}")
    start.request = came
    error_of(start, ConductorStartRefusedError, "was not started")
    assert conductor.started == []


def test_a_subclass_may_name_the_workflow_when_it_runs(orders: ConductorWorkflow, conductor: ConductorStandIn) -> None:
    class Late(ConductorStartWorkflowOperator):
        _named_later = True

    start = Late(task_id="start")
    error_of(start, ConductorStartRefusedError, "workflow_name is missing")
    start.request = StartWorkflowRequest(workflow_def=orders.to_workflow_def())
    start.execute(context_of(start))
    assert [body["name"] for body in conductor.started] == ["orders"]


def test_another_tasks_result_may_stand_inside_a_request() -> None:
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None):
        first = ConductorExecuteWorkflowOperator(task_id="first", workflow_name="orders")
        request = StartWorkflowRequest(name="returns", input={"order": first.output})
        second = ConductorStartWorkflowOperator(task_id="second", request=request)
    assert second.upstream_task_ids == {"first"}


@pytest.mark.parametrize("kind", STARTING)
def test_nothing_of_the_sdk_is_in_the_stored_dag(kind: type, orders: ConductorWorkflow) -> None:
    from airflow.serialization import serialized_objects

    request = StartWorkflowRequest(name="orders", workflow_def=orders.to_workflow_def())
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:
        kind(task_id="by_definition", workflow_def=orders)
        kind(task_id="by_request", request=request)
    storage = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    stored = storage.to_dict(dag)
    assert "conductor.client" not in json.dumps(stored)
    for task_id in ("by_definition", "by_request"):
        task = storage.from_dict(stored).get_task(task_id)
        assert task.workflow_name == "orders"
        assert "pack_ref" in str(task.workflow_def)


TASK = {"task_id": "task"}
ORDERS = {**TASK, "workflow_name": "orders"}


def order() -> dict[str, Any]:
    return {}


def request_of(flow: Any) -> StartWorkflowRequest:
    return StartWorkflowRequest(name="orders", workflow_def=flow.to_workflow_def())


HOLDS_AN_OBJECT: dict[str, Callable[[Any], Any]] = {
    "a definition": lambda flow: ConductorStartWorkflowOperator(**TASK, workflow_def=flow),
    "an input": lambda flow: ConductorStartWorkflowOperator(**ORDERS, workflow_input={"flows": [flow]}),
    "a batch's definition": lambda flow: ConductorExecuteWorkflowsOperator(
        **TASK, workflow_def=flow, workflow_inputs=[{}, {}]
    ),
    "a batch's input": lambda flow: ConductorExecuteWorkflowsOperator(**ORDERS, workflow_inputs=[{"flow": flow}]),
    "a rerun's input": lambda flow: ConductorRerunWorkflowOperator(
        **TASK, workflow_id="abc", workflow_input={"flow": flow}
    ),
    "a task's output": lambda flow: ConductorCompleteTaskOperator(
        **TASK, workflow_id="abc", task_reference_name="approve", task_output={"flow": flow}
    ),
    "definitions": lambda flow: ConductorRegisterDefinitionsOperator(**TASK, definitions=[flow, "{{ ds }}"]),
    "the decorator's definition": lambda flow: task.conductor(workflow_def=flow)(order)(),
    "the decorator's, overridden": lambda flow: task.conductor()(order).override(workflow_def=flow)(),
    "the decorator's request": lambda flow: task.conductor(request=request_of(flow))(order)(),
    "our request": lambda flow: task.conductor(request=OurRequest(name="orders", workflow_def=flow))(order)(),
    "a mapped start": lambda flow: ConductorStartWorkflowOperator.partial(**TASK, workflow_def=flow).expand(
        workflow_input=[{}, {}]
    ),
    "the values of a mapped start": lambda flow: ConductorStartWorkflowOperator.partial(**TASK).expand(
        workflow_def=[flow]
    ),
}


@pytest.mark.parametrize("holds", HOLDS_AN_OBJECT.values(), ids=HOLDS_AN_OBJECT)
def test_a_dag_with_an_object_is_stored_alike_each_time_its_file_is_read(holds: Callable[[Any], Any]) -> None:
    """Else Airflow keeps a new version of the DAG at each parse."""
    from airflow.serialization import serialized_objects

    storage = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    flows = [make_orders(), make_orders()]  # both alive, so at two addresses
    stored = []
    for flow in flows:
        with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:
            holds(flow)
        stored.append(json.dumps(storage.to_dict(dag), sort_keys=True))
    assert stored[0] == stored[1]


# Told while the DAG file is read

BY_PATH = StartWorkflowRequest(name="a", external_input_payload_storage_path="p")


@pytest.mark.parametrize("kind", STARTING)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "workflow_name is missing"),
        ({"workflow_name": ""}, "workflow_name is missing"),
        ({"request": StartWorkflowRequest()}, "workflow_name is missing"),
        ({"request": 17}, "cannot be a int"),
        ({"request": StartWorkflowRequest(name="a"), "workflow_name": "b"}, "workflow_name contradicts the request"),
        ({"request": StartWorkflowRequest(name="a", version=1), "version": 2}, "version contradicts the request"),
        ({"request": StartWorkflowRequest(name="a", idempotency_key="k")}, "idempotencyKey"),
        (
            {
                "request": StartWorkflowRequest(name="a", external_input_payload_storage_path="p"),
                "workflow_input": {"a": 1},
            },
            "an input beside the request's externalInputPayloadStoragePath",
        ),
        ({"workflow_def": object()}, "cannot turn builtins.object"),
        ({"workflow_def": SimpleTask("pack", "pack_ref")}, "cannot turn .*SimpleTask"),
    ],
)
def test_what_cannot_be_started_is_an_error_of_the_dag_file(kind: type, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, AirflowException), match=said):
        kind(task_id="start", **arguments)
