from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import PollData, Workflow
from airflow_provider_conductor.polling.messages import NOTHING_LOGGED, describe, next_message
from airflow_provider_conductor.polling.progress import assess
from tests.polling.builders import at, failed, join, live, polled, sub, task, workflow

RETRY = (failed(retried=True), task(attempt=2, of=4, scheduled=1, delay=60))
RETRY_OF_HTTP = (failed("get", kind="HTTP", retried=True), task("get", kind="HTTP", attempt=2, of=4, scheduled=1))
WAIT = {"kind": "WAIT", "started": 0}


def line(
    *tasks: dict[str, Any],
    seconds: float = 30,
    polls: list[PollData] | None = None,
    below: Workflow | None = None,
    **data: Any,
) -> str:
    progress = assess(
        workflow(*tasks, **data),
        at(seconds),
        poll_data={} if polls is None else {"charge_card": polls},
        sub_workflows={} if below is None else {"wf-2": below},
    )
    return describe(progress, at(seconds))


def definition(*refs: str) -> dict[str, Any]:
    return {"tasks": [{"taskReferenceName": ref} for ref in refs]}


LINES = {
    # Workers
    "running": (line(live()), "pack has been running on worker-1 since 22:13:20 UTC"),
    "running again": (
        line(live(attempt=2, of=4, workerId="")),
        "pack has been running on an unnamed worker since 22:13:20 UTC (attempt 2 of 4)",
    ),
    "queued": (
        line(task(), seconds=3),
        "charge_card has been queued since 22:13:20 UTC, waiting for a worker to poll queue 'charge_card'",
    ),
    "queued, polled": (
        line(task(), polls=[polled("charge_card", 28)]),
        "charge_card has been queued since 22:13:20 UTC, although worker-3 polled queue 'charge_card' 2 s ago",
    ),
    "queued, limited": (
        line(task(rateLimitPerFrequency=1), polls=[polled("charge_card", 28)]),
        "charge_card has been queued since 22:13:20 UTC, although worker-3 polled queue 'charge_card' 2 s ago: "
        "probably because of its rate or concurrency limit",
    ),
    "queued, never polled": (
        line(task(), polls=[]),
        "charge_card has been queued since 22:13:20 UTC, and no worker has ever polled queue 'charge_card'. "
        "Start a worker that polls queue 'charge_card', or check the name of the task",
    ),
    "queued, polled in other domains": (
        line(task(domain="blue"), polls=[polled("charge_card", 29), polled("charge_card", 29, domain="green")]),
        "charge_card has been queued since 22:13:20 UTC, and no worker has ever polled queue 'charge_card' in domain "
        "'blue' (workers poll it without a domain and in domain 'green'). "
        "Start a worker that polls queue 'charge_card' in domain 'blue', or change task_to_domain",
    ),
    "queued, no longer polled": (
        line(task(), seconds=481, polls=[polled("charge_card", 60.5)]),
        "charge_card has been queued since 22:13:20 UTC, and no worker has polled queue 'charge_card' for 7 min "
        "(last poll: worker-3). Start a worker that polls queue 'charge_card'",
    ),
    "retry delay": (
        line(*RETRY, seconds=3),
        "charge_card failed (attempt 1 of 4: card service down); Conductor will retry it at 22:14:21 UTC (in 58 s)",
    ),
    "retry due": (
        line(*RETRY, seconds=481, polls=[polled("charge_card", 60.5)]),
        "charge_card failed (attempt 1 of 4: card service down); its retry has been queued since 22:14:21 UTC, "
        "and no worker has polled queue 'charge_card' for 7 min (last poll: worker-3). "
        "Start a worker that polls queue 'charge_card'",
    ),
    "postponed": (
        line(task(started=1, updated=4, polls=1, delay=60, workerId="worker-3")),
        "charge_card was postponed by worker-3 until 22:14:24 UTC (in 34 s)",
    ),
    "start delay": (line(task(delay=90)), "charge_card will start at 22:14:50 UTC (in 60 s)"),
    # Tasks that Conductor runs itself
    "run by Conductor": (
        line(task("get", "IN_PROGRESS", kind="HTTP", started=2)),
        "Conductor has been running get (HTTP) since 22:13:22 UTC",
    ),
    "not run by Conductor yet": (
        line(task("get", kind="HTTP")),
        "get (HTTP) has been waiting since 22:13:20 UTC for Conductor to run it",
    ),
    "not run again by Conductor yet": (
        line(*RETRY_OF_HTTP),
        "get failed (attempt 1 of 4: card service down); its retry has been waiting since 22:13:21 UTC for Conductor "
        "to run it",
    ),
    "timed wait": (
        line(task("nap", "IN_PROGRESS", **WAIT, delay=330, inputData={"duration": "330 s"})),
        "nap waits until 22:18:50 UTC (in 5 min)",
    ),
    "timed wait on a server that does not report its end": (
        line(task("nap", "IN_PROGRESS", **WAIT, inputData={"until": "2030-01-01"})),
        "nap waits until a time that this server does not report",
    ),
    "timed wait, over": (
        line(task("nap", "IN_PROGRESS", **WAIT, delay=9, inputData={"duration": "9 s"})),
        "nap was due to end at 22:13:29 UTC, and Conductor has not ended it yet",
    ),
    "signal": (line(task("ok", "IN_PROGRESS", **WAIT)), "ok has been waiting since 22:13:20 UTC for a signal"),
    "person": (
        line(task("sign", "IN_PROGRESS", kind="HUMAN", started=0)),
        "sign has been waiting since 22:13:20 UTC for a person to complete it",
    ),
    "join blocked": (
        line(failed("pack", status="COMPLETED"), join(inputData={"joinOn": ["pack", "a", "b"]})),
        "join (JOIN) has been waiting since 22:13:21 UTC for 'a' and 'b', which Conductor has not scheduled. "
        "Terminate the workflow and correct joinOn in its definition",
    ),
    "join blocked by its definition": (
        line(
            join(inputData={"joinOn": ["typo", "b"]}, in_workflow={"joinOn": ["typo", "b"]}),
            workflowDefinition=definition("b"),
        ),
        "join (JOIN) has been waiting since 22:13:20 UTC for 'typo', which the workflow's definition does not have, "
        "and for 'b', which Conductor has not scheduled. Terminate the workflow and correct joinOn in its definition",
    ),
    # Sub-workflows
    "sub-workflow": (line(sub()), "ship has been running sub-workflow wf-2 since 22:13:20 UTC"),
    "in a sub-workflow": (
        line(sub(), below=workflow(live(), id="wf-2")),
        "ship/pack has been running on worker-1 since 22:13:20 UTC",
    ),
    "sub-workflow paused": (
        line(sub(), below=workflow(live(), id="wf-2", status="PAUSED", updateTime=at(5))),
        "sub-workflow wf-2 of ship has been paused since 22:13:25 UTC. "
        "Resume sub-workflow wf-2 in Conductor to continue",
    ),
    "sub-workflow not begun": (
        line(sub(), below=workflow(id="wf-2")),
        "sub-workflow wf-2 of ship has been waiting since 22:13:20 UTC for Conductor to schedule its first task",
    ),
    "sub-workflow without an open task": (
        line(sub(), below=workflow(failed(status="COMPLETED"), id="wf-2")),
        "no task has been open in sub-workflow wf-2 of ship since 22:13:21 UTC",
    ),
    "sub-workflow ended": (
        line(sub(), below=workflow(id="wf-2", status="COMPLETED", endTime=at(9))),
        "Conductor has not updated ship yet, although its sub-workflow wf-2 ended at 22:13:29 UTC",
    ),
    # The workflow
    "paused": (
        line(live(), status="PAUSED", updateTime=at(5)),
        "the workflow has been paused since 22:13:25 UTC. Resume it in Conductor to continue",
    ),
    "no task open": (line(join()), "no task has been open since 22:13:20 UTC"),
    "no task open, and some missing": (
        line(workflowDefinition=definition("pack", "ship")),
        "no task has been open since 22:13:20 UTC, and Conductor has not scheduled 'pack' or 'ship'. "
        "If this does not change, terminate and restart the workflow",
    ),
    "ended": (line(status="FAILED", endTime=at(7)), "the workflow ended as FAILED at 22:13:27 UTC"),
    "several": (
        line(live("a"), live("b")),
        "a has been running on worker-1 since 22:13:20 UTC; b has been running on worker-1 since 22:13:20 UTC",
    ),
    "hundreds": (
        line(
            *(task(f"part_{n}", taskType="part") for n in range(296)),
            *(live(f"part_{n}", taskType="part") for n in range(296, 299)),
            task("get", kind="HTTP"),
        ),
        "part_296 has been running on worker-1 since 22:13:20 UTC (and 2 more); "
        "get (HTTP) has been waiting since 22:13:20 UTC for Conductor to run it; "
        "part_0 has been queued since 22:13:20 UTC, waiting for a worker to poll queue 'part' (and 295 more)",
    ),
}


@pytest.mark.parametrize("situation", LINES)
def test_the_line_about_a_situation(situation: str) -> None:
    """The one place where these lines are asserted word by word; docs/waiting.md and troubleshooting.md quote them."""
    assert LINES[situation][0] == LINES[situation][1]


def test_many_blockers_are_counted_and_live_ones_come_first() -> None:
    found = line(*(task(f"t{n}") for n in range(100)), live())
    assert found.startswith("pack has been running on worker-1")
    assert found.endswith("; and 98 more")


# Which situations are logged


def logged(*scenes: tuple[float, Workflow], polls: dict[str, list[PollData]] | None = None) -> list[str]:
    """The lines of a wait that sees these workflows at these seconds."""
    lines, so_far = [], NOTHING_LOGGED
    for seconds, run in scenes:
        message, so_far = next_message(assess(run, at(seconds), poll_data=polls or {}), at(seconds), so_far)
        lines.append(message)
    return list(filter(None, lines))


def test_a_fork_of_hundreds_logs_a_handful_of_lines() -> None:
    """300 tasks, a worker takes two at a time; every other observation sees none at a worker."""

    def fork(done: int, at_work: int) -> Workflow:
        states = ["COMPLETED"] * done + ["IN_PROGRESS"] * at_work + ["SCHEDULED"] * (300 - done - at_work)
        tasks = (task(f"part_{n}", state, taskType="part", started=0, ended=n) for n, state in enumerate(states))
        return workflow(*tasks, join())

    scenes = [(second, fork(2 * second, 2 * (second % 2))) for second in range(148)]
    assert 3 <= len(logged(*scenes)) <= 12


def test_a_loop_logs_a_line_a_minute_at_most() -> None:
    def iteration(number: int, state: str) -> Workflow:
        done = [task(f"step__{n}", "COMPLETED", started=0, ended=n) for n in range(1, number)]
        loop = task("loop", "IN_PROGRESS", kind="DO_WHILE", started=0)
        return workflow(loop, *done, task(f"step__{number}", state, started=number))

    scenes = [(n, iteration(n, "SCHEDULED" if n % 2 else "IN_PROGRESS")) for n in range(1, 300)]
    assert len(logged(*scenes)) <= 2 + 300 // 60


def test_each_task_and_each_attempt_of_a_few_is_logged() -> None:
    again = [failed("c", of=9, retried=True), task("c", attempt=2, of=9, delay=60)]
    third = [*again, failed("c", of=9, attempt=2, retried=True), task("c", attempt=3, of=9, delay=60)]
    lines = logged((1, workflow(live("a"))), (2, workflow(live("b"))), (3, workflow(*again)), (4, workflow(*third)))
    assert [found.split(" (")[0].split(" has")[0] for found in lines] == ["a", "b", "c failed", "c failed"]


def test_what_only_a_user_can_change_is_logged_each_time() -> None:
    person = task("ok__1", "IN_PROGRESS", kind="HUMAN", started=1)
    seen = (person, live("pack"), person, live("ship"), person)
    lines = logged(*((second, workflow(one)) for second, one in enumerate(seen)))
    assert sum("for a person" in found for found in lines) == 3


def test_a_resume_is_followed_by_a_line() -> None:
    resumed = workflow(live(), lastRetriedTime=at(9))
    assert len(logged((1, workflow(live())), (5, workflow(live(), status="PAUSED")), (10, resumed))) == 3


def test_a_reason_of_a_megabyte_stays_one_line() -> None:
    found = line(failed(reason="down\n\tat Main.java\x1b[0m" * 50_000, retried=True), RETRY[1])
    assert len(found) < 400
    assert found.isprintable()


def test_no_task_data_reaches_the_line() -> None:
    secret = {"inputData": {"password": "hunter2"}, "outputData": {"token": "hunter2"}}
    assert "hunter2" not in line(*(task(f"t{n}", **secret) for n in range(2)), live(**secret))
