"""Deferred tasks that are retried; ``RETRIED_DAGS`` names what each takes up again: ``new failed_task``."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from tests.faults.dags.runs_once import RUNS_ONCE

for wanted in os.environ.get("RETRIED_DAGS", "").split():
    retry_from: Any = wanted
    with DAG(
        f"retried_{wanted}",
        **RUNS_ONCE,
    ) as dag:
        ConductorExecuteWorkflowOperator(
            task_id="retried",
            workflow_name="fault_waits",
            retry_from=retry_from,
            retries=1,
            retry_delay=timedelta(seconds=1),
            wait_for_seconds=1,
            poll_interval=1,
            deferrable=True,
        )
    globals()[dag.dag_id] = dag
