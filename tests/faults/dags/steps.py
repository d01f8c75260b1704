"""DAGs that run as steps of a workflow; without ``STEP_DAGS`` there are none."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.notifications import ConductorNotifier

SETTINGS: dict[str, Any] = {"schedule": None, "start_date": datetime(2026, 1, 1), "catchup": False}

if os.environ.get("STEP_DAGS"):
    # On a busy machine, SQLite may be locked for longer than a task's worker waits.
    patient = {"retries": 20, "retry_delay": timedelta(seconds=1)}
    with DAG("step_counts", is_paused_upon_creation=False, default_args=patient, **SETTINGS):

        @task
        def count(dag_run: Any = None, ti: Any = None) -> dict[str, int]:
            ti.xcom_push(key="label", value=f"first {dag_run.conf['first']}")
            return {"count": dag_run.conf["first"] + 1}

        @task
        def double(number: int) -> int:
            return 2 * number

        count() >> double.expand(number=[1, 2, 3])

    with DAG("step_fails", is_paused_upon_creation=False, **SETTINGS):

        @task
        def load() -> None:
            raise ValueError("it fails")

        @task
        def show() -> None:
            pass

        load() >> show()

    with DAG("step_holds", is_paused_upon_creation=False, **SETTINGS):

        @task
        def hold(dag_run: Any = None) -> str:
            until = Path(dag_run.conf["until"])
            for _ in range(3000):
                if until.exists():
                    return until.read_text()
                time.sleep(0.2)
            raise TimeoutError(f"nobody has written {until}")

        hold()

    with DAG("step_paused", is_paused_upon_creation=True, **SETTINGS):

        @task
        def pass_by() -> None:
            pass

        pass_by()

    def report(status: str, **more: Any) -> ConductorNotifier:
        conf = "{{ dag_run.conf['conductor']['%s'] }}"
        return ConductorNotifier(
            action="complete_task",
            workflow_id=conf % "workflow_id",
            task_reference_name=conf % "task_reference_name",
            status=status,
            **more,
        )

    with DAG(
        "step_reports",
        is_paused_upon_creation=False,
        on_success_callback=report("COMPLETED", task_output={"dag_run_id": "{{ dag_run.run_id }}"}),
        on_failure_callback=report("FAILED", reason="DAG run {{ dag_run.run_id }} failed"),
        **SETTINGS,
    ):

        @task
        def check(dag_run: Any = None) -> None:
            if dag_run.conf.get("fail"):
                raise ValueError("it fails")

        check()

    count_stock = import_module("example_dags.count_stock").dag
