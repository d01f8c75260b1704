"""Sensors that begin in the triggerer; ``BEGINNING_DAGS`` names the DAGs there are."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.operators import ConductorStartWorkflowOperator
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from tests.faults.dags.runs_once import RUNS_ONCE

STARTED = "{{ ti.xcom_pull(task_ids='start') }}"

for name in os.environ.get("BEGINNING_DAGS", "").split():
    with DAG(
        f"begins_{name}",
        **RUNS_ONCE,
        default_args={"retries": 0},
    ) as dag:
        start = ConductorStartWorkflowOperator(task_id="start", workflow_name="fault_waits", version=1)
        sensor = {"task_id": "sense", "poke_interval": 1, "start_from_trigger": True}
        match name:
            case "ends":
                sense = ConductorWorkflowSensor(workflow_id=STARTED, **sensor)
            case "killed":
                sense = ConductorWorkflowSensor(workflow_id=start.output, cancel_on_kill=True, **sensor)
            case "timeout":
                sense = ConductorWorkflowSensor(workflow_id=STARTED, timeout=5, on_timeout="terminate", **sensor)
            case "execution_timeout":
                limit = timedelta(seconds=20)
                sense = ConductorWorkflowSensor(workflow_id=STARTED, execution_timeout=limit, **sensor)
            case "empty":
                sense = ConductorWorkflowSensor(workflow_id="{{ ti.xcom_pull(task_ids='nobody') }}", **sensor)
            case "mapped":
                sense = ConductorWorkflowSensor.partial(**sensor).expand(workflow_id=[STARTED])
        start >> sense
    globals()[dag.dag_id] = dag
