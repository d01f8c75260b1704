"""The trial: what is run on the production shape, what is broken in the middle, and what is counted afterwards."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_conductor.client import ConductorClient
from dev.production.outcome import Outcome, report, spread, watching
from dev.production.shape import ProductionShape
from dev.production.switch import Mode

__all__ = [
    "PATIENCE",
    "batch",
    "conductor_lost",
    "connections",
    "lost",
    "moved",
    "register",
    "restarted",
    "waits",
]

MODES: dict[str, Mode] = {"dead": "dead", "refusing": "401", "hanging": "hang"}
"""How the way to Conductor fails, for each connection that does."""

PATIENCE = 3600.0
"""Seconds that a run may take on a loaded machine."""


def register(shape: ProductionShape) -> None:
    """Register the trial's workflows, of one task each: a timer, one held open, one that ends at once, a DAG run."""
    timer = {
        "name": "timer",
        "taskReferenceName": "timer",
        "type": "WAIT",
        "inputParameters": {"duration": "${workflow.input.seconds} seconds"},
    }
    held = {"name": "held", "taskReferenceName": "held", "type": "WAIT"}
    note = {
        "name": "note",
        "taskReferenceName": "note",
        "type": "SET_VARIABLE",
        "inputParameters": {"seen": "${workflow.input.number}"},
    }
    step = {
        "name": "airflow_dag",
        "taskReferenceName": "step",
        "type": "SIMPLE",
        "inputParameters": {"dag_id": "trial_step", "conf": "${workflow.input}", "xcoms": ["answer"]},
    }
    tasks = {"trial_wait": timer, "trial_batch": timer, "trial_held": held, "trial_end": note, "trial_steps": step}
    with ConductorClient(shape.conductor.api_url) as client:
        client.register_workflow_defs(
            [
                {"name": name, "version": 1, "ownerEmail": "trial@example.com", "schemaVersion": 2, "tasks": [task]}
                for name, task in tasks.items()
            ]
        )


def waits(shape: ProductionShape, count: int, seconds: int) -> Outcome:
    """``count`` mapped deferred waits; each server and process is lost once while they start and run."""
    outcome = Outcome(f"{count} mapped deferred waits of {seconds} s")
    with watching(shape, outcome):
        run = _trigger(shape, "trial_waits", waits=count, seconds=seconds)
        for share, (label, disturb) in zip((0.2, 0.4, 0.6, 0.8, 1.0, 1.0), _disturbances(shape), strict=False):
            wanted = int(count * share)

            def enough(wanted: int = wanted) -> bool:
                return len(_workflows(shape, "trial_wait", run)) >= wanted or bool(_ended(shape, "trial_waits", run))

            shape.wait_until(enough, PATIENCE)
            started = len(_workflows(shape, "trial_wait", run))
            report(f"{label}, with {started} workflows")
            outcome.figures[f"workflows started when: {label}"] = started
            disturb()
        state = shape.wait_until(lambda: _ended(shape, "trial_waits", run), PATIENCE)
    outcome.expect("DAG run", state, "success")
    tasks = shape.rows(
        "select task_id, map_index, state, try_number, end_date from task_instance where dag_id = %s and run_id = %s "
        "and task_id in ('mapped', 'group.grouped')",
        "trial_waits",
        run,
    )
    outcome.expect("tasks", dict(Counter(state for _, _, state, _, _ in tasks)), {"success": count})
    outcome.figures["tries"] = dict(Counter(tries for _, _, _, tries, _ in tasks))
    _count_workflows(outcome, shape, run, count)
    ends = _ends(shape, run)
    events = _events(shape, "trial_waits", run)
    outcome.figures["waits that moved between triggerers"] = sum(len(event.triggerers) > 1 for event in events.values())
    outcome.figures["ends by triggerer's job"] = dict(Counter(job for event in events.values() for job in event.fired))
    outcome.figures["workflow's end to trigger's event, s"] = _delays(
        ends, {key: event.at for key, event in events.items()}
    )
    outcome.figures["workflow's end to task's success, s"] = _delays(
        ends, {(task, index): ended for task, index, _, _, ended in tasks}
    )
    return outcome


def lost(shape: ProductionShape, name: str) -> Callable[[], None]:
    """SIGKILL one of Airflow's processes and start it again."""

    def act() -> None:
        shape.kill(name)
        shape.start(name)

    return act


def moved(shape: ProductionShape, name: str) -> Callable[[], None]:
    """Stop a triggerer longer than its health threshold: its triggers are given to another while it has them."""

    def act() -> None:
        shape.pause(name)
        time.sleep(50)
        shape.resume(name)

    return act


def restarted(server: Any) -> Callable[[], None]:
    """Restart a database, or what else has ``stop`` and ``start``."""

    def act() -> None:
        server.stop()
        time.sleep(5)
        server.start()

    return act


def conductor_lost(shape: ProductionShape) -> Callable[[], None]:
    """SIGKILL Conductor, and start it after 20 s."""

    def act() -> None:
        shape.conductor.kill()
        time.sleep(20)
        shape.conductor.restart()

    return act


def _disturbances(shape: ProductionShape) -> Iterator[tuple[str, Callable[[], None]]]:
    if shape.celery:
        yield "Celery worker SIGKILLed", lost(shape, "worker")
    yield "triggerer SIGKILLed", lost(shape, "triggerer1")
    yield "Conductor SIGKILLed, away for 20 s and its start", conductor_lost(shape)
    yield "Conductor's database restarted", restarted(shape.conductor_database)
    yield "triggerer stopped past its health threshold, then continued", moved(shape, "triggerer2")
    yield "Airflow's PostgreSQL restarted", restarted(shape.airflow_database)


def batch(shape: ProductionShape, count: int) -> Outcome:
    """One batch of ``count`` workflows; the Celery worker is killed when a third has been started."""
    outcome = Outcome(f"a batch of {count}, the worker lost in the middle")
    name = "worker" if shape.celery else "scheduler"
    with watching(shape, outcome):
        run = _trigger(shape, "trial_batch", waits=count, seconds=2)
        shape.wait_until(
            lambda: len(_workflows(shape, "trial_batch", run)) >= count // 3 or _ended(shape, "trial_batch", run),
            PATIENCE,
        )
        shape.kill(name)
        started = len(_workflows(shape, "trial_batch", run))
        report(f"{name} SIGKILLed, with {started} workflows")
        outcome.figures[f"workflows started when the {name} was lost"] = started
        shape.start(name)
        state = shape.wait_until(lambda: _ended(shape, "trial_batch", run), PATIENCE)
    if started >= count:
        outcome.faults.append(f"the {name} was lost when all had been started")
    outcome.expect("DAG run", state, "success")
    [(tries,)] = shape.rows("select try_number from task_instance where run_id = %s and task_id = 'batch'", run)
    outcome.figures["tries"] = tries
    _count_workflows(outcome, shape, run, count, name="trial_batch")
    return outcome


def connections(shape: ProductionShape, count: int) -> Outcome:
    """``count`` waits on each of four connections. While all wait, three connections' servers begin to fail.

    The fourth's workflows are then completed one by one. Its delays are compared with those of the same waits alone.
    """
    outcome = Outcome(f"{count} deferred waits on each of four connections, three of which fail meanwhile")
    figures = {}
    with watching(shape, outcome):
        alone = _trigger(shape, "trial_connections_alone", waits=count)
        _wait_until_deferred(shape, "trial_connections_alone", alone, count)
        _complete(shape, alone, "well")
        shape.wait_until(lambda: _ended(shape, "trial_connections_alone", alone), PATIENCE)
        figures["alone"] = _event_delays(shape, "trial_connections_alone", alone)
        report("the fourth connection's waits have ended alone")
        run = _trigger(shape, "trial_connections", waits=count)
        _wait_until_deferred(shape, "trial_connections", run, 4 * count)
        for name, mode in MODES.items():
            shape.switches[name].to(mode)
        report("three connections fail")
        try:
            _complete(shape, run, "well")
            shape.wait_until(lambda: _states(shape, run, "well") == {"success": count}, PATIENCE)
            figures["beside them"] = _event_delays(shape, "trial_connections", run)
            # One that is unreachable or hangs ends no wait; one that answers 401 for long does.
            for name in ("dead", "hanging"):
                outcome.expect(f"{name}: tasks meanwhile", dict(_states(shape, run, name)), {"deferred": count})
            outcome.figures["refusing: tasks meanwhile"] = dict(_states(shape, run, "refusing"))
        finally:
            for name in MODES:
                shape.switches[name].to("pass")
        report("the three pass again")
        for name in MODES:
            _complete(shape, run, name, pause=0)
        shape.wait_until(lambda: _ended(shape, "trial_connections", run), PATIENCE)
    for name in ("dead", "hanging"):
        outcome.expect(f"{name}: tasks in the end", dict(_states(shape, run, name)), {"success": count})
    outcome.figures["refusing: tasks in the end"] = dict(_states(shape, run, "refusing"))
    _count_workflows(outcome, shape, run, 4 * count, name="trial_held")
    for label, delays in figures.items():
        outcome.figures[f"the fourth {label}: workflow's end to trigger's event, s"] = delays
        if delays.get("n") != count:
            outcome.faults.append(f"the fourth {label}: {delays.get('n', 0)} events, expected {count}")
    if all(figures.values()):
        one, other = figures.values()
        ratio = {key: round(other[key] / one[key], 2) for key in ("median", "p95")}
        outcome.figures["beside them, as a multiple of alone"] = ratio
    return outcome


def _wait_until_deferred(shape: ProductionShape, dag: str, run: str, count: int) -> None:
    def deferred() -> bool:
        [(found,)] = shape.rows(
            "select count(*) from task_instance where dag_id = %s and run_id = %s and state = 'deferred'",
            dag,
            run,
        )
        return bool(found == count or _ended(shape, dag, run))

    shape.wait_until(deferred, PATIENCE)


def _complete(shape: ProductionShape, run: str, task: str, pause: float = 1.0) -> None:
    """Complete the workflows of a task's map indexes, one after the other."""
    with ConductorClient(shape.conductor.api_url) as client:
        for found in _workflows(shape, "trial_held", run):
            if f":{task}:" in found["correlationId"] and found["status"] == "RUNNING":
                client.update_task_by_ref_name(found["workflowId"], "held", "COMPLETED")
                time.sleep(pause)


def _event_delays(shape: ProductionShape, dag: str, run: str) -> dict[str, float]:
    fired = {key: event.at for key, event in _events(shape, dag, run).items() if key[0] == "well"}
    return _delays(_ends(shape, run, "trial_held"), fired)


def _states(shape: ProductionShape, run: str, task: str) -> Counter[str]:
    rows = shape.rows("select state from task_instance where run_id = %s and task_id = %s", run, task)
    return Counter(row[0] for row in rows)


def _trigger(shape: ProductionShape, dag: str, **conf: Any) -> str:
    run = f"trial-{int(time.time())}"
    shape.wait_until(lambda: shape.rows("select 1 from dag where dag_id = %s", dag), 600)
    shape.airflow("dags", "trigger", dag, "--run-id", run, "--conf", json.dumps(conf))
    return run


def _ended(shape: ProductionShape, dag: str, run: str) -> str | None:
    rows = shape.rows("select state from dag_run where dag_id = %s and run_id = %s", dag, run)
    return rows[0][0] if rows and rows[0][0] in ("success", "failed") else None


def _workflows(shape: ProductionShape, name: str, run: str) -> list[dict[str, Any]]:
    """All workflows of a DAG run, in Conductor's own database."""
    return [found for found in shape.workflows(name) if run in str(found.get("correlationId"))]


def _count_workflows(outcome: Outcome, shape: ProductionShape, run: str, count: int, name: str = "trial_wait") -> None:
    found = _workflows(shape, name, run)
    outcome.expect("workflows", len(found), count)
    outcome.expect("correlation ids", len({item["correlationId"] for item in found}), count)
    outcome.expect("statuses", dict(Counter(item["status"] for item in found)), {"COMPLETED": count})


Key = tuple[str, int]
"""A task's id and its map index."""


def _ends(shape: ProductionShape, run: str, name: str = "trial_wait") -> dict[Key, datetime]:
    """When each task's workflow has ended. A correlation id ends with task id, map index and the series' first try."""
    ends = {}
    for found in _workflows(shape, name, run):
        task, index, _ = found["correlationId"].rsplit(":", 3)[1:]
        if found.get("endTime"):
            ends[task, int(index)] = datetime.fromtimestamp(found["endTime"] / 1000, UTC)
    return ends


@dataclass
class Event:
    """What the triggers' logs have of one task."""

    triggerers: list[str] = field(default_factory=list)
    """Jobs of the triggerers that ran its trigger."""
    fired: list[str] = field(default_factory=list)
    """Those that fired its event."""
    at: datetime | None = None
    """The first event."""


def _events(shape: ProductionShape, dag: str, run: str) -> dict[Key, Event]:
    events: dict[Key, Event] = {}
    folder = shape.folder / "airflow" / "logs" / f"dag_id={dag}" / f"run_id={run}"
    for log in folder.rglob("*.trigger.*.log"):
        parts = dict(part.partition("=")[::2] for part in log.relative_to(folder).parts[:-1])
        event = events.setdefault((parts["task_id"], int(parts.get("map_index", -1))), Event())
        job = re.search(r"\.trigger\.(\d+)\.log$", log.name)
        event.triggerers.append(job[1] if job else log.name)
        for line in log.read_text().splitlines():
            if "Trigger fired event" in line:
                at = datetime.fromisoformat(json.loads(line)["timestamp"].replace("Z", "+00:00"))
                event.at = min(at, event.at or at)
                event.fired.append(event.triggerers[-1])
    return events


def _delays(ends: Mapping[Key, datetime], then: Mapping[Key, datetime | None]) -> dict[str, float]:
    return spread([(at - ends[key]).total_seconds() for key, at in then.items() if at is not None and key in ends])
