"""Airflow gives the approval that a Conductor workflow waits for.

The workflow stops at a HUMAN task. A sensor waits until it has come to that task, Airflow decides, and the task is
completed, or failed, from here; the last sensor waits for what the workflow makes of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import ConductorCompleteTaskOperator, ConductorStartWorkflowOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor

with DAG(
    dag_id="conductor_approval",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    propose_prices = ConductorStartWorkflowOperator(
        task_id="propose_prices",
        workflow_name="price_change",
        workflow_input={"catalogue": "autumn", "change_percent": 2},
    )

    wait_until_asked = ConductorTaskSensor(
        task_id="wait_until_asked",
        workflow_id=propose_prices.output,
        task_reference_name="approve",
        expected_status="IN_PROGRESS",
        deferrable=True,
        timeout=timedelta(hours=1).total_seconds(),
    )

    @task
    def decide(change_percent: int) -> str:
        return "COMPLETED" if change_percent < 5 else "FAILED_WITH_TERMINAL_ERROR"

    verdict = decide(change_percent=2)

    give_verdict = ConductorCompleteTaskOperator(
        task_id="give_verdict",
        workflow_id=propose_prices.output,
        task_reference_name="approve",
        status=verdict,
        task_output={"approved_by": "{{ dag.dag_id }}"},
        reason="changes of 5 % and more want a person",
    )

    wait_until_live = ConductorTaskSensor(
        task_id="wait_until_live",
        workflow_id=propose_prices.output,
        task_reference_name="publish_prices",
        return_output=True,
        deferrable=True,
        timeout=timedelta(hours=1).total_seconds(),
    )

    wait_until_asked >> verdict >> give_verdict >> wait_until_live
