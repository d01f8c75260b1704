"""A retry that a JOIN has undone is told from a failure of its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.mirrors.lost_retry import MAX_ATTEMPTS, is_lost
from tests.polling.builders import failed, task, workflow

RETRIED = failed("pack", retried=True)


def join(status: str = "FAILED", ref: str = "join", on: str = "pack", **more: Any) -> dict[str, Any]:
    return task(ref, status, kind="JOIN", inputData={"joinOn": [on]}, **more)


@pytest.mark.parametrize(
    ("tasks", "lost"),
    [
        ([RETRIED, task("pack", "CANCELED", attempt=2), join()], True),
        ([RETRIED, task("pack", "SCHEDULED", attempt=2), join()], True),
        ([RETRIED, join(), task("pack", "CANCELED", attempt=2)], True),
        ([failed("pack__2"), task("pack__2", "CANCELED", attempt=2), join(ref="join__2")], True),
        ([RETRIED, task("pack", "CANCELED", attempt=2), join(attempt=MAX_ATTEMPTS - 1)], True),
        ([RETRIED, task("pack", "CANCELED", attempt=2), join(attempt=MAX_ATTEMPTS)], False),
        ([RETRIED, failed("pack", attempt=2), join()], False),
        ([RETRIED, task("pack", "COMPLETED", attempt=2), join()], False),
        ([RETRIED, task("pack", "CANCELED", attempt=2), join("CANCELED")], False),
        ([RETRIED, task("pack", "CANCELED", attempt=2), failed("ship")], False),
        ([task("pack", "CANCELED"), join()], False),
        ([RETRIED, task("pack", "CANCELED", attempt=2), join(on="ship")], False),
        ([failed("pack"), join("CANCELED")], False),
    ],
)
def test_a_join_that_failed_for_replaced_attempts(tasks: list[dict[str, Any]], lost: bool) -> None:
    assert is_lost(workflow(*tasks, status="FAILED")) is lost
    for status in ("RUNNING", "COMPLETED", "TERMINATED", "TIMED_OUT"):
        assert not is_lost(workflow(*tasks, status=status))
