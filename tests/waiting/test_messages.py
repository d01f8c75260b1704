from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.models import PollData
from airflow_provider_conductor.waiting.messages import describe
from airflow_provider_conductor.waiting.progress import assess
from tests.waiting.builders import at, failed, join, live, polled, sub, task, workflow

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
        (told(task("get", kind="HTTP")), "Conductor has been executing get (HTTP) since 22:13:20 UTC"),
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


def test_a_reason_of_a_megabyte_stays_one_line() -> None:
    line = told(failed(reason="down\n\tat Main.java\x1b[0m" * 50_000, retried=True), RETRY[1])
    assert len(line) < 400
    assert line.isprintable()


def test_no_task_data_reaches_the_line() -> None:
    secret = {"inputData": {"password": "hunter2"}, "outputData": {"token": "hunter2"}}
    assert "hunter2" not in told(*(task(f"t{n}", **secret) for n in range(2)), live(**secret))
