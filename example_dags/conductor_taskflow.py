"""Orders come in, each goes through Conductor, and the parcels are listed: all with functions.

`fulfil` only makes the input. The workflow that gets it is started once for each order, and the task waits for it
deferred; of its output only the parcel's number goes on. Conductor's workers see in the workflow's input, under
`airflow`, which task and try they work for.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

with DAG(
    dag_id="conductor_taskflow",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):

    @task
    def new_orders() -> list[dict]:
        return [{"order_id": "B-1", "amount": 12.5}, {"order_id": "B-22", "amount": 7.0}]

    @task.conductor(
        workflow_name="order_fulfilment",
        output_path="parcel",
        pass_context=True,
        deferrable=True,
        wait_for_seconds=1,
        timeout=timedelta(minutes=10),
        retries=1,
    )
    def fulfil(order: dict) -> dict:
        return {"order_id": order["order_id"], "amount": round(order["amount"] * 1.2, 2)}

    @task
    def list_parcels(parcels: list[str]) -> str:
        return ", ".join(sorted(parcels))

    list_parcels(fulfil.expand(order=new_orders()))
