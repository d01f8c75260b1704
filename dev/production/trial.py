"""The trial: what is run on the production shape, what is broken in the middle, and what is counted afterwards."""

from __future__ import annotations

import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from airflow_provider_conductor.client import ConductorClient
from dev.production.shape import ProductionShape
from dev.production.switch import Mode

__all__ = ["Outcome", "batch", "connections", "register", "waits"]

PATIENCE = 3600.0
"""Seconds that a run may take on a loaded machine."""


@dataclass
class Outcome:
    """What was counted: ``figures`` are for the table, ``faults`` is what must be empty."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, expected: object) -> None:
        self.figures[what] = found
        if found != expected:
            self.faults.append(f"{what}: {found}, expected {expected}")


def register(shape: ProductionShape) -> None:
    """Register the trial's workflows: one timer each, as long as the input says."""
    timer = {
        "name": "timer",
        "taskReferenceName": "timer",
        "type": "WAIT",
        "inputParameters": {"duration": "${workflow.input.seconds} seconds"},
    }
    with ConductorClient(shape.conductor.api_url) as client:
        client.register_workflow_defs(
            [
                {"name": name, "version": 1, "ownerEmail": "trial@example.com", "schemaVersion": 2, "tasks": [timer]}
                for name in ("trial_wait", "trial_batch")
            ]
        )


def waits(shape: ProductionShape, count: int, seconds: int) -> Outcome:
    """``count`` mapped deferred waits; each server and process is lost once while they start and run."""
    outcome = Outcome(f"{count} waits of {seconds} s, everything lost once")
    run = _trigger(shape, "trial_waits", waits=count, seconds=seconds)
    with _watching(shape) as most:
        for share, (label, disturb) in zip((0.2, 0.4, 0.6, 0.8, 1.0, 1.0), _disturbances(shape), strict=False):
            wanted = int(count * share)

            def enough(wanted: int = wanted) -> bool:
                return len(_workflows(shape, "trial_wait", run)) >= wanted

            shape.wait_until(enough, PATIENCE)
            _say(f"{label}, with {len(_workflows(shape, 'trial_wait', run))} workflows")
            disturb()
        state = shape.wait_until(lambda: _ended(shape, "trial_waits", run), PATIENCE)
    outcome.expect("DAG run", state, "success")
    tasks = shape.rows(
        "airflow",
        "select task_id, map_index, state, try_number, end_date from task_instance where dag_id = %s and run_id = %s "
        "and task_id in ('mapped', 'group.grouped')",
        "trial_waits",
        run,
    )
    outcome.expect("tasks", dict(Counter(state for _, _, state, _, _ in tasks)), {"success": count})
    outcome.figures["tries"] = dict(Counter(tries for _, _, _, tries, _ in tasks))
    _count_workflows(outcome, shape, run, count)
    _measure(outcome, shape, "trial_waits", run, tasks)
    outcome.figures |= most
    outcome.figures["restarted by the supervisor"] = dict(shape.restarts)
    return outcome


def _disturbances(shape: ProductionShape) -> Iterator[tuple[str, Callable[[], None]]]:
    def lose(name: str) -> Callable[[], None]:
        def act() -> None:
            shape.kill(name)
            shape.start(name)

        return act

    def move() -> None:
        # Longer than the health threshold: its triggers are given to the other one while it still has them.
        shape.pause("triggerer2")
        time.sleep(50)
        shape.resume("triggerer2")

    def restart(server: Any) -> Callable[[], None]:
        def act() -> None:
            server.stop()
            time.sleep(5)
            server.start()

        return act

    def restart_conductor() -> None:
        shape.conductor.kill()
        time.sleep(20)
        shape.conductor.restart()

    if shape.celery:
        yield "Celery worker SIGKILLed", lose("worker")
    yield "triggerer SIGKILLed", lose("triggerer1")
    yield "Conductor SIGKILLed, away for 20 s and its start", restart_conductor
    yield "Conductor's PostgreSQL restarted", restart(shape.conductor_database)
    yield "triggerer stopped past its health threshold, then continued", move
    yield "Airflow's PostgreSQL restarted", restart(shape.airflow_database)


def batch(shape: ProductionShape, count: int) -> Outcome:
    """One batch of ``count`` workflows; the Celery worker is killed when a third has been started."""
    outcome = Outcome(f"a batch of {count}, the worker lost in the middle")
    run = _trigger(shape, "trial_batch", waits=count, seconds=2)
    name = "worker" if shape.celery else "scheduler"
    shape.wait_until(lambda: len(_workflows(shape, "trial_batch", run)) >= count // 3, PATIENCE)
    outcome.figures["started when it was lost"] = len(_workflows(shape, "trial_batch", run))
    shape.kill(name)
    shape.start(name)
    outcome.expect("DAG run", shape.wait_until(lambda: _ended(shape, "trial_batch", run), PATIENCE), "success")
    _count_workflows(outcome, shape, run, count, name="trial_batch")
    return outcome


def connections(shape: ProductionShape, count: int, seconds: int) -> Outcome:
    """``count`` waits on each of four connections. While all wait, three connections' servers begin to fail.

    The fourth's delays are compared with those of the same waits alone.
    """
    outcome = Outcome(f"{count} waits on each of four connections, three of which fail")
    alone = _trigger(shape, "trial_connections_alone", waits=count, seconds=seconds)
    shape.wait_until(lambda: _ended(shape, "trial_connections_alone", alone), PATIENCE)
    outcome.figures["the fourth alone"] = _event_delays(shape, "trial_connections_alone", alone)
    run = _trigger(shape, "trial_connections", waits=count, seconds=seconds)
    shape.wait_until(lambda: len(_workflows(shape, "trial_wait", run)) >= 4 * count, PATIENCE)
    modes: dict[str, Mode] = {"dead": "dead", "refusing": "401", "hanging": "hang"}
    for name, mode in modes.items():
        shape.switches[name].to(mode)
    try:
        shape.wait_until(lambda: _states(shape, run, "well") == {"success": count}, PATIENCE)
        outcome.figures["the fourth beside them"] = _event_delays(shape, "trial_connections", run)
        # A server that answers 401 ends its waits; one that is away or hangs does not.
        outcome.expect("dead meanwhile", _states(shape, run, "dead"), {"deferred": count})
        outcome.expect("hanging meanwhile", _states(shape, run, "hanging"), {"deferred": count})
        outcome.figures["refusing meanwhile"] = _states(shape, run, "refusing")
    finally:
        for name in modes:
            shape.switches[name].to("pass")
    return outcome


def _states(shape: ProductionShape, run: str, task: str) -> dict[str, int]:
    rows = shape.rows("airflow", "select state from task_instance where run_id = %s and task_id = %s", run, task)
    return dict(Counter(row[0] for row in rows))


def _event_delays(shape: ProductionShape, dag: str, run: str) -> dict[str, float]:
    """From each workflow's end to its trigger's event, in seconds, by the triggers' logs."""
    ends = {row[0]: row[3] for row in _workflows(shape, "trial_wait", run)}
    delays = []
    folder = shape.folder / "airflow" / "logs" / f"dag_id={dag}" / f"run_id={run}" / "task_id=well"
    for log in folder.rglob("*.trigger.*.log"):
        index = log.parent.name.removeprefix("map_index=")
        end = next((end for label, end in ends.items() if re.search(rf":well:{index}:\d+$", label)), None)
        for line in log.read_text().splitlines():
            if "Trigger fired event" in line and end is not None:
                fired = datetime.fromisoformat(json.loads(line)["timestamp"].replace("Z", "+00:00"))
                delays.append((fired - end).total_seconds())
    return _spread(delays)


def _trigger(shape: ProductionShape, dag: str, **conf: Any) -> str:
    run = f"trial-{int(time.time())}"
    shape.wait_until(lambda: shape.rows("airflow", "select 1 from dag where dag_id = %s", dag), 600)
    shape.airflow("dags", "trigger", dag, "--run-id", run, "--conf", json.dumps(conf))
    return run


def _ended(shape: ProductionShape, dag: str, run: str) -> str | None:
    rows = shape.rows("airflow", "select state from dag_run where dag_id = %s and run_id = %s", dag, run)
    return rows[0][0] if rows and rows[0][0] in ("success", "failed") else None


def _workflows(shape: ProductionShape, name: str, run: str) -> list[tuple[Any, ...]]:
    """Correlation id, id, status and end of all workflows of a DAG run, in Conductor's own database."""
    return shape.rows(
        "conductor",
        "select correlation_id, workflow_id, status, end_time from workflow_index "
        "where workflow_type = %s and correlation_id like %s",
        name,
        f"%{run}%",
    )


def _count_workflows(outcome: Outcome, shape: ProductionShape, run: str, count: int, name: str = "trial_wait") -> None:
    found = _workflows(shape, name, run)
    outcome.expect("workflows", len(found), count)
    outcome.expect("correlation ids", len({row[0] for row in found}), count)
    outcome.expect("statuses", dict(Counter(row[2] for row in found)), {"COMPLETED": count})


def _measure(outcome: Outcome, shape: ProductionShape, dag: str, run: str, tasks: list[tuple[Any, ...]]) -> None:
    """Delays from each workflow's end to its task's success, and what the logs tell."""
    ends = {row[0]: row[3] for row in _workflows(shape, "trial_wait", run)}
    # A correlation id ends with the task's id, its map index and the try of the series.
    delays = []
    for task, index, _, _, ended in tasks:
        mine = [end for label, end in ends.items() if re.search(rf":{re.escape(task)}:{index}:\d+$", label)]
        if mine and ended:
            delays.append((ended - mine[0]).total_seconds())
    outcome.figures["workflow's end to task's success, s"] = _spread(delays)
    logs = (shape.folder / "airflow" / "logs" / f"dag_id={dag}" / f"run_id={run}").rglob("*.trigger.*.log")
    outcome.figures["trigger logs by triggerer job"] = dict(Counter(path.name.split(".trigger.")[1] for path in logs))
    blocked = 0
    for part in ("triggerer1", "triggerer2"):
        blocked += (shape.folder / f"{part}.log").read_text(errors="replace").count("async thread was blocked")
    outcome.figures["blocked-loop warnings"] = blocked
    minutes: Counter[str] = Counter()
    for log in (shape.folder / "tomcat").rglob("*access*"):
        minutes.update(line[:16] for line in log.read_text().splitlines() if "/health" not in line)
    outcome.figures["requests a minute at Conductor"] = _spread(list(minutes.values()))


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "max": round(ordered[-1], 1),
        "n": len(ordered),
    }


@contextmanager
def _watching(shape: ProductionShape) -> Iterator[dict[str, Any]]:
    """Meanwhile, the most connections that were open at each database."""
    most: dict[str, Any] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(5):
            for name in ("airflow", "conductor"):
                try:
                    [(count,)] = shape.rows(
                        name, "select count(*) from pg_stat_activity where datname = current_database()"
                    )
                except psycopg.Error:  # the database is away, as it should be for a moment
                    continue
                key = f"most connections at {name}'s database"
                most[key] = max(most.get(key, 0), count)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
