"""One look: what is asked, and what is made of what cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorBadRequestError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    NotConductorError,
    Workflow,
)
from airflow_provider_conductor.polling.observation import (
    ASK_AGAIN,
    LAST_POLL,
    TASKS_AGAIN,
    Observation,
    confirm_missing,
    diagnose,
    observe,
    read_ended,
)
from airflow_provider_conductor.polling.progress import MAX_DEPTH, Phase
from airflow_provider_conductor.polling.server_clock import ServerClock
from tests.polling.builders import at, failed, live, polled, sub, task, workflow
from tests.polling.world import T0, World, unreachable

HERE = ServerClock()
REFUSALS = [
    ConductorAuthError("not yours", status=403),
    ConductorNotFoundError("no such", status=404),
    ConductorBadRequestError("no", status=400),
    ConductorServerError("broken", status=500),
    NotConductorError("HTML", status=200),
]
AWAY = [unreachable(), ConductorServerError("bad gateway", status=502, repeatable=True)]


def failing(world: World, path: str, error: ConductorRequestError, *, exactly: bool = False) -> World:
    """The world, but for one path, or those that begin so."""
    ask = world._answer

    def answer(call: Any) -> Any:
        if call.path == path or (not exactly and call.path.startswith(path)):
            world.asked.append(f"{call.method} {call.path}")
            raise error
        return ask(call)

    world._answer = answer  # type: ignore[method-assign]
    return world


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


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("path", ["/workflow/wf-2", "/tasks/queue/polldata"])
def test_what_the_server_does_not_tell_is_done_without(path: str, error: ConductorRequestError) -> None:
    scene = workflow(sub(), task("pack"))
    world = failing(World([(0, scene)], now=T0 + 60), path, error)
    seen = world.drive(observe("wf-1", HERE))
    assert {blocker.reference_name for blocker in seen.progress.blockers} >= {"pack"}
    assert world.asked.count(f"GET {path}") <= 2


@pytest.mark.parametrize("error", AWAY, ids=["unreachable", "bad gateway"])
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


# The end


NOT_FOUND = ConductorNotFoundError("No such workflow found by id: wf-1", status=404)
STRAY = ConductorNotFoundError("no Route matched with those values", status=404)


def indexed(status: str) -> Workflow:
    return Workflow({"workflowId": "wf-1", "status": status})


def missing(world: World, error: ConductorNotFoundError = NOT_FOUND, end: float | None = None) -> Any:
    return world.drive(confirm_missing("wf-1", error, lambda: observe("wf-1", HERE), end))


def test_a_single_not_found_is_a_stray_answer() -> None:
    seen = missing(World([(0, workflow(live()))]))
    assert isinstance(seen, Observation)
    assert seen.workflow.status == "RUNNING"


def test_the_summary_of_what_has_ended_is_found_in_the_index() -> None:
    """The server has said twice that it does not know it."""
    world = World([(0, None)], index=indexed("TERMINATED"))
    assert missing(world).status == "TERMINATED"
    assert len(world.looks) == 1
    assert world.age < ASK_AGAIN[0] + 0.1


def test_an_index_entry_that_has_not_ended_means_that_it_is_there() -> None:
    with pytest.raises(ConductorRequestError, match="its search index has it as RUNNING") as raised:
        missing(World([(0, None)], index=indexed("RUNNING")))
    assert raised.value.repeatable


def test_only_conductors_own_words_mean_that_it_is_not_there() -> None:
    world = World([(0, None)])
    with pytest.raises(ConductorNotFoundError, match="no Route matched"):
        missing(world, STRAY)
    assert not world.asked


def test_what_nobody_knows_is_asked_for_again_for_a_while() -> None:
    world = World([(0, None)])
    assert missing(world) is None
    assert len(world.looks) == len(ASK_AGAIN)
    assert world.age == pytest.approx(sum(ASK_AGAIN), abs=0.2)


def test_a_server_without_an_index_knows_nothing() -> None:
    world = failing(World([(0, None)]), "/workflow/search", ConductorServerError("no index", status=500))
    assert missing(world) is None


def test_at_the_deadline_nobody_asks_on() -> None:
    world = World([(0, None)])
    with pytest.raises(ConductorNotFoundError):
        missing(world, end=T0 + 5)
    assert world.age <= 5


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
    assert times_given(World(calls, others=BELOW)) == [None, None]
    whole, below = times_given(World(calls, others=BELOW), end=T0)
    assert whole == LAST_POLL
    assert below is not None
    assert below < LAST_POLL
    assert times_given(World(calls, others=BELOW), end=T0 + 300)[0] == pytest.approx(300)
    assert times_given(World(calls, others=BELOW), end=T0 + 3)[0] == LAST_POLL


def test_at_a_deadline_what_has_been_read_counts_though_the_rest_cannot_be() -> None:
    world = failing(World([(0, workflow(sub()))]), "/workflow/wf-2", unreachable())
    assert world.drive(observe("wf-1", HERE, end=T0)).workflow.status == "RUNNING"
    with pytest.raises(type(unreachable())):
        world.drive(observe("wf-1", HERE, end=T0 + 300))


# Reading the end


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
    world = World([(0, None)], index=indexed("COMPLETED"))
    assert world.drive(read_ended("wf-1", None)) is None
    assert world.age < ASK_AGAIN[0] + 0.1


def test_what_was_deleted_since_its_end_cannot_be_read() -> None:
    world = World([(0, None)])
    assert world.drive(read_ended("wf-1", T0)) is None
    assert world.age == pytest.approx(sum(ASK_AGAIN), abs=0.2)


@pytest.mark.parametrize("error", [None, STRAY])
def test_an_end_that_was_not_found_once_is_read(error: ConductorRequestError | None) -> None:
    world = World([(0, error), (0.5, workflow(status="COMPLETED"))])
    assert world.drive(read_ended("wf-1", None)).status == "COMPLETED"


def test_an_end_is_read_for_half_a_minute_though_the_deadline_has_come() -> None:
    world = World([(0, unreachable()), (20, workflow(status="COMPLETED"))])
    assert world.drive(read_ended("wf-1", T0)).status == "COMPLETED"


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
