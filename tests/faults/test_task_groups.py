"""A workflow as a task group, with a real scheduler and triggerer: what each clear does to the workflow."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorError
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill
from tests.faults.real_airflow import RealAirflow, TaskSeen, real_airflow
from tests.faults.test_kills import kill

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

STEPS = ("pack", "charge", "ship")


class Group:
    """The dag run of the group, and its workflow."""

    def __init__(self, airflow: RealAirflow, client: ConductorClient) -> None:
        self.airflow, self.client = airflow, client

    @property
    def states(self) -> dict[str, str | None]:
        rows = self.airflow.query("select task_id, state from task_instance where dag_id = 'grouped'")
        return {task_id.removeprefix("flow."): state for task_id, state in rows}

    @property
    def workflow_id(self) -> str | None:
        rows = self.airflow.query("select value from xcom where task_id = 'flow.start' and key = 'workflow_id'")
        return str(json.loads(rows[0][0])) if rows else None

    def is_open(self, ref: str, workflow_id: str | None = None) -> bool:
        """Whether the step waits for its worker."""
        found = workflow_id or self.workflow_id
        task = self.client.get_workflow(found).latest_attempt(ref) if found else None
        return task is not None and not task.status.ended

    def until_open(self, ref: str) -> None:
        self.airflow.wait_until(lambda: self.is_open(ref))

    def work(self, ref: str, status: str = "COMPLETED") -> None:
        self.until_open(ref)
        assert self.workflow_id
        task = self.client.get_workflow(self.workflow_id).latest_attempt(ref)
        assert task is not None
        reason = "no more boxes" if status == "FAILED" else None
        self.client.update_task(self.workflow_id, task.task_id, status, {"parcel": "P-7"}, reason=reason)

    def until(self, **states: str) -> None:
        self.airflow.wait_until(lambda: {name: self.states.get(name) for name in states} == states)

    def clear(self, name: str, *, downstream: bool = True) -> None:
        more = ["--downstream"] if downstream else []
        self.airflow.command("tasks", "clear", "--yes", *more, "--task-regex", f"flow.{name}", "grouped")

    def mark(self, name: str, way: str) -> None:
        ((run_id,),) = self.airflow.query("select run_id from dag_run where dag_id = 'grouped'")
        kill(self.airflow, way, TaskSeen("grouped", run_id, "deferred", 1), task_id=f"flow.{name}")

    def log(self, name: str) -> str:
        paths = sorted(self.airflow.home.glob(f"logs/dag_id=grouped/**/task_id=flow.{name}/**/*.log"))
        return "\n".join(path.read_text(errors="replace") for path in paths)


def test_what_each_clear_does(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    name = f"grouped_{uuid.uuid4().hex[:8]}"
    owned = {"ownerEmail": "tests@example.com", "retryCount": 0, "timeoutSeconds": 0}
    direct.register_task_defs([{**owned, "name": f"{name}_{ref}"} for ref in STEPS])
    tasks = [{"name": f"{name}_{ref}", "taskReferenceName": ref, "type": "SIMPLE"} for ref in STEPS]
    direct.register_workflow_defs(
        {
            "name": name,
            "version": 1,
            "schemaVersion": 2,
            "tasks": tasks,
            **{"ownerEmail": "tests@example.com", "outputParameters": {"parcel": "${ship.output.parcel}"}},
        }
    )
    with real_airflow(tmp_path, conductor_server.url, GROUPED_WORKFLOW=name) as airflow:
        group = Group(airflow, direct)
        try:
            group.work("pack")
            group.work("charge", "FAILED")
            group.until(charge="failed", ship="upstream_failed", finish="upstream_failed")
            tries = airflow.query("select try_number from task_instance where task_id = 'flow.charge'")
            assert [tuple(row) for row in tries] == [(1,)]
            first = group.workflow_id
            said = group.log("charge")
            assert "no more boxes" in said
            report("a failed step: its task failed in one try, in spite of retries=2 of the DAG")

            group.clear("charge")
            group.work("charge")
            group.work("ship")
            group.until(pack="success", charge="success", ship="success", finish="success")
            assert group.workflow_id == first
            report("clear of the failed step: the same workflow continued")

            group.clear("pack")
            group.work("pack")
            group.until_open("charge")
            group.until(pack="success", charge="deferred")
            assert group.workflow_id == first
            report("clear of a completed step: the same workflow ran again from it")

            group.clear("pack", downstream=False)
            group.until(pack="failed")
            assert "is still RUNNING" in group.log("pack")
            assert group.is_open("charge")
            report("clear of one in a running workflow: refused")

            group.clear("start")
            airflow.wait_until(lambda: group.workflow_id not in (None, first))
            assert ended_by_our_kill(direct.get_workflow(str(first)).reason)
            for ref in STEPS:
                group.work(ref)
            group.until(start="success", pack="success", charge="success", ship="success", finish="success")
            report("clear of the group: the old workflow was terminated, and a new one ran")

            group.clear("start")
            group.work("pack")
            group.until_open("charge")
            group.until(pack="success", charge="deferred")
            group.mark("charge", "mark_success")
            group.until(charge="success", ship="deferred")
            assert group.is_open("charge")
            group.work("charge")
            group.work("ship")
            group.until(ship="success", finish="success")
            report("mark as success of a deferred step: the workflow ran on, and so did the tasks after it")

            group.clear("start")
            group.work("pack")
            group.until_open("charge")
            group.until(pack="success", charge="deferred")
            last = str(group.workflow_id)
            group.mark("charge", "mark_failed")
            airflow.wait_until(lambda: ended_by_our_kill(direct.get_workflow(last).reason))
            group.until(charge="failed", ship="upstream_failed", finish="upstream_failed")
            report("mark as failed of a deferred step: the workflow was terminated")
        finally:
            for workflow_id in direct.get_running_workflows(name):
                with contextlib.suppress(ConductorError):
                    direct.terminate_workflow(workflow_id, "the test is over")
