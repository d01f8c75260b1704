"""The circle: a workflow's end starts a DAG, whose workflow waits for another DAG (Airflow 3).

Each end of a workflow ``order_fulfilment`` runs this DAG. Its task executes the workflow ``restock``, and a step of
that is a run of the DAG ``count_stock``, which ``airflow conductor worker`` starts and reads.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("airflow.sdk"):  # Airflow 2 has no asset watchers
    from airflow.sdk import DAG

    from airflow_provider_conductor.assets import conductor_workflow_asset
    from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator

    with DAG(
        "restock_after_orders",
        schedule=conductor_workflow_asset(workflow_name="order_fulfilment", name="orders_to_restock", poll_interval=2),
        catchup=False,
        doc_md=__doc__,
        tags=["conductor", "example"],
    ) as dag:
        ConductorExecuteWorkflowOperator(
            task_id="restock",
            workflow_name="restock",
            workflow_input={"shelf": "B6"},
            deferrable=True,
            pass_context=True,
        )
