"""Looking up one start or many: each gets its own workflows, of every series and generation, in few requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.lookup import IDS_AT_ONCE, look_up
from airflow_provider_conductor.submission.start_plan import StartPlan
from tests.submission.simulation import START, Fault, Server, drive

IDENTITY = TaskIdentity(prefix="airflow", dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, first_try=1)


@pytest.fixture
def server() -> Server:
    return Server()


def plans(count: int, **identity: Any) -> list[StartPlan]:
    return [
        StartPlan(
            identity=replace(IDENTITY, item=str(index), **identity),
            body={"name": "orders"},
            series_began=START,
            run_began=START,
        )
        for index in range(count)
    ]


def add(server: Server, plan: StartPlan, first_try: int = 1, generation: int = 0, **more: Any) -> str:
    correlation_id = plan.identity.correlation_id(StartKey(first_try, generation))
    return server.add(correlationId=correlation_id, **more)


def asking(asked: list[list[str]]) -> list[Fault]:
    """Notes the ids of each request."""

    def note(server: Server, call: Call[Any]) -> Any:
        asked.append(call.body)
        return server.carry_out(call)

    return [note] * 100


def looked_up(server: Server, several: list[StartPlan], faults: list[Fault] | None = None) -> list[list[str]]:
    """The ids of each plan's workflows."""
    found = drive(look_up(several), server, faults or [])
    return [[item.workflow.workflow_id for item in items] for items in found]


def test_each_start_gets_its_own_of_every_workflow(server: Server) -> None:
    several = plans(4)
    first, again, third = add(server, several[0]), add(server, several[0]), add(server, several[2], status="COMPLETED")
    assert looked_up(server, several) == [[first, again], [], [third], []]


def test_keys_that_differ_only_in_case_are_two_starts(server: Server) -> None:
    """MySQL's default collation ignores case."""
    server.widens = True
    several = [
        replace(plan, identity=replace(plan.identity, item=item)) for plan, item in zip(plans(2), "aA", strict=True)
    ]
    ours = [add(server, plan) for plan in several]
    assert looked_up(server, several) == [[workflow_id] for workflow_id in ours]


def test_a_workflow_has_the_name_of_its_definition_in_whatever_case_the_plan_has_it(server: Server) -> None:
    """With MySQL's default collation, a start of ``ORDERS`` runs the definition ``orders``."""
    server.widens = True
    [plan] = plans(1)
    ours = add(server, plan, name="orders")
    assert looked_up(server, [replace(plan, body={"name": "ORDERS"})]) == [[ours]]


@pytest.mark.parametrize(
    ("count", "requests"), [(0, []), (1, [1]), (IDS_AT_ONCE, [IDS_AT_ONCE]), (IDS_AT_ONCE + 1, [IDS_AT_ONCE, 1])]
)
def test_each_request_has_at_most_so_many_ids(server: Server, count: int, requests: list[int]) -> None:
    several = plans(count)
    last = add(server, several[-1]) if count else None
    asked: list[list[str]] = []
    found = [workflow_id for ids in looked_up(server, several, asking(asked)) for workflow_id in ids]
    assert found == ([last] if count else [])
    assert [len(ids) for ids in asked] == requests


@pytest.mark.parametrize(
    ("identity", "there", "requests"),
    [
        # Every generation of the present series is looked up at once.
        ({"try_number": 3}, [StartKey(1), StartKey(1, 2)], 1),
        # Those of an earlier series only where it has left anything.
        ({"try_number": 4, "first_try": 3}, [StartKey(1), StartKey(1, 1)], 2),
        ({"try_number": 4, "first_try": 3}, [], 1),
    ],
)
def test_generations_are_looked_up(
    server: Server, identity: dict[str, int], there: list[StartKey], requests: int
) -> None:
    several = plans(3, **identity)
    for key in there:
        add(server, several[1], key.first_try, key.generation, status="TERMINATED")
    asked: list[list[str]] = []
    found = drive(look_up(several), server, asking(asked))
    assert [[item.key for item in items] for items in found] == [[], there, []]
    assert len(asked) == requests
    assert all(":i1:" in text for ids in asked[1:] for text in ids)


def test_what_was_not_looked_up_is_left_out(server: Server) -> None:
    (plan,) = plans(1)
    add(server, plan)

    def others(server: Server, call: Call[Any]) -> Any:
        return {"another's": next(iter(server.carry_out(call).values()))}

    assert looked_up(server, [plan], [others]) == [[]]
