"""A start's arguments, and a request in place of them: each may fill in what the other leaves open."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorInputError, StartWorkflowRequest
from airflow_provider_conductor.submission.start_arguments import ARGUMENTS, given_later, start_arguments

UNSET: dict[str, Any] = dict.fromkeys(ARGUMENTS) | {"priority": 0}

FULL = {
    "name": "orders",
    "version": 2,
    "input": {"a": 1},
    "workflowDef": {"name": "orders", "tasks": []},
    "correlationId": "c1",
    "priority": 5,
    "taskToDomain": {"pack": "europe"},
}
TAKEN = {name: FULL[wire] for name, wire in ARGUMENTS.items()}


class Later:
    """As Airflow's ``task.output``."""

    def resolve(self, context: Any) -> Any: ...


def taken(request: Any = None, **given: Any) -> dict[str, Any]:
    arguments, further = start_arguments(request, UNSET | given)
    assert further == {}
    return arguments


OURS = StartWorkflowRequest(
    name="orders",
    version=2,
    input={"a": 1},
    workflow_def=FULL["workflowDef"],
    correlation_id="c1",
    priority=5,
    task_to_domain={"pack": "europe"},
)


@pytest.mark.parametrize("request_", [FULL, OURS])
def test_a_request_gives_all(request_: Any) -> None:
    assert taken(request_) == TAKEN


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_fills_in_what_the_request_leaves_open_or_repeats_it(name: str) -> None:
    request = {wire: value for wire, value in FULL.items() if wire != ARGUMENTS[name]}
    assert taken(request, **{name: TAKEN[name]}) == TAKEN
    assert taken(FULL, **{name: TAKEN[name]}) == TAKEN


def test_without_a_request_the_arguments_stay_as_they_are() -> None:
    assert start_arguments(None, TAKEN) == (TAKEN, {})
    assert taken(workflow_name="orders") == UNSET | {"workflow_name": "orders"}
    # The SDK's request has a strategy without a key, which means nothing.
    assert taken({"name": "orders", "idempotencyStrategy": "FAIL"}) == UNSET | {"workflow_name": "orders"}


def test_fields_of_a_request_that_are_no_arguments_are_kept() -> None:
    further = {"createdBy": "me", "externalInputPayloadStoragePath": "p"}
    ours = StartWorkflowRequest(name="orders", created_by="me", external_input_payload_storage_path="p")
    for request in ({"name": "orders", **further}, ours):
        assert start_arguments(request, UNSET) == (UNSET | {"workflow_name": "orders"}, further)


def test_an_input_beside_a_stored_one_is_refused() -> None:
    stored = {"name": "orders", "externalInputPayloadStoragePath": "p"}
    for request, given in (({**stored, "input": {"a": 1}}, {}), (stored, {"workflow_input": {"a": 1}})):
        with pytest.raises(ConductorInputError, match="an input beside the request's externalInputPayloadStoragePath"):
            taken(request, **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workflow_name", "returns"),
        ("version", 3),
        ("version", "{{ params.version }}"),
        ("workflow_input", {"a": 2}),
        ("workflow_def", {"name": "orders", "tasks": ["another"]}),
        ("correlation_id", "c2"),
        ("priority", 6),
        ("task_to_domain", {"pack": "asia"}),
    ],
)
def test_an_argument_that_contradicts_the_request_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConductorInputError, match=f"{name} contradicts the request"):
        taken(FULL, **{name: value})


def test_the_name_is_at_last_the_definitions() -> None:
    assert taken(workflow_def={"name": "ad_hoc", "tasks": []})["workflow_name"] == "ad_hoc"
    assert taken({"workflowDef": {"name": "ad_hoc", "tasks": []}})["workflow_name"] == "ad_hoc"
    assert taken(workflow_def="{{ params.definition }}")["workflow_name"] is None


@pytest.mark.parametrize("request_", [None, {}, {"version": 1}, {"workflowDef": {"tasks": []}}, {"name": ""}])
def test_a_start_without_a_name_is_refused(request_: Any) -> None:
    with pytest.raises(ConductorInputError, match="workflow_name is missing"):
        taken(request_)


def test_a_definition_of_another_name_is_refused() -> None:
    with pytest.raises(ConductorInputError, match="'orders' and the definition's name 'returns'"):
        taken(workflow_name="orders", workflow_def={"name": "returns"})
    assert taken(workflow_name="{{ params.name }}", workflow_def={"name": "returns"})
    assert taken(workflow_name="orders", workflow_def={"name": "{{ params.name }}"})


def test_other_tasks_results_inside_stay_for_later() -> None:
    later = Later()
    found = taken({"name": "orders", "input": {"a": later}}, workflow_def=later)
    assert found["workflow_input"] == {"a": later}
    assert found["workflow_def"] is later
    assert given_later(later)
    assert given_later("{{ ds }}")
    assert not given_later(FULL)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (17, "cannot be a int"),
        (["orders"], "cannot be a list"),
        ("orders", "cannot be a str"),
        ({"name": "orders", "workflow_input": {}}, "no 'workflow_input'; it may have name, version, input"),
        ({"name": "orders", "idempotencyKey": "k"}, "idempotencyKey cannot be started"),
        (StartWorkflowRequest(name="orders", input={"a": object()}), "the start request: cannot turn builtins.object"),
        ({"name": "orders", "workflowDef": object()}, "workflow_def: cannot turn builtins.object"),
    ],
)
def test_a_request_that_cannot_be_started_is_refused(request_: Any, said: str) -> None:
    with pytest.raises(ConductorInputError, match=said):
        taken(request_)
