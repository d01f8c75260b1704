"""Tasks that wait for a long workflow until somebody kills them.

``KILLED_DAGS`` names the DAGs there are, way, mode and shape: ``mark_failed-deferred-plain clear-worker-mapped …``.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from tests.faults.dags.runs_once import RUNS_ONCE

for wanted in os.environ.get("KILLED_DAGS", "").split():
    way, mode, shape = wanted.split("-")
    limits: dict[str, Any] = {}
    if way == "execution_timeout":
        limits["execution_timeout"] = timedelta(seconds=15)
    if way == "timeout":
        limits["timeout"] = 8
    with DAG(
        f"killed_{way}.{mode}.{shape}",
        **RUNS_ONCE,
        dagrun_timeout=timedelta(seconds=60) if way == "dagrun_timeout" else None,
    ) as dag:
        arguments: dict[str, Any] = {
            "task_id": "killed",
            "workflow_name": "kill_held",
            "version": 1,
            "wait_for_seconds": 1,
            "poll_interval": 1,
            "cancel_on_kill": way != "kept",
            "deferrable": mode == "deferred",
            "retries": 0,
            "retry_delay": timedelta(seconds=1),
            **limits,
        }
        if shape == "mapped":
            ConductorExecuteWorkflowOperator.partial(**arguments).expand(workflow_input=[{"number": 0}])
        else:
            ConductorExecuteWorkflowOperator(**arguments)
    globals()[dag.dag_id] = dag
