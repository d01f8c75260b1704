"""New prices go live when a person has approved them, in Airflow or in Conductor.

The workflow stops at a HUMAN task, which becomes one of Airflow's required actions. Answer there, or complete the task
in Conductor; whoever is first decides. After a rejection, what follows is skipped. Needs Airflow 3.1 or later.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_conductor.operators import ConductorApprovalOperator, ConductorStartWorkflowOperator
from airflow_provider_conductor.sensors import ConductorWorkflowSensor

with DAG(
    dag_id="approval_from_airflow",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    propose_prices = ConductorStartWorkflowOperator(
        task_id="propose_prices",
        workflow_name="price_change",
        workflow_input={"catalogue": "summer", "change_percent": 4},
    )

    approve = ConductorApprovalOperator(
        task_id="approve",
        workflow_id=propose_prices.output,
        task_reference_name="approve",
        subject="New prices for the summer catalogue",
        body="They go live **as soon as** they are approved.",
        params={"comment": Param("", type=["string", "null"], description="For the log")},
        response_timeout=timedelta(days=2),
        defaults="Reject",
    )

    @task
    def note_answer(answer: dict) -> str:
        return f"{', '.join(answer['chosen_options'])} in {answer['answered_in']}"

    wait_until_live = ConductorWorkflowSensor(
        task_id="wait_until_live",
        workflow_id=propose_prices.output,
        return_output=True,
        deferrable=True,
        timeout=timedelta(hours=1).total_seconds(),
    )

    note_answer(approve.output) >> wait_until_live
