"""Tasks of a workflow that want an answer; ``APPROVING_DAGS`` names the DAGs there are."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator, Param

from airflow_provider_conductor.operators import ConductorApprovalOperator, ConductorStartWorkflowOperator
from tests.faults.dags.runs_once import RUNS_ONCE


class Nothing(BaseOperator):
    """A task that is there to be skipped, or not."""

    def execute(self, context: Any) -> None:
        """Do nothing."""


MORE: dict[str, dict[str, Any]] = {
    "timeout": {"response_timeout": timedelta(seconds=10)},
    "default": {"response_timeout": 10, "defaults": "Reject", "on_reject": "continue"},
    "rejected": {"on_reject": "fail"},
    "branch": {"options": ["Ship", "Hold"], "options_mapping": {"Ship": "after", "Hold": "other"}},
    "form": {"params": {"amount": Param(5, type="integer", minimum=1)}},
    "assigned": {"assigned_users": "somebody"},
}

for name in os.environ.get("APPROVING_DAGS", "").split():
    with DAG(f"approves_{name}", **RUNS_ONCE, default_args={"retries": 0}) as dag:
        start = ConductorStartWorkflowOperator(
            task_id="start", workflow_name="fault_approval", version=1, workflow_input={"amount": 7, "case": name}
        )
        approve = ConductorApprovalOperator(
            task_id="approve",
            workflow_id=start.output,
            task_reference_name="approve",
            **MORE.get(name, {}),
        )
        start >> approve >> [Nothing(task_id="after"), Nothing(task_id="other")]
    globals()[dag.dag_id] = dag
