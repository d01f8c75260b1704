"""Sending nothing more for a killed task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.submission.errors import TaskKilledError

if TYPE_CHECKING:
    from airflow_provider_conductor.client.flow import Flow, T

__all__ = ["unless_killed"]


def unless_killed(flow: Flow[T], killed: Callable[[], bool]) -> Flow[T]:
    """Run a flow for as long as its task lives: ``killed`` is called before each of its steps.

    Airflow 3 calls ``on_kill`` and then lets the task run for some seconds. No start, retry or restart may be sent in
    them. The answer to a request that was under way still reaches the flow.

    Raises:
        TaskKilledError: in place of the next step.
    """
    answer: Any = None
    failure: Exception | None = None
    try:
        while True:
            try:
                step = flow.send(answer) if failure is None else flow.throw(failure)
            except StopIteration as ended:
                result: T = ended.value
                return result
            if killed():
                raise TaskKilledError
            answer, failure = None, None
            try:
                answer = yield step
            except Exception as error:
                failure = error
    finally:
        flow.close()
