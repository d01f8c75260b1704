"""The worker, the triggerer and the server killed at named points; a real scheduler's own retry goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow
from dev.conductor_server import ConductorServer
from tests.faults.conftest import HOLD, WAITS, started_as
from tests.faults.real_airflow import RealAirflow, real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow]

Report = Callable[[str], None]

SECONDS = 8
"""How long the crashing tasks' workflow runs."""

HELD_SECONDS = 45
"""How long it runs where a triggerer or the server is killed under it."""


def definition(name: str, seconds: int) -> dict[str, Any]:
    return {
        **WAITS,
        "name": name,
        "tasks": [{**HOLD, "inputParameters": {"duration": f"{seconds} seconds"}}],
        "outputParameters": {"point": "${workflow.input.point}"},
    }


POINTS = ("before_start", "after_start", "before_id_is_kept", "waiting", "resumed-deferred", "after_start-start")
"""Where the process of the task dies, in a task that waits on the worker unless it says otherwise."""

EVERY_TIME = ("after_start", "before_id_is_kept")
"""The points that every change has to pass."""

SLOW_POINTS = ("after_start_with_supervisor",)
"""Airflow learns of these by a heartbeat that does not come."""


def killed_tasks_are_retried() -> bool:
    """Whether Airflow retries a task if only the task's process is killed; 3.0 fails it at once."""
    try:
        from airflow.sdk.execution_time.supervisor import ActivitySubprocess
    except ImportError:  # Airflow 2.11
        return True
    return hasattr(ActivitySubprocess, "_should_retry")


def workflows_of(client: ConductorClient, airflow: RealAirflow, name: str, dag_id: str) -> list[Workflow]:
    """What the server has of a task's starts, of whichever series and generation."""
    task = airflow.task(dag_id)
    assert task is not None
    ids = [f"{airflow.prefix}:{dag_id}:{task.run_id}:crashing:-1:{first}" for first in range(1, 5)]
    ids += [f"{key}.{generation}" for key in ids for generation in range(1, 4)]
    return started_as(client, name, ids)


def run_points(points: tuple[str, ...], tmp_path: Path, client: ConductorClient, url: str, report: Report) -> None:
    client.register_workflow_defs([definition("crash_waits", SECONDS)])
    dags = {"CRASH_DAGS": " ".join(points), "CRASH_WORKFLOW": "crash_waits"}
    with real_airflow(tmp_path, url, triggerer=any("deferred" in point for point in points), **dags) as airflow:
        wanted = [f"crash_{point.replace('-', '.')}" for point in points]

        def all_done() -> bool:
            seen = {task.dag_id: task.state for task in airflow.tasks()}
            return all(seen.get(dag_id) in ("success", "failed") for dag_id in wanted)

        airflow.wait_until(all_done, 300 + 60 * len(points))
        wrong = []
        for dag_id in wanted:
            task = airflow.task(dag_id)
            assert task is not None
            there = workflows_of(client, airflow, "crash_waits", dag_id)
            said = f"{dag_id}: {task.state} in try {task.try_number}, workflows {[str(w.status) for w in there]}"
            report(said)
            if killed_tasks_are_retried() or "with_supervisor" in dag_id:
                ended = len(there) == 1 and (there[0].status.successful or dag_id.endswith(".start"))
                right = task.state == "success" and task.try_number > 1 and ended
            else:
                right = (task.state, task.try_number) == ("failed", 1) and len(there) <= 1
            if not right:
                wrong.append(f"{said}\n{airflow.task_log(dag_id)[-6000:]}")
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "points", [pytest.param(EVERY_TIME, id="some"), pytest.param(POINTS, id="all", marks=pytest.mark.faults)]
)
def test_a_worker_killed_at_any_point_neither_repeats_nor_loses_its_workflow(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Report, points: tuple[str, ...]
) -> None:
    run_points(points, tmp_path, direct, conductor_server.url, report)


@pytest.mark.faults
def test_nor_does_a_worker_that_just_falls_silent(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Report
) -> None:
    run_points(SLOW_POINTS, tmp_path, direct, conductor_server.url, report)


@pytest.mark.faults
def test_killing_triggerer_and_server_under_a_deferred_task_changes_nothing(
    own_server: ConductorServer, tmp_path: Path, report: Report
) -> None:
    with ConductorClient(own_server.api_url) as client:
        client.register_workflow_defs([definition("crash_held", HELD_SECONDS)])
        dag_id = "crash_none.deferred"
        with real_airflow(tmp_path, own_server.url, CRASH_DAGS="none-deferred", CRASH_WORKFLOW="crash_held") as airflow:
            airflow.wait_until(lambda: _is(airflow, dag_id, "deferred"), 180)
            airflow.kill("triggerer")
            airflow.start("triggerer")
            own_server.kill()
            own_server.restart()
            _still_runs(client, airflow, dag_id)
            airflow.terminate("triggerer")
            airflow.start("triggerer")
            task = airflow.wait_until(lambda: _is(airflow, dag_id, "success") or _is(airflow, dag_id, "failed"), 240)
            there = workflows_of(client, airflow, "crash_held", dag_id)
            report(
                f"triggerer SIGKILLed, server SIGKILLed, triggerer SIGTERMed under a deferred task: {task.state} in "
                f"try {task.try_number}, workflows {[str(w.status) for w in there]}"
            )
            assert (task.state, task.try_number) == ("success", 1), airflow.task_log(dag_id)[-6000:]
            assert [workflow.status.successful for workflow in there] == [True]


def _is(airflow: RealAirflow, dag_id: str, state: str) -> Any:
    task = airflow.task(dag_id)
    return task if task is not None and task.state == state else None


def _still_runs(client: ConductorClient, airflow: RealAirflow, dag_id: str) -> None:
    assert [str(w.status) for w in workflows_of(client, airflow, "crash_held", dag_id)] in (
        ["RUNNING"],
        ["COMPLETED"],
    )
