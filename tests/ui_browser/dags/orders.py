"""A DAG with a task group of a workflow of ``tests/ui_browser/shop.py``; ``SHOP`` is the prefix of its names."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup
from tests.faults.dags.runs_once import RUNS_ONCE
from tests.ui_browser.shop import order_definition

# A busy scheduler fails a task that is resumed before it has heard of its deferral ("state mismatch").
AGAIN = {"retries": 5, "retry_delay": timedelta(seconds=1)}

with DAG("orders", **RUNS_ONCE, default_args=AGAIN, description="An order, step by step"):
    ConductorWorkflowTaskGroup(
        order_definition(os.environ["SHOP"]), group_id="fulfil_order", poll_interval=2, step_args=AGAIN
    )
