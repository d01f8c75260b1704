"""A workflow's steps as tasks, beside one Execute: what both cost a real scheduler, triggerer and server."""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison
from benchmarks.registry import Bench, row
from benchmarks.worker import Worker

SHAPES = {"3_steps": (3, 0.0), "10_steps": (10, 0.0), "3_slow_steps": (3, 5.0)}
"""Label → number of steps, and the seconds that each takes."""

DAGS = Path(__file__).parent / "dags"

PLUGIN = """
import os
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

class Counting:
    @hookimpl
    def on_task_instance_running(self, previous_state, task_instance):
        with open(os.environ["BENCH_PROCESSES"], "a") as file:
            file.write(f"{task_instance.run_id}\\n")

class CountingPlugin(AirflowPlugin):
    name = "counting"
    listeners = [Counting()]
"""
"""Writes down each process on a worker."""

PATIENCE = 900.0
"""Seconds for a DAG run on a busy machine."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one DAG run has cost.

    Attributes:
        beyond: seconds from its start to its end, without those of the workflow.
        processes: task processes on workers.
        deferrals: how many of them resumed a task, so there was a trigger before each.
        requests: what Conductor was asked by Airflow.
    """

    beyond: float
    processes: int
    deferrals: int
    requests: int


@row("stepwise", "a workflow's steps as tasks, with a real scheduler")
def stepwise(bench: Bench) -> list[Comparison]:
    """Execute and group in turn, one DAG run at a time."""
    from tests.faults.proxy import FaultProxy
    from tests.faults.real_airflow import RealAirflow

    lab = bench.lab
    rounds = bench.count(3, 1)
    labels = list(SHAPES)[: bench.count(len(SHAPES), 1)]
    definitions = {label: _definition(label, lab.tag) for label in labels}
    found: dict[tuple[str, str], list[Run]] = {}
    with contextlib.ExitStack() as stack:
        for label, definition in definitions.items():
            queue = definition["tasks"][0]["name"]
            lab.client.register_task_defs([{**OWNER, "name": queue, "retryCount": 0, "timeoutSeconds": 0}])
            lab.client.register_workflow_defs(definition)
            stack.enter_context(Worker(lab.api_url, queue, SHAPES[label][1]))
        proxy = FaultProxy(lab.api_url)
        stack.callback(proxy.stop)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        (home / "plugins").mkdir()
        (home / "plugins" / "counting.py").write_text(PLUGIN)
        env = {"BENCH_STEPWISE": json.dumps(definitions), "BENCH_PROCESSES": str(home / "processes")}
        airflow = stack.enter_context(RealAirflow(home, DAGS, proxy.url, env))
        airflow.wait_until(
            lambda: len(airflow.query("select distinct dag_id from serialized_dag")) == 2 * len(labels), PATIENCE
        )
        for turn in range(rounds + 1):
            for label in labels:
                for way in ("group", "execute"):
                    run = _run(airflow, proxy, lab.client, f"{way}_{label}")
                    if turn:  # the first one imports
                        found.setdefault((way, label), []).append(run)
    return [line for label in labels for line in _lines(label, found["group", label], found["execute", label])]


OWNER = {"ownerEmail": "bench@example.com"}


def _definition(label: str, tag: str) -> dict[str, Any]:
    name = f"bench_{label}_{tag}"
    tasks = [
        {"name": f"{name}_work", "taskReferenceName": f"step_{number}", "type": "SIMPLE"}
        for number in range(SHAPES[label][0])
    ]
    return {**OWNER, "name": name, "version": 1, "schemaVersion": 2, "tasks": tasks}


def _run(airflow: Any, proxy: Any, client: Any, dag_id: str) -> Run:
    run_id = f"run_{uuid.uuid4().hex[:8]}"
    before = proxy.counts.total()
    airflow.command("dags", "trigger", "--run-id", run_id, dag_id)
    sql = "select start_date, end_date from dag_run where run_id = ? and state = 'success' and end_date is not null"
    ((began, ended),) = airflow.wait_until(lambda: airflow.query(sql, run_id), PATIENCE)
    ((stored,),) = airflow.query(
        "select value from xcom where run_id = ? and key = 'workflow_id' and task_id in ('run', 'run.start')", run_id
    )
    workflow = client.get_workflow(json.loads(stored), include_tasks=False)
    took = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    ((tries,),) = airflow.query("select sum(try_number) from task_instance where run_id = ?", run_id)
    processes = (airflow.home / "processes").read_text().split().count(run_id)
    beyond = took - (workflow.end_time - workflow.create_time) / 1000
    return Run(beyond, processes, processes - tries, proxy.counts.total() - before)


def _lines(label: str, ours: list[Run], theirs: list[Run]) -> list[Comparison]:
    units = {"beyond": "s", "processes": "runs", "deferrals": "triggers", "requests": "requests"}
    words = {
        "beyond": "beyond the workflow's own time",
        "processes": "processes on workers",
        "deferrals": "deferrals",
        "requests": "requests to Conductor",
    }
    count, seconds = SHAPES[label]
    steps = f"{count} steps" + (f" of {seconds:g} s" if seconds else "")
    return [
        Comparison(
            what=f"{steps}: {words[name]}",
            unit=unit,
            ours=statistics.median(getattr(run, name) for run in ours),
            peer="ConductorExecuteWorkflowOperator",
            theirs=statistics.median(getattr(run, name) for run in theirs),
            n=len(ours),
        )
        for name, unit in units.items()
    ]
