"""Which of the workflows under one correlation id a task has started: the server gives the id to children, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.submission.ownership import SERVER_CLOCKS, has_input, own_of

RECORDED = sorted((Path(__file__).parent.parent / "recorded" / "children").glob("*.json"))
KINDS = ["SUB_WORKFLOW", "START_WORKFLOW", "failureWorkflow"]

PLAIN: dict[str, Any] = {"tasks": [{"type": "SIMPLE"}, {"type": "SWITCH", "decisionCases": {"a": [{"type": "HTTP"}]}}]}
STARTING: tuple[dict[str, Any], ...] = (
    {"tasks": [{"type": "START_WORKFLOW"}]},
    {"tasks": [{"type": "SWITCH", "decisionCases": {"a": [{"type": "SUB_WORKFLOW"}]}}]},
    {"tasks": [{"type": "DO_WHILE", "loopOver": [{"type": "START_WORKFLOW"}]}]},
    {"tasks": [{"type": "FORK_JOIN", "forkTasks": [[{"type": "SIMPLE"}], [{"type": "DYNAMIC"}]]}]},
    {"tasks": [{"type": "FORK_JOIN_DYNAMIC"}]},
    {"tasks": [{"type": "SIMPLE"}], "failureWorkflow": "orders"},
)


def workflow(name: str, at: int, definition: dict[str, Any] | None = PLAIN, **more: Any) -> Workflow:
    return Workflow(
        {"workflowId": name, "status": "RUNNING", "createTime": at, "workflowDefinition": definition, **more}
    )


def ids(workflows: tuple[Workflow, ...]) -> list[str]:
    return [item.workflow_id for item in workflows]


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_real_servers_workflow_and_its_child_the_workflow_is_ours(file: Path, kind: str) -> None:
    recorded = json.loads(file.read_text())[kind]
    parent, child = Workflow(recorded["parent"]), Workflow(recorded["child"])
    assert child.name == parent.name
    assert child.correlation_id == parent.correlation_id != ""
    ours, doubtful = own_of([child, parent])
    assert ours == (parent,)
    assert doubtful == (() if kind == "SUB_WORKFLOW" else (child,))


def test_of_two_of_a_definition_that_starts_none_both_are_ours() -> None:
    assert ids(own_of([workflow("b", 2), workflow("a", 1)])[0]) == ["a", "b"]


@pytest.mark.parametrize("definition", [*STARTING, None])
def test_the_younger_of_two_may_be_a_child(definition: dict[str, Any] | None) -> None:
    ours, doubtful = own_of([workflow("b", 2, definition), workflow("a", 1, definition)])
    assert (ids(ours), ids(doubtful)) == (["a"], ["b"])


def test_but_not_where_its_id_was_in_an_answer() -> None:
    two = [workflow("a", 1, STARTING[0]), workflow("b", SERVER_CLOCKS + 2, STARTING[0])]
    assert own_of(two, ["b"]) == (tuple(two), ())


def test_one_that_looks_a_little_older_than_that_may_be_its_child() -> None:
    """The nodes of a server have clocks of their own."""
    ours, doubtful = own_of([workflow("a", 1, STARTING[0]), workflow("b", SERVER_CLOCKS, STARTING[0])], ["b"])
    assert (ids(ours), ids(doubtful)) == (["b"], ["a"])


@pytest.mark.parametrize("mark", [{"parentWorkflowId": "somebody's"}, {"event": "conductor:orders:shipped"}])
def test_what_the_server_has_started_for_a_task_or_an_event_is_nobodys(mark: dict[str, str]) -> None:
    assert own_of([workflow("a", 1, **mark)]) == ((), ())
    assert ids(own_of([workflow("a", 1, **mark), workflow("b", 2)])[0]) == ["b"]


TEMPLATE = {"region": "eu", "tries": 3}


@pytest.mark.parametrize(
    ("sent", "stored", "same"),
    [
        ({}, {}, True),
        ({}, TEMPLATE, True),
        ({"a": 1}, {"a": 1, **TEMPLATE}, True),
        ({"a": 1, "region": None}, {"a": 1, **TEMPLATE}, True),
        ({"a": 1, "region": "us"}, {"a": 1, "region": "us", "tries": 3}, True),
        ({"a": [1, {"b": "ü", "c": None}]}, {"a": [1, {"c": None, "b": "ü"}], **TEMPLATE}, True),
        ({"a": 1}, {"a": 1, "b": 2, **TEMPLATE}, False),
        ({"a": 1}, {"a": 1, "region": "us", "tries": 3}, False),
        ({"a": 1, "region": ""}, {"a": 1, **TEMPLATE}, False),
        ({"a": 1}, {"a": True, **TEMPLATE}, False),
        ({"a": 1}, {"a": 1.0, **TEMPLATE}, False),
        ({"a": 1}, {"a": "1", **TEMPLATE}, False),
        ({"a": 1}, {}, False),
        ({}, {"a": 1}, False),
    ],
)
def test_an_input_is_compared_to_the_letter(sent: dict[str, Any], stored: dict[str, Any], same: bool) -> None:
    found = workflow("a", 1, {"inputTemplate": TEMPLATE}, input=stored)
    assert has_input(found, sent, None) is same


def test_what_a_start_may_add_is_not_compared() -> None:
    found = workflow("a", 1, input={"a": 1, "airflow": {"try_number": 1}})
    assert has_input(found, {"a": 1}, None, besides=["airflow"])
    assert not has_input(found, {"a": 1}, None)


@pytest.mark.parametrize(("path", "same"), [(None, None), ("kept/1.json", True), ("kept/2.json", False)])
def test_an_input_kept_outside_is_known_by_its_place(path: str | None, same: bool | None) -> None:
    found = workflow("a", 1, externalInputPayloadStoragePath="kept/1.json")
    assert has_input(found, {}, path) is same


def test_the_input_in_a_summary_of_the_index_cannot_be_compared() -> None:
    assert has_input(workflow("a", 1, input="{a=1}"), {"a": 1}, None) is None
