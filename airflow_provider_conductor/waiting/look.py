"""One look at a workflow: what the server says, and what it needs to be asked besides to know why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Call, Flow, Now, Sleep, T
from airflow_provider_conductor.client.errors import (
    ConductorAnswerError,
    ConductorNotFound,
    ConductorRequestError,
    NotConductorError,
)
from airflow_provider_conductor.client.models import PollData, Workflow
from airflow_provider_conductor.waiting.clock import ServerClock
from airflow_provider_conductor.waiting.progress import MAX_DEPTH, Progress, assess
from airflow_provider_conductor.waiting.report import Failure, root_cause
from airflow_provider_conductor.waiting.rest import Mark
from airflow_provider_conductor.waiting.schedule import next_look_after_failure

__all__ = ["Diagnosis", "Look", "diagnose", "look", "read_ended", "search_ended"]

TASKS_AGAIN = 0.9
"""Seconds after which a look says anew what the workflow is doing; closer looks are for its end alone."""

FEW_TASKS = 20
"""Tasks up to which a look reads them all the same: then the look that sees the end has read the result too."""

INDEX_PAUSES = (0.0, 1.0, 3.0)
"""Seconds before each question to the index, which lags behind the database."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, when.

    Attributes:
        workflow: with its tasks, if ``whole``.
        progress: what it is doing; None right after a look that has told it.
        tasks_read: when a look last told it.
        whole: whether the tasks have been read.
    """

    workflow: Workflow
    progress: Progress | None
    clock: ServerClock
    received: float
    tasks_read: float
    whole: bool = True

    @property
    def server_now(self) -> int:
        return self.clock.server(self.received)

    @property
    def mark(self) -> Mark:
        return Mark(str(self.workflow.status), self.workflow.update_time)


def look(
    workflow_id: str, clock: ServerClock, tasks_read: float | None = None, *, whole: bool = False, few: bool = False
) -> Flow[Look]:
    """Read the workflow and say what it is doing.

    Right after a look that has said so (at ``tasks_read``), it is not said again unless the ``whole`` is wanted, and
    the tasks are read only if there are ``few``.
    """
    sent: float = yield Now()
    if tasks_read is not None and not whole and sent - tasks_read < TASKS_AGAIN:
        workflow: Workflow = yield _once(endpoints.get_workflow(workflow_id, include_tasks=few))
        return Look(workflow, None, clock, (yield Now()), tasks_read, whole=few)
    workflow = yield _once(endpoints.get_workflow(workflow_id))
    received: float = yield Now()
    clock = ServerClock.observed(workflow.observed_at, sent=sent, received=received)
    progress = yield from _assess(workflow, clock.server(received))
    return Look(workflow, progress, clock, received, sent)


def _assess(workflow: Workflow, now: int) -> Flow[Progress]:
    """Assess, reading what that asks for; what the server refuses to tell is done without."""
    below: dict[str, Workflow] = {}
    polls: dict[str, tuple[PollData, ...]] = {}
    progress = assess(workflow, now)
    for _ in range(MAX_DEPTH + 1):
        before = len(below) + len(polls)
        for workflow_id in progress.wants.sub_workflows:
            found = yield from _optional(endpoints.get_workflow(workflow_id))
            if found is not None:
                below[workflow_id] = found
        for queue in progress.wants.queues:
            seen = yield from _optional(endpoints.get_poll_data(queue))
            if seen is not None:
                polls[queue] = seen
        if len(below) + len(polls) == before:
            break
        progress = assess(workflow, now, sub_workflows=below, poll_data=polls)
    return progress


def _once(call: Call[T]) -> Call[T]:
    """The same call, not repeated by the client: a wait looks again by itself, and says what it met."""
    return replace(call, once=True)


def _optional(call: Any) -> Flow[Any]:
    """The answer, or None where the server has none to give. One that is away is not asked on: that is raised."""
    try:
        return (yield _once(call))
    except (ConductorAnswerError, NotConductorError) as error:
        if error.repeatable:
            raise
        return None


def search_ended(workflow_id: str) -> Flow[Workflow | None]:
    """The summary that the search index keeps of an ended workflow that the database has no more, or None."""
    for pause in INDEX_PAUSES:
        if pause:
            yield Sleep(pause)
        result = yield from _optional(endpoints.search_workflows(query=f"workflowId IN ({workflow_id})", size=1))
        for summary in result or ():
            if summary.workflow_id == workflow_id and summary.status.ended:
                return summary  # type: ignore[no-any-return]
    return None


def read_ended(workflow_id: str, until: float | None) -> Flow[Workflow | None]:
    """An ended workflow with its tasks; None where the server does not know it any more.

    While the server is away it is asked again, until ``until`` (seconds since the epoch; None: as long as it takes).

    Raises:
        ConductorRequestError: it refuses, or ``until`` has come.
    """
    failures = 0
    while True:
        try:
            return (yield _once(endpoints.get_workflow(workflow_id)))  # type: ignore[no-any-return]
        except ConductorNotFound:
            return None
        except ConductorRequestError as error:
            now: float = yield Now()
            passing = error.repeatable or (error.status or 0) >= 500
            if not passing or (until is not None and now >= until):
                raise
        failures += 1
        yield Sleep(next_look_after_failure(failures, now, jitter=0.0, look_by=until) - now)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a workflow failed, with the last lines its worker logged."""

    workflow: Workflow
    failure: Failure | None
    log_lines: tuple[str, ...] = ()


def diagnose(workflow: Workflow) -> Flow[Diagnosis]:
    """Find the root cause, down through the sub-workflows; what cannot be read is done without."""
    below: dict[str, Workflow] = {}
    lines: tuple[str, ...] = ()
    failure = root_cause(workflow, below)
    try:
        while failure is not None and failure.unread_sub_workflow_id:
            below[failure.unread_sub_workflow_id] = yield endpoints.get_workflow(failure.unread_sub_workflow_id)
            failure = root_cause(workflow, below)
        if failure is not None and failure.task_id:
            lines = yield endpoints.get_task_logs(failure.task_id)
    except ConductorRequestError:
        pass
    return Diagnosis(workflow, failure, lines)
