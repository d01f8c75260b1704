"""A DAG that fails, is late and retried, with callbacks that start workflows; and one that is retried by cause (3.3).

``CALLING_BACK`` names this run of the test; without it, there are none.
"""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorStartWorkflowOperator
from tests.faults.dags.runs_once import RUNS_ONCE

AIRFLOW_3 = find_spec("airflow.sdk") is not None
HAS_POLICIES = AIRFLOW_3 and find_spec("airflow.sdk.definitions.retry_policy") is not None

LOST = f"{os.environ.get('CALLING_BACK')}_lost"


def start(slot: str) -> dict[str, Any]:
    run_id = "{{ dag_run.run_id or dag_run.dag_run_id }}"  # a deadline's is as the REST API has it
    return {
        "action": "start",
        "workflow_name": "fault_ends",
        "workflow_input": {"number": slot, "exception": "{{ exception }}"},
        "correlation_id": f"{os.environ['CALLING_BACK']}:{slot}:{run_id}",
    }


def lose_the_worker(context: Any, result: Any = None) -> None:
    """End as with its machine: Airflow finds it by a heartbeat that does not come."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def workflow(**step: Any) -> dict[str, Any]:
    """A definition of one task, which no worker polls."""
    name = f"fault_{step['type'].lower()}"
    task = {"name": name, "taskReferenceName": "step", **step}
    return {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "tests@example.com", "tasks": [task]}


def deadlines() -> dict[str, Any]:
    """Deadlines that the run misses, where Airflow has any (3.1)."""
    if not (AIRFLOW_3 and find_spec("airflow.sdk.definitions.deadline")):
        return {}
    from airflow import sdk

    def missed(callback: Any) -> Any:
        return sdk.DeadlineAlert(sdk.DeadlineReference.DAGRUN_QUEUED_AT, timedelta(seconds=1), callback)

    in_triggerer = missed(sdk.AsyncCallback(ConductorNotifier, kwargs=start("deadline")))
    if not hasattr(sdk, "SyncCallback"):  # before 3.2
        return {"deadline": in_triggerer}
    return {"deadline": [in_triggerer, missed(sdk.SyncCallback(ConductorNotifier, kwargs=start("sync_deadline")))]}


if os.environ.get("CALLING_BACK"):
    with DAG(
        "calling_back",
        **RUNS_ONCE,
        on_failure_callback=ConductorNotifier(**start("dag")),
        **deadlines(),
    ):
        ConductorStartWorkflowOperator.partial(
            task_id="begin",
            workflow_name="fault_waits",
            on_success_callback=ConductorNotifier(action="terminate", reason="terminated by a callback"),
        ).expand(workflow_input=[{"number": 1}, {"number": 2}])

        ConductorStartWorkflowOperator(
            task_id="is_lost",
            workflow_name="fault_waits",
            post_execute=lose_the_worker,
            on_failure_callback=[
                # Without a correlation id of its own, one workflow is started though 3.3 calls back twice.
                ConductorNotifier(**{**start("lost"), "workflow_name": LOST, "correlation_id": None}),
                ConductorNotifier(action="terminate"),
            ],
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

        fail()  # after a mapped task, 2.11 may count a try that never runs

    if HAS_POLICIES:
        from airflow_provider_conductor.retries import ConductorRetryPolicy

        with DAG(
            "retried_by_cause",
            **RUNS_ONCE,
            default_args={"retries": 3, "retry_delay": timedelta(seconds=1), "retry_policy": ConductorRetryPolicy()},
        ):
            ConductorExecuteWorkflowOperator(
                task_id="lacks_worker", workflow_def=workflow(type="SIMPLE"), timeout=20, deferrable=True
            )
            ends = {"terminationStatus": "FAILED", "terminationReason": "no such customer"}
            ConductorExecuteWorkflowOperator(
                task_id="is_refused", workflow_def=workflow(type="TERMINATE", inputParameters=ends), deferrable=True
            )
