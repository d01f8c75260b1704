"""The trigger of an asset watcher: an event for each end of certain workflows, for as long as the asset is watched.

A DAG file makes one, so what it needs to run is imported where it runs.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_conductor._airflow import events_are_confirmed, watchers_exist
from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.statuses import WorkflowStatus
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.polling.durations import seconds

POLL_INTERVAL = 10.0
INDEX_LAG = 60.0
CATCH_UP = timedelta(days=1)

MAX_OUTPUT_BYTES = 10_000
"""Bytes of an output, as JSON, that goes into an event unless configured otherwise."""

ENDED = tuple(status for status in WorkflowStatus if status.ended)

_instances: WeakValueDictionary[str, ConductorWorkflowEventTrigger] = WeakValueDictionary()
"""The triggers of this process by their arguments: Airflow makes the producer of a stream from those alone."""


class ConductorWorkflowEventTrigger(BaseEventTrigger):
    """Updates an asset at each end of a workflow, as the trigger of an ``AssetWatcher`` (Airflow 3).

    ::

        trigger = ConductorWorkflowEventTrigger(workflow_name="orders")
        orders = Asset("orders", watchers=[AssetWatcher(name="ends", trigger=trigger)])

    All watchers of a connection in one triggerer share one search.

    Args:
        workflow_name: the workflow's name, or a list of names.
        workflow_name_prefix: in place of it, how the names begin.
        status: the status, or a list of those, that a workflow must end with.
        correlation_id: only workflows with this one.
        include_sub_workflows: whether the end of a sub-workflow counts.
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        poll_interval: seconds (or timedelta) between two searches; a connection's shortest one is that of all.
        index_lag: seconds (or timedelta) by which the search index may show an end later than others.
        catch_up: seconds (or timedelta) of ends that are reported after the triggerer was away.
        max_output_bytes: an output up to this size, as JSON, is part of the event.
        asset_name: distinguishes the triggers of several assets that watch the same workflows.

    Raises:
        ConductorInputError: an argument that cannot be used, or an Airflow without asset watchers.
    """

    def __init__(
        self,
        *,
        workflow_name: str | Sequence[str] | None = None,
        workflow_name_prefix: str | None = None,
        status: str | Sequence[str] = WorkflowStatus.COMPLETED,
        correlation_id: str | None = None,
        include_sub_workflows: bool = False,
        conductor_conn_id: str = DEFAULT_CONNECTION_ID,
        poll_interval: float | timedelta = POLL_INTERVAL,
        index_lag: float | timedelta = INDEX_LAG,
        catch_up: float | timedelta = CATCH_UP,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        asset_name: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not watchers_exist():
            raise ConductorInputError(
                "a DAG cannot be scheduled by the end of a workflow on this Airflow: asset watchers came with Airflow "
                "3.0. Use a DAG with ConductorWorkflowSensor, or upgrade Airflow"
            )
        self.workflow_name = (
            workflow_name if workflow_name is None or isinstance(workflow_name, str) else [*workflow_name]
        )
        self.workflow_name_prefix = workflow_name_prefix
        self.status = str(status) if isinstance(status, str) else [str(item) for item in status]
        self.correlation_id = correlation_id
        self.include_sub_workflows = include_sub_workflows
        self.conductor_conn_id = conductor_conn_id
        self.poll_interval = _positive(poll_interval, "poll_interval")
        self.index_lag = _positive(index_lag, "index_lag")
        self.catch_up = _positive(catch_up, "catch_up")
        self.max_output_bytes = max_output_bytes
        self.asset_name = asset_name
        _check_names(self.names, workflow_name, workflow_name_prefix)
        if not self.statuses or not set(self.statuses) <= set(ENDED):
            raise ConductorInputError(f"status takes one or more of {', '.join(ENDED)}, not {status!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the workflows; empty if they are given by their prefix."""
        return _several(self.workflow_name)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses that a workflow must end with."""
        return _several(self.status)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's public path, and the arguments that watch the same in another triggerer."""
        names = (
            *("workflow_name", "workflow_name_prefix", "status", "correlation_id", "include_sub_workflows"),
            *("conductor_conn_id", "poll_interval", "index_lag", "catch_up", "max_output_bytes", "asset_name"),
        )
        return (
            "airflow_provider_conductor.triggers.ConductorWorkflowEventTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Before Airflow 3.3, which has nowhere to keep a position: what ends while no triggerer runs is missed."""
        from airflow_provider_conductor.triggers.event_inbox import EventInbox

        async with EventInbox(self) as inbox:
            while True:
                end = await inbox.get()
                yield TriggerEvent(inbox.confirm(end))

    def shared_stream_key(self) -> str | None:
        """From Airflow 3.3 on, a stream of the trigger's own: Airflow confirms to streams what it has stored."""
        if not events_are_confirmed() or self.asset_state_store is None:
            return None
        key = _key(self.serialize()[1])
        _instances[key] = self
        return key

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        from airflow_provider_conductor.triggers.event_inbox import ConfirmedEvents

        trigger = _instances[_key(kwargs)]
        return ConfirmedEvents(trigger, trigger.asset_state_store)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        async for event in shared_stream:
            yield TriggerEvent(event)


def _key(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True, default=str)


def _positive(value: float | timedelta, name: str) -> float:
    found = seconds(value, name)
    if found is None:
        raise ConductorInputError(f"{name} takes a number of seconds or a timedelta, not None")
    return found


def _several(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _check_names(names: Sequence[str], workflow_name: Any, prefix: Any) -> None:
    if bool(names) == bool(prefix) or not all(isinstance(name, str) and name for name in (*names, prefix or "-")):
        raise ConductorInputError(
            "name the workflows by workflow_name, a text or a list of texts, or by workflow_name_prefix, not by both; "
            f"workflow_name is {workflow_name!r}, workflow_name_prefix {prefix!r}"
        )
