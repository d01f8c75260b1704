"""The order of `order_pipeline`, with a task of Airflow for each of its steps.

Each task ends as its step does, with the step's attempts and log lines in its log. Clear a failed one, and the workflow
continues from that step.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup

with DAG(
    dag_id="order_steps",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    params={"order_id": Param("A-1007", type="string"), "amount": Param(129.9, type="number")},
    render_template_as_native_obj=True,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    fulfil_order = ConductorWorkflowTaskGroup(
        "definitions/order_fulfilment.json",
        workflow_input={"order_id": "{{ params.order_id }}", "amount": "{{ params.amount }}"},
    )

    @task
    def book_revenue(order: dict) -> str:
        return f"order {order['order_id']}: {order['charged']:.2f} charged, parcel {order['parcel']}"

    book_revenue(fulfil_order.output)
