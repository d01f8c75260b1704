"""The modes a wait can run in, each as Airflow runs it: a new process wherever Airflow would start one."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred, timezone

from tests.operators.airflow_standin import AIRFLOW_2, AirflowRescheduleException, context_of, sent_through_airflow

__all__ = ["ALL", "EXECUTE", "SENSOR", "Heard", "Outcome", "run_task"]

EXECUTE: dict[str, dict[str, Any]] = {
    "execute on the worker": {"deferrable": False},
    "execute deferrable": {"deferrable": True},
}
SENSOR: dict[str, dict[str, Any]] = {
    "sensor poke": {"mode": "poke", "deferrable": False},
    "sensor reschedule": {"mode": "reschedule", "deferrable": False},
    "sensor deferrable": {"deferrable": True},
}
ALL = EXECUTE | SENSOR

PATIENCE = 600


@dataclass
class Heard:
    """A logger that keeps its lines."""

    lines: list[str] = field(default_factory=list)

    def _keep(self, line: Any, *values: Any, **_: Any) -> None:
        self.lines.append(str(line) % values if values else str(line))

    debug = lambda self, *a, **k: None  # noqa: E731
    info = warning = error = exception = _keep

    @property
    def name(self) -> str:
        return "heard"

    def isEnabledFor(self, level: int) -> bool:
        return False


class _States(dict[str, Any]):
    """Airflow 3.3's task state store; earlier versions are not asked for it."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class Outcome:
    """How a task ended."""

    result: Any = None
    error: BaseException | None = None
    lines: list[str] = field(default_factory=list)
    xcoms: dict[str, Any] = field(default_factory=dict)
    deferrals: int = 0
    reschedules: int = 0
    seconds: float = 0.0

    @property
    def workflow_id(self) -> str:
        return self.xcoms["workflow_id"]

    @property
    def skipped(self) -> bool:
        return isinstance(self.error, AirflowSkipException)

    def told(self, text: str) -> str:
        """The first line with ``text`` in it; fails the test where there is none."""
        for line in self.lines:
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never told:\n" + "\n".join(self.lines) + f"\n{self.error!r}")


def run_task(
    kind: type,
    *,
    on_start: Callable[[dict[str, Any]], None] = lambda xcoms: None,
    heard: Heard | None = None,
    **arguments: Any,
) -> Outcome:
    """Run a task to its end, through deferrals and reschedules, each in a new instance of the operator."""
    if AIRFLOW_2:  # it keeps a note of who calls execute, and lays it out in the main thread alone
        from airflow.models.baseoperator import ExecutorSafeguard

        ExecutorSafeguard._sentinel.callers = {}
    heard = heard or Heard()
    loud = type(kind.__name__, (kind,), {"log": heard, "__module__": kind.__module__})
    run_id = uuid.uuid4().hex
    outcome = Outcome(lines=heard.lines)
    began = time.monotonic()

    def process() -> tuple[Any, dict[str, Any]]:
        operator = loud(**{"task_id": "wait", **arguments})
        fresh = context_of(operator, run_id=run_id, start_date=first_start)
        fresh["ti"].xcoms = outcome.xcoms
        fresh["task_state_store"] = states
        fresh["ti"].first_reschedule = first_start if outcome.reschedules else None
        return operator, fresh

    first_start = timezone.utcnow()
    states = _States()
    try:
        operator, fresh = process()
        step = partial(operator.execute, fresh)
        while True:
            assert time.monotonic() - began < PATIENCE, f"not over after {PATIENCE} s"
            try:
                outcome.result = step()
                break
            except TaskDeferred as deferral:
                outcome.deferrals += 1
                on_start(outcome.xcoms)
                event = _event_of(deferral, heard)
                operator, fresh = process()
                sent = json.loads(json.dumps(deferral.kwargs or {}))
                step = partial(operator.resume_execution, deferral.method_name, {**sent, "event": event}, fresh)
            except AirflowRescheduleException as later:
                outcome.reschedules += 1
                time.sleep(max(0.0, (later.reschedule_date - timezone.utcnow()).total_seconds()))
                operator, fresh = process()
                step = partial(operator.execute, fresh)
    except AssertionError:
        raise
    except Exception as error:
        outcome.error = error
    outcome.seconds = time.monotonic() - began
    return outcome


def _event_of(deferral: TaskDeferred, heard: Heard) -> Any:
    """What the triggerer makes of the deferral, as JSON carries it."""
    trigger = sent_through_airflow(deferral.trigger)
    trigger._log = heard

    async def collect() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(collect())
    return json.loads(json.dumps(payload))
