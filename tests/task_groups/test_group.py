"""The names of a task group's tasks: what Airflow refuses is translated, or refused with what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskGroup

from airflow_provider_conductor.mirrors.names import refs_of
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup


def task(ref: str, kind: str = "SIMPLE", **fields: Any) -> dict[str, Any]:
    return {"name": "work", "taskReferenceName": ref, "type": kind, **fields}


def sub(ref: str, *tasks: dict[str, Any], name: str = "below") -> dict[str, Any]:
    below = {"name": name, "workflowDefinition": {"name": name, "tasks": list(tasks)}}
    return task(ref, "SUB_WORKFLOW", subWorkflowParam=below)


def ids(*tasks: dict[str, Any], name: str = "orders", beside: str = "", **arguments: Any) -> list[str]:
    """The ids of the group's tasks, in a DAG with the group ``beside``."""
    with DAG("shop", start_date=datetime(2026, 1, 1), schedule=None) as dag:
        if beside:
            TaskGroup(beside)
        ConductorWorkflowTaskGroup({"name": name, "tasks": list(tasks)}, **arguments)
    return list(dag.task_ids)


NAMES = [
    *("pack", "pack__2", "ship order", "v1.2", "a/b", "größe", "包装", "\U0001f4e6", "e\u0301", "a\nb", "${pack}"),
    *("start", "finish", "upstream_join_id", "downstream_join_id", "orders", "flow", "a_x20_b", "a b", "a.b", "a_b"),
]
"""Reference names of one workflow, of which some differ only in what Airflow refuses, or have a meaning for it."""


def test_each_name_has_a_task_of_its_own_and_is_read_back() -> None:
    made = ids(*map(task, NAMES), sub("parcel", *map(task, NAMES)))
    steps = [refs_of(task_id, "orders.start") for task_id in made if task_id not in ("orders.start", "orders.finish")]
    below = [["parcel", name] for name in NAMES]
    assert sorted(steps) == sorted([*([name] for name in NAMES), *below, ["parcel"]])


@pytest.mark.parametrize("name", NAMES)
def test_a_sub_workflow_may_have_the_name_of_any_other_group(name: str) -> None:
    made = ids(sub(name, sub(name, task(name), name="further")), beside="flow", name="orders")
    assert [refs_of(task_id, "orders.start") for task_id in made] == [[], [name] * 3, [name] * 2, [name], []]


def test_the_longest_names_that_airflow_allows() -> None:
    assert max(map(len, ids(task("x" * 245), group_id="flow"))) == 250
    assert max(map(len, ids(sub("x" * 200, task("y" * 44)), group_id="flow"))) == 250
    assert max(map(len, ids(task("pack"), name="x" * 200))) == 207


@pytest.mark.parametrize(
    ("tasks", "length", "limit"),
    [
        ([task("x" * 246)], 251, 250),
        ([task("ü " * 50)], 305, 250),
        ([sub("x" * 200, task("y" * 45))], 251, 250),
        ([sub("x" * 201, task("pack"))], 201, 200),
        ([sub("x" * 150, sub("y" * 89, task("z"), name="further"))], 252, 250),
    ],
)
def test_a_step_whose_name_is_too_long_is_refused(tasks: list[Any], length: int, limit: int) -> None:
    with pytest.raises(ValueError, match=rf"would have {length} characters, and Airflow allows {limit}: ") as refused:
        ids(*tasks, group_id="flow")
    assert "task group 'flow" in str(refused.value)
    assert "shorter taskReferenceName or the task group a shorter group_id" in str(refused.value)
    assert ids(*tasks, group_id="flow", exclude=["x*", "y*", "ü*"], depth=0) == ["flow.start", "flow.finish"]


def test_a_workflow_whose_name_is_too_long_needs_a_group_id() -> None:
    with pytest.raises(ValueError, match=r"has 201 characters, and Airflow allows 200: give the group a shorter"):
        ids(task("pack"), name="x" * 201)
    assert ids(task("pack"), name="x" * 201, group_id="flow")[1] == "flow.pack"


@pytest.mark.parametrize("inline", [False, True])
def test_a_name_that_occurs_twice_is_refused(inline: bool) -> None:
    twice = [task("pack"), task("pack")]
    with pytest.raises(ValueError, match=r"taskReferenceName 'pack' occurs (twice|2 times), and must be unique"):
        ids(*([sub("parcel", *twice)] if inline else twice))


def test_a_step_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot be made of this:\n- workflow 'orders': tasks\[0\] must have a task"):
        ids(task(" "))
