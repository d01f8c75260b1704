"""Approvals with a real scheduler and triggerer: answered in Airflow, in Conductor, by nobody, killed and cleared."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_conductor.client import ConductorClient, Task, Workflow
from tests.faults.conftest import WAITS
from tests.faults.real_airflow import RealAirflow, TaskSeen, real_airflow
from tests.faults.test_kills import kill

pytestmark = [
    pytest.mark.integration,
    pytest.mark.airflow,
    pytest.mark.faults,
    pytest.mark.airflow_versions(since="3.1"),
]

WAYS = (
    "airflow",
    "conductor",
    "rejected",
    "skip",
    "branch",
    "form",
    "default",
    "timeout",
    "killed",
    "cleared",
    "ended",
)

HUMAN = {
    "name": "approve",
    "taskReferenceName": "approve",
    "type": "HUMAN",
    "inputParameters": {"amount": "${workflow.input.amount}", "note": "```\n<script>alert(1)</script>"},
}

OPEN_ONES = "/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=false&state=deferred&limit=100"


class Approval:
    """The task ``approve`` of a DAG, as Airflow's API, its database, and Conductor show it."""

    def __init__(self, airflow: RealAirflow, client: ConductorClient, way: str) -> None:
        self.airflow, self.client, self.way, self.dag_id = airflow, client, way, f"approves_{way}"

    def _rows(self, sql: str) -> list[Any]:
        return self.airflow.query(sql, self.dag_id)

    def state(self, task_id: str = "approve") -> str | None:
        rows = self.airflow.query(
            "select state from task_instance where dag_id = ? and task_id = ?", self.dag_id, task_id
        )
        return rows[0][0] if rows else None

    @property
    def seen(self) -> TaskSeen:
        sql = "select dag_id, run_id, state, try_number from task_instance where task_id = 'approve' and dag_id = ?"
        return TaskSeen(*self._rows(sql)[0])

    @property
    def result(self) -> Any:
        sql = "select value from xcom where task_id = 'approve' and key = 'return_value' and dag_id = ?"
        rows = self._rows(sql)
        return json.loads(rows[0][0]) if rows else None

    @property
    def workflow(self) -> Workflow:
        sql = "select value from xcom where task_id = 'start' and key = 'workflow_id' and dag_id = ?"
        return self.client.get_workflow(json.loads(self._rows(sql)[0][0]))

    @property
    def task(self) -> Task:
        found = self.workflow.latest_attempt("approve")
        assert found is not None
        return found

    def is_asked(self, workers: int = 1) -> bool:
        """Whether it is a required action, and the scheduler has taken note that its worker is done.

        An answer before that is taken for the end of the task by Airflow 3.1 ("finished with state success, but the
        task instance's state attribute is queued").
        """
        sql = (
            "select h.responded_at from hitl_detail h join task_instance t on t.id = h.ti_id "
            "where t.state = 'deferred' and h.responded_at is null and t.dag_id = ?"
        )
        log = (self.airflow.home / "scheduler.log").read_text(errors="replace")
        done = f"Received executor event with state success for task instance TaskInstanceKey(dag_id='{self.dag_id}'"
        noted = sum(done in line and "task_id='approve'" in line for line in log.splitlines())
        return bool(self._rows(sql)) and noted >= workers

    @property
    def _path(self) -> str:
        run_id = quote(self.seen.run_id, safe="")
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"

    def answer(self, *chosen: str, **params: Any) -> int:
        """Answer as a user; the status of what Airflow says, once its database (SQLite) is not locked."""
        return int(self.airflow.wait_until(lambda: self._answer({"chosen_options": chosen, "params_input": params})))

    def _answer(self, body: dict[str, Any]) -> int | None:
        try:
            self.airflow.call("PATCH", self._path, body)
        except urllib.error.HTTPError as error:
            return None if error.code >= 500 else error.code
        return 200

    def clear(self) -> None:
        body = {
            "dry_run": False,
            "task_ids": ["approve"],
            "dag_run_id": self.seen.run_id,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.airflow.call("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)


def test_an_approval_is_answered_once_whoever_answers(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    direct.register_workflow_defs([{**WAITS, "name": "fault_approval", "tasks": [HUMAN]}])
    with real_airflow(tmp_path, conductor_server.url, APPROVING_DAGS=" ".join(WAYS)) as airflow:
        of = {way: Approval(airflow, direct, way) for way in WAYS}
        wrong: list[str] = []

        def check(way: str, true: Any, what: str) -> None:
            report(f"{way}: {what}: {bool(true)}")
            if not true:
                log = airflow.task_log(of[way].dag_id)
                wrong.append(f"{way} is {of[way].state()} with {of[way].result}, and not: {what}\n{log[-5000:]}")

        def ended(*ways: str) -> Callable[[], bool]:
            return lambda: all(of[way].state() in ("success", "failed") for way in ways)

        try:
            airflow.wait_until(lambda: all(of[w].is_asked() for w in WAYS if w not in ("default", "timeout")), 600)
            listed = airflow.call("GET", OPEN_ONES)["hitl_details"]
            by_way = {found["task_instance"]["dag_id"]: found for found in listed}
            check(
                "airflow", "````json" in by_way["approves_airflow"]["body"], "the input's fence is longer than its own"
            )
            check("form", by_way["approves_form"]["params"]["amount"]["value"] == 5, "it has a form")

            check("airflow", of["airflow"].answer("Approve") == 200, "it can be answered")
            check("airflow", of["airflow"].answer("Reject") == 409, "but once")
            for way, chosen in (("rejected", "Reject"), ("skip", "Reject"), ("branch", "Hold")):
                check(way, of[way].answer(chosen) == 200, "it can be answered")
            check("form", of["form"].answer("Approve", amount=9) == 200, "it can be answered with a form")
            in_conductor = of["conductor"].task
            direct.update_task(
                of["conductor"].workflow.workflow_id, in_conductor.task_id, "COMPLETED", {"responded_by": "Bo"}
            )
            direct.terminate_workflow(of["ended"].workflow.workflow_id, "no longer needed")
            kill(airflow, "mark_failed", of["killed"].seen, task_id="approve")
            before = of["cleared"].seen.try_number
            of["cleared"].clear()
            airflow.wait_until(lambda: of["cleared"].seen.try_number > before and of["cleared"].is_asked(2), 300)
            check("cleared", of["cleared"].answer("Approve") == 200, "it is asked again")
            airflow.wait_until(ended(*WAYS), 600)

            for way in ("airflow", "form", "branch", "cleared"):
                result = of[way].result or {}
                check(way, of[way].state() == "success", "it succeeds")
                check(way, result.get("responded_by") == {"id": "admin", "name": "admin"}, "it says who")
                check(way, result.get("answered_in") == "airflow", "it says where")
                check(way, of[way].workflow.status == "COMPLETED", "the workflow goes on")
                check(way, of[way].task.output["chosen_options"] == result.get("chosen_options"), "both say the same")
            check("form", (of["form"].result or {}).get("params_input") == {"amount": 9}, "it has the form")
            airflow.wait_until(lambda: of["branch"].state("other") == "success", 120)
            check("branch", of["branch"].state("after") == "skipped", "the other branch is skipped")

            result = of["conductor"].result or {}
            check("conductor", result.get("answered_in") == "conductor", "it says where")
            check("conductor", result.get("responded_by") == {"id": "Bo", "name": "Bo"}, "it says who")
            check("conductor", of["conductor"].answer("Reject") == 409, "it is closed in Airflow")

            check("rejected", of["rejected"].state() == "failed", "it fails")
            check("skip", of["skip"].state() == "success", "it succeeds")
            airflow.wait_until(lambda: of["skip"].state("after") == "skipped", 120)
            for way in ("rejected", "skip", "default"):
                check(way, of[way].workflow.status == "FAILED", "the workflow fails")
            result = of["default"].result or {}
            check("default", result.get("chosen_options") == ["Reject"], "the default is the answer")
            check("default", result.get("responded_by", "") is None, "it is nobody's")
            check("default", of["default"].answer("Approve") == 409, "it is closed in Airflow")

            for way in ("timeout", "killed"):
                check(way, of[way].state() == "failed", "it fails")
                check(way, of[way].workflow.status == "RUNNING", "the workflow is left")
            check("timeout", "was not answered" in airflow.task_log("approves_timeout"), "it says why")
            check("ended", of["ended"].state() == "failed", "it fails with its workflow")
            check("ended", "ConductorTaskUnreachableError" in airflow.task_log("approves_ended"), "it says why")
            check("airflow", airflow.call("GET", OPEN_ONES)["total_entries"] == 0, "no required action is left")
        finally:
            for approval in of.values():
                if approval.state("start") == "success" and not approval.workflow.status.ended:
                    direct.terminate_workflow(approval.workflow.workflow_id, "the test is over")
        assert not wrong, "\n".join(wrong)
