"""One look: what is asked, and what is made of what cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorRequestError,
    NotConductorError,
    Workflow,
)
from airflow_provider_conductor.polling.observation import (
    LAST_POLL,
    TASKS_AGAIN,
    observe,
)
from airflow_provider_conductor.polling.progress import MAX_DEPTH, Phase
from airflow_provider_conductor.polling.server_clock import ServerClock
from tests.polling.builders import at, live, polled, sub, task, workflow
from tests.polling.world import OUTAGES, REFUSED, T0, World, failing, unreachable

HERE = ServerClock()


def test_a_look_is_one_request_where_that_says_it_all() -> None:
    world = World([(0, workflow(live()))])
    seen = world.drive(observe("wf-1", HERE))
    assert seen.progress.phase is Phase.WORKING
    assert world.asked == ["GET /workflow/wf-1"]


def test_a_fresh_queue_is_not_asked_after() -> None:
    world = World([(0, workflow(task()))])
    world.drive(observe("wf-1", HERE))
    assert world.asked == ["GET /workflow/wf-1"]


def test_who_polls_is_asked_once_a_task_is_overdue() -> None:
    world = World([(0, workflow(task()))], now=T0 + 60, polls=lambda age: {"charge_card": [polled("charge_card", 5)]})
    (blocker,) = world.drive(observe("wf-1", HERE)).progress.blockers
    assert (blocker.polls_known, blocker.last_poll.worker_id) == (True, "worker-3")
    assert world.asked == ["GET /workflow/wf-1", "GET /tasks/queue/polldata"]


def test_sub_workflows_are_read_level_by_level_and_their_queues_too() -> None:
    below = {
        "wf-2": workflow(sub("deeper", runs="wf-3"), id="wf-2"),
        "wf-3": workflow(task("pack"), id="wf-3"),
    }
    world = World([(0, workflow(sub()))], others=below, now=T0 + 60)
    (blocker,) = world.drive(observe("wf-1", HERE)).progress.blockers
    assert (blocker.path, blocker.reference_name) == (("ship", "deeper"), "pack")
    assert world.asked == [f"GET /workflow/wf-{n}" for n in (1, 2, 3)] + ["GET /tasks/queue/polldata"]


def test_a_chain_without_end_is_followed_for_so_far_only() -> None:
    below = {f"wf-{n}": workflow(sub(f"to-{n}", runs=f"wf-{n + 1}"), id=f"wf-{n}") for n in range(2, 40)}
    world = World([(0, workflow(sub()))], others=below)
    seen = world.drive(observe("wf-1", HERE))
    assert seen.progress.phase is Phase.UNREAD
    assert len(world.asked) <= MAX_DEPTH + 2


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("path", ["/workflow/wf-2", "/tasks/queue/polldata"])
def test_what_the_server_does_not_tell_is_done_without(path: str, error: ConductorRequestError) -> None:
    scene = workflow(sub(), task("pack"))
    world = failing(World([(0, scene)], now=T0 + 60), path, error)
    seen = world.drive(observe("wf-1", HERE))
    assert {blocker.reference_name for blocker in seen.progress.blockers} >= {"pack"}
    assert world.asked.count(f"GET {path}") <= 2


@pytest.mark.parametrize("error", OUTAGES, ids=["unreachable", "bad gateway"])
@pytest.mark.parametrize("path", ["/workflow/wf-2", "/tasks/queue/polldata"])
def test_a_server_that_goes_away_during_a_look_is_away(path: str, error: ConductorRequestError) -> None:
    world = failing(World([(0, workflow(sub(), task("pack")))], now=T0 + 60), path, error)
    with pytest.raises(type(error)):
        world.drive(observe("wf-1", HERE))
    assert world.asked.count(f"GET {path}") == 1


def test_right_after_a_look_the_status_alone_is_read() -> None:
    world = World([(0, workflow(live()))])
    first = world.drive(observe("wf-1", HERE))
    world.now += TASKS_AGAIN / 2
    second = world.drive(observe("wf-1", first.clock, first.tasks_read))
    world.now += TASKS_AGAIN / 2
    third = world.drive(observe("wf-1", second.clock, second.tasks_read))
    assert [seen.progress is None for seen in (first, second, third)] == [False, True, False]
    assert len(world.whole_looks) == 2


def test_but_all_of_it_where_that_is_wanted() -> None:
    world = World([(0, workflow(live()))])
    first = world.drive(observe("wf-1", HERE))
    assert world.drive(observe("wf-1", first.clock, first.tasks_read, whole=True)).progress is not None


@pytest.mark.parametrize("skew", [-400, 0, 400])
def test_the_servers_clock_is_read_off_each_answer(skew: float) -> None:
    world = World([(0, workflow(live()))], skew=skew)
    seen = world.drive(observe("wf-1", HERE))
    assert seen.server_now == pytest.approx(at(skew), abs=1001)


# What cannot be read


UNREADABLE = NotConductorError("the answer is not a valid Conductor answer", status=200)


def test_of_an_answer_that_cannot_be_read_the_status_counts() -> None:
    world = failing(World([(0, workflow(live()))]), "/workflow/wf-1", UNREADABLE, exactly=True)
    seen = world.drive(observe("wf-1", HERE))
    assert (seen.workflow.status, seen.progress, seen.whole) == ("RUNNING", None, False)
    assert "only its status can be read" in seen.unread


@pytest.mark.parametrize("error", [UNREADABLE, NotConductorError("redirected", status=302)])
def test_a_server_that_answers_nothing_readable_is_told_by_its_first_answer(error: ConductorRequestError) -> None:
    with pytest.raises(NotConductorError, match=error.message):
        failing(World(), "/workflow/wf-1", error).drive(observe("wf-1", HERE))


@pytest.mark.parametrize(
    "garbage",
    [
        {"tasks": [None]},
        {"tasks": ["x"]},
        {"tasks": 7},
        {"tasks": [{"status": "SCHEDULED", "scheduledTime": "soon", "workflowTask": {"type": "SIMPLE"}}]},
        {"startTime": {"a": 1}},
        {"startTime": "yesterday"},
        {"lastRetriedTime": ["x"]},
    ],
    ids=str,
)
def test_an_answer_that_is_not_understood_leaves_the_status(garbage: dict[str, Any]) -> None:
    strange = Workflow(workflow(live()).data | garbage)
    world = World()
    world._look = lambda *, whole: strange  # type: ignore[method-assign]
    seen = world.drive(observe("wf-1", HERE))
    assert seen.workflow.status == "RUNNING"
    assert seen.unread


# The time for an answer


def times_given(world: World, **arguments: Any) -> list[float | None]:
    given: list[float | None] = []
    ask = world._answer

    def answer(call: Any) -> Any:
        given.append(call.within)
        return ask(call)

    world._answer = answer  # type: ignore[method-assign]
    world.drive(observe("wf-1", HERE, **arguments))
    return given


def test_a_look_at_a_deadline_has_little_time() -> None:
    calls = [(0.0, workflow(sub()))]
    below = {"wf-2": workflow(live("pack"), id="wf-2")}
    assert times_given(World(calls, others=below)) == [None, None]
    first, second = times_given(World(calls, others=below), end=T0)
    assert first == LAST_POLL
    assert second is not None
    assert second < LAST_POLL
    assert times_given(World(calls, others=below), end=T0 + 300)[0] == pytest.approx(300)
    assert times_given(World(calls, others=below), end=T0 + 3)[0] == LAST_POLL


def test_at_a_deadline_what_has_been_read_counts_though_the_rest_cannot_be() -> None:
    world = failing(World([(0, workflow(sub()))]), "/workflow/wf-2", unreachable())
    assert world.drive(observe("wf-1", HERE, end=T0)).workflow.status == "RUNNING"
    with pytest.raises(type(unreachable())):
        world.drive(observe("wf-1", HERE, end=T0 + 300))
