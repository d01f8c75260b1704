"""What servers add to a definition is no difference; what authors mean is one."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.definitions.diff import MAX_LINES, difference, normalized

PACK = {"name": "pack", "taskReferenceName": "pack", "type": "SIMPLE"}
ORDERS = {"name": "orders", "version": 2, "tasks": [PACK]}

FILLED_IN = {
    "asyncComplete": False,
    "decisionCases": {},
    "defaultCase": [],
    "forkTasks": [],
    "inputParameters": {},
    "joinOn": [],
    "optional": False,
    "permissive": False,
    "startDelay": 0,
}


def on_the_server(**fields: Any) -> dict[str, Any]:
    """As 3.32.2 answers it."""
    added = {
        "createTime": 0,
        "enforceSchema": True,
        "failureWorkflow": None,
        "inputParameters": [],
        "outputParameters": {},
        "restartable": True,
        "schemaVersion": 2,
        "timeoutPolicy": "ALERT_ONLY",
        "timeoutSeconds": 0,
        "updateTime": 1795450892304,
        "workflowStatusListenerEnabled": False,
    }
    return {**ORDERS, **added, "tasks": [PACK | FILLED_IN]} | fields


def test_what_servers_add_is_no_difference() -> None:
    assert difference(on_the_server(), ORDERS) == ""
    assert difference(ORDERS, on_the_server()) == ""


def test_a_task_definitions_defaults_are_no_difference() -> None:
    present = {
        "name": "charge",
        "retryCount": 3,
        "retryLogic": "FIXED",
        "createdBy": "",
        "responseTimeoutSeconds": 3600,
    }
    assert difference(present, {"name": "charge"}) == ""
    assert '-  "retryCount": 4' in difference(present | {"retryCount": 4}, {"name": "charge"})


@pytest.mark.parametrize(
    "changed",
    [
        {"description": "packs"},
        {"timeoutSeconds": 5},
        {"restartable": False},
        {"inputParameters": ["a"]},
        {"outputParameters": {"a": None}},
        {"tasks": [PACK, {**PACK, "taskReferenceName": "again"}]},
        {"tasks": [PACK | {"startDelay": 1}]},
        {"tasks": [PACK | {"type": "WAIT"}]},
        {"tasks": [PACK | {"inputParameters": {"a": ""}}]},
        {"tasks": [PACK | {"decisionCases": {"a": [PACK]}}]},
    ],
)
def test_what_authors_mean_is_a_difference_either_way(changed: dict[str, Any]) -> None:
    assert difference(on_the_server(), ORDERS | changed)
    assert difference(on_the_server(**changed), ORDERS)


@pytest.mark.parametrize("nested", [{"decisionCases": {"a": [PACK]}}, {"forkTasks": [[PACK]]}, {"loopOver": [PACK]}])
def test_tasks_within_tasks_are_compared_alike(nested: dict[str, Any]) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        if isinstance(value, dict) and "taskReferenceName" not in value:
            return {key: filled(item) for key, item in value.items()}
        return value | FILLED_IN

    stored = {name: filled(value) for name, value in nested.items()}
    assert difference({**ORDERS, "tasks": [PACK | stored]}, {**ORDERS, "tasks": [PACK | nested]}) == ""


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ({"rateLimitConfig": {"rateLimitKey": "k"}}, {"rateLimitConfig": {"rateLimitKey": "k", "policy": "QUEUE"}}),
        (
            {"inputSchema": {"name": "s", "version": 1, "type": "JSON", "data": {"createTime": 5}}},
            {
                "inputSchema": {
                    **{"name": "s", "version": 1, "type": "JSON", "data": {"createTime": 5}},
                    **{"createTime": 0, "updateTime": 0},
                }
            },
        ),
    ],
    ids=["rateLimitConfig", "inputSchema"],
)
def test_what_servers_add_to_a_part_is_no_difference(given: dict[str, Any], answered: dict[str, Any]) -> None:
    assert difference(on_the_server(**answered), ORDERS | given) == ""
    assert difference(on_the_server(**answered), ORDERS)


def test_what_servers_add_beside_an_inline_sub_workflow_is_no_difference() -> None:
    below = PACK | {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "below", "workflowDefinition": ORDERS}}
    stored = {"name": "below", "version": 2, "workflowDefinition": on_the_server()}
    assert difference(on_the_server(tasks=[below | {"subWorkflowParam": stored}]), ORDERS | {"tasks": [below]}) == ""
    stored["version"] = 1
    assert difference(on_the_server(tasks=[below | {"subWorkflowParam": stored}]), ORDERS | {"tasks": [below]})


def test_a_field_that_only_the_server_has_and_no_author_gives_is_no_difference_at_any_depth() -> None:
    task = PACK | {"decisionCases": {"color": [PACK | {"cacheConfig": {"key": "k"}}]}}
    added = {"lastRunBy": "ana"}
    stored = task | {"decisionCases": {"color": [PACK | added | {"cacheConfig": {"key": "k"} | added}]}} | added
    assert difference(on_the_server(tasks=[stored], **added), ORDERS | {"tasks": [task]}) == ""


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ({"failureWorkflow": "refund"}, {}),
        ({"rateLimitConfig": {"rateLimitKey": "k"}}, {}),
        ({"variables": {"lastRunBy": "ana"}}, {"variables": {"a": 1}}),
        ({"tasks": [PACK | {"optional": True}]}, {}),
        (
            {"tasks": [PACK | {"inputParameters": {"a": 1, "lastRunBy": "ana"}}]},
            {"tasks": [PACK | {"inputParameters": {"a": 1}}]},
        ),
        (
            {"tasks": [PACK | {"taskDefinition": {"name": "pack", "retryCount": 7}}]},
            {"tasks": [PACK | {"taskDefinition": {"name": "pack"}}]},
        ),
    ],
)
def test_what_an_author_has_removed_is_a_difference(stored: dict[str, Any], given: dict[str, Any]) -> None:
    assert difference(on_the_server(**stored), ORDERS | given)


def test_a_case_that_an_author_has_removed_is_a_difference() -> None:
    stored = PACK | {"decisionCases": {"a": [PACK], "lastRunBy": [PACK]}}
    assert difference(on_the_server(tasks=[stored]), ORDERS | {"tasks": [PACK | {"decisionCases": {"a": [PACK]}}]})


def test_values_within_parameters_are_kept_as_they_are() -> None:
    parameters = {"none": None, "empty": "", "zero": 0, "createTime": 5, "optional": False}
    kept = normalized({**ORDERS, "tasks": [PACK | {"inputParameters": parameters}], "outputParameters": parameters})
    assert kept["tasks"][0]["inputParameters"] == parameters
    assert kept["outputParameters"] == parameters


def test_a_new_definition_is_all_plus() -> None:
    lines = difference(None, ORDERS).splitlines()
    assert '+  "name": "orders",' in lines
    assert not [line for line in lines[2:] if not line.startswith(("+", "@@"))]


def test_a_long_difference_is_cut() -> None:
    many = {**ORDERS, "tasks": [{**PACK, "taskReferenceName": f"pack{number}"} for number in range(500)]}
    lines = difference(None, many).splitlines()
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].endswith("more lines")
