"""The retry of a deferred task in a real scheduler; Airflow 3.0 resumes it with the event of the try before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, TaskStatus, Workflow
from tests.faults.conftest import HOLD, started_as
from tests.faults.real_airflow import real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

ENDS = {"new": ["FAILED", "COMPLETED"], "failed_task": ["COMPLETED"]}
"""What a retry takes up again → how its workflows end."""


def test_the_retry_of_a_deferred_task_is_a_try_of_its_own(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    with real_airflow(tmp_path, conductor_server.url, RETRIED_DAGS=" ".join(ENDS)) as airflow:

        def tries(retry_from: str) -> int:
            """How many have begun; the task is deferred, or has ended."""
            seen = airflow.task(f"retried_{retry_from}")
            return seen.try_number if seen and seen.state in ("deferred", "success", "failed") else 0

        def workflows(retry_from: str) -> list[Workflow]:
            dag_id = f"retried_{retry_from}"
            seen = airflow.task(dag_id)
            assert seen is not None
            key = f"{airflow.prefix}:{dag_id}:{seen.run_id}:retried:-1:1"
            return started_as(direct, "fault_waits", [key, f"{key}.1"])

        def hold_ends(retry_from: str, status: TaskStatus) -> None:
            workflow = direct.get_workflow(workflows(retry_from)[-1].workflow_id)
            task = workflow.latest_attempt(HOLD["taskReferenceName"])
            assert task is not None
            direct.update_task(workflow.workflow_id, task.task_id, status)

        for number, status in ((1, TaskStatus.FAILED), (2, TaskStatus.COMPLETED)):
            for retry_from in ENDS:
                airflow.wait_until(lambda name=retry_from, number=number: tries(name) == number)
                hold_ends(retry_from, status)
        for retry_from, expected in ENDS.items():
            dag_id = f"retried_{retry_from}"
            airflow.wait_until(lambda dag_id=dag_id: airflow.task(dag_id).state in ("success", "failed"))
            task = airflow.task(dag_id)
            there = [str(workflow.status) for workflow in workflows(retry_from)]
            report(f"{dag_id}: {task.state} in try {task.try_number}, workflows {there}")
            assert (task.state, task.try_number, there) == ("success", 2, expected), airflow.task_log(dag_id)[-6000:]
