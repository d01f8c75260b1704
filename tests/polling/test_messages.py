from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import PollData, Workflow
from airflow_provider_conductor.polling.messages import describe, next_message
from airflow_provider_conductor.polling.progress import assess
from tests.polling.builders import at, failed, join, live, polled, sub, task, workflow

RETRY = (failed(retried=True), task(attempt=2, of=4, scheduled=1, delay=60))


def told(*tasks: dict[str, Any], seconds: float = 30, polls: list[PollData] | None = None, **data: Any) -> str:
    run = workflow(*tasks, **data)
    return describe(assess(run, at(seconds), poll_data={} if polls is None else {"charge_card": polls}), at(seconds))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            told(*RETRY, seconds=3),
            "charge_card failed (attempt 1 of 4: card service down); Conductor retries it at 22:14:21 UTC, in 58 s",
        ),
        (
            told(*RETRY, seconds=481, polls=[polled("charge_card", 61 - 0.5)]),
            "charge_card failed (attempt 1 of 4: card service down); its retry has been due since 22:14:21 UTC, "
            "and nobody has polled queue 'charge_card' for 7 min (last: worker-3)",
        ),
        (
            told(task(), seconds=3),
            "charge_card has been queued since 22:13:20 UTC, waiting for a worker to poll queue 'charge_card'",
        ),
        (
            told(task(), polls=[]),
            "charge_card has been queued since 22:13:20 UTC, and nobody has ever polled queue 'charge_card'",
        ),
        (
            told(task(), polls=[polled("charge_card", 28)]),
            "charge_card has been queued since 22:13:20 UTC, though worker-3 polled queue 'charge_card' 2 s ago",
        ),
        (told(live(attempt=2, of=4)), "pack has been running on worker-1 (attempt 2 of 4) since 22:13:20 UTC"),
        (told(live(workerId="")), "pack has been running on an unnamed worker since 22:13:20 UTC"),
        (told(task("get", kind="HTTP")), "get (HTTP) has been waiting for Conductor to execute it since 22:13:20 UTC"),
        (
            told(task("get", "IN_PROGRESS", kind="HTTP", started=2)),
            "Conductor has been executing get (HTTP) since 22:13:22 UTC",
        ),
        (
            told(task("nap", "IN_PROGRESS", kind="WAIT", started=0, delay=9, inputData={"duration": "9 s"})),
            "the wait of nap was over at 22:13:29 UTC, and Conductor has not ended it yet",
        ),
        (
            told(failed("pack", status="COMPLETED"), join(inputData={"joinOn": ["pack", "a", "b"]})),
            "join (JOIN) has been waiting since 22:13:21 UTC for 'a' and 'b', which Conductor has not scheduled; "
            "no other task is open",
        ),
        (told(join()), "Conductor has been between two tasks since 22:13:20 UTC"),
        (told(sub()), "ship has been running a sub-workflow since 22:13:20 UTC (id wf-2)"),
        (told(task(delay=90)), "charge_card starts at 22:14:50 UTC, in 60 s"),
        (told(status="FAILED", endTime=at(7)), "FAILED at 22:13:27 UTC"),
    ],
)
def test_the_line(line: str, expected: str) -> None:
    assert line == expected


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ((), "the sub-workflow of ship has been waiting for Conductor to begin it since 22:13:20 UTC (id wf-2)"),
        (
            (failed(status="COMPLETED"),),
            "Conductor has been between two tasks in the sub-workflow of ship since 22:13:21 UTC",
        ),
    ],
)
def test_a_sub_workflow_without_an_open_task(tasks: tuple[dict[str, Any], ...], expected: str) -> None:
    below = workflow(*tasks, id="wf-2")
    progress = assess(workflow(sub()), at(30), sub_workflows={"wf-2": below})
    assert describe(progress, at(30)) == expected


def test_many_hold_ups_are_counted_and_live_ones_come_first() -> None:
    line = told(*(task(f"t{n}") for n in range(100)), live())
    assert line.startswith("pack has been running on worker-1")
    assert line.endswith("; and 98 more")


def test_a_fork_of_hundreds_is_described_by_its_kinds() -> None:
    queued = [task(f"part_{n}", taskType="part") for n in range(296)]
    line = told(
        *queued, *(live(f"part_{n}", taskType="part") for n in range(296, 299)), task("ok", kind="HTTP"), polls=[]
    )
    assert line == (
        "part_296 has been running on worker-1 since 22:13:20 UTC (and 2 more); "
        "ok (HTTP) has been waiting for Conductor to execute it since 22:13:20 UTC; "
        "part_0 has been queued since 22:13:20 UTC, waiting for a worker to poll queue 'part' (and 295 more)"
    )


def test_a_sub_workflow_that_has_ended_while_its_task_has_not() -> None:
    below = workflow(failed(status="COMPLETED"), id="wf-2", status="COMPLETED", endTime=at(9))
    line = describe(assess(workflow(sub()), at(30), sub_workflows={"wf-2": below}), at(30))
    assert line == "Conductor has not ended ship yet, although its sub-workflow ended at 22:13:29 UTC (id wf-2)"


# Which lines are logged


def logged(*scenes: tuple[float, Workflow], polls: dict[str, list[PollData]] | None = None) -> list[str]:
    """The lines of a wait that sees these workflows at these seconds."""
    lines, so_far = [], ""
    for seconds, run in scenes:
        line, so_far = next_message(assess(run, at(seconds), poll_data=polls or {}), at(seconds), so_far)
        lines.append(line)
    return [line for line in lines if line]


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
    assert [line.split(" (")[0].split(" has")[0] for line in lines] == ["a", "b", "c failed", "c failed"]


def test_what_only_somebody_can_change_is_logged_each_time() -> None:
    person = task("ok__1", "IN_PROGRESS", kind="HUMAN", started=1)
    seen = (person, live("pack"), person, live("ship"), person)
    lines = logged(*((second, workflow(one)) for second, one in enumerate(seen)))
    assert sum("waiting for a person" in line for line in lines) == 3


def test_a_resume_is_followed_by_a_line() -> None:
    resumed = workflow(live(), lastRetriedTime=at(9))
    assert len(logged((1, workflow(live())), (5, workflow(live(), status="PAUSED")), (10, resumed))) == 3


def test_what_another_version_has_logged_does_no_harm() -> None:
    for text in ("", "a1b2:WORKING:", "7:", "9" * 40 + ":a", "\ud800"):
        line, so_far = next_message(assess(workflow(live()), at(1)), at(1), text)
        assert line
        assert next_message(assess(workflow(live()), at(2)), at(2), so_far) == ("", so_far)


def test_a_reason_of_a_megabyte_stays_one_line() -> None:
    line = told(failed(reason="down\n\tat Main.java\x1b[0m" * 50_000, retried=True), RETRY[1])
    assert len(line) < 400
    assert line.isprintable()


def test_no_task_data_reaches_the_line() -> None:
    secret = {"inputData": {"password": "hunter2"}, "outputData": {"token": "hunter2"}}
    assert "hunter2" not in told(*(task(f"t{n}", **secret) for n in range(2)), live(**secret))
