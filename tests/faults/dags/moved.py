"""Deferred tasks whose triggers move from one triggerer to another.

``MOVED_DAGS`` names the DAGs there are, kind and shape: ``hold-plain ref-mapped batch-mapped …``.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator
from tests.faults.dags.runs_once import RUNS_ONCE

for wanted in os.environ.get("MOVED_DAGS", "").split():
    kind, shape = wanted.split("-")
    with DAG(
        f"moved_{kind}.{shape}",
        **RUNS_ONCE,
    ) as dag:
        arguments: dict[str, Any] = {
            "task_id": "moved",
            "workflow_name": "moved_two",
            "version": 1,
            "wait_for_seconds": 1,
            "poll_interval": 1,
            "deferrable": True,
            "retries": 0,
        }
        if kind == "batch":
            operator: Any = ConductorExecuteWorkflowsOperator
            inputs = [{"number": number} for number in range(8)]
            arguments["max_active"] = 4
            mapped, plain = {"workflow_inputs": [inputs]}, {"workflow_inputs": inputs}
        else:
            operator = ConductorExecuteWorkflowOperator
            mapped, plain = {"workflow_input": [{"number": 0}, {"number": 1}]}, {}
            if kind == "ref":
                arguments["wait_until_task_ref"] = "first"
        if shape == "mapped":
            operator.partial(**arguments).expand(**mapped)
        else:
            operator(**arguments, **plain)
    globals()[dag.dag_id] = dag
