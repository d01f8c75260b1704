from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.polling.limits import Judgement, Verdict, judge
from airflow_provider_conductor.polling.progress import assess
from airflow_provider_conductor.polling.server_clock import ServerClock
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.polling.builders import START, at, failed, live, polled, task, workflow

T0 = START / 1000
HUMAN = task("ok", "IN_PROGRESS", kind="HUMAN", started=0)
WAIT = task("nap", "IN_PROGRESS", kind="WAIT", started=0, delay=3600, inputData={"duration": "1 hour"})
RETRY = (failed(retried=True), task(attempt=2, of=4, scheduled=1, delay=60))
QUEUED = (task(),)
ENDED = workflow(failed(status="COMPLETED"), status="COMPLETED", endTime=at(1))
PAUSED = workflow(task(), status="PAUSED", updateTime=at(0))


def judged(
    run: Workflow,
    seconds: float,
    *,
    skew: float = 0,
    began: float = 0,
    polls: Any = (),
    warned: str = "",
    timeout: float | None = None,
    stall_timeout: float | None = None,
) -> Judgement:
    """The verdict ``seconds`` after the start, with a server whose clock is ``skew`` ahead of ours."""
    progress = assess(run, at(seconds), poll_data={"charge_card": list(polls)})
    started_at = T0 - skew + began
    deadline = None if timeout is None else started_at + timeout
    spec = WaitSpec(workflow_id="wf-1", started_at=started_at, deadline=deadline, stall_timeout=stall_timeout)
    return judge(spec, progress, T0 - skew + seconds, ServerClock(skew), warned=warned)


@pytest.mark.parametrize(
    ("run", "seconds", "limits", "verdict"),
    [
        (workflow(live()), 99, {"timeout": 100}, Verdict.KEEP_WAITING),
        (workflow(live()), 100, {"timeout": 100}, Verdict.TIMED_OUT),
        (PAUSED, 100, {"timeout": 100}, Verdict.TIMED_OUT),
        (ENDED, 100, {"timeout": 100, "stall_timeout": 1}, Verdict.KEEP_WAITING),
        (workflow(live(updated=50)), 99, {"stall_timeout": 60}, Verdict.KEEP_WAITING),
        (workflow(live(updated=50)), 110, {"stall_timeout": 60}, Verdict.STALLED),
        (workflow(*RETRY), 60, {"stall_timeout": 5}, Verdict.KEEP_WAITING),
        (workflow(*RETRY), 65, {"stall_timeout": 5}, Verdict.KEEP_WAITING),
        (workflow(*RETRY), 66, {"stall_timeout": 5}, Verdict.STALLED),
        (workflow(WAIT), 3599, {"stall_timeout": 5}, Verdict.KEEP_WAITING),
        (workflow(HUMAN), 99999, {"stall_timeout": 5}, Verdict.KEEP_WAITING),
        (PAUSED, 99999, {"stall_timeout": 5}, Verdict.KEEP_WAITING),
        (workflow(task(), lastRetriedTime=at(500)), 504, {"stall_timeout": 5}, Verdict.KEEP_WAITING),
        (workflow(task(), lastRetriedTime=at(500)), 505, {"stall_timeout": 5}, Verdict.STALLED),
        (workflow(*QUEUED), 599, {}, Verdict.KEEP_WAITING),
        (workflow(*QUEUED), 600, {}, Verdict.WARN),
        (workflow(*QUEUED), 600, {"stall_timeout": 900}, Verdict.KEEP_WAITING),
        (workflow(live()), 99999, {}, Verdict.KEEP_WAITING),
        (workflow(*QUEUED), 70, {"timeout": 60, "stall_timeout": 50}, Verdict.TIMED_OUT),
    ],
)
@pytest.mark.parametrize("skew", [0, 300, -300])
def test_the_verdict(run: Workflow, seconds: float, limits: dict[str, float], verdict: Verdict, skew: float) -> None:
    assert judged(run, seconds, skew=skew, **limits).verdict is verdict


def test_the_next_look_is_due_exactly_when_a_limit_falls() -> None:
    assert judged(workflow(live()), 10, timeout=100).poll_by == T0 + 100
    assert judged(workflow(live(updated=5)), 10, timeout=100, stall_timeout=20).poll_by == T0 + 25
    assert judged(workflow(*QUEUED), 10.5).poll_by == T0 + 600
    assert judged(workflow(HUMAN), 10, stall_timeout=20).poll_by == math.inf


def test_a_stall_from_before_the_wait_does_not_count_against_it() -> None:
    assert judged(workflow(*QUEUED), 1000, began=990, stall_timeout=60).verdict is Verdict.KEEP_WAITING
    assert judged(workflow(*QUEUED), 1050, began=990, stall_timeout=60) == Judgement(Verdict.STALLED, since=T0 + 990)


def test_people_are_warned_once_a_standstill() -> None:
    run = workflow(*QUEUED)
    progress = assess(run, at(700), poll_data={"charge_card": []})
    warned = progress.fingerprint
    assert judged(run, 9999, warned=warned).verdict is Verdict.KEEP_WAITING
    moved_on = workflow(failed(status="COMPLETED"), task(scheduled=800, taskId="another"))
    assert judged(moved_on, 9999, warned=warned).verdict is Verdict.WARN


def test_a_queue_that_is_polled_gives_no_warning() -> None:
    polls = [polled("charge_card", 9990)]
    assert judged(workflow(*QUEUED), 9999, polls=polls).verdict is Verdict.KEEP_WAITING
