"""A retry that the server has undone is told from a failure of its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.mirrors.lost_retry import MOST, is_lost
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
    for status in ("RUNNING", "COMPLETED", "TERMINATED", "TIMED_OUT"):
        assert not is_lost(workflow(*tasks, status=status))
