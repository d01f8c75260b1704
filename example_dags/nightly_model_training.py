"""One model a region is trained by Conductor, all at the same time; Airflow waits for all and promotes the best.

Start and wait are two tasks here: the first returns the workflow's id at once, the sensor waits for that id and
brings the output. Both are mapped, so a further region is one more line of input.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import ConductorStartWorkflowOperator
from airflow_provider_conductor.sensors import ConductorWorkflowSensor

with DAG(
    dag_id="nightly_model_training",
    start_date=datetime(2025, 1, 1),
    schedule=None,  # "0 2 * * *" on a real Airflow
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    start_training = ConductorStartWorkflowOperator.partial(
        task_id="start_training",
        workflow_name="train_model",
    ).expand(workflow_input=[{"region": "eu"}, {"region": "us"}])

    wait_for_training = ConductorWorkflowSensor.partial(
        task_id="wait_for_training",
        return_output=True,
        deferrable=True,
        timeout=timedelta(hours=6).total_seconds(),
    ).expand(workflow_id=start_training.output)

    @task
    def promote(models: list[dict]) -> str:
        best = max(models, key=lambda model: model["accuracy"])
        return f"{best['model']} (accuracy {best['accuracy']})"

    promote(wait_for_training.output)
