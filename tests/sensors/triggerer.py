"""What Airflow does with a sensor that begins in the triggerer, without a database."""

from __future__ import annotations

import json
import pkgutil
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import patch

from airflow.providers.common.compat.sdk import timezone

from airflow_provider_conductor._airflow import triggers_render_templates
from airflow_provider_conductor.triggers import sensor as module
from tests.operators.airflow_standin import first_event, run

__all__ = ["TaskInstanceInTriggerer", "run_anywhere", "trigger_of"]


@dataclass
class TaskInstanceInTriggerer:
    """The task instance as a trigger has it: without its start. ``ti`` is the one on a worker."""

    ti: Any
    task: Any

    def __getattr__(self, name: str) -> Any:
        if name in ("dag_id", "task_id", "run_id", "map_index", "try_number"):
            return getattr(self.ti, name)
        raise AttributeError(name)


async def push_xcom(ti: Any, key: str, value: Any) -> None:
    """XCom, without Airflow's supervisor."""
    ti.ti.xcom_push(key, value)


def trigger_of(sensor: Any, context: dict[str, Any], times_out_at: datetime | None = None) -> Any:
    """The sensor's trigger, as a triggerer makes it from the serialised DAG and the metadata database's rows."""
    from airflow.models.trigger import Trigger
    from airflow.serialization.decoders import smart_decode_trigger_kwargs
    from airflow.serialization.serialized_objects import _decode_start_trigger_args, _encode_start_trigger_args

    start = _decode_start_trigger_args(json.loads(json.dumps(_encode_start_trigger_args(sensor.start_trigger_args))))
    kwargs = Trigger._decrypt_kwargs(Trigger(classpath=start.trigger_cls, kwargs=start.trigger_kwargs).encrypted_kwargs)
    trigger = pkgutil.resolve_name(start.trigger_cls)(**{k: smart_decode_trigger_kwargs(v) for k, v in kwargs.items()})
    trigger.task_instance = TaskInstanceInTriggerer(context["ti"], sensor)
    if times_out_at is None:
        times_out_at = context["ti"].start_date + start.timeout
        if sensor.execution_timeout:
            times_out_at = min(times_out_at, context["ti"].start_date + sensor.execution_timeout)
    trigger.timeout_after = times_out_at
    trigger.render_template_fields(context)
    return trigger


def run_anywhere(sensor: Any, context: dict[str, Any]) -> Any:
    """Run a task to its end, from the triggerer on if it begins there."""
    if not sensor.start_from_trigger:
        return run(sensor, context)
    assert triggers_render_templates()
    context["ti"].start_date = timezone.utcnow()
    with patch.object(module, "push_xcom", push_xcom):
        event = first_event(trigger_of(sensor, context))
    return sensor.resume_execution(sensor.start_trigger_args.next_method, {"event": event}, context)
