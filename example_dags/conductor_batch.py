"""All of the night's orders go through Conductor, at most fifty at a time, in one Airflow task.

Up to one order in a hundred may fail: those are listed by cause in the log, the others are booked. A retry goes on
with the orders that are missing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import ConductorExecuteWorkflowsOperator

with DAG(
    dag_id="conductor_batch",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):

    @task
    def orders_of_the_night() -> list[dict]:
        return [{"order_id": f"B-{number:04}", "amount": 10 + number} for number in range(200)]

    fulfil_orders = ConductorExecuteWorkflowsOperator(
        task_id="fulfil_orders",
        workflow_name="order_fulfilment",
        workflow_inputs=orders_of_the_night(),
        item_key="order_id",
        max_active=50,
        failure_policy=0.01,
        deferrable=True,
        timeout=timedelta(hours=1),
    )

    @task
    def book_revenue(orders: list[dict | None]) -> str:
        charged = [order["charged"] for order in orders if order is not None]
        return f"{len(charged)} orders, {sum(charged):.2f} charged"

    book_revenue(fulfil_orders.output)
