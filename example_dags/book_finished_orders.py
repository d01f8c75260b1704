"""A DAG that runs when orders have been fulfilled, whoever started their workflows (Airflow 3).

It has no schedule in time: each end of a workflow ``order_fulfilment`` updates an asset, and that schedules the DAG. A
run gets all ends since the run before.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("airflow.sdk"):  # Airflow 2 has no asset watchers
    from airflow.sdk import DAG, task

    from airflow_provider_conductor.assets import conductor_workflow_asset

    orders = conductor_workflow_asset(workflow_name="order_fulfilment", name="fulfilled_orders")

    with DAG(
        "book_finished_orders",
        schedule=orders,
        catchup=False,
        max_active_runs=1,
        doc_md=__doc__,
        tags=["conductor", "example"],
    ) as dag:

        @task
        def book(triggering_asset_events=None):
            ends = [event.extra["payload"] for event in triggering_asset_events[orders]]
            # A triggerer that was killed may repeat its last events.
            parcels = {end["event_id"]: end["output"]["parcel"] for end in ends if end["output"]}
            print("booked", *parcels.values())
            return sorted(parcels.values())

        book()
