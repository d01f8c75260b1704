"""A DAG that a workflow runs as one of its steps: it counts the parcels on a shelf, and the workflow gets the number.

The workflow is ``restock`` (``definitions/restock.json``). Its task of type ``airflow_dag`` is served by the process
``airflow conductor worker``.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

with DAG(
    dag_id="count_stock",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    params={"shelf": "B6"},
    tags=["conductor", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def list_parcels(params=None) -> list[str]:
        return [f"{params['shelf']}-{number}" for number in range(1, 8)]

    @task
    def count_parcels(parcels) -> int:
        return len(parcels)

    count_parcels(list_parcels())
