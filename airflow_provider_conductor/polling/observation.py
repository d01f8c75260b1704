"""One read of a workflow, with what else has to be read to know why it is RUNNING."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorError,
    ConductorMissingRouteError,
    ConductorRequestError,
    NotConductorError,
)
from airflow_provider_conductor.client.flow import Call, Flow, T, ask, current_time
from airflow_provider_conductor.client.models import PollData, Workflow, WorkflowStatus
from airflow_provider_conductor.polling.blocker import Phase
from airflow_provider_conductor.polling.poll_pause import Revision
from airflow_provider_conductor.polling.progress import MAX_DEPTH, Progress, assess
from airflow_provider_conductor.polling.server_clock import ServerClock

TASKS_AGAIN = 0.9
"""Seconds after which an observation reads anew what the workflow is doing; sooner ones only look for its end."""

FEW_TASKS = 20
"""Up to so many tasks, every observation reads them: then the one that sees the end has read the result, too."""

LAST_POLL = 10.0
"""Seconds for the answers of a poll at a deadline, and at least for those of any poll. With the whole read timeout, a
wait would end that much late."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was read of a workflow, and when.

    Attributes:
        workflow: with its tasks, if ``whole``.
        progress: what it is doing; None right after an observation that has found this out.
        tasks_read: when an observation last found this out.
        whole: whether the tasks have been read.
        unread: why only the status could be read; "" if more could.
    """

    workflow: Workflow
    progress: Progress | None
    clock: ServerClock
    received: float
    tasks_read: float
    whole: bool = True
    unread: str = ""

    @property
    def server_now(self) -> int:
        return self.clock.server(self.received)

    @property
    def revision(self) -> Revision:
        return Revision.of(self.workflow.status, self.workflow.update_time)

    def status_only(self, why: str) -> Observation:
        """The same without the rest of the answer, which cannot be used."""
        kept = {"workflowId": self.workflow.workflow_id, "status": str(self.workflow.status)}
        if isinstance(self.workflow.reason, str):
            kept["reasonForIncompletion"] = self.workflow.reason
        bare = Workflow(kept, self.workflow.observed_at)
        return replace(self, workflow=bare, progress=None, whole=False, unread=f"only its status can be read: {why}")

    def assessed(self, began: float) -> Observation:
        """The same with the progress that the status alone shows, for a run that counts as begun at ``began``."""
        status = self.workflow.status
        phase = Phase.ENDED if status.ended else Phase.PAUSED if status is WorkflowStatus.PAUSED else Phase.UNREAD
        progress = Progress(
            status=status,
            phase=phase,
            since=self.server_now,
            started=self.clock.server(began),
            fingerprint="status only",
        )
        return replace(self, progress=progress)


def observe(
    workflow_id: str,
    clock: ServerClock,
    tasks_read: float | None = None,
    *,
    whole: bool = False,
    few: bool = False,
    end: float = math.inf,
) -> Flow[Observation]:
    """Read the workflow and find out what it is doing.

    Right after an observation that has found this out (at ``tasks_read``), it is not done again unless the ``whole`` is
    wanted, and the tasks are read only if there are ``few``. If an answer cannot be read or understood, only the status
    counts.

    Args:
        end: the wait's deadline, which a server that does not answer must not delay.
    """
    sent = yield from current_time()
    until = max(end, sent + LAST_POLL)
    briefly = tasks_read is not None and not whole and sent - tasks_read < TASKS_AGAIN
    try:
        workflow = yield from ask(
            once(endpoints.get_workflow(workflow_id, include_tasks=few or not briefly), sent, until)
        )
    except NotConductorError as error:
        if error.status != 200 or error.repeatable:
            raise
        workflow = yield from _read_status(workflow_id, until, error)
        received = yield from current_time()
        clock = ServerClock.observed(workflow.observed_at, sent=sent, received=received)
        return Observation(workflow, None, clock, received, sent).status_only(str(error))
    received = yield from current_time()
    if briefly and tasks_read is not None:
        return Observation(workflow, None, clock, received, tasks_read, whole=few)
    clock = ServerClock.observed(workflow.observed_at, sent=sent, received=received)
    seen = Observation(workflow, None, clock, received, sent)
    try:
        return replace(seen, progress=(yield from _assess(workflow, clock.server(received), until)))
    except ConductorError:
        raise
    except Exception as error:  # a field of an unexpected type, whichever: the fault is in this answer alone
        return seen.status_only(f"{type(error).__name__}: {error}")


def _read_status(workflow_id: str, until: float, unreadable: ConductorRequestError) -> Flow[Workflow]:
    """The status of a workflow whose whole answer is ``unreadable``; raises this if that cannot be read either."""
    for call in (endpoints.get_workflow_status(workflow_id), endpoints.get_workflow(workflow_id, include_tasks=False)):
        try:
            now = yield from current_time()
            return (yield from ask(once(call, now, until)))
        except ConductorMissingRouteError:
            continue
        except NotConductorError:
            break
    raise unreadable


def _assess(workflow: Workflow, now: int, until: float) -> Flow[Progress]:
    """Assess, and read what that wants; what the server refuses is left out."""
    below: dict[str, Workflow] = {}
    polls: dict[str, tuple[PollData, ...]] = {}
    progress = assess(workflow, now)
    for _ in range(MAX_DEPTH + 1):
        before = len(below) + len(polls)
        for workflow_id in progress.wants.sub_workflows:
            found = yield from _optional(endpoints.get_workflow(workflow_id), until)
            if found is not None:
                below[workflow_id] = found
        for queue in progress.wants.queues:
            seen = yield from _optional(endpoints.get_poll_data(queue), until)
            if seen is not None:
                polls[queue] = seen
        if len(below) + len(polls) == before:
            break
        progress = assess(workflow, now, sub_workflows=below, poll_data=polls)
    return progress


def once(call: Call[T], now: float = 0.0, until: float = math.inf) -> Call[T]:
    """The same call, answered by ``until`` and not repeated by the client, since a wait polls again by itself."""
    return replace(call, once=True, within=None if until == math.inf else max(1.0, round(until - now, 3)))


def _optional(call: Any, until: float = math.inf) -> Flow[Any]:
    """The answer, or None if the server refuses it.

    An outage is raised; but at a deadline, what has been read already counts more.
    """
    now = yield from current_time()
    last = until - now <= LAST_POLL
    try:
        return (yield from ask(once(call, now, until)))
    except ConductorRequestError as error:
        if last or error.conclusive:
            return None
        raise


def without_reasons(seen: Observation | Workflow | None) -> Observation | Workflow | None:
    """The same without the reasons that workers wrote: a triggerer logs and stores them without masking secrets."""
    if isinstance(seen, Observation):
        progress = seen.progress
        if progress is not None:
            progress = replace(progress, blockers=tuple(replace(blocker, reason="") for blocker in progress.blockers))
        return replace(seen, workflow=_mute(seen.workflow), progress=progress)
    return None if seen is None else _mute(seen)


def _mute(workflow: Workflow) -> Workflow:
    tasks = [{**task.data, "reasonForIncompletion": None} if task.reason else task.data for task in workflow.tasks]
    return replace(workflow, data={**workflow.data, "reasonForIncompletion": None, "tasks": tasks})
