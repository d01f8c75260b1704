"""A retry that the server has undone is recognized, and a failure of its tasks is not taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.control.lost_retry import MOST, broken_by_a_retry, is_lost, may_be_undone
from tests.polling.builders import failed, task, workflow

RETRIED = failed("pack", retried=True)
CANCELED = task("pack", "CANCELED", attempt=2)
JOIN = task("join", "FAILED", kind="JOIN")


def canceled(times: int) -> list[dict[str, Any]]:
    return [task("pack", "CANCELED", attempt=number + 2) for number in range(times)]


@pytest.mark.parametrize(
    ("tasks", "lost"),
    [
        ([RETRIED, CANCELED, JOIN], True),
        ([RETRIED, task("pack", attempt=2), JOIN], True),
        ([RETRIED, JOIN, CANCELED], True),
        ([CANCELED | {"seq": 2}, RETRIED | {"seq": 1}, JOIN], True),
        ([RETRIED, CANCELED], True),
        ([RETRIED, CANCELED, task("loop", "FAILED", kind="DO_WHILE")], True),
        ([RETRIED, *canceled(MOST), JOIN], True),
        ([RETRIED, *canceled(MOST + 1), JOIN], False),
        ([RETRIED, failed("pack", attempt=2), JOIN], False),
        ([RETRIED, task("pack", "COMPLETED", attempt=2), JOIN], False),
        ([RETRIED, CANCELED, failed("ship")], False),
        ([RETRIED, CANCELED, task("end", "COMPLETED", kind="TERMINATE")], False),
        ([task("pack", "CANCELED"), JOIN], False),
        ([failed("pack"), task("join", "CANCELED", kind="JOIN")], False),
        ([], False),
    ],
)
def test_a_workflow_that_failed_anew_for_replaced_attempts(tasks: list[dict[str, Any]], lost: bool) -> None:
    assert is_lost(workflow(*tasks, status="FAILED")) is lost
    reason = "Task 11d22beb failed with status: TERMINATED and reason: 'null'"
    assert is_lost(workflow(*tasks, status="TERMINATED", reasonForIncompletion=reason)) is lost
    for status in ("RUNNING", "COMPLETED", "TERMINATED", "TIMED_OUT"):
        assert not is_lost(workflow(*tasks, status=status))


def left_over(**fields: Any) -> dict[str, Any]:
    """As 3.32.2 leaves it."""
    return task("pack", "CANCELED", attempt=2) | {"seq": 0, "retriedTaskId": "1", "retried": False} | fields


@pytest.mark.parametrize(
    ("tasks", "broken"),
    [
        ([left_over(), RETRIED, JOIN], "pack"),
        ([left_over(retried=True), RETRIED, JOIN], ""),
        ([left_over(status="SCHEDULED"), RETRIED, JOIN], ""),
        ([left_over(seq=4), RETRIED, JOIN], ""),
        ([RETRIED, CANCELED, JOIN], ""),
        ([], ""),
    ],
)
def test_an_attempt_without_a_place_breaks_each_retry(tasks: list[dict[str, Any]], broken: str) -> None:
    for status in ("FAILED", "TERMINATED"):
        assert broken_by_a_retry(workflow(*tasks, status=status)) == broken
    assert not broken_by_a_retry(workflow(*tasks))
    if broken:
        assert not is_lost(workflow(*tasks, status="FAILED"))


@pytest.mark.parametrize(
    ("tasks", "may"),
    [
        ([failed("pack"), task("join", "CANCELED", kind="JOIN")], True),
        ([failed("pack"), task("loop", "FAILED", kind="DO_WHILE")], True),
        ([task("pack"), task("join", "COMPLETED", kind="JOIN"), failed("ship")], False),
        ([failed("pack")], False),
    ],
)
def test_only_a_join_or_loop_that_is_evaluated_again_can_undo_a_retry(tasks: list[dict[str, Any]], may: bool) -> None:
    assert may_be_undone(workflow(*tasks, status="FAILED")) is may
