"""An order goes through Conductor (reserve, charge, ship); Airflow books the revenue when it is done.

The card service is down at the first attempt: Conductor waits out the retry delay of `charge_card` and tries again.
Meanwhile the Airflow task is deferred, holds no worker slot, and does not fail.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator

with DAG(
    dag_id="order_pipeline",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    params={"order_id": Param("A-1007", type="string"), "amount": Param(129.9, type="number")},
    render_template_as_native_obj=True,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    fulfil_order = ConductorExecuteWorkflowOperator(
        task_id="fulfil_order",
        workflow_name="order_fulfilment",
        workflow_input={"order_id": "{{ params.order_id }}", "amount": "{{ params.amount }}"},
        wait_for_seconds=2,
        deferrable=True,
        timeout=timedelta(minutes=10),
        warn_after="p95",  # of how long the last hundred orders took
    )

    @task
    def book_revenue(order: dict) -> str:
        return f"order {order['order_id']}: {order['charged']:.2f} charged, parcel {order['parcel']}"

    book_revenue(fulfil_order.output)
