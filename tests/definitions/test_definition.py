"""What is wrong with a definition is told, all of it, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.definitions.definition import DefinitionError, check, definitions_in

PACK = {"name": "pack", "taskReferenceName": "pack", "type": "SIMPLE"}


def orders(*tasks: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "orders", "tasks": list(tasks) or [PACK]} | fields


def problems(*given: Any, source: str = "") -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as error:
        check(definitions_in(list(given), source))
    return error.value.problems


@pytest.mark.parametrize(
    "given",
    [
        orders(),
        orders(version=3, timeoutPolicy="ALERT_ONLY", timeoutSeconds=0),
        orders({**PACK, "type": "A_TYPE_OF_A_LATER_SERVER"}),
        orders({**PACK, "name": "get a/b", "type": "HTTP"}),
        orders({"name": "pack", "taskReferenceName": "pack"}),
        {"name": "charge"},
        {
            "name": "charge",
            "retryCount": 0,
            "timeoutPolicy": "RETRY",
            "timeoutSeconds": 60,
            "responseTimeoutSeconds": 60,
        },
    ],
)
def test_what_is_right_passes(given: dict[str, Any]) -> None:
    check(definitions_in(given))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (orders(name=""), "a workflow without a name: name must be a text"),
        ({"retryCount": 1}, "a task without a name"),
        (orders(name="eu/orders"), "workflow 'eu/orders': name must not contain '/'"),
        ({"name": "eu\\charge"}, "name must not contain '/'"),
        (orders({**PACK, "name": "eu/pack"}), "tasks[0]: name must not contain '/'"),
        (orders(tasks=[]), "at least one task"),
        (orders(tasks={"a": PACK}), "tasks must be a list"),
        (orders(version=0), "version must be a whole number from 1 on, not 0"),
        (orders(version="2"), "not '2'"),
        (orders(version=True), "not True"),
        (orders(timeoutPolicy="RETRY"), "timeoutPolicy must be one of TIME_OUT_WF, ALERT_ONLY, not 'RETRY'"),
        (orders("pack"), "tasks[0] must be an object, not 'pack'"),
        (orders({"type": "SIMPLE", "taskReferenceName": "pack"}), "tasks[0] must have a name"),
        (orders({"type": "SIMPLE", "name": "pack"}), "tasks[0] must have a taskReferenceName"),
        (orders({**PACK, "type": ""}), "tasks[0]: type must be a text such as SIMPLE, not ''"),
        (orders({**PACK, "inputParameters": ["a"]}), "tasks[0]: inputParameters must be an object"),
        (orders({**PACK, "retryCount": "3"}), "tasks[0]: retryCount must be a whole number from 0 on, not '3'"),
        (orders(PACK, PACK), "taskReferenceName 'pack' occurs 2 times"),
        (orders(PACK, {**PACK, "taskReferenceName": "s", "defaultCase": [PACK]}), "'pack' occurs 2 times"),
        (orders({**PACK, "decisionCases": {"a": [{}]}}), "tasks[0].decisionCases['a'][0] must have a name"),
        (orders({**PACK, "forkTasks": [[PACK]]}), "'pack' occurs 2 times"),
        (orders({**PACK, "forkTasks": 7}), "tasks[0]: forkTasks must be a list, not 7"),
        (orders({**PACK, "decisionCases": [PACK]}), "tasks[0]: decisionCases must be an object"),
        (orders({**PACK, "loopOver": [{**PACK, "name": ""}]}), "tasks[0].loopOver[0] must have a name"),
        ({"name": "charge", "retryCount": -1}, "task 'charge': retryCount must be a whole number from 0 on, not -1"),
        (
            {"name": "charge", "timeoutSeconds": 60},
            "responseTimeoutSeconds (3600) must not be over timeoutSeconds (60)",
        ),
        (PACK, "is a task of a workflow, not a task definition"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(given: Any, says: str) -> None:
    assert any(says in problem for problem in problems(given)), problems(given)


def test_everything_that_is_wrong_is_reported_at_once_with_its_file() -> None:
    found = problems(orders(version=0), {"name": "charge", "retryCount": -1}, source="orders.json")
    assert len(found) == 2
    assert all(problem.startswith("orders.json: ") for problem in found)


def test_a_definition_with_two_problems_is_one_definition() -> None:
    with pytest.raises(DefinitionError, match="a definition cannot be registered, and nothing was:") as error:
        check(definitions_in(orders(version=0, timeoutSeconds=-1), "orders.json"))
    (problem,) = error.value.problems
    assert problem.startswith("orders.json: workflow 'orders': timeoutSeconds must be")
    assert "; version must be" in problem


def test_the_same_definition_twice_is_a_mistake() -> None:
    assert problems(orders(), orders(version=1)) == ("workflow 'orders': is given twice",)
    check(definitions_in([orders(), orders(version=2), {"name": "orders"}]))


@pytest.mark.parametrize("given", [7, "orders", None, [[3]], object()], ids=lambda given: type(given).__name__)
def test_what_is_no_definition_is_refused(given: Any) -> None:
    with pytest.raises(DefinitionError, match="object"):
        definitions_in(given)
