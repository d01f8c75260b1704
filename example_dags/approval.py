"""New prices go live when a person has approved them.

The workflow stops at a HUMAN task. A sensor waits for that one task, a second one for the rest of the workflow; both
are deferred, so a wait of days costs no worker slot. To approve, complete the task: in the tab "Conductor" of
`wait_for_approval` in Airflow's UI, in a UI of your own, or with

    curl -X POST -H 'Content-Type: application/json' -d '{"approved_by": "Ana"}' \
        CONDUCTOR/api/tasks/WORKFLOW_ID/approve/COMPLETED
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import ConductorStartWorkflowOperator
from airflow_provider_conductor.sensors import ConductorWorkflowSensor

with DAG(
    dag_id="approval",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    propose_prices = ConductorStartWorkflowOperator(
        task_id="propose_prices",
        workflow_name="price_change",
        workflow_input={"catalogue": "spring", "change_percent": 3},
    )

    wait_for_approval = ConductorWorkflowSensor(
        task_id="wait_for_approval",
        workflow_id=propose_prices.output,
        wait_until_task_ref="approve",
        return_output=True,
        deferrable=True,
        timeout=timedelta(days=7).total_seconds(),
    )

    @task
    def note_approver(approval: dict) -> str:
        return f"approved by {approval['output'].get('approved_by', 'somebody')}"

    wait_until_live = ConductorWorkflowSensor(
        task_id="wait_until_live",
        workflow_id=propose_prices.output,
        return_output=True,
        deferrable=True,
        timeout=timedelta(hours=1).total_seconds(),
    )

    note_approver(wait_for_approval.output) >> wait_until_live
