"""The columns of Airflow's database that keep a deferred task, written and read as the Airflow here does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from airflow import __version__ as airflow_version
from airflow.models.crypto import get_fernet
from airflow.models.trigger import Trigger
from airflow.triggers.base import BaseTrigger

from tests.operators.airflow_standin import AIRFLOW_2, AIRFLOW_SERIALISES_TRIGGERS

KIND = "airflow-2.11" if AIRFLOW_2 else "airflow-3.3"
"""Which recordings this Airflow reads. Those of 3.3 are plain JSON, from which 3.0 to 3.2 make their own columns."""

AS_RECORDED = airflow_version.startswith(("2.", "3.3."))
"""Whether the columns here are those of a recording."""


def trigger_column(trigger: BaseTrigger) -> dict[str, Any]:
    """``trigger.kwargs``, decrypted, when a worker has deferred its task to this trigger."""
    classpath, kwargs = trigger.serialize()
    if AIRFLOW_SERIALISES_TRIGGERS:  # the worker does, and the API server stores what it sends
        from airflow.sdk.serde import serialize

        return dict(json.loads(json.dumps(serialize(kwargs))))
    return decrypted(Trigger(classpath=classpath, kwargs=kwargs))


def decrypted(row: Trigger) -> dict[str, Any]:
    """``trigger.kwargs`` of a row."""
    return dict(json.loads(get_fernet().decrypt(row.encrypted_kwargs.encode())))


def trigger_from(classpath: str, column: Mapping[str, Any]) -> Any:
    """The trigger that a triggerer makes of a row."""
    row = Trigger(classpath=classpath, kwargs={} if AS_RECORDED else dict(column))
    if AS_RECORDED:
        row.encrypted_kwargs = get_fernet().encrypt(json.dumps(column).encode()).decode()
    kwargs = row.kwargs
    if find_spec("airflow.serialization.decoders"):  # from Airflow 3.2 on
        from airflow.serialization.decoders import smart_decode_trigger_kwargs

        kwargs = {name: smart_decode_trigger_kwargs(value) for name, value in kwargs.items()}
    elif not AIRFLOW_2:
        from airflow.serialization.serialized_objects import smart_decode_trigger_kwargs

        kwargs = smart_decode_trigger_kwargs(kwargs)
    module, _, name = row.classpath.rpartition(".")
    return getattr(import_module(module), name)(**kwargs)


def next_kwargs_column(kwargs: Mapping[str, Any]) -> Any:
    """``task_instance.next_kwargs``, with which the task is resumed."""
    return json.loads(json.dumps(_serialize(dict(kwargs))))


def next_kwargs_from(column: Any, event: Mapping[str, Any]) -> dict[str, Any]:
    """What the task is resumed with after this event, which Airflow adds to the column."""
    kwargs = _deserialize(column)
    return dict(_deserialize(json.loads(json.dumps(_serialize({**kwargs, "event": event})))))


def _serialize(value: Any) -> Any:
    if AIRFLOW_2:
        from airflow.serialization.serialized_objects import BaseSerialization

        return BaseSerialization.serialize(value)
    if AIRFLOW_SERIALISES_TRIGGERS:
        from airflow.sdk.serde import serialize

        return serialize(value)
    return value


def _deserialize(value: Any) -> Any:
    if AIRFLOW_2:
        from airflow.serialization.serialized_objects import BaseSerialization

        return BaseSerialization.deserialize(value)
    if AIRFLOW_SERIALISES_TRIGGERS:
        from airflow.sdk.serde import deserialize

        return deserialize(value)
    return value
