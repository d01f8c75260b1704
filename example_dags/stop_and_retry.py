"""A warehouse load hangs behind a locked table: stop it, and run it on from where it stopped.

The load gets ten seconds. It still runs then, so it is terminated; when the lock is gone, the same workflow runs on
from the task that was stopped. What had completed before (`extract_orders`) is not done again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import (
    ConductorExecuteWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)

with DAG(
    dag_id="stop_and_retry",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    try_load = ConductorExecuteWorkflowOperator(
        task_id="try_load",
        workflow_name="warehouse_load",
        workflow_input={"table": "orders"},
        wait_for_seconds=10,
        wait_for_completion=False,
    )

    stop_load = ConductorTerminateWorkflowOperator(
        task_id="stop_load",
        workflow_id=try_load.output["workflow_id"],
        reason="the table is locked; stopped by {{ ti.dag_id }}.{{ ti.task_id }}",
    )

    @task
    def release_lock() -> None:
        print("the other job is done; its lock on the table is gone")

    retry_load = ConductorRetryWorkflowOperator(
        task_id="retry_load",
        workflow_id=try_load.output["workflow_id"],
        wait_for_completion=True,
        deferrable=True,
        timeout=timedelta(minutes=10),
    )

    try_load >> stop_load >> release_lock() >> retry_load
