"""The definitions lie beside the DAG, and Airflow keeps the server's like them.

Each run compares the files with what the server has, registers what differs, and logs the difference; then the workflow
is run as it was just defined. Nothing is registered a second time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorRegisterDefinitionsOperator

with DAG(
    dag_id="conductor_definitions",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    register_definitions = ConductorRegisterDefinitionsOperator(
        task_id="register_definitions",
        definitions=["definitions/tasks.json", "definitions/stock_report.yaml"],
    )

    report_stock = ConductorExecuteWorkflowOperator(
        task_id="report_stock",
        workflow_name="stock_report",
        workflow_input={"order_id": "A-1007"},
        timeout=timedelta(minutes=10),
    )

    register_definitions >> report_stock
