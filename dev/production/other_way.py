"""The other way round: workflows that run DAGs, and ends of workflows that schedule them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.dag_runs.report import run_id_of
from airflow_provider_conductor.triggers.event_inbox import AT_ONCE
from dev.production.outcome import Outcome, report, watching
from dev.production.shape import ProductionShape
from dev.production.trial import PATIENCE, conductor_lost, lost, moved, restarted

__all__ = ["ends", "steps"]

SETTLED = 30.0
"""Seconds in which an event that comes twice comes the second time: three times the asset's poll interval."""


def steps(shape: ProductionShape, count: int) -> Outcome:
    """``count`` workflows of one ``airflow_dag`` task, two workers; what they need is lost once in the middle."""
    outcome = Outcome(f"{count} workflows that run a DAG each")
    workers = ("dag-worker1", "dag-worker2")

    def api_server_lost() -> None:
        shape.kill("api-server")
        time.sleep(10)
        shape.start("api-server")

    disturbances: list[tuple[str, Callable[[], None]]] = [
        ("a worker of DAG runs SIGKILLed", lost(shape, workers[0])),
        ("Airflow's API server SIGKILLed, away for 10 s and its start", api_server_lost),
        ("Conductor SIGKILLed, away for 20 s and its start", conductor_lost(shape)),
        ("the other worker of DAG runs SIGKILLed", lost(shape, workers[1])),
        ("Airflow's PostgreSQL restarted", restarted(shape.airflow_database)),
        ("Conductor's database restarted", restarted(shape.conductor_database)),
    ]
    shape.wait_until(lambda: shape.rows("select 1 from dag where dag_id = 'trial_step'"), 600)
    for name in workers:
        shape.start(name)
    with watching(shape, outcome), ConductorClient(shape.conductor.api_url) as client:
        started = [client.start_workflow_by_name("trial_steps", {"number": number}) for number in range(count)]
        for number, (label, disturb) in enumerate(disturbances, 1):
            wanted = count * number // (len(disturbances) + 1)
            shape.wait_until(lambda wanted=wanted: _by_status(shape, "trial_steps")["COMPLETED"] >= wanted, PATIENCE)  # type: ignore[misc]
            found = _by_status(shape, "trial_steps")["COMPLETED"]
            report(f"{label}, with {found} workflows completed")
            outcome.figures[f"workflows completed when: {label}"] = found
            disturb()
        shape.wait_until(lambda: not _by_status(shape, "trial_steps")["RUNNING"], PATIENCE)
        workflows = [client.get_workflow(workflow_id) for workflow_id in started]
    for name in workers:
        shape.kill(name)
    outcome.expect("workflows", dict(Counter(str(each.status) for each in workflows)), {"COMPLETED": count})
    answers = [(each.tasks[-1].output.get("xcoms"), each.input["number"]) for each in workflows]
    wrong = [xcoms for xcoms, number in answers if xcoms != {"answer": number}]
    outcome.expect("tasks without the XCom of their own run", len(wrong), 0)
    expected = {run_id_of(task.task_id) for each in workflows for task in each.tasks}
    runs = shape.rows("select run_id, state from dag_run where dag_id = 'trial_step'")
    outcome.expect("DAG runs", dict(Counter(state for _, state in runs)), {"success": count})
    outcome.expect("DAG runs that are no task's, or tasks without one", len({run for run, _ in runs} ^ expected), 0)
    return outcome


def ends(shape: ProductionShape, count: int) -> Outcome:
    """``count`` workflows that end at once and schedule a DAG, two triggerers; what it needs is lost in the middle."""
    outcome = Outcome(f"{count} ends of workflows that schedule a DAG")
    disturbances: list[tuple[str, Callable[[], None]]] = [
        ("triggerer SIGKILLed", lost(shape, "triggerer1")),
        ("the other triggerer SIGKILLed", lost(shape, "triggerer2")),
        ("scheduler SIGKILLed", lost(shape, "scheduler")),
        ("Conductor SIGKILLed, away for 20 s and its start", conductor_lost(shape)),
        ("triggerer stopped past its health threshold, then continued", moved(shape, "triggerer1")),
        ("the other one so", moved(shape, "triggerer2")),
        ("Airflow's PostgreSQL restarted", restarted(shape.airflow_database)),
    ]
    part = count // (len(disturbances) + 1)
    with watching(shape, outcome), ConductorClient(shape.conductor.api_url) as client:
        shape.wait_until(lambda: shape.rows("select 1 from asset_state_store"), 600)
        started: set[str] = set()

        def end_some() -> None:
            started.update(client.start_workflow_by_name("trial_end", {"number": number}) for number in range(part))

        def all_are_there() -> bool:
            return {event["workflow_id"] for event in _events(shape)} >= started

        for label, disturb in disturbances:
            before = len(_events(shape))
            end_some()
            shape.wait_until(lambda before=before: len(_events(shape)) > before, PATIENCE)  # type: ignore[misc]
            report(f"{label}, with {len(_events(shape))} events of {len(started)} ends")
            disturb()
        end_some()
        shape.wait_until(all_are_there, PATIENCE)
        time.sleep(SETTLED)
        # Airflow may leave an event that comes while it makes a run to the run after the next event.
        started.add(client.start_workflow_by_name("trial_end", {"number": -1}))
        shape.wait_until(all_are_there, PATIENCE)
        expected = {event["event_id"] for event in _events(shape)}
        shape.wait_until(lambda: _noted(shape) >= expected, PATIENCE)
    times = Counter(event["event_id"] for event in _events(shape))
    outcome.expect("ends without an event", len(started - {event["workflow_id"] for event in _events(shape)}), 0)
    outcome.expect("ends with an event each", len(times), len(started))
    repeated = sum(number - 1 for number in times.values())
    outcome.figures["events that came twice"] = sum(number == 2 for number in times.values())
    outcome.figures["events that came more often"] = sum(number > 2 for number in times.values())
    # What Airflow had not confirmed when a triggerer lost its triggers comes again.
    allowed = AT_ONCE * len(disturbances)
    outcome.expect(f"repeated events beyond {AT_ONCE} for each loss", max(0, repeated - allowed), 0)
    outcome.expect("ends that no DAG run has read", len(expected - _noted(shape)), 0)
    runs = shape.rows("select state, count(*) from dag_run where dag_id = 'trial_ends' group by state")
    outcome.figures["DAG runs"] = dict(runs)
    return outcome


def _by_status(shape: ProductionShape, name: str) -> Counter[str]:
    return Counter(found["status"] for found in shape.workflows(name))


def _events(shape: ProductionShape) -> list[dict[str, Any]]:
    """What the trial's asset has got."""
    rows = shape.rows(
        "select e.extra from asset_event e join asset a on a.id = e.asset_id where a.name like %s",
        "%/workflow/trial_end",
    )
    return [(extra if isinstance(extra, dict) else json.loads(extra))["payload"] for (extra,) in rows]


def _noted(shape: ProductionShape) -> set[str]:
    """The ids of events that DAG runs have read."""
    rows = shape.rows("select value from xcom where dag_id = 'trial_ends' and key = 'return_value'")
    values = [json.loads(value) if isinstance(value, str) else value for (value,) in rows]
    return {event for value in values for event in (json.loads(value) if isinstance(value, str) else value)}
