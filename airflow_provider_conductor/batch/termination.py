"""Terminating many workflows at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.flows import read_many, terminate_running
from airflow_provider_conductor.client.models import Workflow

__all__ = ["TERMINATED_AT_ONCE", "shares", "terminate_at_once", "terminate_many"]

TERMINATED_AT_ONCE = 500
"""Workflows terminated by one request. The limit is 1,000, which kept a busy server for half a minute."""

REQUESTS_AT_ONCE = 12
"""Shares of one termination under way at the same time; the pool has 16 connections."""

SMALLEST_SHARE = 50
"""Below this, a request more costs more than it saves."""


async def terminate_at_once(
    run: Callable[[Flow[dict[str, Workflow]]], Awaitable[dict[str, Workflow]]],
    workflow_ids: Sequence[str],
    reason: str,
    *,
    done: Callable[[Sequence[str]], None] = lambda ids: None,
) -> dict[str, Workflow]:
    """As :func:`terminate_many`, with several requests at a time: a killed task has but seconds.

    A server carries a request out also when its sender dies before the answer (seen on 3.32.2), so what counts is how
    soon all are sent.

    Args:
        run: drives a flow.
        done: told the ids of which nothing runs any more, as soon as that is known.

    Raises:
        ConductorRequestError: the first that went wrong, after all others have been tried.
    """

    async def end(share: Sequence[str]) -> dict[str, Workflow]:
        ended = await run(terminate_many(share, reason))
        done(share)
        return ended

    results = await asyncio.gather(*map(end, shares(workflow_ids)), return_exceptions=True)
    ended: dict[str, Workflow] = {}
    for result in results:
        if isinstance(result, BaseException):
            raise result
        ended |= result
    return ended


def shares(workflow_ids: Sequence[str]) -> list[Sequence[str]]:
    """The ids in about equal shares, one for each request at a time."""
    size = max(SMALLEST_SHARE, -(-len(workflow_ids) // REQUESTS_AT_ONCE))
    return [workflow_ids[begin : begin + size] for begin in range(0, len(workflow_ids), size)]


def terminate_many(workflow_ids: Sequence[str], reason: str) -> Flow[dict[str, Workflow]]:
    """Terminate those that run, and only those: the server would overwrite FAILED and TIMED_OUT.

    Returns those that had ended before, as they are.
    """
    ended: dict[str, Workflow] = {}
    for begin in range(0, len(workflow_ids), TERMINATED_AT_ONCE):
        ids = workflow_ids[begin : begin + TERMINATED_AT_ONCE]
        seen = yield from read_many(ids)
        ended |= {workflow_id: workflow for workflow_id, workflow in seen.items() if workflow.status.ended}
        running = [workflow_id for workflow_id, workflow in seen.items() if not workflow.status.ended]
        if not running:
            continue
        try:
            answer = yield from ask(endpoints.bulk_terminate(running, reason))
            left = list(answer.errors)
        except ConductorMissingRouteError:
            left = running
        except ConductorRequestError as error:
            if not error.fate_unknown:
                raise
            now = yield from read_many(running)
            left = [workflow_id for workflow_id in running if workflow_id in now and now[workflow_id].reason != reason]
        for workflow_id in left:  # it has ended meanwhile, or there is another reason, which is raised
            try:
                had_ended = yield from terminate_running(workflow_id, reason)
            except ConductorNotFoundError:
                continue
            if had_ended is not None:
                ended |= yield from read_many([workflow_id])
    return ended
