"""Which kill of a step's deferred task takes the workflow along that other tasks follow, too."""

from __future__ import annotations

import pytest

from airflow_provider_conductor._airflow import DELETED, TaskNow
from airflow_provider_conductor.triggers import workflow


@pytest.mark.parametrize(
    ("state", "killed"),
    [
        ("failed", True),
        ("skipped", True),
        (DELETED, True),
        (None, False),
        ("success", False),
        ("upstream_failed", False),
        ("deferred", False),
        ("running", False),
    ],
)
def test_a_clear_and_a_mark_as_success_leave_the_workflow(state: str | None, killed: bool) -> None:
    trigger = workflow.ConductorWorkflowStepTrigger(workflow_id="7", wait_until_task_ref="pack", kill_reason="killed")
    assert trigger._is_kill(TaskNow(state, deferred_last=True)) is killed
