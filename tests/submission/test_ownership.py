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


STARTS = STARTING[0]


@pytest.mark.parametrize(
    ("workflows", "known", "ours", "doubtful"),
    [
        # Of a definition that starts none, both are ours.
        ([workflow("b", 2), workflow("a", 1)], [], ["a", "b"], []),
        # Else the younger may be a child, unless its id was in an answer.
        *(([workflow("b", 2, one), workflow("a", 1, one)], [], ["a"], ["b"]) for one in (*STARTING, None)),
        ([workflow("a", 1, STARTS), workflow("b", SERVER_CLOCKS + 2, STARTS)], ["b"], ["a", "b"], []),
        # The nodes of a server have clocks of their own, so one that looks a little older may be a child, too.
        ([workflow("a", 1, STARTS), workflow("b", SERVER_CLOCKS, STARTS)], ["b"], ["b"], ["a"]),
        # What the server has started for a task or an event is not a task's.
        ([workflow("a", 1, parentWorkflowId="another"), workflow("b", 2)], [], ["b"], []),
        ([workflow("a", 1, event="conductor:orders:shipped")], [], [], []),
    ],
)
def test_which_of_several_are_ours(
    workflows: list[Workflow], known: list[str], ours: list[str], doubtful: list[str]
) -> None:
    found = own_of(workflows, known)
    assert [[item.workflow_id for item in items] for items in found] == [ours, doubtful]


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


@pytest.mark.parametrize(
    ("stored", "path", "besides", "same"),
    [
        # What a start may add is not compared.
        ({"input": {"a": 1, "airflow": {"try_number": 1}}}, None, ["airflow"], True),
        ({"input": {"a": 1, "airflow": {"try_number": 1}}}, None, [], False),
        # An input that is stored outside is identified by its place.
        ({"externalInputPayloadStoragePath": "kept/1.json"}, None, [], None),
        ({"externalInputPayloadStoragePath": "kept/1.json"}, "kept/1.json", [], True),
        ({"externalInputPayloadStoragePath": "kept/1.json"}, "kept/2.json", [], False),
        # A summary of the index has the input as text.
        ({"input": "{a=1}"}, None, [], None),
    ],
)
def test_an_input_that_is_not_compared_as_a_whole(
    stored: dict[str, Any], path: str | None, besides: list[str], same: bool | None
) -> None:
    assert has_input(workflow("a", 1, **stored), {"a": 1}, path, besides=besides) is same
