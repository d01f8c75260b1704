"""Price changes of three catalogues, and what can be done to workflows that are under way.

All three wait for a person. A sales freeze comes: they are paused, and resumed when it is over. Autumn's is withdrawn.
Spring's are published by hand, so that task is skipped. Both are approved, and complete; but summer's went out with a
wrong name, so they are published again, from that task on with another input. In the end all are archived.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_conductor.operators import (
    ConductorDeleteWorkflowOperator,
    ConductorPauseWorkflowOperator,
    ConductorRerunWorkflowOperator,
    ConductorResumeWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor

CATALOGUES = ("spring", "summer", "autumn")

OURS = {"workflow_name": "price_change", "correlation_id": "{{ run_id }}"}

with DAG(
    dag_id="conductor_control",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["conductor", "example"],
    doc_md=__doc__,
):
    propose = ConductorStartWorkflowOperator.partial(
        task_id="propose", workflow_name="price_change", correlation_id="{{ run_id }}"
    ).expand(workflow_input=[{"catalogue": name, "change_percent": 3} for name in CATALOGUES])

    freeze = ConductorPauseWorkflowOperator(task_id="freeze", **OURS)

    thaw = ConductorResumeWorkflowOperator(task_id="thaw", **OURS)

    @task(multiple_outputs=True)
    def tell_apart(workflow_ids: list[str]) -> dict[str, str]:
        return dict(zip(CATALOGUES, workflow_ids, strict=True))

    by_catalogue = tell_apart(propose.output)

    withdraw = ConductorTerminateWorkflowOperator(
        task_id="withdraw", workflow_id=by_catalogue["autumn"], reason="withdrawn by {{ ti.dag_id }}.{{ ti.task_id }}"
    )

    publish_by_hand = ConductorSkipTaskOperator(
        task_id="publish_by_hand",
        workflow_id=by_catalogue["spring"],
        task_ref="publish_prices",
        task_output={"published": "spring, by hand"},
    )

    @task
    def approve(spring: str, summer: str) -> None:
        from airflow_provider_conductor.hooks import ConductorHook

        client = ConductorHook().client
        for workflow_id in (spring, summer):
            waiting = client.get_workflow(workflow_id).latest_attempt("approve")
            client.update_task(workflow_id, waiting.task_id, "COMPLETED", output={"approved_by": "An"})

    wait_until_live = [
        ConductorWorkflowSensor(
            task_id=f"wait_for_{name}",
            workflow_id=by_catalogue[name],
            return_output=True,
            deferrable=True,
            timeout=timedelta(minutes=10).total_seconds(),
        )
        for name in ("spring", "summer")
    ]

    publish_again = ConductorRerunWorkflowOperator(
        task_id="publish_again",
        workflow_id=by_catalogue["summer"],
        from_task_ref="publish_prices",
        task_input={"catalogue": "summer", "approved_by": "Ana"},
        wait_for_completion=True,
        deferrable=True,
        timeout=timedelta(minutes=10),
    )

    archive = ConductorDeleteWorkflowOperator(task_id="archive", archive=True, **OURS)

    approved = approve(by_catalogue["spring"], by_catalogue["summer"])
    propose >> freeze >> thaw >> by_catalogue
    [withdraw, publish_by_hand] >> approved >> wait_until_live >> publish_again >> archive
