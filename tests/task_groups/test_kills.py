"""Which kill of a step's deferred task takes the workflow along that other tasks follow, too."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor._airflow import DELETED, TaskNow
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import base, workflow


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


async def test_tasks_that_are_killed_together_terminate_their_workflow_once(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def task_now(_: Any) -> TaskNow:
        return TaskNow("skipped", deferred_last=True)

    monkeypatch.setattr(base, "task_now", task_now)
    workflow_ids = [conductor.add(), conductor.add()]
    triggers = [
        workflow.ConductorWorkflowStepTrigger(
            workflow_id=workflow_id, wait_until_task_ref=f"step_{number}", kill_reason="killed"
        )
        for number in range(10)
        for workflow_id in workflow_ids
    ]
    for trigger in triggers:
        trigger.task_instance = SimpleNamespace(task_id="orders.step")  # type: ignore[assignment]
    await asyncio.gather(*(trigger.on_kill() for trigger in triggers))
    assert [conductor.status(workflow_id) for workflow_id in workflow_ids] == ["TERMINATED", "TERMINATED"]
    assert sorted(request.path for request in conductor.sent("DELETE")) == sorted(
        f"/workflow/{i}" for i in workflow_ids
    )
