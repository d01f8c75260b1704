"""One look: what is asked, and what is made of what cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorBadRequest,
    ConductorNotFound,
    ConductorRequestError,
    ConductorServerError,
    NotConductorError,
)
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.waiting.clock import ServerClock
from airflow_provider_conductor.waiting.look import TASKS_AGAIN, diagnose, look, read_ended, search_ended
from airflow_provider_conductor.waiting.progress import MAX_DEPTH, Phase
from tests.waiting.builders import at, failed, live, polled, sub, task, workflow
from tests.waiting.world import T0, World, unreachable

HERE = ServerClock()
REFUSALS = [
    ConductorAuthError("not yours", status=403),
    ConductorNotFound("no such", status=404),
    ConductorBadRequest("no", status=400),
    ConductorServerError("broken", status=500),
    NotConductorError("HTML", status=200),
]
AWAY = [unreachable(), ConductorServerError("bad gateway", status=502, repeatable=True)]


def failing(world: World, path: str, error: ConductorRequestError) -> World:
    """The world, but for one path."""
    ask = world._answer

    def answer(call: Any) -> Any:
        if call.path.startswith(path):
            world.asked.append(f"{call.method} {call.path}")
            raise error
        return ask(call)

    world._answer = answer  # type: ignore[method-assign]
    return world


def test_a_look_is_one_request_where_that_says_it_all() -> None:
    world = World([(0, workflow(live()))])
    seen = world.drive(look("wf-1", HERE))
    assert seen.progress.phase is Phase.WORKING
    assert world.asked == ["GET /workflow/wf-1"]


def test_a_fresh_queue_is_not_asked_after() -> None:
    world = World([(0, workflow(task()))])
    world.drive(look("wf-1", HERE))
    assert world.asked == ["GET /workflow/wf-1"]


def test_who_polls_is_asked_once_a_task_is_overdue() -> None:
    world = World([(0, workflow(task()))], now=T0 + 60, polls=lambda age: {"charge_card": [polled("charge_card", 5)]})
    (holdup,) = world.drive(look("wf-1", HERE)).progress.holdups
    assert (holdup.polls_known, holdup.last_poll.worker_id) == (True, "worker-3")
    assert world.asked == ["GET /workflow/wf-1", "GET /tasks/queue/polldata"]


def test_sub_workflows_are_read_level_by_level_and_their_queues_too() -> None:
    below = {
        "wf-2": workflow(sub("deeper", runs="wf-3"), id="wf-2"),
        "wf-3": workflow(task("pack"), id="wf-3"),
    }
    world = World([(0, workflow(sub()))], others=below, now=T0 + 60)
    (holdup,) = world.drive(look("wf-1", HERE)).progress.holdups
    assert (holdup.path, holdup.reference_name) == (("ship", "deeper"), "pack")
    assert world.asked == [f"GET /workflow/wf-{n}" for n in (1, 2, 3)] + ["GET /tasks/queue/polldata"]


def test_a_chain_without_end_is_followed_for_so_far_only() -> None:
    below = {f"wf-{n}": workflow(sub(f"to-{n}", runs=f"wf-{n + 1}"), id=f"wf-{n}") for n in range(2, 40)}
    world = World([(0, workflow(sub()))], others=below)
    seen = world.drive(look("wf-1", HERE))
    assert seen.progress.phase is Phase.UNREAD
    assert len(world.asked) <= MAX_DEPTH + 2


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("path", ["/workflow/wf-2", "/tasks/queue/polldata"])
def test_what_the_server_does_not_tell_is_done_without(path: str, error: ConductorRequestError) -> None:
    scene = workflow(sub(), task("pack"))
    world = failing(World([(0, scene)], now=T0 + 60), path, error)
    seen = world.drive(look("wf-1", HERE))
    assert {holdup.reference_name for holdup in seen.progress.holdups} >= {"pack"}
    assert world.asked.count(f"GET {path}") <= 2


@pytest.mark.parametrize("error", AWAY, ids=["unreachable", "bad gateway"])
@pytest.mark.parametrize("path", ["/workflow/wf-2", "/tasks/queue/polldata"])
def test_a_server_that_goes_away_during_a_look_is_away(path: str, error: ConductorRequestError) -> None:
    world = failing(World([(0, workflow(sub(), task("pack")))], now=T0 + 60), path, error)
    with pytest.raises(type(error)):
        world.drive(look("wf-1", HERE))
    assert world.asked.count(f"GET {path}") == 1


def test_right_after_a_look_the_status_alone_is_read() -> None:
    world = World([(0, workflow(live()))])
    first = world.drive(look("wf-1", HERE))
    world.now += TASKS_AGAIN / 2
    second = world.drive(look("wf-1", first.clock, first.tasks_read))
    world.now += TASKS_AGAIN / 2
    third = world.drive(look("wf-1", second.clock, second.tasks_read))
    assert [seen.progress is None for seen in (first, second, third)] == [False, True, False]
    assert len(world.whole_looks) == 2


def test_but_all_of_it_where_that_is_wanted() -> None:
    world = World([(0, workflow(live()))])
    first = world.drive(look("wf-1", HERE))
    assert world.drive(look("wf-1", first.clock, first.tasks_read, whole=True)).progress is not None


@pytest.mark.parametrize("skew", [-400, 0, 400])
def test_the_servers_clock_is_read_off_each_answer(skew: float) -> None:
    world = World([(0, workflow(live()))], skew=skew)
    seen = world.drive(look("wf-1", HERE))
    assert seen.server_now == pytest.approx(at(skew), abs=1001)


# The end


def test_the_summary_of_what_has_ended_is_found_in_the_index() -> None:
    world = World(index=Workflow({"workflowId": "wf-1", "status": "TERMINATED"}))
    assert world.drive(search_ended("wf-1")).status == "TERMINATED"
    assert world.age < 0.1


def test_a_server_without_an_index_knows_nothing() -> None:
    world = failing(World(), "/workflow/search", ConductorServerError("no index", status=500))
    assert world.drive(search_ended("wf-1")) is None
    assert len(world.asked) == 3


@pytest.mark.parametrize("error", AWAY, ids=["unreachable", "bad gateway"])
def test_the_end_is_read_as_soon_as_the_server_is_back(error: ConductorRequestError) -> None:
    world = World([(0, error), (300, workflow(status="COMPLETED"))])
    assert world.drive(read_ended("wf-1", None)).status == "COMPLETED"
    assert world.age < 365


def test_the_end_is_asked_for_until_the_deadline() -> None:
    world = World([(0, unreachable())])
    with pytest.raises(type(unreachable())):
        world.drive(read_ended("wf-1", T0 + 100))
    assert world.age == pytest.approx(100, abs=0.1)


def test_a_refusal_at_the_end_is_told_at_once() -> None:
    world = World([(0, ConductorAuthError("no", status=401))])
    with pytest.raises(ConductorAuthError):
        world.drive(read_ended("wf-1", None))
    assert world.age < 1


def test_what_was_archived_since_its_end_cannot_be_read() -> None:
    assert World([(0, None)]).drive(read_ended("wf-1", None)) is None


# The cause


BROKEN = workflow(sub(status="FAILED", ended=9), status="FAILED", endTime=at(9))
BELOW = {"wf-2": workflow(failed("pack", ended=8), id="wf-2", status="FAILED", endTime=at(8))}


def test_the_cause_is_looked_for_where_it_is() -> None:
    world = World(others=BELOW)
    ask = world._answer
    world._answer = lambda call: ("a line",) if call.path.endswith("/log") else ask(call)  # type: ignore[method-assign]
    found = world.drive(diagnose(BROKEN))
    assert (found.failure.path, found.failure.task_reference_name) == (("ship",), "pack")
    assert found.log_lines == ("a line",)


@pytest.mark.parametrize("error", [*REFUSALS, *AWAY], ids=lambda error: f"{type(error).__name__} {error.status}")
@pytest.mark.parametrize(("path", "ref"), [("/workflow/wf-2", "ship"), ("/tasks/", "pack")])
def test_a_cause_that_cannot_be_read_is_told_as_far_as_it_can(
    path: str, ref: str, error: ConductorRequestError
) -> None:
    found = failing(World(others=BELOW), path, error).drive(diagnose(BROKEN))
    assert found.failure.task_reference_name == ref
    assert found.log_lines == ()
