"""A workflow as Airflow's UI shows it: the graph, what it waits for or why it failed, and what can be done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorNotFoundError
from airflow_provider_conductor.client.flow import Flow, ask, current_time
from airflow_provider_conductor.client.models import Workflow, WorkflowStatus
from airflow_provider_conductor.client.text import one_line, readable
from airflow_provider_conductor.polling.blocker import PICKUP_GRACE, Phase
from airflow_provider_conductor.polling.failure_report import diagnose, explain
from airflow_provider_conductor.polling.messages import describe, needs_user
from airflow_provider_conductor.polling.observation import Observation, observe
from airflow_provider_conductor.polling.root_cause import Failure
from airflow_provider_conductor.polling.server_clock import EQUAL
from airflow_provider_conductor.view.actions import workflow_actions
from airflow_provider_conductor.view.graph import attempt_json, graph

PATIENCE = 15.0
"""Seconds for all that is read of one workflow; a user in front of a page does not wait longer."""

POLL_AFTER = 2.0
"""Seconds between two reads of a workflow whose page is open."""

ENDED_AFTER = 60.0
"""Seconds between two reads of what has ended, which somebody may revive."""

TASKS_A_SECOND = 500
"""A workflow with more tasks than twice this is read less often: its answer has megabytes."""

Mask: TypeAlias = Callable[[Any], Any]
"""Hides the secrets in text, or in JSON by the names of its keys."""

MAX_DEPTH = 12
"""Levels of sub-workflows that can be opened below the task's own workflow."""


class NotBelowError(Exception):
    """A workflow that does not belong to the task instance."""


@dataclass(frozen=True, slots=True)
class View:
    """What was read of a workflow at one time, with secrets masked, for all users who have its page open.

    Attributes:
        failure: why it ended unsuccessfully; None if it did not.
    """

    seen: Observation
    failure: Failure | None

    @property
    def workflow(self) -> Workflow:
        return self.seen.workflow

    @property
    def poll_after(self) -> float:
        """Seconds until it is worth another read."""
        if self.workflow.status.ended:
            return ENDED_AFTER
        return max(POLL_AFTER, len(self.workflow.data.get("tasks") or ()) / TASKS_A_SECOND)

    def to_json(self, url: str, *, with_log: bool) -> dict[str, Any]:
        """As the front end reads it.

        Args:
            url: its page in Conductor's own UI.
            with_log: whether the failure has the last lines of the worker's log.
        """
        workflow, progress = self.workflow, self.seen.progress
        blocker, action_needed = waits_for(self.seen)
        blockers = progress.blockers if progress is not None else ()
        blocked = {(*blocker.path, blocker.reference_name)[0] for blocker in blockers}
        failure = self.failure
        if failure is not None:
            blocked = {(*failure.path, failure.task_reference_name)[0]}
            failure = failure if with_log else replace(failure, log_lines=())
        return {
            "workflow": {
                "id": workflow.workflow_id,
                "name": workflow.name,
                "version": workflow.version,
                "status": str(workflow.status),
                "reason": one_line(workflow.reason, 1_000) if workflow.reason else "",
                "correlation_id": workflow.correlation_id,
                "started": workflow.create_time,
                "ended": workflow.end_time if workflow.status.ended else 0,
                "updated": workflow.update_time,
                "url": url,
                "parent_id": workflow.parent_workflow_id,
            },
            "blocker": blocker,
            "needs_user": action_needed,
            "failure": readable(explain(failure)) if failure is not None else "",
            "graph": [node.to_json() for node in graph(workflow, blocked)],
            "attempts": [attempt_json(task) for task in workflow.tasks],
            "actions": workflow_actions(workflow),
            "poll_after": self.poll_after,
            "server_time": self.seen.server_now,
        }


def waits_for(seen: Observation) -> tuple[str, bool]:
    """What a workflow waits for, in the words of the task's log, and whether it goes on only if a user acts."""
    progress, now = seen.progress, seen.server_now
    if progress is None or seen.workflow.status.ended:
        return seen.unread, False
    if progress.blockers or progress.phase is Phase.PAUSED:
        action_needed = needs_user(progress)
    else:
        action_needed = bool(progress.unscheduled) and now - progress.since >= PICKUP_GRACE
    return seen.unread or describe(progress, now), action_needed


def read_view(workflow_id: str, mask: Mask) -> Flow[View]:
    """Read a workflow, what it waits for, and the root cause of its failure.

    Args:
        mask: hides secrets in what workers and users have written, before any of it is cut to a length.

    Raises:
        ConductorRequestError: Conductor is unreachable, refuses, or does not know the workflow.
    """
    now = yield from current_time()
    seen = yield from observe(workflow_id, EQUAL, whole=True, end=now + PATIENCE)
    failure = None
    if seen.workflow.status.ended and seen.workflow.status is not WorkflowStatus.COMPLETED and seen.whole:
        failure = yield from diagnose(seen.workflow)
    return View(_masked(seen, mask), failure and _masked_failure(failure, mask))


def _masked(seen: Observation, mask: Mask) -> Observation:
    progress, data = seen.progress, seen.workflow.data
    if progress is not None:
        blockers = tuple(replace(blocker, reason=mask(blocker.reason)) for blocker in progress.blockers)
        progress = replace(progress, blockers=blockers)
    masked = {**data, "reasonForIncompletion": mask(data.get("reasonForIncompletion"))}
    if seen.workflow.has_tasks:
        tasks = data.get("tasks") or ()
        masked["tasks"] = [
            {**task, "reasonForIncompletion": mask(reason)} if (reason := task.get("reasonForIncompletion")) else task
            for task in tasks
        ]
    return replace(seen, workflow=replace(seen.workflow, data=masked), progress=progress, unread=mask(seen.unread))


def _masked_failure(failure: Failure, mask: Mask) -> Failure:
    names = ("reason", "workflow_reason", "failure_workflow_error")
    texts = {name: mask(getattr(failure, name)) for name in names}
    return replace(failure, **texts, log_lines=tuple(map(mask, failure.log_lines)))


def check_below(workflow_id: str, root_id: str) -> Flow[None]:
    """Check that a workflow is a sub-workflow of the task instance's own, at any depth.

    Raises:
        NotBelowError: it is not.
        ConductorRequestError: Conductor is unreachable, or refuses.
    """
    above = workflow_id
    with suppress(ConductorNotFoundError):
        for _ in range(MAX_DEPTH):
            above = (yield from ask(endpoints.get_workflow(above, include_tasks=False))).parent_workflow_id
            if above == root_id:
                return
            if not above:
                break
    raise NotBelowError(f"{one_line(workflow_id)} is no sub-workflow of this task's workflow {root_id}")
