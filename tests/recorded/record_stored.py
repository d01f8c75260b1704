"""Records what Airflow's metadata database keeps of this version's deferred tasks, before it is released.

    .venv/airflow-2.11/bin/python -m tests.recorded.record_stored
    .venv/airflow-3.3/bin/python -m tests.recorded.record_stored

Each writes ``stored/<version>/<airflow>.json``, against the stand-in server: the row from which each trigger is made,
and for each kind of task what it is deferred with, its XComs, its entries in the task state store (Airflow 3.3), and
its workflows. Recordings of released versions are kept, never changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_provider_conductor import __version__
from airflow_provider_conductor._airflow import triggers_render_templates
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from airflow_provider_conductor.triggers import ConductorWorkflowsTrigger, ConductorWorkflowTrigger
from tests.operators.airflow_standin import context_of, deferred, refusal
from tests.recorded.airflow_rows import KIND, decrypted, next_kwargs_column, trigger_column

HERE = Path(__file__).parent / "stored"

WATCHED = "25e4c8bd-c94a-4305-96e5-916cdcd477ab"
"""The workflow that sensors wait for."""

LONG = timedelta(days=3_600)
"""A timeout that no recording outlives."""

PACK = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "SCHEDULED"}

FULL_STATE = {
    "logged": [1795441461887, ["610817b1"]],
    "warned": "610817b18f5263f3",
    "lifecycle": [1795441460000, 0, 0, 0],
    "unreachable_since": 1795441470.5,
    "refused_since": 1795441471.5,
    "pause": {
        "revision": ["RUNNING", 1795441461000],
        "started": 1795441460.0,
        "poll_interval": 5.0,
        "wake_at": 1795442061.887,
        "blind_wake_at": 1795441471.887,
    },
}
"""All that a wait keeps."""

WAIT: dict[str, Any] = {
    "conductor_conn_id": "conductor_default",
    "started_at": 1795441461.887,
    "deadline": 4400000000.5,
    "stall_timeout": LONG,
    "poll_interval": 5,
    "kill_reason": "Airflow task was killed: orders.charge run manual__2026-11-23 try 1",
    "timeout_reason": "timeout of Airflow task orders.charge run manual__2026-11-23 try 1",
}

TRIGGERS = {
    "workflow, empty": lambda: ConductorWorkflowTrigger(workflow_id=WATCHED),
    "workflow, full": lambda: ConductorWorkflowTrigger(
        workflow_id=WATCHED,
        wait_until_task_ref="pack",
        wait_until_task_status=["COMPLETED", "SKIPPED"],
        exponential_backoff=True,
        max_wait=600.0,
        state=FULL_STATE,
        **WAIT,
    ),
    "batch, empty": lambda: ConductorWorkflowsTrigger(workflow_ids=[WATCHED]),
    "batch, full": lambda: ConductorWorkflowsTrigger(workflow_ids=[WATCHED], more=True, max_active=100, **WAIT),
}


def execute() -> Any:
    return ConductorExecuteWorkflowOperator(
        task_id="execute",
        workflow_name="orders",
        workflow_input={"order": 1},
        wait_for_seconds=0.2,
        timeout=LONG,
        stall_timeout=LONG,
        deferrable=True,
        retries=2,
    )


def sensor() -> Any:
    return ConductorWorkflowSensor(
        task_id="sense", workflow_id=WATCHED, return_output=True, timeout=LONG.total_seconds(), deferrable=True
    )


def batch() -> Any:
    return ConductorExecuteWorkflowsOperator(
        task_id="fulfil",
        workflow_name="orders",
        workflow_inputs=[{"order": number} for number in range(5)],
        max_active=2,
        failure_policy="all",
        wait_for_seconds=4,
        timeout=LONG,
        stall_timeout=LONG,
        deferrable=True,
        retries=2,
    )


TASKS: dict[str, Callable[[], Any]] = {
    "execute": execute,
    "sensor": sensor,
    "batch": batch,
}


def begins(**more: Any) -> Any:
    """A sensor that begins in the triggerer."""
    timeout = LONG.total_seconds()
    return ConductorWorkflowSensor(
        **{"task_id": "sense", "workflow_id": WATCHED, "timeout": timeout, "start_from_trigger": True, **more}
    )


BEGUN: dict[str, Callable[[], Any]] = {
    "sensor, empty": begins,
    "sensor, full": lambda: begins(
        workflow_id="{{ ti.xcom_pull(task_ids='start') }}",
        stall_timeout=LONG,
        poke_interval=5,
        exponential_backoff=True,
        max_wait=timedelta(minutes=10),
        cancel_on_kill=True,
    ),
    "sensor of a task": lambda: ConductorTaskSensor(
        task_id="sense",
        workflow_id=WATCHED,
        task_reference_name="pack",
        timeout=LONG.total_seconds(),
        start_from_trigger=True,
    ),
}


class Store:
    """Airflow 3.3's task state store."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


def watched(conductor: ConductorStandIn) -> dict[str, Any]:
    """Add the workflow that sensors wait for."""
    added = conductor.workflows.pop(conductor.add(tasks=[PACK]))
    conductor.workflows[WATCHED] = {**added, "workflowId": WATCHED}
    return conductor.workflows[WATCHED]


def stored_of_task(task: Any, conductor: ConductorStandIn) -> dict[str, Any]:
    """What is kept when the task is deferred."""
    context = context_of(task)
    store = context["task_state_store"] = Store({})
    deferral = deferred(task, context)
    return {
        "trigger": {"classpath": deferral.trigger.serialize()[0], "kwargs": trigger_column(deferral.trigger)},
        "next_method": deferral.method_name,
        "next_kwargs": next_kwargs_column(deferral.kwargs or {}),
        "xcom": context["ti"].xcoms,
        "task_state_store": store.values,
        "workflows": {workflow_id: conductor._current(workflow_id) for workflow_id in conductor.workflows},
    }


def stored_of_beginning(sensor: Any) -> dict[str, Any]:
    """The row of a trigger that the scheduler has made from the serialised DAG."""
    from airflow.models.trigger import Trigger
    from airflow.serialization.serialized_objects import _decode_start_trigger_args, _encode_start_trigger_args

    start = _decode_start_trigger_args(json.loads(json.dumps(_encode_start_trigger_args(sensor.start_trigger_args))))
    row = Trigger(classpath=start.trigger_cls, kwargs=start.trigger_kwargs)
    return {"classpath": row.classpath, "kwargs": decrypted(row), "next_method": start.next_method}


def refused(request: Request) -> tuple[int, str, bytes] | None:
    """The server does not take the second order."""
    if (request.method, request.path) == ("POST", "/workflow") and request.body["input"] == {"order": 1}:
        return refusal(400, "no such order")
    return None


def record() -> dict[str, Any]:
    """All recordings of this Airflow."""
    tasks = {}
    for name, task in TASKS.items():
        with ConductorStandIn() as conductor:
            os.environ["AIRFLOW_CONN_CONDUCTOR_DEFAULT"] = conductor.connection_uri()
            if name == "sensor":
                watched(conductor)
            if name == "batch":
                conductor.instead = refused
            done = {0: Script(output={"shipped": 0})}
            conductor.script("orders", lambda given, done=done: done.get(given["order"], Script(after=None)))
            tasks[name] = stored_of_task(task(), conductor)
    triggers: dict[str, Any] = {}
    for name, make in TRIGGERS.items():
        trigger = make()
        triggers[name] = {"classpath": trigger.serialize()[0], "kwargs": trigger_column(trigger)}
    begun = {name: stored_of_beginning(make()) for name, make in BEGUN.items()} if triggers_render_templates() else {}
    return {"triggers": triggers, "tasks": tasks, "begun in the triggerer": begun}


def main() -> None:
    target = HERE / __version__ / f"{KIND}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record(), indent=1) + "\n")


if __name__ == "__main__":
    main()
