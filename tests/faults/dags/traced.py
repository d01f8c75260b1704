"""A DAG whose tasks are traced: one that waits on the worker, one that is deferred, and one that fails twice.

``TRACED`` is set by its test; without it, there is none.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from tests.faults.dags.runs_once import RUNS_ONCE


def workflow(name: str, **step: Any) -> dict[str, Any]:
    task = {"name": "step", "taskReferenceName": "step", **step}
    return {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "tests@example.com", "tasks": [task]}


if os.environ.get("TRACED"):
    with DAG(
        "traced",
        **RUNS_ONCE,
        default_args={"pass_context": True, "wait_for_seconds": 0},
    ):
        pause = workflow("fault_pause", type="WAIT", inputParameters={"duration": "4 seconds"})
        ends = {"terminationStatus": "FAILED", "terminationReason": "no tea left"}
        failure = workflow("fault_failure", type="TERMINATE", inputParameters=ends)
        ConductorExecuteWorkflowOperator(task_id="on_worker", workflow_def=pause, deferrable=False)
        ConductorExecuteWorkflowOperator(task_id="is_deferred", workflow_def=pause, deferrable=True)
        ConductorExecuteWorkflowOperator(
            task_id="fails", workflow_def=failure, retries=1, retry_delay=timedelta(seconds=1), retry_from="new"
        )
