"""A DAG whose tasks wait for the workflows of ``tests/ui_browser/shop.py``; ``SHOP`` is the prefix of their names."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator
from tests.faults.dags.runs_once import RUNS_ONCE
from tests.ui_browser.shop import BATCH, BUTTONS, FOREIGN_REASON, names

NAMES = names(os.environ["SHOP"])

WAITS = {"wait_for_seconds": 0, "deferrable": True, "poll_interval": 2}


@task
def without_workflow() -> None:
    """Not a task of Conductor's."""


with DAG(
    "shop", **RUNS_ONCE, max_active_tasks=64, default_args={"retries": 0}, description="Orders, as Conductor has them"
):
    without_workflow()
    for task_id, kind in {"stuck": "stuck", "failed": "outer", "completed": "express", "many": "many"}.items():
        ConductorExecuteWorkflowOperator(
            task_id=task_id,
            workflow_name=NAMES[kind],
            workflow_input={"order": task_id},
            # A busy scheduler fails a task that is resumed before it has heard of its deferral ("state mismatch").
            retries=5 if task_id == "completed" else 0,
            retry_delay=timedelta(seconds=1),
            **WAITS,
        )
    ConductorExecuteWorkflowOperator(
        task_id="foreign", workflow_name=NAMES["foreign"], workflow_input={"note": FOREIGN_REASON}, **WAITS
    )
    ConductorExecuteWorkflowOperator(
        task_id="relayed",
        workflow_name=NAMES["stuck"],
        workflow_input={"order": 4},
        conductor_conn_id="conductor_relayed",
        **WAITS,
    )
    ConductorExecuteWorkflowsOperator(
        task_id="batch",
        workflow_name=NAMES["item"],
        workflow_inputs=[{"order": order, "fate": fate} for order, fate in BATCH.items()],
        item_key="order",
        **WAITS,
    )
    # Not deferred: the task instance is RUNNING.
    ConductorExecuteWorkflowOperator(
        task_id="on_a_worker", workflow_name=NAMES["stuck"], workflow_input={"order": 3}, deferrable=False
    )
    ConductorExecuteWorkflowOperator.partial(task_id="mapped", workflow_name=NAMES["stuck"], **WAITS).expand(
        workflow_input=[{"order": "mapped 0"}, {"order": "mapped 1"}]
    )
    ConductorExecuteWorkflowOperator.partial(task_id="press", **WAITS).expand(
        workflow_name=[NAMES[kind] for kind in BUTTONS.values()]
    )
