"""What a workflow's steps as tasks cost a DAG file, beside as many empty operators."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import datetime

from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row

STEPS = 100


@row("parsing", "a DAG of a workflow's steps", needs_server=False)
def parsing(bench: Bench) -> list[Comparison]:
    """Milliseconds of CPU; both take turns."""
    rounds = bench.count(30, 3)
    taken: dict[Callable[[], None], list[float]] = {_steps: [], _empty: []}
    for turn in range(rounds + 1):
        for make, times in taken.items():
            began = time.process_time()
            make()
            if turn:  # the first one imports
                times.append(time.process_time() - began)
    ours, theirs = (statistics.median(times) * 1e3 for times in taken.values())
    what = f"a workflow of {STEPS} steps as a task group"
    peer = f"{STEPS + 2} EmptyOperator"
    return [Comparison(what=what, unit="ms", ours=ours, peer=peer, theirs=theirs, n=rounds, goal=AtMost(2.0, "ratio"))]


def _steps() -> None:
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup

    refs = [f"step_{number}" for number in range(STEPS)]
    tasks = [{"name": ref, "taskReferenceName": ref, "type": "SIMPLE"} for ref in refs]
    with DAG("steps", start_date=datetime(2026, 1, 1), schedule=None):
        ConductorWorkflowTaskGroup({"name": "orders", "tasks": tasks})


def _empty() -> None:
    from airflow.providers.common.compat.sdk import DAG, TaskGroup
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG("empty", start_date=datetime(2026, 1, 1), schedule=None), TaskGroup("orders"):
        before = None
        for number in range(STEPS + 2):
            task = EmptyOperator(task_id=f"step_{number}")
            if before is not None:
                task.set_upstream(before)
            before = task
