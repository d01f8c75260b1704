"""A workflow by one Execute, and by a task group of its steps; ``BENCH_STEPWISE`` has definitions by label, as JSON."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup

AGAIN: dict[str, Any] = {"retries": 5, "retry_delay": timedelta(seconds=1)}
"""A busy scheduler fails a task that is resumed before it has heard of its deferral."""

OF_DAG: dict[str, Any] = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1),
    "is_paused_upon_creation": False,
    "default_args": AGAIN,
}

for label, definition in json.loads(os.environ.get("BENCH_STEPWISE", "{}")).items():
    with DAG(f"execute_{label}", **OF_DAG) as one:
        ConductorExecuteWorkflowOperator(task_id="run", workflow_name=definition["name"], deferrable=True)
    with DAG(f"group_{label}", **OF_DAG) as steps:
        ConductorWorkflowTaskGroup(definition, group_id="run", step_args=AGAIN)
    globals()[one.dag_id], globals()[steps.dag_id] = one, steps
