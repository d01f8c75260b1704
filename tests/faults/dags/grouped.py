"""Workflows as task groups; ``GROUPED`` names the DAGs, each of a workflow of its own: ``grouped_line=NAME …``."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup
from tests.faults.dags.runs_once import RUNS_ONCE

OWNER = {"ownerEmail": "tests@example.com"}

SOON: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=2)}
"""For Airflow's own failures: a busy scheduler fails a task that is resumed before it has heard of its deferral."""

TIMES_OUT = {"dagrun_timeout": timedelta(hours=1)}
ARGUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grouped_line": ({}, {}),
    "grouped_fork": ({}, {}),
    "grouped_ends": (TIMES_OUT, {}),
    "grouped_kept": (TIMES_OUT, {"cancel_on_kill": False}),
}
"""The DAGs, with the arguments of each and of its task group."""


def definition(dag_id: str, name: str) -> dict[str, Any]:
    """The workflow: ``pack``, ``charge``, ``ship``; or ``pack``, a fork of the other two, and ``note``."""
    pack, charge, ship, note = (
        {"name": f"{name}_{ref}", "taskReferenceName": ref, "type": "SIMPLE", "inputParameters": {}}
        for ref in ("pack", "charge", "ship", "note")
    )
    tasks = [pack, charge, ship]
    if dag_id != "grouped_line":
        fork = {"name": "both", "taskReferenceName": "both", "type": "FORK_JOIN", "forkTasks": [[charge], [ship]]}
        join = {"name": "joined", "taskReferenceName": "joined", "type": "JOIN", "joinOn": ["charge", "ship"]}
        tasks = [pack, fork, join, note]
    return {
        **OWNER,
        "name": name,
        "version": 1,
        "schemaVersion": 2,
        "tasks": tasks,
        "outputParameters": {"parcel": "${ship.output.parcel}"},
    }


for wanted in os.environ.get("GROUPED", "").split():
    dag_id, _, name = wanted.partition("=")
    of_dag, of_group = ARGUMENTS[dag_id]
    with DAG(dag_id, **RUNS_ONCE, **of_dag, default_args=SOON) as dag:
        ConductorWorkflowTaskGroup(
            definition(dag_id, name), group_id="flow", poll_interval=1, step_args=SOON, **of_group
        )
    globals()[dag_id] = dag
