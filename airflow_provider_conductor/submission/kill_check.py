"""Sending nothing more for a killed task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_conductor.submission.errors import TaskKilledError

if TYPE_CHECKING:
    from airflow_provider_conductor.client.flow import Flow, T


def unless_killed(flow: Flow[T], killed: Callable[[], bool]) -> Flow[T]:
    """Run a flow for as long as its task lives: ``killed`` is called before each of its steps.

    Airflow 3 calls ``on_kill`` and then lets the task run for some seconds. No start, retry or restart may be sent in
    them. The answer to a request that was under way still reaches the flow.

    Raises:
        TaskKilledError: in place of the next step.
    """
    from airflow_provider_conductor.client.flow import Steps

    try:
        for step in (steps := Steps(flow)):
            if killed():
                raise TaskKilledError
            with steps:
                steps.reply = yield step
        return steps.result
    finally:
        flow.close()
