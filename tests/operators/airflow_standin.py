"""What Airflow does around a task, without a database: a context to run in, deferring, rescheduling."""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import TaskDeferred, timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:
    from airflow.exceptions import AirflowRescheduleException

Error = TypeVar("Error", bound=BaseException)

AIRFLOW_2 = airflow_version.startswith("2.")
AIRFLOW_SERIALISES_TRIGGERS = not airflow_version.startswith(("2.", "3.0.", "3.1."))
"""Before 3.2 a worker sends a trigger's arguments as plain JSON."""

_first_pokes: dict[str, datetime] = {}
"""Run id → when its task has begun: 2.11 reads that of a rescheduled sensor in the metadata database."""

if AIRFLOW_2:
    import airflow.sensors.base

    airflow.sensors.base._orig_start_date = lambda *, run_id, **_: _first_pokes[run_id]


@dataclass
class TaskInstanceStandIn:
    """A task instance on a worker. ``journal``, shared with the server, shows what came before what."""

    task: Any
    journal: list[str] = field(default_factory=list)
    dag_id: str = "nightly_orders"
    run_id: str = "scheduled__2026-01-01T00:00:00+00:00"
    map_index: int = -1
    try_number: int = 1
    start_date: datetime = field(default_factory=timezone.utcnow)
    first_reschedule: datetime | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)

    @property
    def task_id(self) -> str:
        return self.task.task_id

    @property
    def max_tries(self) -> int:
        return self.task.retries

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        assert value is not None, "the API of Airflow 3.0 refuses it"
        self.xcoms[key] = value
        self.journal.append(f"xcom {key}")

    def xcom_pull(self, task_ids: Any = None, key: str = "return_value", **_: Any) -> Any:
        return self.xcoms.get(key)

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.first_reschedule


def context_of(task: Any, journal: list[str] | None = None, **ti: Any) -> dict[str, Any]:
    """The context a task runs in."""
    instance = TaskInstanceStandIn(task, [] if journal is None else journal, **ti)
    _first_pokes[instance.run_id] = instance.start_date
    began = timezone.utcnow()
    dag_run = SimpleNamespace(
        dag_id=instance.dag_id, run_id=instance.run_id, start_date=began, logical_date=began, queued_at=began, conf={}
    )
    return {
        "ti": instance,
        "task_instance": instance,
        "task": task,
        "dag": SimpleNamespace(dag_id=instance.dag_id),
        "dag_run": dag_run,
        "run_id": instance.run_id,
        "logical_date": began,
        "params": {},
    }


def sent_through_airflow(trigger: BaseTrigger) -> BaseTrigger:
    """The trigger as the triggerer gets it: through the worker's serialiser, JSON, and the metadata database's row."""
    from airflow.models.trigger import Trigger

    classpath, kwargs = trigger.serialize()
    if AIRFLOW_SERIALISES_TRIGGERS:
        from airflow.sdk.serde import deserialize, serialize

        kwargs = deserialize(json.loads(json.dumps(serialize(kwargs))))
    elif not AIRFLOW_2:
        kwargs = json.loads(json.dumps(kwargs))
    row = Trigger(classpath=classpath, kwargs=kwargs)
    module, _, name = row.classpath.rpartition(".")
    return getattr(importlib.import_module(module), name)(**row.kwargs)


TRIGGER_PATIENCE = 900
"""Seconds for a trigger to fire: one that never does fails its test, and holds up no others."""


def first_event(trigger: BaseTrigger) -> Any:
    """The payload of the trigger's one event, as JSON carries it; a second event is an error."""

    async def collect() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    (event,) = asyncio.run(asyncio.wait_for(collect(), TRIGGER_PATIENCE))
    return json.loads(json.dumps(event.payload))


def deferred(task: Any, context: dict[str, Any]) -> TaskDeferred:
    """What the task is deferred with."""
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context)
    return deferral.value


def resume(task: Any, context: dict[str, Any], deferral: TaskDeferred, event: Any = None) -> Any:
    """Resume a task with this event, or else with that of its trigger; returns its result or raises its error."""
    event = event or first_event(sent_through_airflow(deferral.trigger))
    stored = json.loads(json.dumps(deferral.kwargs or {}))
    return task.resume_execution(deferral.method_name, {**stored, "event": event}, context)


def refusal(status: int, message: str) -> tuple[int, str, bytes]:
    """An answer of Conductor's that refuses a request."""
    return status, "application/json", json.dumps({"message": message, "status": status, "retryable": False}).encode()


def run(task: Any, context: dict[str, Any], patience: float = 180, deferrals: list[TaskDeferred] | None = None) -> Any:
    """Run a task to its end, through deferrals and reschedules; returns its result or raises its error."""
    give_up = time.monotonic() + patience
    step: Callable[[], Any] = partial(task.execute, context)
    while time.monotonic() < give_up:
        try:
            return step()
        except TaskDeferred as deferral:
            if deferrals is not None:
                deferrals.append(deferral)
            step = partial(resume, task, context, deferral)
        except AirflowRescheduleException as later:
            ti = context["ti"]
            ti.first_reschedule = ti.first_reschedule or ti.start_date
            time.sleep(max(0.0, (later.reschedule_date - timezone.utcnow()).total_seconds()))
    raise AssertionError("the task did not come to an end")


def result(task: Any, **ti: Any) -> Any:
    """What the task returns."""
    return run(task, context_of(task, **ti))


def error_of(task: Any, kind: type[Error] | tuple[type[Error], ...], match: str = "", **ti: Any) -> Error:
    """The error of this kind that the task raises."""
    with pytest.raises(kind, match=match) as raised:
        run(task, context_of(task, **ti))
    return raised.value


def in_a_thread(body: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Run this beside the test, which goes on; its error, if any, will be in the list."""
    errors: list[BaseException] = []

    def caught() -> None:
        if AIRFLOW_2:  # whose guard against nested operators expects the main thread
            from airflow.models.baseoperator import ExecutorSafeguard

            ExecutorSafeguard._sentinel.callers = {}
        try:
            body()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=caught, daemon=True)
    thread.start()
    return thread, errors
