"""One trace for a DAG and what it runs in Conductor: the order's workflow gets the trace of the task that starts it.

With ``[traces] otel_on``, the input's ``airflow`` has a ``traceparent`` for workers to continue, and at the end the
workflow and each attempt of its tasks are spans under the task's. With OpenLineage, it has the task's run, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator

with DAG(
    dag_id="conductor_traces",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    fulfil_order = ConductorExecuteWorkflowOperator(
        task_id="fulfil_order",
        workflow_name="order_fulfilment",
        workflow_input={"order_id": "A-1008", "amount": 12.5},
        pass_context=True,
        deferrable=True,
        timeout=timedelta(minutes=10),
    )

    @task
    def show_trace(workflow_id: str) -> dict:
        """What the workflow has been given: the trace only where traces are on."""
        given = ConductorHook().client.get_workflow(workflow_id, include_tasks=False).input["airflow"]
        print(f"trace: {given.get('traceparent', 'off')}, lineage: {given.get('openlineage', 'off')}")
        return {"task_id": given["task_id"], "try_number": given["try_number"]}

    fulfil_order >> show_trace("{{ ti.xcom_pull(task_ids='fulfil_order', key='workflow_id') }}")
