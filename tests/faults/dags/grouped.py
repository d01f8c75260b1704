"""A workflow as a task group."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup

NAME = os.environ.get("GROUPED_WORKFLOW", "")

if NAME:
    steps = [
        {"name": f"{NAME}_{ref}", "taskReferenceName": ref, "type": "SIMPLE", "inputParameters": {}}
        for ref in ("pack", "charge", "ship")
    ]
    definition = {
        "name": NAME,
        "version": 1,
        "schemaVersion": 2,
        "ownerEmail": "tests@example.com",
        "tasks": steps,
        "outputParameters": {"parcel": "${ship.output.parcel}"},
    }
    with DAG(
        "grouped",
        schedule="@once",
        start_date=datetime(2026, 1, 1),
        catchup=False,
        is_paused_upon_creation=False,
        default_args={"retries": 2},
    ) as dag:
        ConductorWorkflowTaskGroup(definition, group_id="flow", poll_interval=1)
