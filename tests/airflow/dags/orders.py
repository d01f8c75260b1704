"""DAGs that use each operator as a user would; the names of their workflows begin with WORKFLOW_PREFIX."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, timezone

from airflow_provider_conductor.operators import (
    ConductorExecuteWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor

PREFIX = os.environ["WORKFLOW_PREFIX"]
ALWAYS: dict[str, Any] = {"start_date": timezone.datetime(2026, 1, 1), "schedule": None, "catchup": False}


def write_down(context: Any) -> None:
    """What a failure callback can read off the exception."""
    error = context["exception"]
    read = {name: getattr(error, name) for name in ("workflow_id", "status", "reason", "url")}
    Path(os.environ["CALLBACK_FILE"]).write_text(json.dumps({"kind": type(error).__name__, **read}))


with DAG("waiting", **ALWAYS):
    order = {"order": "{{ dag.dag_id }}"}
    ConductorExecuteWorkflowOperator(task_id="execute", workflow_name=f"{PREFIX}_quick", workflow_input=order)
    ConductorExecuteWorkflowOperator(
        task_id="execute_deferred",
        workflow_name=f"{PREFIX}_patient",
        workflow_input=order,
        wait_for_seconds=0.5,
        deferrable=True,
    )
    ConductorStartWorkflowOperator(task_id="start", workflow_name=f"{PREFIX}_timed", workflow_input=order)
    before = None
    for way, arguments in {
        "deferrable": {"deferrable": True},
        "poke": {"mode": "poke", "deferrable": False},
        "reschedule": {"mode": "reschedule", "deferrable": False},
    }.items():
        own = ConductorStartWorkflowOperator(
            task_id=f"start_for_{way}",
            # The first look of the rescheduled one is to find it running, however long Airflow takes to get there.
            workflow_name=f"{PREFIX}_{'long' if way == 'reschedule' else 'timed'}",
            workflow_input={"order": way},
        )
        sensor = ConductorWorkflowSensor(
            task_id=f"sense_{way}",
            workflow_id=own.output,
            return_output=True,
            poke_interval=1,
            timeout=600,
            **arguments,
        )
        if before:  # the runner does one task at a time: started sooner, the workflow would have ended already
            before >> own
        before = sensor

with DAG("control", **ALWAYS):
    begin = ConductorStartWorkflowOperator(task_id="start", workflow_name=f"{PREFIX}_endless")
    end = ConductorTerminateWorkflowOperator(task_id="terminate", workflow_id=begin.output, reason="for a moment")
    end_again = ConductorTerminateWorkflowOperator(task_id="terminate_again", workflow_id=[begin.output])
    on = ConductorRetryWorkflowOperator(task_id="retry", workflow_id=begin.output)
    end_for_good = ConductorTerminateWorkflowOperator(task_id="terminate_for_good", workflow_id=[begin.output])
    begin >> end >> end_again >> on >> end_for_good

with DAG("failing", **ALWAYS):
    broken = ConductorExecuteWorkflowOperator(
        task_id="execute", workflow_name=f"{PREFIX}_broken", on_failure_callback=write_down
    )
    broken >> ConductorStartWorkflowOperator(task_id="never", workflow_name=f"{PREFIX}_quick")
    ConductorExecuteWorkflowOperator(task_id="unknown", workflow_name=f"{PREFIX}_nowhere", retries=3)
    ConductorExecuteWorkflowOperator(
        task_id="too_slow", workflow_name=f"{PREFIX}_endless", wait_for_seconds=0.5, timeout=1, deferrable=True
    )

with DAG("failing_once", **ALWAYS):
    failed = ConductorExecuteWorkflowOperator(task_id="execute", workflow_name=f"{PREFIX}_failing_once")
    ConductorRetryWorkflowOperator(
        task_id="retry",
        workflow_id="{{ ti.xcom_pull(task_ids='execute', key='workflow_id') }}",
        wait_for_completion=True,
        deferrable=True,
        trigger_rule="all_failed",
    ).set_upstream(failed)
    ConductorExecuteWorkflowOperator(
        task_id="second_try",
        workflow_name=f"{PREFIX}_failing_once",
        workflow_input={"order": "second try"},
        retries=1,
        retry_delay=timedelta(0),
    )

with DAG("mapped", **ALWAYS):
    starts = ConductorStartWorkflowOperator.partial(task_id="start", workflow_name=f"{PREFIX}_timed").expand(
        workflow_input=[{"order": number} for number in (1, 2)]
    )
    sense = ConductorWorkflowSensor.partial(
        task_id="sense", return_output=True, deferrable=True, poke_interval=1, timeout=600
    ).expand(workflow_id=starts.output)
    sense >> ConductorTerminateWorkflowOperator(task_id="terminate", workflow_id=starts.output)

with DAG("oldest", **ALWAYS):
    ConductorExecuteWorkflowOperator(
        task_id="execute",
        conductor_conn_id="conductor_oldest",
        workflow_name=f"{PREFIX}_patient",
        workflow_input={"order": 7},
        wait_for_seconds=0.5,
        deferrable=True,
    )

with DAG("killed", **ALWAYS):
    ConductorExecuteWorkflowOperator(task_id="execute", workflow_name=f"{PREFIX}_to_be_killed", poll_interval=0.5)
