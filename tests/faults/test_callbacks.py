"""The notifier in each slot of a real Airflow (worker, DAG processor, triggerer), and retries by cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow, endpoints
from tests.faults.conftest import ENDS, started_as
from tests.faults.real_airflow import AIRFLOW_2, real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

SLOTS = {"execute": 2, "retry": 1, "failure": 1, "lost": 1, "dag": 1}
"""Slot → how often its callback is called: the task has two tries."""

if find_spec("airflow.sdk") and find_spec("airflow.sdk.definitions.deadline"):
    SLOTS |= {"deadline": 1}
    if hasattr(import_module("airflow.sdk"), "SyncCallback"):
        SLOTS |= {"sync_deadline": 1}


def test_each_callback_acts(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    mark = f"callback-{tmp_path.name}-{id(report)}"
    lost = {**ENDS, "name": f"{mark}_lost"}
    direct.register_workflow_defs([lost])
    patient = {
        # One is lost here; a slow start of the others must not be taken for it.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
        "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "90",
    }
    with real_airflow(tmp_path, conductor_server.url, CALLING_BACK=mark, **patient) as airflow:

        def run_id() -> str | None:
            rows = airflow.query("select run_id from dag_run where dag_id = ?", "calling_back")
            return rows[0][0] if rows else None

        def of_lost() -> list[Workflow]:
            return list(direct.send(endpoints.search_workflows(query=f"workflowType IN ({lost['name']})")))

        def called() -> dict[str, int]:
            counts = {slot: len(started_as(direct, "fault_ends", [f"{mark}:{slot}:{run_id()}"])) for slot in SLOTS}
            return {**counts, "lost": len(of_lost())}

        airflow.wait_until(run_id)
        try:
            airflow.wait_until(lambda: called() == SLOTS, 600)
        finally:
            report(f"workflows by slot: {called()} of {SLOTS}")

        def workflows(task_id: str) -> list[Workflow]:
            """Those that a task has started."""
            ids = "select value from xcom where task_id = ? and key = 'workflow_id' and dag_id = 'calling_back'"
            return [direct.get_workflow(json.loads(value)) for (value,) in airflow.query(ids, task_id)]

        exception = direct.get_workflow(of_lost()[0].workflow_id).input["exception"]
        assert bool(exception) == AIRFLOW_2, "Airflow 3 has none"
        (left,) = airflow.wait_until(lambda: [found for found in workflows("is_lost") if found.status.ended])
        assert (left.status, "is_lost" in left.reason) == ("TERMINATED", True)
        report(f"of a lost worker: exception {exception!r}; {left.reason}")
        begun = workflows("begin")
        assert len(begun) == 2, "a mapped task's callback acts on the workflow of its own map index"
        assert {(workflow.status, workflow.reason) for workflow in begun} == {
            ("TERMINATED", "terminated by a callback")
        }
        if find_spec("airflow.sdk") and find_spec("airflow.sdk.definitions.retry_policy"):
            decided = "select task_id, state, try_number, retry_delay_override from task_instance where dag_id = ?"
            expected = {("lacks_worker", "up_for_retry", 1, 900.0), ("is_refused", "failed", 1, None)}
            airflow.wait_until(lambda: set(airflow.query(decided, "retried_by_cause")) == expected)
