"""What is text to the server stays text in a DAG that renders its templates to Python objects."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, timezone

from airflow_provider_conductor.operators import (
    ConductorCompleteTaskOperator,
    ConductorExecuteWorkflowOperator,
    ConductorExecuteWorkflowsOperator,
    ConductorRerunWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import context_of

BY_ID = {"workflow_id": "{}"}
CASES: list[tuple[type, dict[str, Any], dict[str, Any]]] = [
    (ConductorStartWorkflowOperator, {}, {"correlation_id": "{}", "task_to_domain": {"a": "{}"}}),
    (ConductorExecuteWorkflowOperator, {}, {"correlation_id": "{}", "wait_until_task_ref": "{}"}),
    (ConductorExecuteWorkflowsOperator, {"workflow_inputs": [{"a": 1}]}, {"item_key": "{}"}),
    (ConductorTerminateWorkflowOperator, {}, {"correlation_id": "{}"}),
    (ConductorTerminateWorkflowOperator, {}, {"workflow_id": ["{}", "w-{}"], "reason": "{}"}),
    (ConductorRerunWorkflowOperator, {}, {**BY_ID, "from_task_ref": "{}"}),
    (ConductorSkipTaskOperator, {}, {**BY_ID, "task_ref": "{}"}),
    (ConductorCompleteTaskOperator, {}, {**BY_ID, "task_reference_name": "{}", "reason": "{}"}),
    (ConductorWorkflowSensor, {}, {**BY_ID, "wait_until_task_ref": "{}"}),
    (ConductorTaskSensor, {}, {**BY_ID, "task_reference_name": "{}"}),
]


def rendered(kind: type, arguments: dict[str, Any], **context: Any) -> Any:
    with DAG("native", schedule=None, start_date=timezone.utcnow(), render_template_as_native_obj=True):
        operator = kind(task_id="task", **arguments)
    operator.render_template_fields({**context_of(operator), **context})
    return operator


def put(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {name: put(item, text) for name, item in value.items()}
    return [put(item, text) for item in value] if isinstance(value, list) else value.replace("{}", text)


@pytest.mark.parametrize(("kind", "more", "texts"), CASES)
@pytest.mark.parametrize("text", ["20260102", "1e3", "1_000", "0x10", "1.10", "0", "True", "None of them", "'quoted'"])
def test_a_text_that_reads_like_a_number_is_a_text(
    kind: type, more: dict[str, Any], texts: dict[str, Any], text: str
) -> None:
    if "workflow_id" not in texts:
        texts = {"workflow_name": "{}", **texts}
    operator = rendered(kind, {**more, **put(texts, "{{ text }}")}, text=text)
    assert {name: getattr(operator, name) for name in texts} == put(texts, text)


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (1.5, "1.5"), (None, None), (["a", 7], ["a", "7"])])
def test_an_object_is_the_text_that_it_reads_as_and_none_and_lists_are_themselves(value: Any, text: Any) -> None:
    operator = rendered(ConductorTerminateWorkflowOperator, {"workflow_id": "{{ value }}"}, value=value)
    assert operator.workflow_id == text


def test_what_is_no_text_is_rendered_to_objects_all_the_same() -> None:
    arguments = {"workflow_name": "orders", "version": "{{ 3 }}", "workflow_input": {"n": "{{ 7 }}"}}
    operator = rendered(ConductorStartWorkflowOperator, arguments)
    assert (operator.version, operator.workflow_input) == (3, {"n": 7})


def test_the_texts_of_a_request_are_texts() -> None:
    request = {"name": "{{ text }}", "correlationId": "{{ text }}", "version": "{{ 3 }}", "input": {"n": "{{ 7 }}"}}
    operator = rendered(ConductorStartWorkflowOperator, {"request": request}, text="1e3")
    assert (operator.workflow_name, operator.correlation_id) == ("1e3", "1e3")
    assert (operator.version, operator.workflow_input) == (3, {"n": 7})


@pytest.mark.parametrize("given", [{"correlation_id": 7}, {"request": {"name": "orders", "correlationId": 7}}])
def test_a_number_given_as_a_label_is_sent_as_text(conductor: ConductorStandIn, given: dict[str, Any]) -> None:
    arguments = {"workflow_name": "orders", **given}
    operator = ConductorStartWorkflowOperator(task_id="start", **arguments)
    operator.execute(context_of(operator))
    (workflow,) = conductor.workflows.values()
    assert workflow["correlationId"] == "7"
