"""Which kill of a step's deferred task takes the workflow along that other tasks follow, too."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor._airflow import DELETED, TaskNow
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import base, workflow
from tests.integration.client_lab import Lab
from tests.operators.airflow_standin import deferred, sent_through_airflow
from tests.task_groups.group_run import GroupRun
from tests.task_groups.worker import Worker, define, group_of


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
    assert (trigger._after_kill(TaskNow(state, deferred_last=True)) is not None) is killed
    trigger = workflow.ConductorWorkflowStepTrigger(workflow_id="7", wait_until_task_ref="pack")
    assert trigger._after_kill(TaskNow(state, deferred_last=True)) is None
    assert not trigger._heeds_kills


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


@pytest.mark.integration
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_mark_as_success_skips_a_step_that_is_not_scheduled(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, scheduled: bool
) -> None:
    definition = define(lab, worker, "marked", lab.system("WAIT", "hold"), *map(lab.simple, ("pack", "ship")))
    worker.names.remove(lab.name("pack"))
    run = GroupRun(group_of(definition, select=["pack", "ship"], cancel_on_kill=False), monkeypatch)
    start = run.tasks["start"]
    workflow_id = start.execute(run.context("start"))
    run.store[start.task_id, "workflow_id"] = workflow_id
    context = run.context("pack")
    trigger: Any = sent_through_airflow(deferred(run.tasks["pack"], context).trigger)
    trigger.task_instance = context["ti"]

    def complete(ref: str) -> None:
        task = lab.eventually(lambda: lab.client.get_workflow(workflow_id).latest_attempt(ref))
        assert task is not None
        lab.client.update_task(workflow_id, task.task_id, "COMPLETED")

    async def marked(ti: object) -> TaskNow:
        return TaskNow("success", deferred_last=True)

    monkeypatch.setattr(base, "task_now", marked)
    if scheduled:
        complete("hold")
        lab.eventually(lambda: lab.status_of(workflow_id, "pack"))
    asyncio.run(trigger.on_kill())
    complete("pack" if scheduled else "hold")
    assert str(lab.ended(workflow_id).status) == "COMPLETED"
    assert str(lab.status_of(workflow_id, "pack")) == ("COMPLETED" if scheduled else "SKIPPED")
