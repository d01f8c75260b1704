"""What a function under @task.conductor may return, and how it is read."""

from __future__ import annotations

from typing import Any

import pytest
from conductor.client.http.models import StartWorkflowRequest as SdkRequest

from airflow_provider_conductor.client import ConductorInputError, StartWorkflowRequest
from airflow_provider_conductor.decorators.conductor import read_returned


@pytest.mark.parametrize(
    "returned",
    [
        {"order": 7},
        {},
        {"name": "tea", "version": 2, "input": {"a": 1}, "workflow_name": "of the user's own"},
        {"correlationId": "c", "correlation_id": "c"},
    ],
)
def test_a_dict_is_the_input_whatever_its_keys_are_called(returned: dict[str, Any]) -> None:
    assert read_returned(returned) == ({"workflow_input": returned}, {})


def test_a_dict_with_workflow_input_is_start_arguments() -> None:
    arguments = {"workflow_input": {"order": 7}, "workflow_name": "orders", "version": 2, "priority": 9}
    assert read_returned({**arguments, "correlation_id": None}) == (arguments, {})


def test_start_arguments_with_anything_else_are_refused_with_what_would_do() -> None:
    with pytest.raises(ConductorInputError, match=r"'color', 'timeout' is none of workflow_name") as told:
        read_returned({"workflow_input": {}, "timeout": 3, "color": "red"})
    assert "goes into 'workflow_input' as a whole" in str(told.value)


@pytest.mark.parametrize("wrong", [[1], "text", 3])
def test_start_arguments_need_a_dict_for_input(wrong: Any) -> None:
    with pytest.raises(ConductorInputError, match="workflow_input must be a dict"):
        read_returned({"workflow_input": wrong})


@pytest.mark.parametrize("kind", [StartWorkflowRequest, SdkRequest], ids=["ours", "the SDK's"])
def test_a_request_is_read_by_its_fields(kind: type) -> None:
    request = kind(
        name="orders",
        version=2,
        input={"order": 7},
        correlation_id="c1",
        priority=3,
        task_to_domain={"pack": "eu"},
        created_by="Ana",
        external_input_payload_storage_path="orders/7.json",
    )
    arguments, further = read_returned(request)
    assert arguments == {
        "workflow_name": "orders",
        "version": 2,
        "workflow_input": {"order": 7},
        "correlation_id": "c1",
        "priority": 3,
        "task_to_domain": {"pack": "eu"},
    }
    assert further == {"createdBy": "Ana", "externalInputPayloadStoragePath": "orders/7.json"}


@pytest.mark.parametrize("kind", [StartWorkflowRequest, SdkRequest], ids=["ours", "the SDK's"])
@pytest.mark.parametrize("strategy", ["FAIL", "RETURN_EXISTING"])
def test_a_request_with_an_idempotency_key_is_refused_with_what_would_do(kind: type, strategy: str) -> None:
    request = kind(name="orders", idempotency_key="k1", idempotency_strategy=strategy)
    with pytest.raises(ConductorInputError, match=r"idempotencyKey cannot be started .*client\.start_workflow"):
        read_returned(request)


@pytest.mark.parametrize("kind", [StartWorkflowRequest, SdkRequest], ids=["ours", "the SDK's"])
def test_a_request_may_leave_the_name_to_the_decorator(kind: type) -> None:
    assert read_returned(kind(name="", version=2, input={"order": 7})) == (
        {"workflow_name": "", "version": 2, "workflow_input": {"order": 7}},
        {},
    )


def test_the_strategy_the_sdk_sets_unasked_is_not_taken_for_a_wish() -> None:
    request = SdkRequest(name="orders", input={"order": 7})
    assert request.idempotency_strategy is not None
    assert read_returned(request) == ({"workflow_name": "orders", "workflow_input": {"order": 7}}, {})


@pytest.mark.parametrize("returned", [None, "orders", 7, ["order"], ({"order": 7},), object(), SdkRequest])
def test_anything_else_is_refused_with_what_was_expected(returned: Any) -> None:
    with pytest.raises(ConductorInputError, match=r"it must be a dict .* or a StartWorkflowRequest, not "):
        read_returned(returned)
