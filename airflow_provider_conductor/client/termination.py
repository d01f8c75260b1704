"""Terminating workflows: one or many, only what still runs, and with several requests at once where time is short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorConflictError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow

TERMINATED_AT_ONCE = 500
"""Workflows terminated by one request. The limit is 1,000, which kept a busy server for half a minute."""

REQUESTS_AT_ONCE = 12
"""Shares of one termination that are under way at the same time; the pool has 16 connections."""

SMALLEST_SHARE = 50
"""Workflows in a share, at least: below this, one more request costs more than it saves."""

ATTEMPTS = 3
"""How often the termination of one workflow is sent, where an answer was lost or the workflow changed meanwhile."""


@dataclass(slots=True)
class Termination:
    """What became of workflows that were to be terminated; each is in one of the three.

    Attributes:
        terminated: ids of those that were running.
        ended: id → workflow, of those that had ended before, which are left as they are.
        unknown: ids that the server does not know.
    """

    terminated: list[str] = field(default_factory=list)
    ended: dict[str, Workflow] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def describe(self, workflow_id: str) -> str:
        """What became of one, for a log line."""
        if workflow_id in self.ended:
            return f"it had already ended as {self.ended[workflow_id].status}"
        return "Conductor does not have it" if workflow_id in self.unknown else "it was terminated"


def terminate(workflow_ids: Sequence[str], reason: str) -> Flow[Termination]:
    """Terminate those that run, and only those: the server would overwrite FAILED and TIMED_OUT with TERMINATED.

    Raises:
        ConductorRequestError: Conductor was unreachable, or refused.
    """
    done = Termination()
    for begin in range(0, len(workflow_ids), TERMINATED_AT_ONCE):
        ids = workflow_ids[begin : begin + TERMINATED_AT_ONCE]
        seen = yield from read_many(ids)
        done.unknown += [workflow_id for workflow_id in ids if workflow_id not in seen]
        done.ended |= {workflow_id: workflow for workflow_id, workflow in seen.items() if workflow.status.ended}
        running = [workflow_id for workflow_id, workflow in seen.items() if not workflow.status.ended]
        left = running if len(running) < 2 else (yield from _terminate_in_bulk(running, reason))
        done.terminated += [workflow_id for workflow_id in running if workflow_id not in left]
        for workflow_id in left:
            # Just read, unless others have been read or terminated since.
            yield from _terminate_one(workflow_id, reason, done, seen=seen[workflow_id] if len(ids) == 1 else None)
    return done


def _terminate_in_bulk(running: list[str], reason: str) -> Flow[list[str]]:
    """Terminate these with one request; returns those of which that is not known, or that have ended by themselves."""
    try:
        answer = yield from ask(endpoints.bulk_terminate(running, reason))
        return list(answer.errors)
    except ConductorMissingRouteError:
        return running
    except ConductorRequestError as error:
        if not error.fate_unknown:
            raise
    now = yield from read_many(running)
    return [workflow_id for workflow_id in running if workflow_id in now and now[workflow_id].reason != reason]


def _terminate_one(workflow_id: str, reason: str, done: Termination, seen: Workflow | None) -> Flow[None]:
    """Read, then terminate, and again where the answer was lost or the workflow ended in between."""
    failure: ConductorRequestError | None = None
    for attempt in range(ATTEMPTS + 1):
        if seen is None:
            seen = (yield from read_many([workflow_id])).get(workflow_id)
        if seen is None:
            done.unknown.append(workflow_id)
            return
        if seen.status.ended:
            if failure is not None and seen.reason == reason:
                done.terminated.append(workflow_id)
            else:
                done.ended[workflow_id] = seen
            return
        if failure is not None and attempt == ATTEMPTS:
            raise failure
        seen = None
        try:
            yield from ask(endpoints.terminate_workflow(workflow_id, reason))
        except ConductorRequestError as error:
            if not (error.fate_unknown or isinstance(error, (ConductorConflictError, ConductorNotFoundError))):
                raise
            if error.fate_unknown and attempt == ATTEMPTS - 1:
                raise
            failure = error
        else:
            done.terminated.append(workflow_id)
            return


async def terminate_concurrently(
    run: Callable[[Flow[Termination]], Awaitable[Termination]],
    workflow_ids: Sequence[str],
    reason: str,
    *,
    on_done: Callable[[Sequence[str]], None] = lambda ids: None,
) -> Termination:
    """As :func:`terminate`, with several requests at a time: a killed task has only seconds.

    A server carries out a request even if its sender dies before the answer (seen on 3.32.2), so what counts is how
    soon all have been sent.

    Args:
        run: drives a flow.
        on_done: called with the ids of which none runs any more, as soon as that is known.

    Raises:
        ConductorRequestError: the first that went wrong, after all others have been tried.
    """

    async def terminate_share(share: Sequence[str]) -> Termination:
        done = await run(terminate(share, reason))
        on_done(share)
        return done

    size = max(SMALLEST_SHARE, -(-len(workflow_ids) // REQUESTS_AT_ONCE))
    shares = [workflow_ids[begin : begin + size] for begin in range(0, len(workflow_ids), size)]
    results = await asyncio.gather(*map(terminate_share, shares), return_exceptions=True)
    whole = Termination()
    for result in results:
        if isinstance(result, BaseException):
            raise result
        whole.terminated += result.terminated
        whole.ended |= result.ended
        whole.unknown += result.unknown
    return whole
