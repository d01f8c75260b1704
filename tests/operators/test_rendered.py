"""What templates and other tasks' results come to when the task runs, and what is refused before anything is sent."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    task,
    timezone,
)

from airflow_provider_conductor.client import ConductorBadRequestError
from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.operators import (
    ConductorCompleteTaskOperator,
    ConductorExecuteWorkflowOperator,
    ConductorExecuteWorkflowsOperator,
    ConductorRerunWorkflowOperator,
    ConductorSignalWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, error_of, refusal, result

STARTING = (ConductorStartWorkflowOperator, ConductorExecuteWorkflowOperator)

OF_ONE_WORKFLOW: tuple[tuple[type, dict[str, Any]], ...] = (
    (ConductorWorkflowSensor, {"deferrable": False}),
    (ConductorWorkflowSensor, {"deferrable": True}),
    (ConductorWorkflowSensor, {"mode": "reschedule"}),
    (ConductorTaskSensor, {"task_reference_name": "pack"}),
    (ConductorCompleteTaskOperator, {"task_reference_name": "pack"}),
    (ConductorSignalWorkflowOperator, {}),
)


class Lazy(Sequence[Any]):
    """As what a mapped task's result is: ``LazyXComSequence`` on Airflow 3, ``LazyXComSelectSequence`` on 2."""

    read_in: ClassVar[set[int]] = set()

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.read_in.clear()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        self.read_in.add(threading.get_ident())
        return self.items[index]

    def __repr__(self) -> str:
        return f"LazyXComSequence([{len(self)} items])"


def rendered(operator: Any, **params: Any) -> Any:
    """The operator with its templates rendered as Airflow does before it runs."""
    operator.render_template_fields({**context_of(operator), "params": params})
    return operator


def sent_by(operator: Any, conductor: ConductorStandIn) -> dict[str, Any]:
    conductor.default_script = Script(after=0)
    result(operator)
    (body,) = conductor.started
    return body


def sent_to(operator: Any, conductor: ConductorStandIn, path: str) -> dict[str, Any]:
    """The first request to this path that the task sends; the server refuses it."""
    refused = refusal(400, "enough")
    conductor.instead = lambda request: refused if request.method == "POST" and request.path.endswith(path) else None
    error_of(operator, (AirflowException, ConductorBadRequestError), "enough")
    return next(request.body for request in conductor.sent("POST") if request.path.endswith(path))


# Objects


@pytest.mark.parametrize("kind", STARTING)
def test_json_text_is_the_object_that_is_expected(kind: type, conductor: ConductorStandIn) -> None:
    start = kind(
        task_id="start",
        workflow_input="{{ params.order | tojson }}",
        workflow_def="{{ params.definition | tojson }}",
        task_to_domain="{{ params.domains | tojson }}",
    )
    definition = {"name": "orders", "tasks": [{"taskReferenceName": "pack"}]}
    rendered(start, order={"lines": [1, None]}, definition=definition, domains={"pack": "eu"})
    body = sent_by(start, conductor)
    assert (body["name"], body["input"], body["workflowDef"]) == ("orders", {"lines": [1, None]}, definition)
    assert body["taskToDomain"] == {"pack": "eu"}


@pytest.mark.parametrize("kind", STARTING)
def test_a_request_may_be_json_text_and_so_may_its_fields(kind: type, conductor: ConductorStandIn) -> None:
    start = kind(task_id="start", request="{{ params.request | tojson }}")
    rendered(start, request={"name": "orders", "input": '{"a": 1}', "taskToDomain": '{"pack": "eu"}'})
    body = sent_by(start, conductor)
    assert (body["name"], body["input"], body["taskToDomain"]) == ("orders", {"a": 1}, {"pack": "eu"})


@pytest.mark.parametrize("kind", STARTING)
@pytest.mark.parametrize("name", ["workflow_input", "workflow_def", "task_to_domain", "request"])
@pytest.mark.parametrize("text", ["{'a': 1}", "None", "", "[1]"])
def test_other_text_is_refused_with_the_way_out_and_not_retried(
    kind: type, name: str, text: str, conductor: ConductorStandIn
) -> None:
    start = kind(task_id="start", workflow_name=None if name == "request" else "orders", **{name: "{{ params.x }}"})
    rendered(start, x=text)
    error_of(start, ConductorStartRefusedError, rf"{name} is text.*\.output.*render_template_as_native_obj=True")
    assert conductor.journal == []


def test_the_inputs_of_a_rerun_may_be_json_text(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("FAILED", tasks=[{"taskId": "7", "referenceTaskName": "pack", "status": "FAILED"}])
    rerun = ConductorRerunWorkflowOperator(
        task_id="rerun",
        workflow_id=workflow_id,
        from_task_ref="pack",
        task_input="{{ params.task | tojson }}",
        workflow_input="{{ params.workflow | tojson }}",
    )
    rendered(rerun, task={"a": 1}, workflow={"b": [2]})
    sent = sent_to(rerun, conductor, "/rerun")
    assert (sent["taskInput"], sent["workflowInput"]) == ({"a": 1}, {"b": [2]})


def test_a_rerun_with_other_text_is_refused(conductor: ConductorStandIn) -> None:
    rerun = ConductorRerunWorkflowOperator(task_id="rerun", workflow_id=conductor.add("FAILED"), workflow_input="{'a'}")
    error_of(rerun, AirflowFailException, "workflow_input is text")


# Lists


@pytest.mark.parametrize("kind", STARTING)
def test_a_mapped_tasks_result_is_a_list_wherever_it_stands(kind: type, conductor: ConductorStandIn) -> None:
    start = kind(task_id="start", workflow_name="orders", workflow_input={"all": Lazy({"id": 1}, {"id": Lazy(2)})})
    assert sent_by(start, conductor)["input"] == {"all": [{"id": 1}, {"id": [2]}]}


def test_a_batch_takes_it_as_its_inputs_and_inside_of_them(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    batch = ConductorExecuteWorkflowsOperator(
        task_id="batch", workflow_name="orders", workflow_inputs=Lazy({"lines": Lazy(1, 2)}), poll_interval=0.1
    )
    result(batch)
    assert [body["input"] for body in conductor.started] == [{"lines": [1, 2]}]
    assert Lazy.read_in == {threading.get_ident()}  # Airflow 2 can read it in the task's own thread only


def test_a_batch_may_list_other_tasks_results_beside_dicts(conductor: ConductorStandIn) -> None:
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None):

        @task
        def first() -> dict[str, int]:
            return {"order": 1}

        batch = ConductorExecuteWorkflowsOperator(
            task_id="batch",
            workflow_name="orders",
            workflow_inputs=[first(), {"order": 2}, "{{ params.third | tojson }}"],
            poll_interval=0.1,
        )
    assert batch.upstream_task_ids == {"first"}
    batch.workflow_inputs = [{"order": 1}, *batch.workflow_inputs[1:]]  # as Airflow resolves it before the task runs
    conductor.default_script = Script(after=0)
    rendered(batch, third={"order": 3})
    result(batch)
    assert sorted(body["input"]["order"] for body in conductor.started) == [1, 2, 3]


def test_the_output_of_a_task_may_have_it_inside(conductor: ConductorStandIn) -> None:
    wait = {"taskId": "7", "referenceTaskName": "approve", "taskType": "WAIT", "status": "IN_PROGRESS"}
    complete = ConductorCompleteTaskOperator(
        task_id="approve",
        workflow_id=conductor.add(tasks=[wait]),
        task_reference_name="approve",
        task_output={"all": Lazy(1, 2)},
    )
    assert sent_to(complete, conductor, "/tasks")["outputData"] == {"all": [1, 2]}


def test_several_ids_may_come_from_a_mapped_start(conductor: ConductorStandIn) -> None:
    ids = [conductor.add(), conductor.add()]
    terminate = ConductorTerminateWorkflowOperator(task_id="end", workflow_id=Lazy(*ids))
    assert terminate.execute(context_of(terminate)) == ids


# Ids


@pytest.mark.parametrize(("kind", "arguments"), OF_ONE_WORKFLOW)
@pytest.mark.parametrize(
    ("came", "says"),
    [
        ("['a', 'b']", r"not a list.*\.output"),
        (["a", "b"], r"not a list.*\.output"),
        (Lazy("a", "b"), r"not a list.*\.output"),
        ("LazyXComSequence([2 items])", r"not a list.*\.output"),
        ("None", "pushed an XCom"),
        ("a/b", "must not contain '/'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_the_id_of_one_workflow_is_refused_at_once(
    kind: type, arguments: dict[str, Any], came: Any, says: str, conductor: ConductorStandIn
) -> None:
    operator = kind(task_id="one", workflow_id="{{ params.id }}", **arguments)
    operator.workflow_id = came  # as Airflow renders it before the task runs
    error_of(operator, AirflowFailException, says)
    assert conductor.journal == []


def test_a_lenient_sensor_skips_on_it(conductor: ConductorStandIn) -> None:
    sensor = ConductorWorkflowSensor(task_id="one", workflow_id="['a', 'b']", soft_fail=True)
    error_of(sensor, AirflowSkipException, "not a list")


# Names


@pytest.mark.parametrize("name", ["eu/orders", "eu\\orders"])
@pytest.mark.parametrize("kind", [*STARTING, ConductorExecuteWorkflowsOperator])
def test_a_name_that_no_path_can_carry_is_refused_before_the_start(
    kind: type, name: str, conductor: ConductorStandIn
) -> None:
    inputs = {"workflow_inputs": [{"a": 1}]} if kind is ConductorExecuteWorkflowsOperator else {}
    with pytest.raises(ValueError, match="workflow_name must not contain '/'"):
        kind(task_id="start", workflow_name=name, **inputs)
    late = rendered(kind(task_id="start", workflow_name="{{ params.name }}", **inputs), name=name)
    error_of(late, ConductorStartRefusedError, "workflow_name must not contain '/'")
    assert conductor.journal == []


def test_nor_is_a_task_skipped_or_a_label_looked_up_by_such_a_name(conductor: ConductorStandIn) -> None:
    skip = ConductorSkipTaskOperator(task_id="skip", workflow_id=conductor.add(), task_ref="eu/pack")
    error_of(skip, AirflowFailException, "must not contain '/'")
    end = ConductorTerminateWorkflowOperator(task_id="end", workflow_name="eu/orders", correlation_id="monday")
    error_of(end, AirflowFailException, "must not contain '/'")
