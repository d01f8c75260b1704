"""What users (or their programs) have done to a workflow between two observations."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_conductor.client.models import TaskStatus, Workflow
from airflow_provider_conductor.client.text import one_line

NAMED = 5
"""Skipped tasks that a message names."""


class Lifecycle(NamedTuple):
    """What only a user's action changes, as of one observation. Times are the server's clock in ms.

    A restart sets the workflow's start time anew; a resume and a retry set ``lastRetriedTime``; a retry and a rerun
    keep the workflow's earlier end time; only users skip tasks (seen on 3.13 and 3.32).
    """

    created: int = 0
    retried: int = 0
    ended: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, workflow: Workflow) -> Lifecycle:
        return cls(workflow.create_time, workflow.last_retried_time, workflow.end_time, len(_skipped(workflow)))


def user_actions(before: Lifecycle | None, workflow: Workflow) -> list[str]:
    """What was done since ``before``, one log line each.

    ========================================  =============================
    since ``before``                          somebody
    ========================================  =============================
    it has a new start time                   restarted it
    it was retried, and had ended             retried it
    it was retried, and had not ended         resumed it
    it had ended, and runs                    reran it from one of its tasks
    more tasks are SKIPPED                    skipped these
    ========================================  =============================

    A pause and an end are phases of the workflow, which are logged as such.
    """
    if before is None:
        return []
    now = Lifecycle.of(workflow)
    if now.created != before.created:
        return ["somebody restarted the workflow; it runs again from its first task"]
    lines = []
    ended = not workflow.status.ended and now.ended != before.ended
    if now.retried != before.retried:
        retried = "retried the workflow; it continues from its failed tasks"
        lines.append(f"somebody {retried if ended else 'resumed the workflow'}")
    elif ended:
        lines.append("somebody reran the workflow from one of its tasks")
    if now.skipped > before.skipped:
        new = _skipped(workflow)[before.skipped :]
        more = f" and {len(new) - NAMED} more" if len(new) > NAMED else ""
        lines.append(f"somebody skipped {', '.join(one_line(name, 80) for name in new[:NAMED])}{more}")
    return lines


def _skipped(workflow: Workflow) -> list[str]:
    """Reference names of the skipped tasks, the last one skipped at the end."""
    found = [task for task in workflow.tasks if task.known_status is TaskStatus.SKIPPED]
    return [task.reference_name for task in sorted(found, key=lambda task: task.end_time)]
