"""A workflow as a task group, with a real scheduler and triggerer: what each clear does, and a DAG run's timeout."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorError, Workflow
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill
from tests.faults.dags.grouped import OWNER, definition
from tests.faults.proxy import FaultProxy, fine
from tests.faults.real_airflow import RealAirflow, TaskSeen, real_airflow
from tests.faults.test_kills import kill

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

BACKDATE = """
import sys
from datetime import timedelta
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
with create_session() as session:
    run = session.query(DagRun).filter_by(dag_id=sys.argv[1]).one()
    run.start_date -= timedelta(hours=1)
"""


class Group:
    """The dag run of the group, and its workflow.

    Args:
        client: of the server itself.
        dag_id: of ``tests/faults/dags/grouped.py``.
    """

    def __init__(self, client: ConductorClient, dag_id: str) -> None:
        self.client, self.dag_id = client, dag_id
        self.name = f"{dag_id}_{uuid.uuid4().hex[:8]}"
        workflow = definition(dag_id, self.name)
        tasks = [task["name"] for task in workflow["tasks"] if task["type"] == "SIMPLE"]
        tasks += [task["name"] for fork in workflow["tasks"] for branch in fork.get("forkTasks", ()) for task in branch]
        client.register_task_defs([{**OWNER, "name": name, "retryCount": 0, "timeoutSeconds": 0} for name in tasks])
        client.register_workflow_defs(workflow)
        self.airflow: RealAirflow

    @property
    def states(self) -> dict[str, str | None]:
        rows = self.airflow.query("select task_id, state from task_instance where dag_id = ?", self.dag_id)
        return {task_id.removeprefix("flow."): state for task_id, state in rows}

    @property
    def workflow_id(self) -> str | None:
        sql = "select value from xcom where dag_id = ? and task_id = 'flow.start' and key = 'workflow_id'"
        rows = self.airflow.query(sql, self.dag_id)
        return str(json.loads(rows[0][0])) if rows else None

    @property
    def workflow(self) -> Workflow:
        """The workflow; it has been started."""
        assert self.workflow_id
        return self.client.get_workflow(self.workflow_id)

    def is_open(self, ref: str) -> bool:
        """Whether the step waits for its worker."""
        task = self.workflow.latest_attempt(ref) if self.workflow_id else None
        return task is not None and not task.status.ended

    def until_open(self, *refs: str) -> None:
        self.airflow.wait_until(lambda: all(self.is_open(ref) for ref in refs))

    def work(self, ref: str, status: str = "COMPLETED") -> None:
        """Do what the step's worker does."""
        self.until_open(ref)
        workflow = self.workflow
        task = workflow.latest_attempt(ref)
        assert task is not None
        reason = "no more boxes" if status == "FAILED" else None
        self.client.update_task(workflow.workflow_id, task.task_id, status, {"parcel": "P-7"}, reason=reason)

    def until(self, **states: str) -> None:
        self.airflow.wait_until(lambda: {name: self.states.get(name) for name in states} == states)

    def until_waiting(self, *names: str) -> None:
        """Until a triggerer has each of these: nobody hears of the kill of a deferred task before."""

        def waiting(name: str) -> bool:
            sql = "select try_number from task_instance where dag_id = ? and task_id = ? and state = 'deferred'"
            tries = self.airflow.query(sql, self.dag_id, f"flow.{name}")
            return bool(tries) and any(
                self.airflow.home.glob(
                    f"logs/dag_id={self.dag_id}/**/task_id=flow.{name}/**/attempt={tries[0][0]}.log.trigger*"
                )
            )

        self.airflow.wait_until(lambda: all(map(waiting, names)))

    def clear(self, name: str, *how: str) -> None:
        """Clear the tasks with this in their names."""
        self.airflow.command("tasks", "clear", "--yes", *how, "--task-regex", f"flow.{name}", self.dag_id)

    def mark(self, name: str, way: str) -> None:
        ((run_id,),) = self.airflow.query("select run_id from dag_run where dag_id = ?", self.dag_id)
        kill(self.airflow, way, TaskSeen(self.dag_id, run_id, "deferred", 1), task_id=f"flow.{name}")

    def logs(self, name: str) -> list[str]:
        """The log of each try."""
        paths = sorted(self.airflow.home.glob(f"logs/dag_id={self.dag_id}/**/task_id=flow.{name}/**/*.log"))
        return [path.read_text(errors="replace") for path in paths]

    def tries_with(self, name: str, text: str) -> int:
        """How many tries have this in their log."""
        return sum(text in log for log in self.logs(name))


@contextlib.contextmanager
def groups(client: ConductorClient, url: str, home: Path, *dag_ids: str) -> Iterator[list[Group]]:
    """An Airflow with these DAGs; their workflows end with it."""
    found = [Group(client, dag_id) for dag_id in dag_ids]
    try:
        with real_airflow(home, url, GROUPED=" ".join(f"{group.dag_id}={group.name}" for group in found)) as airflow:
            for group in found:
                group.airflow = airflow
            yield found
    finally:
        for group in found:
            for workflow_id in client.get_running_workflows(group.name):
                with contextlib.suppress(ConductorError):
                    client.terminate_workflow(workflow_id, "the test is over")


def test_what_each_clear_does(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    with groups(direct, conductor_server.url, tmp_path, "grouped_line") as (group,):
        group.work("pack")
        group.work("charge", "FAILED")
        group.until(charge="failed", ship="upstream_failed", finish="upstream_failed")
        assert group.tries_with("charge", "no more boxes") == 1
        first = group.workflow_id
        report("a failed step: its task failed in one try, in spite of its retries")

        group.clear("charge", "--downstream")
        group.work("charge")
        group.work("ship")
        group.until(pack="success", charge="success", ship="success", finish="success")
        assert group.workflow_id == first
        report("clear of the failed step: the same workflow continued")

        group.clear("pack", "--downstream")
        group.work("pack")
        group.until_open("charge")
        group.until(pack="success", charge="deferred")
        assert group.workflow_id == first
        report("clear of a completed step: the same workflow ran again from it")

        group.clear("pack")
        group.until(pack="failed")
        assert group.tries_with("pack", "is still RUNNING") == 1
        assert group.is_open("charge")
        report("clear of one in a running workflow: refused")

        group.clear("start", "--downstream")
        group.airflow.wait_until(lambda: group.workflow_id not in (None, first))
        assert ended_by_our_kill(direct.get_workflow(str(first)).reason)
        for ref in ("pack", "charge", "ship"):
            group.work(ref)
        group.until(start="success", pack="success", charge="success", ship="success", finish="success")
        report("clear of the group: the old workflow was terminated, and a new one ran")

        group.clear("start", "--downstream")
        group.work("pack")
        group.until_waiting("charge")
        group.mark("charge", "mark_success")
        group.until(charge="success", ship="deferred")
        assert group.is_open("charge")
        group.work("charge")
        group.work("ship")
        group.until(ship="success", finish="success")
        report("mark as success of a deferred step: the workflow ran on, and so did the tasks after it")

        group.clear("start", "--downstream")
        group.work("pack")
        group.until_waiting("charge")
        group.mark("charge", "mark_failed")
        group.airflow.wait_until(lambda: ended_by_our_kill(group.workflow.reason))
        group.until(charge="failed", ship="upstream_failed", finish="upstream_failed")
        report("mark as failed of a deferred step: the workflow was terminated")


def test_a_branch_of_a_fork_and_a_dag_run_that_times_out(
    direct: ConductorClient, proxy: FaultProxy, tmp_path: Path, report: Callable[[str], None]
) -> None:
    ended: list[str] = []

    def note_endings(line: str) -> Any:
        if line.startswith("DELETE ") or line.endswith("/bulk/terminate"):
            ended.append(line)
        return fine

    proxy.choose = note_endings
    with groups(direct, proxy.url, tmp_path, "grouped_fork", "grouped_ends", "grouped_kept") as (fork, ends, kept):
        for group in (fork, ends, kept):
            group.work("pack")
            group.until_open("charge", "ship")

        for group in (ends, kept):
            group.until_waiting("charge", "ship")
            group.airflow.python(BACKDATE, group.dag_id)
        ends.airflow.wait_until(lambda: ended_by_our_kill(ends.workflow.reason))
        for group in (ends, kept):
            group.until(pack="success", charge="skipped", ship="skipped")
        assert len(ended) == 1, ended
        report("a DAG run's timeout with two deferred steps: the workflow was terminated, once")
        assert kept.is_open("charge")
        assert kept.is_open("ship")
        report("with cancel_on_kill=False: the workflow ran on")

        first = fork.workflow_id
        fork.work("charge", "FAILED")
        fork.until(charge="failed", ship="failed", note="upstream_failed", finish="upstream_failed")
        assert fork.tries_with("charge", "no more boxes") == 1
        fork.clear("", "--only-failed")
        fork.work("charge")
        fork.work("ship")
        fork.work("note")
        fork.until(charge="success", ship="success", note="success", finish="success")
        assert fork.workflow_id == first
        report("clear of a failed branch and of the one that it has stopped: the same workflow continued")
        assert len(ended) == 1, ended
