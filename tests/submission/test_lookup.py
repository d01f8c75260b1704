"""Looking up many starts at once: each gets its own, of every series and generation, in few requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorMissingRouteError
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


def test_each_start_gets_its_own(server: Server) -> None:
    several = plans(4)
    first, third = add(server, several[0]), add(server, several[2], status="COMPLETED")
    found = drive(look_up(several), server)
    assert [[item.workflow.workflow_id for item in items] for items in found] == [[first], [], [third], []]


def test_a_start_that_made_two_gets_both(server: Server) -> None:
    (plan,) = plans(1)
    both = {add(server, plan), add(server, plan)}
    ((*items,),) = drive(look_up([plan]), server)
    assert {item.workflow.workflow_id for item in items} == both


@pytest.mark.parametrize("kind", ["SUB_WORKFLOW", "START_WORKFLOW", "failureWorkflow"])
def test_children_of_a_start_are_not_its_workflows(server: Server, kind: str) -> None:
    server.task_types = ("START_WORKFLOW",)
    (plan,) = plans(1, try_number=2)
    ours = add(server, plan, status="FAILED")
    server.pass_time(1)
    server.child(ours, kind)
    ((found,),) = drive(look_up([plan]), server)
    assert found.workflow.workflow_id == ours


def test_keys_that_differ_in_case_only_are_two_starts(server: Server) -> None:
    """MySQL's default collation ignores case."""
    server.widens = True
    several = [
        replace(plan, identity=replace(plan.identity, item=item)) for plan, item in zip(plans(2), "aA", strict=True)
    ]
    ours = [add(server, plan) for plan in several]
    found = drive(look_up(several), server)
    assert [[item.workflow.workflow_id for item in items] for items in found] == [[ours[0]], [ours[1]]]


@pytest.mark.parametrize(
    ("count", "requests"), [(0, []), (1, [1]), (IDS_AT_ONCE, [IDS_AT_ONCE]), (IDS_AT_ONCE + 1, [IDS_AT_ONCE, 1])]
)
def test_so_many_ids_are_in_one_request(server: Server, count: int, requests: list[int]) -> None:
    several = plans(count)
    last = add(server, several[-1]) if count else None
    asked: list[list[str]] = []
    found = drive(look_up(several), server, asking(asked))
    assert [len(ids) for ids in asked] == requests
    assert [item.workflow.workflow_id for items in found for item in items] == ([last] if count else [])


def test_every_generation_of_the_series_is_asked_for_at_once(server: Server) -> None:
    (plan,) = plans(1, try_number=3)
    add(server, plan, generation=0, status="TERMINATED")
    add(server, plan, generation=2)
    asked: list[list[str]] = []
    (items,) = drive(look_up([plan]), server, asking(asked))
    assert [item.key for item in items] == [StartKey(1), StartKey(1, 2)]
    assert len(asked) == 1


def test_generations_of_an_earlier_series_are_asked_for_where_it_has_left_anything(server: Server) -> None:
    several = plans(3, try_number=4, first_try=3)
    add(server, several[1], first_try=1, generation=0, status="TERMINATED")
    add(server, several[1], first_try=1, generation=1)
    asked: list[list[str]] = []
    found = drive(look_up(several), server, asking(asked))
    assert [[item.key for item in items] for items in found] == [[], [StartKey(1), StartKey(1, 1)], []]
    assert len(asked) == 2
    assert all(":i1:" in text for text in asked[1])


def test_what_is_older_than_the_run_is_not_of_it(server: Server) -> None:
    """A dag run of the same id was deleted and made anew."""
    (plan,) = plans(1)
    add(server, plan)
    server.pass_time(3_600)
    ((found,),) = drive(look_up([replace(plan, series_began=server.now)]), server)
    assert not found.of_this_run
    ((found,),) = drive(look_up([plan]), server)
    assert found.of_this_run


def test_what_was_not_asked_for_is_left_out(server: Server) -> None:
    (plan,) = plans(1)
    add(server, plan)
    answered: list[str] = []

    def more(server: Server, call: Call[Any]) -> Any:
        others = {"somebody's": next(iter(server.carry_out(call).values()))}
        answered.extend(others)
        return others

    assert drive(look_up([plan]), server, [more]) == [()]
    assert answered


def test_a_server_without_the_route_is_told_of(server: Server) -> None:
    server.no_route = True
    with pytest.raises(ConductorMissingRouteError):
        drive(look_up(plans(2)), server)
