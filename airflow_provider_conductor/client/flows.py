"""Operations that take several requests: a fallback for older servers, a hold, many workflows.

Netflix's last release (3.13.8) has neither ``/execute`` nor ``/status`` nor ``bulk/search``; ``/execute`` is absent
up to 3.21.18, ``/status`` up to 3.31.0. A client finds out once what its server has.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorInputError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.models import StartWorkflowRequest, TaskStatus, Workflow

READ_AT_ONCE = 100
"""Workflows in one answer: with outputs of 50 kB each it has 5 MB."""

LOOKUP_PAUSES = (0.0, 1.0, 2.0)
"""Seconds before each look-up by correlation id that may miss what exists: an index takes a moment to show it."""

FIRST_PAUSE = 0.1
"""Seconds before the second poll; a server's own hold reads the workflow as often (every 100 ms on 3.32)."""

LONGEST_PAUSE = 1.0
"""Seconds between two polls while a caller blocks on the result."""


@dataclass(slots=True)
class Capabilities:
    """The optional endpoints that the server may have: True until it turns out to lack one."""

    execute: bool = True
    status: bool = True


def get_workflow_status(
    capabilities: Capabilities, workflow_id: str, include_output: bool = False, include_variables: bool = False
) -> Flow[Workflow]:
    """Read the status, without tasks; servers without ``/status`` answer with the whole execution without tasks."""
    if capabilities.status:
        try:
            return (yield from ask(endpoints.get_workflow_status(workflow_id, include_output, include_variables)))
        except ConductorMissingRouteError:
            capabilities.status = False
    return (yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False)))


def execute_workflow(
    capabilities: Capabilities,
    request: StartWorkflowRequest | Mapping[str, Any] | Any,
    request_id: str | None = None,
    workflow_name: str | None = None,
    version: int | None = None,
    wait_until_task_ref: str | None = None,
    wait_for_seconds: float = 10,
) -> Flow[Workflow]:
    """Start a workflow and wait until it, or one of its tasks, has ended.

    The server holds the first request for at most 25 s, since a stock server answers 500 after about 30 s and runs
    on; after that, or where it has no ``/execute``, the workflow is polled.

    Args:
        request: what to start, as for ``start_workflow``.
        request_id: an id of the request, which the server logs.
        workflow_name, version: fill in what the request leaves open.
        wait_until_task_ref: reference name of a task whose end is waited for, too.
        wait_for_seconds: seconds to wait, any number from 0 on.

    Returns:
        The workflow as it then is, which may be RUNNING with an empty output.

    Raises:
        ConductorInputError: name or version are not those of the request, or the seconds are no such number.
    """
    body = endpoints.StartBody(endpoints.start_body(request))
    for key, value in (("name", workflow_name), ("version", version)):
        if value is not None and body.get(key) not in (None, value):
            raise ConductorInputError(
                f"the request's {key} is {body[key]!r} and the argument's {value!r}; the server would "
                "silently take the argument's: nothing was sent"
            )
        if value is not None:
            body[key] = value
    if not 0 <= wait_for_seconds < math.inf:  # NaN is not, either
        raise ConductorInputError(
            f"wait_for_seconds must be a number from 0 on, not {wait_for_seconds}: nothing was sent"
        )
    deadline = (yield from current_time()) + wait_for_seconds
    workflow_id = None
    if capabilities.execute and wait_for_seconds >= 1:
        try:
            hold = min(wait_for_seconds, endpoints.MAX_HOLD_SECONDS)
            start = endpoints.execute_workflow(
                body, request_id=request_id, wait_until_task_ref=wait_until_task_ref, hold_seconds=hold
            )
            workflow = yield from ask(start)
            workflow_id = workflow.workflow_id
            if reached(workflow, wait_until_task_ref):
                return workflow
        except ConductorMissingRouteError:
            capabilities.execute = False
    if workflow_id is None:
        workflow_id = yield from ask(endpoints.start_workflow(body))
    pause = FIRST_PAUSE
    while True:
        workflow = yield from ask(endpoints.get_workflow(workflow_id))
        now = yield from current_time()
        if reached(workflow, wait_until_task_ref) or now >= deadline:
            return workflow
        yield from sleep(min(pause, max(0.0, deadline - now)))
        pause = min(pause * 1.2, LONGEST_PAUSE)


def reached(workflow: Workflow, task_ref: str | None) -> bool:
    """Whether the workflow, or that task, has ended.

    A failed attempt that is tried again is not the task's end, and neither is the failure of an optional task: the
    server makes it COMPLETED_WITH_ERRORS a moment later, when it evaluates the workflow (seen on 3.32.2).
    """
    if workflow.status.ended:
        return True
    task = workflow.latest_attempt(task_ref) if task_ref else None
    status = task.known_status if task is not None else None
    if task is None or status is None or not status.ended or task.retried:
        return False
    if not status.successful and task.workflow_task.get("optional") is True:
        return False
    final = status.successful or status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    return final or task.max_attempts is None or task.retry_count + 1 >= task.max_attempts


def read_many(workflow_ids: Sequence[str], *, include_tasks: bool = False) -> Flow[dict[str, Workflow]]:
    """The workflows by id; those that the server does not know are left out.

    Several are read in one request where the server can (3.32 can, 3.13 cannot), but not with their tasks. What a bulk
    answer lacks is asked for by itself: the server leaves out, too, what it could not read just then, and outputs may
    be too large for one answer.
    """
    found: dict[str, Workflow] = {}
    bulk = len(workflow_ids) > 1 and not include_tasks
    for begin in range(0, len(workflow_ids), READ_AT_ONCE):
        ids = workflow_ids[begin : begin + READ_AT_ONCE]
        if bulk:
            try:
                answer = yield from ask(endpoints.bulk_search(ids))
                found |= {data["workflowId"]: Workflow(data) for data in answer.successful}
            except ConductorRequestError as error:
                if error.concerns_server:
                    raise
                bulk = not isinstance(error, (ConductorMissingRouteError, ConductorNotFoundError))
        for workflow_id in ids:
            if workflow_id not in found:
                with contextlib.suppress(ConductorNotFoundError):
                    found[workflow_id] = yield from ask(endpoints.get_workflow(workflow_id, include_tasks))
    return found
