"""The notifier in each slot of a real Airflow (worker, DAG processor, triggerer), and retries by cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from tests.faults.conftest import started_as
from tests.faults.real_airflow import real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

SLOTS = {"execute": 2, "retry": 1, "failure": 1, "dag": 1}
"""Slot → how often its callback is called: the task has two tries."""

if find_spec("airflow.sdk") and find_spec("airflow.sdk.definitions.deadline"):
    SLOTS |= {"deadline": 1}


def test_each_callback_acts(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    mark = f"callback-{tmp_path.name}-{id(report)}"
    with real_airflow(tmp_path, conductor_server.url, CALLING_BACK=mark) as airflow:

        def run_id() -> str | None:
            rows = airflow.query("select run_id from dag_run where dag_id = ?", "calling_back")
            return rows[0][0] if rows else None

        def called() -> dict[str, int]:
            return {slot: len(started_as(direct, "fault_ends", [f"{mark}:{slot}:{run_id()}"])) for slot in SLOTS}

        airflow.wait_until(run_id)
        try:
            airflow.wait_until(lambda: called() == SLOTS)
        finally:
            report(f"workflows by slot: {called()} of {SLOTS}")
        ids = "select value from xcom where task_id = 'begin' and key = 'workflow_id' and dag_id = ?"
        begun = [direct.get_workflow(json.loads(value)) for (value,) in airflow.query(ids, "calling_back")]
        assert len(begun) == 2, "a mapped task's callback acts on the workflow of its own map index"
        assert {(workflow.status, workflow.reason) for workflow in begun} == {
            ("TERMINATED", "terminated by a callback")
        }
        if find_spec("airflow.sdk") and find_spec("airflow.sdk.definitions.retry_policy"):
            decided = "select task_id, state, try_number, retry_delay_override from task_instance where dag_id = ?"
            expected = {("lacks_worker", "up_for_retry", 1, 900.0), ("is_refused", "failed", 1, None)}
            airflow.wait_until(lambda: set(airflow.query(decided, "retried_by_cause")) == expected)
