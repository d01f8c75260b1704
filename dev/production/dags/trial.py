"""The trial's DAGs. Their size is in the DAG run's configuration."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task, task_group

from airflow_provider_conductor.assets import conductor_workflow_asset
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator

# The retries outlast a restart of Conductor, which takes two minutes on a loaded machine.
DEFAULTS: dict[str, Any] = {"retries": 5, "retry_delay": timedelta(minutes=1)}


@task
def inputs(parts: int = 1, part: int = 0) -> list[dict[str, Any]]:
    """One input for each wait: its number, and the seconds that its workflow takes."""
    conf = get_current_context()["dag_run"].conf or {}
    return [{"number": n, "seconds": conf.get("seconds")} for n in range(conf["waits"]) if n % parts == part]


with DAG("trial_waits", schedule=None, start_date=datetime(2026, 1, 1), default_args=DEFAULTS):
    ConductorExecuteWorkflowOperator.partial(
        task_id="mapped", workflow_name="trial_wait", deferrable=True, poll_interval=2
    ).expand(workflow_input=inputs(2, 0))

    @task_group
    def group(workflow_input: dict[str, Any]) -> None:
        ConductorExecuteWorkflowOperator(
            task_id="grouped",
            workflow_name="trial_wait",
            workflow_input=workflow_input,
            deferrable=True,
            poll_interval=2,
        )

    group.expand(workflow_input=inputs.override(task_id="group_inputs")(2, 1))

with DAG("trial_batch", schedule=None, start_date=datetime(2026, 1, 1), default_args=DEFAULTS):
    ConductorExecuteWorkflowsOperator(
        task_id="batch", workflow_name="trial_batch", workflow_inputs=inputs(), max_active=200, deferrable=True
    )

for dag_id, names in {
    "trial_connections": ("well", "dead", "refusing", "hanging"),
    "trial_connections_alone": ("well",),
}.items():
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1), default_args=DEFAULTS) as dag:
        for name in names:
            ConductorExecuteWorkflowOperator.partial(
                task_id=name,
                retries=0 if name == "refusing" else DEFAULTS["retries"],
                conductor_conn_id=f"conductor_{name}",
                workflow_name="trial_held",
                deferrable=True,
                poll_interval=2,
            ).expand(workflow_input=inputs.override(task_id=f"{name}_inputs")())
    globals()[dag_id] = dag

with DAG("trial_step", schedule=None, start_date=datetime(2026, 1, 1), default_args=DEFAULTS, max_active_runs=1000):

    @task
    def answer() -> int:
        conf = get_current_context()["dag_run"].conf or {}
        return int(conf["number"])

    answer()

with DAG(
    "trial_ends",
    schedule=conductor_workflow_asset("trial_end", conductor_conn_id="conductor_well"),
    start_date=datetime(2026, 1, 1),
    default_args=DEFAULTS,
):

    @task
    def note(triggering_asset_events: Any = None) -> list[str]:
        """The events that this run has got."""
        events = [event for found in triggering_asset_events.values() for event in found]
        return [event.extra["payload"]["event_id"] for event in events]

    note()
