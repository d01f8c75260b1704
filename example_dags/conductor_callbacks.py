"""Airflow's callbacks act in Conductor: the shop refuses new prices, so they are rejected and the old ones restored.

The workflow with the new prices waits for a person. While it does, a task of the DAG fails: its callback ends the wait,
with the exception as the reason, and another one starts the workflow that restores the old prices.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.operators import ConductorStartWorkflowOperator

with DAG(
    dag_id="conductor_callbacks",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    propose_prices = ConductorStartWorkflowOperator(
        task_id="propose_prices",
        workflow_name="price_change",
        workflow_input={"catalogue": "winter", "change_percent": 12},
    )

    @task(
        on_failure_callback=[
            ConductorNotifier(
                action="complete_task",
                workflow_id="{{ ti.xcom_pull(task_ids='propose_prices') }}",
                task_reference_name="approve",
                status="FAILED_WITH_TERMINAL_ERROR",
                reason="{{ ti.task_id }} failed: {{ exception }}",
            ),
            ConductorNotifier(
                action="start",
                workflow_name="price_change",
                workflow_input={"catalogue": "winter, restored", "change_percent": 0},
                correlation_id="{{ run_id }}",
            ),
        ]
    )
    def try_in_shop() -> None:
        raise ValueError("the shop knows no prices of 12 % more")

    @task(trigger_rule="all_done")
    def note_outcome() -> str:
        return "the old prices are back"

    propose_prices >> try_in_shop() >> note_outcome()
