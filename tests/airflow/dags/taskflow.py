"""DAGs with @task.conductor: plain, deferred, mapped and retried. Each call of a function is written down."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task, timezone

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator

PREFIX = os.environ["WORKFLOW_PREFIX"]


def write_down(ti: Any) -> None:
    """A line a call: a deferred task that is resumed must not leave a second one."""
    with Path(os.environ["CALLS_FILE"]).open("a") as calls:
        calls.write(f"{ti.task_id}[{ti.map_index}] try {ti.try_number}\n")


with DAG("taskflow", start_date=timezone.datetime(2026, 1, 1), schedule=None, catchup=False):

    @task.conductor(workflow_name=f"{PREFIX}_echo", pass_context=True)
    def place_order(number: int, ti: Any = None) -> dict[str, Any]:
        write_down(ti)
        return {"order": number}

    @task.conductor(
        workflow_name=f"{PREFIX}_timed", wait_for_seconds=0.2, deferrable=True, output_path="order", poll_interval=0.5
    )
    def place_many(shop: str, number: int, ti: Any = None) -> dict[str, Any]:
        write_down(ti)
        return {"order": f"{shop} {number}"}

    @task.conductor(workflow_name=f"{PREFIX}_failing_once", retries=1, retry_delay=timedelta(0), poll_interval=0.5)
    def place_again(ti: Any = None) -> dict[str, Any]:
        write_down(ti)
        return {"order": f"try {ti.try_number}"}

    @task.conductor(workflow_name=f"{PREFIX}_echo", retries=3)
    def return_nothing(ti: Any = None) -> None:
        write_down(ti)

    @task
    def numbers() -> list[int]:
        return [1, 2]

    @task
    def listed(orders: Any) -> list[str]:
        return list(orders)

    place_order(7)
    many = place_many.partial(shop="eu").expand(number=numbers())
    listed(many)
    listed.override(task_id="listed_one")([place_many.override(task_id="place_one")("us", 9)])
    place_again()
    place_again.override(task_id="place_again_deferred", wait_for_seconds=0, deferrable=True)()
    return_nothing()

with DAG("mapped_results", start_date=timezone.datetime(2026, 1, 1), schedule=None, catchup=False):

    @task
    def parcels(number: int) -> dict[str, int]:
        return {"parcel": number}

    @task.conductor(workflow_name=f"{PREFIX}_echo")
    def place_all(found: Any) -> dict[str, Any]:
        return {"order": found}

    found = parcels.expand(number=[1, 2])
    of_each = found.map(lambda parcel: {"order": parcel})
    echo: dict[str, Any] = {"workflow_name": f"{PREFIX}_echo"}
    place_all(found)
    ConductorExecuteWorkflowOperator(task_id="inside", **echo, workflow_input={"order": found})
    ConductorExecuteWorkflowOperator(task_id="changed", **echo, workflow_input={"order": of_each})
    ConductorExecuteWorkflowsOperator(task_id="batch", **echo, workflow_inputs=of_each)
    ConductorExecuteWorkflowsOperator(
        task_id="listed_inputs", **echo, workflow_inputs=[place_all.override(task_id="one")(7), {"order": found}]
    )
    ConductorExecuteWorkflowOperator.partial(task_id="each", **echo).expand(workflow_input=of_each)
