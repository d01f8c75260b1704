"""Stopping what a killed task is about to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_conductor.client.flow import Flow, T

__all__ = ["TaskKilledError", "unless_killed"]


class TaskKilledError(Exception):
    """The Airflow task was killed, and nothing more was sent for it."""


def unless_killed(flow: Flow[T], killed: Callable[[], bool]) -> Flow[T]:
    """The flow, as long as its task lives: before each of its steps ``killed`` is asked.

    Airflow 3 calls ``on_kill`` and then lets the task go on for some seconds. In these no start, retry or restart may
    be sent. The answer to a request that was under way is still handed to the flow.

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
