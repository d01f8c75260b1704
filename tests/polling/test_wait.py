"""The wait, look by look, on a clock of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as some

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    ConductorTimeoutError,
    ConductorTlsError,
    NotConductorError,
    Workflow,
    WorkflowStatus,
)
from airflow_provider_conductor.client.flow import Now
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.messages import Logged
from airflow_provider_conductor.polling.next_poll import CLOSE_POLL_PAUSE, CLOSE_POLLS_FOR
from airflow_provider_conductor.polling.observation import FEW_TASKS, LAST_POLL
from airflow_provider_conductor.polling.poll_pause import PollPause, Revision
from airflow_provider_conductor.polling.user_actions import Lifecycle
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import (
    GONE,
    MESSAGE_LIMIT,
    SLOW,
    STALLED,
    STILL_RUNNING,
    TASK_ENDED,
    TASK_MISSED,
    TIMEOUT,
    WaitEvent,
)
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from tests.polling.builders import at, failed, live, polled, sub, task, workflow
from tests.polling.world import T0, Patience, World, failing, sent, unreachable

QUICK = settings(deadline=None, max_examples=25)
jitters = some.floats(0, 0.999)
HUMAN = task("ok", "IN_PROGRESS", kind="HUMAN", started=0)
DONE = workflow(live(), status="COMPLETED", endTime=at(1))


def retry(delay: int, scheduled: float = 1, **more: Any) -> Workflow:
    """charge_card failed, and its second attempt is due ``delay`` seconds after ``scheduled``."""
    return workflow(
        failed(of=4, ended=scheduled, retried=True), task(attempt=2, of=4, scheduled=scheduled, delay=delay), **more
    )


def gateway(status: int) -> ConductorRequestError:
    return NotConductorError("answered by something in front of Conductor", status=status, repeatable=True)


def not_found(message: str) -> ConductorRequestError:
    return ConductorNotFoundError(message, status=404)


def auth_error() -> ConductorRequestError:
    return ConductorAuthError("INVALID_TOKEN", status=401, method="GET", path="/workflow/wf-1")


# Ends


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"])
def test_the_event_says_how_it_ended_and_why(status: str) -> None:
    world = World([(30, workflow(status=status, reasonForIncompletion="no tea left", endTime=at(30)))])
    event = world.wait()
    assert (event.workflow_id, event.status, event.message) == ("wf-1", status, "no tea left")


def test_what_has_ended_already_costs_one_look() -> None:
    world = World([(0, DONE)])
    assert world.wait().status == "COMPLETED"
    assert len(world.asked) == 1


# Lines


def test_a_line_when_something_changes_and_none_when_nothing_does() -> None:
    world = World(
        [
            (0, workflow(task(of=4))),
            (20, workflow(live("charge_card"))),
            (40, retry(60, scheduled=40)),
            (110, workflow(failed(of=4, retried=True), task(status="COMPLETED", attempt=2, ended=110), live("ship"))),
            (4000, DONE),
        ]
    )
    world.wait()
    shapes = [
        "has been queued since",
        "no worker has ever polled",
        "has been running on worker-1",
        "in 60 s",
        "retry has been queued",
        "ship has been running",
    ]
    assert len(world.said) == len(shapes), world.said
    for line, shape in zip(world.said, shapes, strict=True):
        assert shape in line


def test_the_line_of_a_retry_says_when_and_why() -> None:
    world = World([(0, retry(58)), (70, DONE)])
    world.wait()
    assert world.said[0] == (
        "charge_card failed (attempt 1 of 4: card service down); Conductor will retry it at 22:14:19 UTC (in 59 s)"
    )


def test_counters_that_move_are_not_told() -> None:
    moving = [(0.0 + n, workflow(live(updated=n, pollCount=n + 1))) for n in range(100)]
    world = World([*moving, (200, DONE)])
    world.wait()
    assert world.said == ["pack has been running on worker-1 since 22:13:20 UTC"]


def test_between_two_tasks_nothing_is_told_unless_it_stays_there() -> None:
    """A server can lose a workflow's next task; that is told once, and a stall_timeout ends it."""
    first, second = task("pack", "COMPLETED", ended=20), live("ship")
    world = World([(0, workflow(live("pack"))), (20, workflow(first)), (25, workflow(first, second)), (60, DONE)])
    world.wait()
    assert [line.split()[0] for line in world.said] == ["pack", "ship"]
    world = World([(0, workflow(live("pack"))), (20, workflow(first))])
    event = world.wait(world.spec(stall_timeout=300.0))
    assert world.said[1:] == ["no task has been open since 22:13:40 UTC"]
    assert (event.status, event.message) == (
        STALLED,
        "no progress since 22:13:40 UTC: no task has been open since 22:13:40 UTC",
    )


def test_what_was_told_is_not_told_again_after_a_deferral() -> None:
    world = World([(0, retry(300)), (400, DONE)])
    on_the_worker = world.wait(return_after=10)
    assert on_the_worker.status == STILL_RUNNING
    told = list(world.said)
    assert world.wait(state=sent(on_the_worker)).status == "COMPLETED"
    assert told == world.said[: len(told)]
    assert [line for line in world.said if "will retry it at" in line] == told


def test_pokes_that_carry_their_plan_on_say_what_one_wait_says() -> None:
    scenes = [(0, retry(60)), (100, unreachable()), (130, workflow(live())), (400, DONE)]
    whole, poked = World(scenes), World(scenes)
    whole.wait()
    spec, state = poked.spec(), WaitState()
    while (event := poked.wait(spec, state=state, return_after=0)).status == STILL_RUNNING:
        state = sent(event)
        poked.now += 5
    assert event.status == "COMPLETED"
    assert [line.split(" since ")[0][:25] for line in poked.said] == [
        line.split(" since ")[0][:25] for line in whole.said
    ]


# People


PAUSED = workflow(live(), status="PAUSED", updateTime=at(10))
SKIPPED = task("pack", "SKIPPED", ended=9)
OTHERS = [task(f"ship{n}", "SKIPPED", ended=19 + n) for n in range(7)]


@pytest.mark.parametrize(
    ("scenes", "lines"),
    [
        ([workflow(live()), PAUSED, workflow(live(), lastRetriedTime=at(19))], ["somebody resumed the workflow"]),
        ([workflow(live()), workflow(live(), lastRetriedTime=at(9))], ["somebody resumed the workflow"]),
        (
            [
                workflow(live()),
                workflow(live(), lastRetriedTime=at(9), endTime=at(5)),
                workflow(live(), lastRetriedTime=at(9), endTime=at(15)),
                workflow(live(), createTime=at(29), startTime=at(29)),
            ],
            [
                "somebody retried the workflow; it continues from its failed tasks",
                "somebody reran the workflow from one of its tasks",
                "somebody restarted the workflow; it runs again from its first task",
            ],
        ),
        (
            [workflow(live()), workflow(SKIPPED, live()), workflow(SKIPPED, *OTHERS, live())],
            ["somebody skipped pack", "somebody skipped ship0, ship1, ship2, ship3, ship4 and 2 more"],
        ),
        ([workflow(SKIPPED, live(), lastRetriedTime=at(-3), endTime=at(-4))], []),
    ],
    ids=["pause and resume", "between two polls", "retry, rerun and restart", "skipped tasks", "before the wait"],
)
def test_what_users_have_done_is_named(scenes: list[Workflow], lines: list[str]) -> None:
    world = World([(10.0 * n, scene) for n, scene in enumerate(scenes)])
    with pytest.raises(Patience):
        world.wait(until=10.0 * len(scenes) + 5)
    assert [line for line in world.said if line.startswith("somebody")] == lines
    paused = [line for line in world.said if line.startswith("the workflow has been paused since 22:13:30")]
    assert bool(paused) == (PAUSED in scenes)


def test_an_act_during_a_deferral_is_named() -> None:
    world = World([(0, workflow(live())), (60, workflow(live(), lastRetriedTime=at(50))), (90, DONE)])
    state = sent(world.wait(return_after=0))
    world.now += 60
    world.wait(state=state)
    assert "somebody resumed the workflow" in world.said


# The whole time


def test_the_last_look_falls_exactly_on_the_deadline() -> None:
    world = World()
    event = world.wait(world.spec(deadline=333.3))
    assert event.status == TIMEOUT
    assert world.looks[-1] == pytest.approx(333.3, abs=0.001)
    assert world.whole_looks[-1] == world.looks[-1]
    assert event.message == "pack has been running on worker-1 since 22:13:20 UTC"


@given(
    deadline=some.floats(0, 2000),
    jitter=jitters,
    interval=some.one_of(some.none(), some.floats(1, 900)),
)
@QUICK
def test_what_completed_before_the_deadline_is_a_success(
    deadline: float, jitter: float, interval: float | None
) -> None:
    world = World([(max(0.0, deadline - 0.001), DONE)])
    spec = world.spec(deadline=deadline, poll_interval=interval)
    assert world.wait(spec, jitter=jitter).status == "COMPLETED"
    assert world.age <= deadline + 1


@given(deadline=some.floats(0, 2000), jitter=jitters, patience=some.one_of(some.none(), some.floats(0, 90)))
@QUICK
def test_a_wait_never_outlasts_its_deadline(deadline: float, jitter: float, patience: float | None) -> None:
    world = World()
    event = world.wait(world.spec(deadline=deadline), jitter=jitter, return_after=patience)
    assert event.status in (TIMEOUT, STILL_RUNNING)
    assert world.age <= deadline + 0.1


def test_the_deadline_holds_through_a_deferral_and_a_restart() -> None:
    world = World()
    spec = world.spec(deadline=100.0)
    state = sent(world.wait(spec, return_after=10))
    world.now += 3600  # the triggerer was away
    assert world.wait(WaitSpec(**spec.to_json()), state=state).status == TIMEOUT


def test_a_slow_answer_does_not_move_the_deadline() -> None:
    world = World(answers_after=7)
    event = world.wait(world.spec(deadline=100.0))
    assert event.status == TIMEOUT
    assert world.age <= 115


# Standing still


def steps() -> list[Any]:
    """Twenty tasks, one after the other, 50 s each, and the end."""
    done = [task(f"t{n}", "COMPLETED", ended=50 * n) for n in range(20)]
    each = [(50.0 * n, workflow(*done[:n], task(f"t{n}", scheduled=50 * n))) for n in range(20)]
    return [*each, (1000, DONE)]


STRAYS = ["no Route matched with those values", "No such workflow found by id: wf-1"]
INDEX = Workflow({"workflowId": "wf-1", "status": "RUNNING"})
UNTIMED = workflow(task(status="IN_PROGRESS", kind="WAIT", started=0, delay=2147483647))
TIMED = workflow(task(status="IN_PROGRESS", kind="WAIT", started=0, delay=3000, inputData={"duration": "3000s"}))
STALL = {"stall_timeout": 60.0}
UNHARMED: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
    # what the server has before the end, what else there is, the wait's limits
    "a retry delay is no stall": ([(0, retry(3000))], {}, STALL),
    "a timed wait is no stall": ([(0, TIMED)], {}, STALL),
    "a signal is no stall": ([(0, UNTIMED)], {}, STALL),
    "a person is no stall": ([(0, workflow(task(status="IN_PROGRESS", kind="HUMAN", started=0)))], {}, STALL),
    "a pause is no stall": ([(0, workflow(live(), status="PAUSED", updateTime=at(0)))], {}, STALL),
    "progress sets the stall clock back": (steps(), {}, STALL),
    "an outage is no stall": (
        [(0, workflow(task())), (30, unreachable()), (2980, workflow(task("next", scheduled=2970)))],
        {},
        STALL,
    ),
    "a gateway's 404 is an outage": ([(30, gateway(404))], {}, {}),
    "a gateway that knows no route": ([(0, workflow(live())), (30, not_found(STRAYS[0]))], {}, {}),
    "a stray answer of a gateway": ([(30, not_found(STRAYS[0])), (30.5, workflow(live()))], {}, {}),
    "a stray answer of one of several": ([(30, not_found(STRAYS[1])), (30.5, workflow(live()))], {}, {}),
    "not found, but the index has it": ([(0, workflow(live())), (30, None)], {"index": INDEX}, {}),
}


@pytest.mark.parametrize("case", UNHARMED)
def test_what_is_no_end_ends_no_wait(case: str) -> None:
    scenes, world, limits = UNHARMED[case]
    there = World([*scenes, (2990, DONE)], **world)
    assert there.wait(there.spec(**limits)).status == "COMPLETED"
    assert not case.startswith("a gateway") or any("Conductor is unreachable" in line for line in there.said)


def test_the_stall_clock_runs_once_a_retry_is_due() -> None:
    world = World([(0, retry(300))], polls=lambda age: {"charge_card": [polled("charge_card", 1)]})
    event = world.wait(world.spec(stall_timeout=60.0))
    assert event.status == STALLED
    assert world.looks[-1] == pytest.approx(361, abs=0.1)
    assert event.message.startswith("no progress since 22:18:21 UTC: charge_card failed (attempt 1 of 4")
    assert "queued since 22:18:21 UTC, and no worker has polled queue 'charge_card' for 6 min" in event.message


def test_a_stall_says_who_is_not_polling_and_since_when() -> None:
    world = World([(0, workflow(task()))])
    event = world.wait(world.spec(stall_timeout=60.0))
    assert event.status == STALLED
    assert "queued since 22:13:20 UTC, and no worker has ever polled queue 'charge_card'" in event.message


def test_a_stall_during_a_hold_is_seen_on_time() -> None:
    world = World([(0, workflow(task()))])
    event = world.wait(world.spec(stall_timeout=3.0), return_after=60)
    assert event.status == STALLED
    assert world.age == pytest.approx(3, abs=0.3)


def test_without_a_stall_timeout_there_is_one_warning_after_ten_minutes() -> None:
    world = World([(0, workflow(task())), (7200, DONE)])
    assert world.wait().status == "COMPLETED"
    [warning] = world.warned
    assert warning.startswith("a task has had no worker for 10 min: charge_card has been queued since 22:13:20 UTC")
    (line,) = [when for when in world.looks if when == pytest.approx(600, abs=0.2)]
    assert line


def test_a_slow_run_is_warned_of_exactly_when_it_becomes_slow() -> None:
    world = World([(0, workflow(HUMAN)), (7200, DONE)])
    assert world.wait(world.spec(warn_after=1234.0)).status == "COMPLETED"
    [warning] = world.warned
    assert warning.startswith("the workflow has been running for 20 min, longer than 20 min: ok has been waiting")
    assert [when for when in world.looks if when == pytest.approx(1234, abs=0.2)]


def test_a_caller_that_acts_on_it_continues_where_it_was() -> None:
    world = World([(0, workflow(HUMAN)), (7200, DONE)])
    spec = world.spec(warn_after=1234.0, reports_slow=True)
    slow = world.wait(spec)
    assert (slow.status, slow.waits_for) == (SLOW, "waiting for a person")
    crossed = WaitEvent.from_json(json.loads(json.dumps(slow.to_json())))
    assert crossed.state is not None
    assert world.wait(spec, state=crossed.state).status == "COMPLETED"
    assert len(world.warned) == 1


def test_a_limit_that_is_found_out_after_the_first_pause_counts_too() -> None:
    """The pause that goes to the triggerer was made before it."""
    world = World([(0, workflow(HUMAN)), (7200, DONE)])
    spec = world.spec()
    state = sent(world.wait(spec, return_after=10))
    assert state.pause is not None
    assert state.pause.wake_at > T0 + 1000
    flow = wait(replace(spec, warn_after=100.0), world.said.append, state=state)
    assert isinstance(next(flow), Now)
    pause = flow.send(world.now)
    assert isinstance(pause, PollPause)
    assert pause.wake_at == pytest.approx(T0 + 100, abs=0.1)


def test_the_warning_is_not_given_again_by_the_next_poke() -> None:
    world = World([(0, workflow(task()))])
    spec, state = world.spec(), WaitState()
    for _ in range(30):
        state = sent(world.wait(spec, state=state, return_after=0))
        world.now += 60
    assert len(world.warned) == 1


def test_a_long_job_of_a_live_worker_is_no_stall_but_for_a_stall_timeout() -> None:
    world = World([(0, workflow(live())), (86_400, DONE)])
    assert world.wait().status == "COMPLETED"
    assert world.warned == []


# The server's clock


@pytest.mark.parametrize("skew", [-600, -61.3, 61.3, 600])
@pytest.mark.parametrize(
    ("scenes", "spec"),
    [
        ([(0, retry(300)), (301.1, workflow(live())), (900, DONE)], {"stall_timeout": 700.0}),
        ([(0, retry(300))], {"stall_timeout": 60.0}),
        ([(0, workflow(task()))], {"deadline": 900.0}),
        ([(0, retry(10)), (40, DONE)], {}),
    ],
)
def test_minutes_between_the_clocks_change_nothing(scenes: Any, spec: dict[str, Any], skew: float) -> None:
    here, there = World(scenes), World(scenes, skew=skew)
    event, other = here.wait(here.spec(**spec)), there.wait(there.spec(**spec))
    assert event.status == other.status
    assert there.age == pytest.approx(here.age, abs=2)
    assert abs(len(here.looks) - len(there.looks)) <= 3
    assert len(here.said) == len(there.said)


# The server away


def test_one_line_when_the_server_goes_and_one_when_it_is_back() -> None:
    world = World([(30, unreachable()), (630, workflow(live())), (700, DONE)])
    assert world.wait().status == "COMPLETED"
    assert world.said[0] == "pack has been running on worker-1 since 22:13:20 UTC"
    away, back = world.said[1:]
    assert away == ("Conductor is unreachable; polling continues: GET /workflow/wf-1 at http://c:8080: cannot connect")
    assert back.startswith("Conductor is reachable again after 10 min")


def test_a_server_that_is_away_is_asked_ever_less_often() -> None:
    world = World([(30, unreachable()), (3630, DONE)])
    world.wait()
    assert len([look for look in world.looks if 30 <= look < 3630]) < 75


@pytest.mark.parametrize(
    "error",
    [
        unreachable(),
        ConductorServerError("boom", status=500),
        ConductorServerError("bad gateway", status=502, repeatable=True),
        NotConductorError("a page of HTML", status=200),
        ConductorMissingRouteError("this server has no such endpoint", status=404),
        ConductorTlsError("certificate has expired"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_only_the_deadline_ends_a_wait_for_a_server_that_is_away(error: ConductorRequestError) -> None:
    world = World([(30, error)])
    event = world.wait(world.spec(deadline=300.0))
    assert event.status == TIMEOUT
    assert world.age == pytest.approx(300, abs=0.1)
    assert "Conductor has been unreachable for 4 min" in event.message


def test_a_server_that_goes_away_during_a_deferral_is_told_once() -> None:
    world = World([(0, workflow(live())), (1, unreachable()), (120, DONE)])
    event = world.wait(return_after=5)
    assert (event.status, event.message[:24]) == (STILL_RUNNING, "Conductor is unreachable")
    world.wait(state=sent(event))
    assert [line[:24] for line in world.said] == [
        "pack has been running on",
        "Conductor is unreachable",
        "Conductor is reachable a",
    ]


def test_a_sub_workflow_that_cannot_be_read_for_a_moment_is_the_server_being_away() -> None:
    world = World([(0, workflow(sub())), (60, DONE)], others={"wf-2": workflow(live(), id="wf-2")})
    failing(world, "/workflow/wf-2", unreachable(), when=lambda: 10 < world.age < 20).wait()
    assert [line[:24] for line in world.said] == [
        "ship/pack has been runni",
        "Conductor is unreachable",
        "Conductor is reachable a",
    ]


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 405])
def test_a_gateway_that_answers_for_a_while_ends_no_wait(status: int) -> None:
    world = World([(30, gateway(status)), (1_500, workflow(live())), (1_600, gateway(status)), (3_000, DONE)])
    assert world.wait().status == "COMPLETED"
    at_first = World([(0, gateway(status)), (100, workflow(live())), (200, DONE)])
    assert at_first.wait().status == "COMPLETED"


@pytest.mark.parametrize(("status", "reached", "age"), [(401, True, 1_830), (403, True, 1_830), (404, False, 120)])
def test_a_gateway_that_goes_on_refusing_ends_the_wait(status: int, reached: bool, age: float) -> None:
    world = World([(30 if reached else 0, gateway(status))])
    with pytest.raises(NotConductorError, match="in front of Conductor"):
        world.wait()
    assert age <= world.age < age + 70


def test_pokes_count_a_gateways_refusals_together() -> None:
    world = World([(0, gateway(404))])

    def poke_on(state: WaitState) -> None:
        while (event := world.wait(state=state, return_after=0)).status == STILL_RUNNING:
            state = sent(event)
            world.now += 5

    with pytest.raises(NotConductorError):
        poke_on(WaitState())
    assert 120 <= world.age < 200


def test_refused_credentials_are_told_at_once() -> None:
    world = World([(30, auth_error())])
    with pytest.raises(ConductorAuthError):
        world.wait(world.spec(deadline=3000.0))
    assert world.age < 32


@pytest.mark.parametrize(
    "error",
    [
        ConductorMissingRouteError("no such endpoint", status=404),
        NotConductorError("HTML", status=200),
        ConductorTlsError("no"),
    ],
)
def test_a_wrong_address_is_told_at_the_very_first_look_only(error: ConductorRequestError) -> None:
    with pytest.raises(type(error)):
        World([(0, error)]).wait()
    world = World([(10, error), (20, DONE)])
    state = sent(world.wait(return_after=0))
    world.now += 10
    assert world.wait(state=state).status == "COMPLETED"


# The next poll of one who polls at a pace of his own


@pytest.mark.parametrize(
    ("scene", "age", "limits", "pause"),
    [
        (workflow(live()), 10, {}, 1),
        (workflow(live()), 1_000, {}, 20),
        (workflow(live()), 86_400, {}, 60),
        (retry(30), 2, {}, 29.25),
        (workflow(live()), 86_400, {"deadline": 86_420.0}, 20),
    ],
    ids=["by the age", "by a greater age", "a minute at most", "when something can change", "on the deadline"],
)
def test_the_next_poll(scene: Workflow, age: float, limits: dict[str, float], pause: float) -> None:
    world = World([(0, scene)], now=T0 + age)
    event = world.wait(world.spec(**limits), return_after=0)
    assert event.next_poll == pytest.approx(T0 + age + pause, rel=0, abs=0.3)
    assert not limits or event.next_poll == T0 + limits["deadline"]


def test_the_next_poll_while_conductor_is_unreachable_goes_by_the_age_as_well() -> None:
    world = World([(0, workflow(live())), (5_000, unreachable())], now=T0 + 4_990)
    state = sent(world.wait(return_after=0))
    world.now = T0 + 5_000
    assert world.wait(state=state, return_after=0).next_poll == pytest.approx(world.now + 60)


# Not found


def test_a_workflow_that_is_not_found_is_looked_for_in_the_index() -> None:
    summary = Workflow({"workflowId": "wf-1", "status": "FAILED", "reasonForIncompletion": "no tea left"})
    world = World([(30, None)], index=summary)
    event = world.wait()
    assert (event.status, event.message) == ("FAILED", "no tea left")
    assert world.said[-1] == "Conductor has archived the workflow; its search index has it as FAILED"


def test_what_the_index_does_not_know_either_is_gone() -> None:
    world = World([(30, None)])
    event = world.wait()
    assert event.status == GONE
    assert "how it ended is unknown" in event.message
    assert world.asked.count("GET /workflow/search") == 5
    assert world.age < 47


def test_a_workflow_that_is_not_found_at_the_deadline_is_a_timeout() -> None:
    event = (world := World([(0, workflow(live())), (55, None)])).wait(world.spec(deadline=60.0))
    assert event.status == TIMEOUT
    assert "No such workflow found" in event.message
    assert world.age == pytest.approx(60, abs=0.2)


def test_an_index_that_hangs_makes_no_deadline_late_by_its_read_timeout() -> None:
    world = World([(0, workflow(live())), (55, None)])
    failing(world, "/workflow/search", ConductorTimeoutError("no answer", repeatable=True), hangs=60.0)
    assert world.wait(world.spec(deadline=60.0)).status == TIMEOUT
    assert world.age <= 60 + 2 * LAST_POLL


def test_an_index_that_lags_is_asked_again() -> None:
    world = World([(30, None)], index=Workflow({"workflowId": "wf-1", "status": "RUNNING"}))
    ask = world._answer

    def answer(call: Any) -> Any:
        if world.age > 31:
            world.index = Workflow({"workflowId": "wf-1", "status": "COMPLETED"})
        return ask(call)

    world._answer = answer  # type: ignore[method-assign]
    assert world.wait().status == "COMPLETED"


def test_another_workflows_summary_is_not_taken_for_ours() -> None:
    world = World([(30, None)], index=Workflow({"workflowId": "wf-10", "status": "COMPLETED"}))
    assert world.wait().status == GONE


def test_a_server_that_goes_away_while_its_index_is_asked_is_waited_for() -> None:
    world = World([(30, None)], index=Workflow({"workflowId": "wf-1", "status": "COMPLETED"}))
    failing(world, "/workflow/search", unreachable(), when=lambda: world.age < 60)
    assert world.wait().status == "COMPLETED"


# One task


def test_the_task_waited_for_ends_the_wait() -> None:
    world = World([(0, workflow(live("pack"))), (60, workflow(task("pack", "COMPLETED", ended=60), live("ship")))])
    event = world.wait(world.spec(wait_until_task_ref="pack"))
    assert event.status == TASK_ENDED
    assert world.age < 63


def test_a_task_is_polled_for_closely_where_its_end_leaves_no_trace() -> None:
    """The end of one before a HUMAN task does not change ``updateTime``, and some answers have none at all."""
    for kind, unseen in (("SIMPLE", False), ("HUMAN", True)):
        world = World([(0, workflow(live("pack"), workflowDefinition={"tasks": [{"type": kind}]}))])
        state = sent(world.wait(world.spec(wait_until_task_ref="pack"), return_after=0))
        assert state.pause is not None
        assert state.pause.blind_wake_at <= world.now + 1.1
        assert (state.pause.wake_at <= world.now + 1.1) is unseen


def test_a_failed_attempt_that_will_be_tried_again_is_not_the_tasks_end() -> None:
    first = failed("pack", of=3, retried=True)
    world = World(
        [
            (0, workflow(failed("pack", of=3))),  # the server has not scheduled the next attempt yet
            (10, workflow(first, task("pack", attempt=2, of=3, scheduled=10, delay=20))),
            (40, workflow(first, task("pack", "COMPLETED", attempt=2, of=3, ended=40), live("ship"))),
        ]
    )
    assert world.wait(world.spec(wait_until_task_ref="pack")).status == TASK_ENDED
    assert world.age == pytest.approx(40, abs=2)


def test_a_wait_for_a_task_tells_why_that_one_is_open() -> None:
    ship = task("pack__box", "IN_PROGRESS", kind="HUMAN", started=0)
    both = workflow(task("pack", "IN_PROGRESS", started=0, workerId="packer-1"), ship)
    packed = workflow(task("pack", "COMPLETED", ended=5), ship)
    world = World([(5, both), (600, packed)])
    assert world.wait(world.spec(wait_until_task_ref="pack")).status == TASK_ENDED
    assert [line for line in world.said if "packer-1" in line or "pack has" in line]
    assert not [line for line in world.said if "pack__box" in line]
    other = World([(0, both), (600, packed)])
    other.wait(other.spec(wait_until_task_ref="thank"), return_after=0)
    assert [line for line in other.said if "pack has" in line and "pack__box" in line]


def test_a_workflow_that_completes_without_the_task_is_no_success() -> None:
    world = World([(0, workflow(live("pack"))), (60, workflow(task("pack", "COMPLETED"), status="COMPLETED"))])
    event = world.wait(world.spec(wait_until_task_ref="pakc"))
    assert (event.status, event.workflow is not None) == (TASK_MISSED, True)
    assert "without a task 'pakc' (its tasks: 'pack'; in a loop" in event.message


def test_a_workflow_that_fails_before_the_task_comes_has_failed() -> None:
    world = World([(60, workflow(failed("pack", of=1), status="FAILED"))])
    assert world.wait(world.spec(wait_until_task_ref="ship")).status == "FAILED"


# Patience


@pytest.mark.parametrize("patience", [0, 0.05, 10, 70, 3600])
def test_the_wait_returns_to_the_second(patience: float) -> None:
    world = World()
    event = world.wait(return_after=patience)
    assert event.status == STILL_RUNNING
    assert event.message == "pack has been running on worker-1 since 22:13:20 UTC"
    assert world.age == pytest.approx(patience, abs=0.1)


@given(some.floats(0.2, 10))
@QUICK
def test_an_end_in_the_first_seconds_of_the_hold_is_seen_at_once(ends: float) -> None:
    world = World([(ends, DONE)])
    assert world.wait(return_after=30).status == "COMPLETED"
    assert world.age - ends <= (CLOSE_POLL_PAUSE if ends < CLOSE_POLLS_FOR - 0.1 else 1.0) + 0.05


def test_close_looks_at_many_tasks_read_the_status_alone() -> None:
    world = World([(0, workflow(*(live(f"task_{number}") for number in range(FEW_TASKS + 1))))])
    world.wait(return_after=5)
    assert len(world.whole_looks) < 8 < len(world.looks)


def test_of_few_tasks_the_look_that_sees_the_end_has_read_the_result() -> None:
    world = World([(0, workflow(*(live(f"task_{number}") for number in range(FEW_TASKS)))), (2, DONE)])
    event = world.wait(return_after=5)
    assert event.workflow is not None
    assert event.workflow.tasks
    assert world.whole_looks == world.looks
    assert len(world.said) == 1, "no line more than at the looks a second apart"


def test_what_was_read_does_not_cross_processes() -> None:
    event = World([(0, DONE)]).wait(return_after=5)
    assert event.workflow is not None
    assert WaitEvent.from_json(event.to_json()).workflow is None
    assert "tasks" not in repr(event)


# Cost


@given(jitter=jitters, patience=some.sampled_from([0.0, 10.0, 70.0, 3600.0]))
@QUICK
def test_an_hour_costs_under_300_looks_the_workers_own_included(jitter: float, patience: float) -> None:
    world = World([(3600, DONE)])
    event = world.wait(return_after=patience, jitter=jitter)
    if event.status == STILL_RUNNING:
        event = world.wait(state=sent(event), jitter=jitter)
    assert event.status == "COMPLETED"
    assert len(world.looks) < 300


@given(ends=some.floats(0.1, 20_000), jitter=jitters)
@QUICK
def test_the_end_is_seen_within_two_percent_of_the_age_or_a_second(ends: float, jitter: float) -> None:
    world = World([(ends, DONE)])
    event = world.wait(return_after=10, jitter=jitter)
    if event.status == STILL_RUNNING:
        event = world.wait(state=sent(event), jitter=jitter)
    assert event.status == "COMPLETED"
    assert world.age - ends <= max(1.0, 0.02 * ends) + 0.05


def test_a_known_moment_is_waited_for_without_looking_in_between() -> None:
    world = World([(0, retry(50)), (51.5, workflow(live())), (70, DONE)])
    world.wait()
    assert [look for look in world.looks if 1.5 < look < 51] == []
    assert [look for look in world.looks if 51 <= look <= 52.5]


def test_a_person_may_act_sooner_so_a_distant_moment_is_not_slept_through() -> None:
    world = World([(0, retry(3000)), (500, DONE)])
    world.wait()
    assert world.age <= 561


BACKOFF = {"poll_interval": 10.0, "exponential_backoff": True}


@pytest.mark.parametrize(
    ("spec", "jitter", "ends", "gaps"),
    [
        ({"poll_interval": 7.0}, 0.0, 99, [7.0] * 15),
        ({"poll_interval": 0.3}, 0.0, 2.9, [0.3] * 10),
        (BACKOFF, 0.0, 1000, [5, 10, 20, 40, 80, 160, 320, 640]),
        (BACKOFF | {"max_wait": 60.0}, 0.9, 1000, [9.5, 19, 38, *[60] * 16]),
    ],
    ids=["long", "short", "doubled as Airflow does", "doubled up to max_wait"],
)
def test_poll_interval_is_what_is_asked_for(
    spec: dict[str, Any], jitter: float, ends: float, gaps: list[float]
) -> None:
    world = World([(ends, DONE)], answers_after=0)
    world.wait(world.spec(**spec), jitter=jitter)
    assert [after - before for before, after in zip(world.looks, world.looks[1:], strict=False)] == pytest.approx(
        gaps, abs=1e-6
    )


# Between processes

numbers = some.floats(0, 2e9)
texts = some.text(max_size=20)
specs = some.builds(
    WaitSpec,
    workflow_id=some.text(min_size=1),
    started_at=numbers,
    deadline=some.none() | some.floats(0, 3e9),
    stall_timeout=some.none() | some.floats(1, 1e6),
    poll_interval=some.none() | some.floats(1, 1e6),
    exponential_backoff=some.booleans(),
    warn_after=some.none() | some.floats(1, 1e6),
    reports_slow=some.booleans(),
    wait_until_task_ref=some.none() | some.text(),
)
pauses = some.builds(
    PollPause,
    seconds=some.just(0.0),
    workflow_id=some.just("wf-1"),
    revision=some.builds(Revision, some.sampled_from(sorted(WorkflowStatus)).map(str), some.integers(0, 2**53)),
    started=numbers,
    poll_interval=some.none() | some.floats(1, 1e6),
    wake_at=numbers,
    blind_wake_at=numbers,
)
states = some.builds(
    WaitState,
    logged=some.builds(Logged, some.integers(0, 2**53), some.lists(texts, max_size=3).map(tuple)),
    warned=texts,
    lifecycle=some.none() | some.builds(Lifecycle, *[some.integers(0, 2**53)] * 4),
    unreachable_since=some.none() | numbers,
    refused_since=some.none() | numbers,
    pause=some.none() | pauses,
)


@given(specs, states)
def test_a_wait_survives_json(spec: WaitSpec, state: WaitState) -> None:
    stored = json.loads(json.dumps({**spec.to_json(), "state": state.to_json()}))
    assert WaitState.from_json("wf-1", stored.pop("state")) == state
    assert WaitSpec(**stored) == spec


def test_of_a_wait_is_stored_only_what_differs_from_the_defaults() -> None:
    assert WaitSpec(workflow_id="wf-1", started_at=T0).to_json() == {"workflow_id": "wf-1", "started_at": T0}
    assert WaitState().to_json() == {}


@pytest.mark.parametrize(
    "stored",
    [
        *({"logged": value} for value in (None, 7, "a1b2:WORKING:", ["x", []], [1, 2, 3])),
        *({"lifecycle": value} for value in ("1/2/3/0", [1], [1, 2, 3, "x"], None)),
        *({"pause": value} for value in (None, {}, {"revision": ["LOST", 1]}, {"revision": 7})),
        {"unreachable_since": "yesterday"},
        ["logged"],
        "text",
    ],
    ids=repr,
)
def test_what_another_version_has_stored_begins_anew(stored: Any) -> None:
    assert WaitState.from_json("wf-1", stored) == WaitState()


def test_a_pause_is_bounded_where_the_clock_was_set() -> None:
    world = World([(0, workflow(live()))])
    state = sent(world.wait(return_after=0))
    world.now -= 1e6
    assert state.pause is not None
    state.begin_again(world.now + 3_600)
    assert state.pause.wake_at == state.pause.blind_wake_at == world.now + 3_600


@given(specs, states)
@QUICK
def test_whatever_an_earlier_wait_has_left_the_wait_works(spec: WaitSpec, state: WaitState) -> None:
    world = World([(0, DONE)])
    expected = "COMPLETED" if spec.wait_until_task_ref in (None, "", "pack") else TASK_MISSED
    assert world.wait(replace(spec, workflow_id="wf-1"), state=state).status == expected


@given(some.text(), some.text(min_size=1), some.text(max_size=3000))
def test_an_event_survives_json_and_is_bounded(workflow_id: str, status: str, message: str) -> None:
    event = WaitEvent(workflow_id=workflow_id or "x", status=status, message=message)
    sent = json.loads(json.dumps(event.to_json()))
    assert sent.keys() == {"workflow_id", "status", "message"}
    read = WaitEvent.from_json(sent)
    assert (read.workflow_id, read.status, read.message) == (event.workflow_id, status, event.message)
    assert event.message == one_line(message, MESSAGE_LIMIT)


def test_a_reason_of_megabytes_does_not_travel() -> None:
    world = World([(0, workflow(status="FAILED", reasonForIncompletion="tea " * 1_000_000))])
    assert len(world.wait().message) == MESSAGE_LIMIT


@pytest.mark.parametrize(
    "event",
    [None, "COMPLETED", 7, [], {}, {"status": "COMPLETED"}, {"workflow_id": "wf-1"}, {"workflow_id": "", "status": "x"}]
    + [{"workflow_id": "wf-1", "status": status} for status in (None, 1, ["COMPLETED"])],
    ids=repr,
)
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(ValueError, match="not the event"):
        WaitEvent.from_json(event)
