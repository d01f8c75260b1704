"""A DAG that fails, is late and retried; its callbacks start workflows. ``CALLING_BACK`` says that it is there."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.operators import ConductorStartWorkflowOperator


def start(slot: str, **more: Any) -> dict[str, Any]:
    run_id = "{{ dag_run.run_id or dag_run.dag_run_id }}"  # a deadline's is as the REST API has it
    return {
        "action": "start",
        "workflow_name": "fault_ends",
        "workflow_input": {"number": slot},
        "correlation_id": f"{os.environ['CALLING_BACK']}:{slot}:{run_id}",
        **more,
    }


def deadline() -> dict[str, Any]:
    """A deadline that the run misses, where Airflow has any (3.1)."""
    if not (find_spec("airflow.sdk") and find_spec("airflow.sdk.definitions.deadline")):
        return {}
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    late = AsyncCallback(ConductorNotifier, kwargs=start("deadline"))
    reference = DeadlineReference.DAGRUN_QUEUED_AT
    return {"deadline": DeadlineAlert(reference=reference, interval=timedelta(seconds=1), callback=late)}


if os.environ.get("CALLING_BACK"):
    with DAG(
        "calling_back",
        schedule="@once",
        start_date=datetime(2026, 1, 1),
        catchup=False,
        is_paused_upon_creation=False,
        on_failure_callback=ConductorNotifier(**start("dag")),
        **deadline(),
    ):
        begin = ConductorStartWorkflowOperator(
            task_id="begin",
            workflow_name="fault_waits",
            on_success_callback=ConductorNotifier(action="terminate", reason="terminated by a callback"),
        )

        @task(
            retries=1,
            retry_delay=timedelta(seconds=1),
            on_execute_callback=ConductorNotifier(**start("execute")),
            on_retry_callback=ConductorNotifier(**start("retry")),
            on_failure_callback=ConductorNotifier(**start("failure")),
        )
        def fail() -> None:
            raise ValueError("it fails")

        begin >> fail()
