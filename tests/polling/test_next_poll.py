from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as some

from airflow_provider_conductor.client import WorkflowStatus
from airflow_provider_conductor.polling.next_poll import (
    JUST_IN_CASE,
    LONGEST,
    UNSEEN_SHORTEST,
    next_poll,
    next_poll_after_failure,
    wake_at,
)
from airflow_provider_conductor.polling.progress import Phase, Progress, assess
from airflow_provider_conductor.polling.server_clock import ServerClock
from tests.polling.builders import START, at, sub, task, workflow

T0 = START / 1000
jitters = some.floats(0, 1, exclude_max=True)
ages = some.floats(0, 1e6)
limits = some.just(math.inf) | some.floats(-100, 1e6)
HERE = ServerClock()


def running(change: float | None = None, started: float = 0) -> Progress:
    return Progress(
        status=WorkflowStatus.RUNNING,
        phase=Phase.WORKING,
        since=START,
        started=at(started),
        next_change=None if change is None else at(change),
    )


def pause(age: float, change: float | None = None, jitter: float = 0, **more: float) -> float:
    return next_poll(running(change), T0 + age, HERE, jitter=jitter, **more) - (T0 + age)


@pytest.mark.parametrize(
    ("age", "change", "expected"),
    [
        (0, None, 1),
        (50, None, 1),
        (600, None, 12),
        (3000, None, 60),
        (10**6, None, 60),
        (10, 40, 30.25),
        (10, 5000, 60),
        (600, 601, 12),
        (600, 630, 30.25),
    ],
)
def test_the_next_look_falls_when_something_can_have_changed(age: float, change: float | None, expected: float) -> None:
    assert pause(age, change) == pytest.approx(expected, abs=0.001)


def test_poll_interval_overrides() -> None:
    assert pause(9999, 99999, jitter=0.9, poll_interval=5) == 5


def test_the_last_look_falls_on_the_deadline_and_not_past_it() -> None:
    assert pause(3000, poll_by=T0 + 3010) == 10
    assert pause(3000, poll_by=T0 + 3010, poll_interval=600) == 10


@given(ages, jitters, limits, some.one_of(some.none(), some.floats(-1e5, 1e6)), some.floats(-600, 600))
def test_a_look_is_never_in_the_past_nor_past_the_deadline(
    age: float, jitter: float, limit: float, change: float | None, skew: float
) -> None:
    now = T0 + age
    poll_by = T0 + limit
    moment = next_poll(running(change), now, ServerClock(skew), jitter=jitter, poll_by=poll_by)
    assert now <= moment <= now + LONGEST + 0.001
    assert moment <= max(poll_by, now)


@given(some.floats(0, 50), some.floats(51, 110), jitters)
def test_a_known_moment_is_looked_at_just_after_it_and_not_before(age: float, change: float, jitter: float) -> None:
    moment = age + pause(age, change, jitter)
    if change - age < LONGEST - 1:
        assert change < moment <= change + 1.001


@given(ages, ages, jitters)
def test_an_older_run_is_never_looked_at_more_often(one: float, other: float, jitter: float) -> None:
    young, old = sorted((one, other))
    assert pause(young, jitter=jitter) <= pause(old, jitter=jitter) + 0.001


def test_a_retried_workflow_is_looked_at_as_a_young_one() -> None:
    assert next_poll(running(started=5000), T0 + 5010, HERE, jitter=0) == pytest.approx(T0 + 5011)


@pytest.mark.parametrize(("asked_for", "pause"), [(None, 1), (0.5, 1), (20.0, 20), (3600.0, 60), (float("inf"), 60)])
def test_a_server_gets_the_pause_that_it_asks_for_up_to_a_minute(asked_for: float | None, pause: float) -> None:
    assert next_poll_after_failure(1, 0.0, jitter=0, retry_after=asked_for) == pause
    assert next_poll_after_failure(1, 0.0, jitter=0, retry_after=asked_for, poll_by=0.25) == 0.25


@given(some.integers(0, 10**6), jitters, limits)
def test_after_a_failure_the_deadline_still_holds(failures: int, jitter: float, limit: float) -> None:
    poll_by = T0 + limit
    moment = next_poll_after_failure(failures, T0, jitter=jitter, poll_by=poll_by)
    assert T0 <= moment <= T0 + LONGEST
    assert moment <= max(poll_by, T0)


def wakes_after(*tasks: dict[str, Any], age: float = 30) -> float:
    progress = assess(workflow(*tasks), at(age))
    return wake_at(progress, T0 + age, HERE, jitter=0)[0] - (T0 + age)


@pytest.mark.parametrize(
    ("task_", "seconds"),
    [
        (sub(), UNSEEN_SHORTEST),
        (task("to_middle", "IN_PROGRESS", kind="SUB_WORKFLOW", started=0), UNSEEN_SHORTEST),
        (task("to_middle", kind="SUB_WORKFLOW"), UNSEEN_SHORTEST),
        (task("approval", "IN_PROGRESS", kind="WAIT", started=0), JUST_IN_CASE),
    ],
    ids=["runs", "is being started", "is scheduled", "none"],
)
def test_what_a_sub_workflow_does_is_looked_for_since_it_leaves_no_trace(task_: dict[str, Any], seconds: float) -> None:
    assert wakes_after(task_) == seconds


def test_a_join_that_may_be_blocked_is_looked_at_once_more() -> None:
    done = task("pack", "COMPLETED", ended=27)
    join = task("join", "IN_PROGRESS", kind="JOIN", inputData={"joinOn": ["pack", "typo"]})
    assert wakes_after(done, join, age=30) == pytest.approx(7.25)
    assert wakes_after(done, join, age=300) == JUST_IN_CASE
