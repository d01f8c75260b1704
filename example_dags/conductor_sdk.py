"""Code written for Conductor's Python SDK, as it is: a workflow made in Python, a start request, a client.

Needs the `sdk` extra wherever DAG files are read. The workflow of `send_replacement` is not registered: its definition
goes along with the start.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.simple_task import SimpleTask

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator

reserve_stock = SimpleTask("reserve_stock", "reserve_stock").input(key="order_id", value="${workflow.input.order_id}")
ship_order = SimpleTask("ship_order", "ship_order")
ship_order.input(key="order_id", value="${workflow.input.order_id}")
ship_order.input(key="shelf", value=reserve_stock.output("shelf"))

replacement = ConductorWorkflow(executor=None, name="send_replacement", version=1)
replacement >> reserve_stock >> ship_order

order = StartWorkflowRequest(
    name="order_fulfilment", version=1, input={"order_id": "{{ params.order_id }}", "amount": 129.9}
)

with DAG(
    dag_id="conductor_sdk",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    params={"order_id": Param("A-1007", type="string")},
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    fulfil_order = ConductorExecuteWorkflowOperator(
        task_id="fulfil_order", request=order, deferrable=True, timeout=timedelta(minutes=10)
    )

    send_replacement = ConductorExecuteWorkflowOperator(
        task_id="send_replacement",
        workflow_def=replacement,
        workflow_input={"order_id": "{{ params.order_id }}"},
        timeout=timedelta(minutes=10),
    )

    @task
    def list_steps(workflow_id: str) -> list[str]:
        from conductor.client.orkes.orkes_workflow_client import OrkesWorkflowClient

        from airflow_provider_conductor.hooks import ConductorHook

        client = OrkesWorkflowClient(ConductorHook().sdk_configuration())
        return [f"{step.reference_task_name}: {step.status}" for step in client.get_workflow(workflow_id).tasks]

    list_steps(send_replacement.output["workflow_id"])
    fulfil_order >> send_replacement
