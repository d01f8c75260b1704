"""What a server can do, found out once per connection, and what to do instead where it cannot.

Netflix's last release (3.13.8) has neither ``/execute`` nor ``/status`` nor ``bulk/search``; ``/execute`` is absent
up to 3.21.18, ``/status`` up to 3.31.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorInputError, ConductorMissingRouteError
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.models import TaskStatus, Workflow

__all__ = ["Capabilities", "execute", "read_status"]

FIRST_LOOK = 0.1
"""Seconds; a server's own hold re-reads the workflow as often (every 100 ms on 3.32)."""

LONGEST_LOOK = 1.0
"""Seconds between looks while somebody holds the line for the result."""


@dataclass(slots=True)
class Capabilities:
    """Which optional endpoints the server turned out to lack."""

    execute: bool = True
    status: bool = True


def read_status(
    capabilities: Capabilities, workflow_id: str, *, include_output: bool = False, include_variables: bool = False
) -> Flow[Workflow]:
    """The workflow's status by ``/status``, or by a ``get`` without tasks where the server has none."""
    if capabilities.status:
        try:
            return (
                yield from ask(
                    endpoints.get_workflow_status(
                        workflow_id, include_output=include_output, include_variables=include_variables
                    )
                )
            )
        except ConductorMissingRouteError:
            capabilities.status = False
    return (yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False)))


def execute(
    capabilities: Capabilities,
    body: dict[str, Any],
    *,
    request_id: str | None,
    wait_until_task_ref: str | None,
    wait_for_seconds: float,
) -> Flow[Workflow]:
    """Start, wait up to ``wait_for_seconds`` for the end (or that task's), return the workflow as it then is.

    The first 25 s at most are a hold of the server's; after that, or where the server has no ``/execute``, the
    workflow is looked at.
    """
    if not 0 <= wait_for_seconds < math.inf:  # NaN is not, either
        raise ConductorInputError(
            f"wait_for_seconds must be a number from 0 on, not {wait_for_seconds}: nothing was sent"
        )
    deadline = (yield from current_time()) + wait_for_seconds
    workflow_id = None
    if capabilities.execute and wait_for_seconds >= 1:
        try:
            workflow = yield from ask(
                endpoints.execute_workflow(
                    body,
                    request_id=request_id,
                    wait_until_task_ref=wait_until_task_ref,
                    hold_seconds=min(wait_for_seconds, endpoints.MAX_HOLD_SECONDS),
                )
            )
            workflow_id = workflow.workflow_id
            if reached(workflow, wait_until_task_ref):
                return workflow
        except ConductorMissingRouteError:
            capabilities.execute = False
    if workflow_id is None:
        workflow_id = yield from ask(endpoints.start_workflow(body))
    pause = FIRST_LOOK
    while True:
        workflow = yield from ask(endpoints.get_workflow(workflow_id))
        now = yield from current_time()
        if reached(workflow, wait_until_task_ref) or now >= deadline:
            return workflow
        yield from sleep(min(pause, max(0.0, deadline - now)))
        pause = min(pause * 1.2, LONGEST_LOOK)


def reached(workflow: Workflow, task_ref: str | None) -> bool:
    """Whether the workflow, or that task, has ended; a failed attempt that is tried again is not the task's end."""
    if workflow.status.ended:
        return True
    task = workflow.latest_attempt(task_ref) if task_ref else None
    status = task.known_status if task is not None else None
    if task is None or status is None or not status.ended or task.retried:
        return False
    final = status.successful or status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    return final or task.max_attempts is None or task.retry_count + 1 >= task.max_attempts
