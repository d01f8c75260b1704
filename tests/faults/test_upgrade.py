"""An upgrade while tasks are deferred: what the version before has stored is waited with, and resumed, to the end.

With a real scheduler; the rows of its metadata database are replaced by recorded ones while there is no triggerer.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorRequestError
from tests.faults.real_airflow import RealAirflow, real_airflow
from tests.faults.test_moves import TWO, Moving
from tests.recorded import airflow_rows, record_stored

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

DAGS = {"moved_hold.plain": "execute", "moved_batch.plain": "batch"}
"""Each deferred task's DAG, and the recording of its kind."""

VERSIONS = sorted(
    record_stored.HERE.glob(f"*/{airflow_rows.KIND}.json"), key=lambda file: [*map(int, file.parent.name.split("."))]
)

BEFORE = VERSIONS[-2:][0]
"""The recordings of the version before the present one, or of the first."""


def replace_rows(airflow: RealAirflow, dag_id: str, workflow_ids: list[str]) -> None:
    """Let the database have the recorded rows in the place of those of the deferred task."""
    stored = json.loads(BEFORE.read_text())["tasks"][DAGS[dag_id]]
    column = stored["trigger"]["kwargs"]
    arguments = column.get("__var", column)
    if "workflow_ids" in arguments:
        arguments["workflow_ids"] = workflow_ids
    else:
        (arguments["workflow_id"],) = workflow_ids
    row = (stored["trigger"]["classpath"], json.dumps(column), dag_id)
    with contextlib.closing(sqlite3.connect(airflow.home / "airflow.db", timeout=120)) as database, database:
        which = "where id = (select trigger_id from task_instance where dag_id = ?)"
        changed = [database.execute(f"update trigger set classpath = ?, kwargs = ? {which}", row).rowcount]
        if DAGS[dag_id] == "execute":  # a batch's has the state of its very items
            next_kwargs = (json.dumps(stored["next_kwargs"]), dag_id)
            changed.append(
                database.execute("update task_instance set next_kwargs = ? where dag_id = ?", next_kwargs).rowcount
            )
        assert set(changed) == {1}


def test_deferred_tasks_survive_an_upgrade_in_the_middle(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    direct.register_workflow_defs([TWO])
    with real_airflow(tmp_path, conductor_server.url, MOVED_DAGS="hold-plain batch-plain") as airflow:
        moving = Moving(airflow, direct)

        def states() -> dict[str, str | None]:
            return {task.dag_id: task.state for task in airflow.tasks()}

        def complete_what_is_open() -> None:
            for dag_id in DAGS:
                for workflow in moving.workflows(dag_id, -1):
                    for ref in ("first", "second"):
                        # It may be over already, or not yet there.
                        with contextlib.suppress(AssertionError, ConductorRequestError):
                            moving.complete(workflow.workflow_id, ref)

        def all_have_ended() -> bool:
            complete_what_is_open()
            return all(states().get(dag_id) in ("success", "failed") for dag_id in DAGS)

        try:
            airflow.wait_until(lambda: all(states().get(dag_id) == "deferred" for dag_id in DAGS))
            airflow.wait_until(lambda: len(moving.owners() - {None}) == 1)
            (before,) = moving.owners() - {None}
            # Not by SIGTERM: Airflow 2.11 fails the task of a trigger whose class it is just importing then.
            airflow.kill("triggerer")
            for dag_id in DAGS:
                running = [workflow.workflow_id for workflow in moving.workflows(dag_id, -1)]
                replace_rows(airflow, dag_id, running)
                report(f"{dag_id}: {len(running)} workflows when the version changes")
            airflow.start("triggerer")
            airflow.wait_until(lambda: moving.owners() - {None, before})
            airflow.wait_until(all_have_ended)
            assert states() == dict.fromkeys(DAGS, "success"), airflow.log()
            for dag_id, count in (("moved_hold.plain", 1), ("moved_batch.plain", 8)):
                there = [str(workflow.status) for workflow in moving.workflows(dag_id, -1)]
                report(f"{dag_id}: {there}")
                assert there == ["COMPLETED"] * count
        finally:
            for dag_id in DAGS:
                with contextlib.suppress(AssertionError):
                    for workflow in moving.workflows(dag_id, -1):
                        if not workflow.status.ended:
                            direct.terminate_workflow(workflow.workflow_id, "the test is over")
