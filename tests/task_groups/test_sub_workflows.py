"""The steps of sub-workflows as tasks, on a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_conductor._airflow import TaskNow
from airflow_provider_conductor.triggers import base
from tests.integration.client_lab import Lab
from tests.operators.airflow_standin import deferred, sent_through_airflow
from tests.task_groups.group_run import GroupRun
from tests.task_groups.worker import NEVER_RETRIED, Worker, define, group_of

pytestmark = pytest.mark.integration


def sub(lab: Lab, below: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return lab.system("SUB_WORKFLOW", "parcel", subWorkflowParam={"name": below["name"], "version": 1}, **fields)


def test_a_sub_workflow_that_has_completed_runs_again_from_an_earlier_step_only(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = define(lab, worker, "below", lab.simple("wrap"))
    definition = define(lab, worker, "parent", lab.simple("pack"), sub(lab, below), lab.simple("ship"))
    run = GroupRun(group_of(definition, sub_workflows=[below]), monkeypatch)
    assert set(run.go().values()) == {"success"}
    for name, why in (
        ("parcel.finish", "which would not run again"),
        ("parcel.wrap", "clear the task of a step before the sub-workflow"),
    ):
        run.clear(name)
        assert run.go()[name] == "failed"
        assert why in str(run.errors[name])
    assert worker.done == ["pack", "wrap", "ship"]
    run.clear("pack")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["pack", "wrap", "ship"] * 2


def test_a_step_of_a_sub_workflow_that_cannot_begin_has_not_run(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = define(lab, worker, "below", lab.simple("pack"))
    definition = define(lab, worker, "parent", lab.simple("pack"), sub(lab, below))
    worker.names.clear()
    run = GroupRun(group_of(definition, sub_workflows=[below]), monkeypatch)

    def before(name: str) -> None:
        if name == "pack":
            lab.client.unregister_workflow_def(below["name"], 1)
            worker.names.add(lab.name("pack"))

    run.before = before
    assert run.go()["parcel.pack"] == "failed"
    message = str(run.errors["parcel.pack"])
    assert "step 'pack' did not run" in message
    assert "No such workflow defined" in message


def test_a_step_waits_for_a_sub_workflow_that_is_retried_after_a_while_in_the_triggerer(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = define(lab, worker, "below", lab.simple("wrap"))
    parcel = sub(lab, below) | {"name": lab.name("parcel")}
    again = {"retryCount": 1, "retryDelaySeconds": 3600, "retryLogic": "FIXED"}
    lab.client.register_task_defs([NEVER_RETRIED | again | {"name": parcel["name"]}])
    definition = define(lab, worker, "parent", parcel)
    worker.fails = {"wrap"}
    run = GroupRun(group_of(definition, sub_workflows=[below]), monkeypatch)
    start = run.tasks["start"]
    workflow_id = start.execute(run.context("start"))
    run.store[start.task_id, "workflow_id"] = workflow_id
    lab.eventually(lambda: [task.retry_count for task in lab.client.get_workflow(workflow_id).tasks] == [0, 1])
    trigger: Any = deferred(run.tasks["parcel.wrap"], run.context("parcel.wrap")).trigger
    assert (trigger.spec.workflow_id, trigger.spec.wait_until_task_ref) == (workflow_id, "parcel")
    lab.end("parent")


@pytest.mark.parametrize("optional", [False, True])
def test_a_kill_in_a_sub_workflow_terminates_the_workflow(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, optional: bool
) -> None:
    below = define(lab, worker, "below", lab.simple("wrap"))
    definition = define(lab, worker, "parent", sub(lab, below, optional=optional), lab.simple("ship"))
    worker.names.clear()
    run = GroupRun(group_of(definition, sub_workflows=[below]), monkeypatch)
    start = run.tasks["start"]
    workflow_id = start.execute(run.context("start"))
    run.store[start.task_id, "workflow_id"] = workflow_id
    lab.sub_workflow_at(workflow_id, "parcel", "wrap")
    context = run.context("parcel.wrap")
    trigger: Any = sent_through_airflow(deferred(run.tasks["parcel.wrap"], context).trigger)
    trigger.task_instance = context["ti"]

    async def marked(ti: object) -> TaskNow:
        return TaskNow("failed", deferred_last=True)

    monkeypatch.setattr(base, "task_now", marked)
    asyncio.run(trigger.on_kill())
    assert str(lab.ended(workflow_id).status) == "TERMINATED"
