"""Each way to kill a task, with a real scheduler and triggerer: its workflow ends with it, or was told not to."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill, ended_by_our_timeout
from tests.faults.conftest import WAITS, started_as
from tests.faults.real_airflow import AIRFLOW_2, RealAirflow, TaskSeen, real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

Report = Callable[[str], None]

WAYS = ("mark_failed", "mark_success", "clear", "kept", "execution_timeout", "timeout", "dagrun_timeout")

MODES = {"deferred": (*WAYS, "delete"), "worker": (*WAYS, "sigterm")}

SHAPES = ("plain", "mapped")

SET_STATE = """
import sys
from airflow.models.dagbag import DagBag
dag = DagBag(include_examples=False, read_dags_from_db=True).get_dag(sys.argv[1])
indexes = None if sys.argv[4] == "-1" else [int(sys.argv[4])]
dag.set_task_instance_state(
    task_id=sys.argv[5], map_indexes=indexes, run_id=sys.argv[2], state=sys.argv[3], commit=True
)
"""

DELETE_RUN = """
import sys
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
with create_session() as session:
    session.delete(session.query(DagRun).filter_by(dag_id=sys.argv[1], run_id=sys.argv[2]).one())
"""


def kill(airflow: RealAirflow, way: str, seen: TaskSeen, task_id: str = "killed") -> None:
    """What a person, or the machine, does to the task."""
    match way:
        case "mark_failed" | "mark_success" | "kept":
            state = "success" if way == "mark_success" else "failed"
            if AIRFLOW_2:
                airflow.python(SET_STATE, seen.dag_id, seen.run_id, state, str(seen.map_index), task_id)
            else:
                path = f"/api/v2/dags/{seen.dag_id}/dagRuns/{seen.quoted_run_id}/taskInstances/{task_id}"
                path += "" if seen.map_index < 0 else f"/{seen.map_index}"
                airflow.call("PATCH", path, {"new_state": state})
        case "clear":
            airflow.command("tasks", "clear", "--yes", "--task-regex", "killed", seen.dag_id)
        case "delete":
            airflow.python(DELETE_RUN, seen.dag_id, seen.run_id)
        case "sigterm":
            os.kill(seen.pid, signal.SIGTERM)


def workflows(client: ConductorClient, airflow: RealAirflow, seen: TaskSeen) -> list[Workflow]:
    start = f"{airflow.prefix}:{seen.dag_id}:{seen.run_id}:killed:{seen.map_index}"
    ids = [f"{start}:{tail}" for tail in ("1", "1.1", "2", "2.1", "3")]
    return started_as(client, "kill_held", ids)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_a_killed_task_takes_its_workflow_along(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Report, mode: str, shape: str
) -> None:
    direct.register_workflow_defs([{**WAITS, "name": "kill_held"}])
    ways = MODES[mode]
    wanted = " ".join(f"{way}-{mode}-{shape}" for way in ways)
    with real_airflow(tmp_path, conductor_server.url, KILLED_DAGS=wanted) as airflow:
        wrong = []
        killed: dict[str, TaskSeen] = {}

        def settled() -> bool:
            """Kills each task as soon as it waits; True when all of them have been, and what follows has happened."""
            done = 0
            for way in ways:
                seen = airflow.task(f"killed_{way}.{mode}.{shape}") or killed.get(way)
                if seen is None:
                    continue
                there = workflows(direct, airflow, seen)
                if way not in killed and there and seen.state == ("deferred" if mode == "deferred" else "running"):
                    killed[way] = seen
                    kill(airflow, way, seen)
                    continue
                done += way in killed and _as_promised(way, there)
            return done == len(ways)

        with contextlib.suppress(AssertionError):
            airflow.wait_until(settled, 150 if not AIRFLOW_2 else 300)
        for way in ways:
            dag_id = f"killed_{way}.{mode}.{shape}"
            seen = airflow.task(dag_id) or killed.get(way)
            there = workflows(direct, airflow, seen) if seen else []
            said = f"{way} {mode} {shape}: task {seen.state if seen else None}, " + str(
                [f"{w.status} ({w.reason})" if w.reason else str(w.status) for w in there]
            )
            report(said)
            if not _as_promised(way, there):
                wrong.append(f"{said}\n{airflow.task_log(dag_id)[-3000:]}")
            for workflow in there:
                if not workflow.status.ended:
                    direct.terminate_workflow(workflow.workflow_id, "the test is over")
        assert not wrong, "\n".join(wrong)


def _as_promised(way: str, there: list[Workflow]) -> bool:
    states = [str(workflow.status) for workflow in there]
    match way:
        case "kept":
            return states == ["RUNNING"]
        case "clear":
            return states == ["TERMINATED", "RUNNING"] and ended_by_our_kill(there[0].reason)
        case "timeout" | "execution_timeout":
            return states == ["TERMINATED"] and ended_by_our_timeout(there[0].reason)
    return states == ["TERMINATED"] and ended_by_our_kill(there[0].reason)
