"""What people (or programs) have done to a workflow between two looks."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_conductor.client.models import TaskStatus, Workflow
from airflow_provider_conductor.client.text import one_line

__all__ = ["Lifecycle", "user_actions"]

NAMED = 5
"""Skipped tasks named one by one."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What only somebody's act changes, as one look saw it. Times are the server's clock in ms.

    A restart sets the workflow's own start anew; a resume and a retry set ``lastRetriedTime``, a retry and a rerun
    leave the end that went before; tasks are skipped by people alone (seen on 3.13 and 3.32).
    """

    created: int = 0
    retried: int = 0
    ended: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, workflow: Workflow) -> Lifecycle:
        return cls(workflow.create_time, workflow.last_retried_time, workflow.end_time, len(_skipped(workflow)))


def user_actions(before: Lifecycle | None, workflow: Workflow) -> list[str]:
    """What was done since ``before``, a line each.

    ========================================  =============================
    since the look before                     somebody
    ========================================  =============================
    it was created anew                       restarted it
    retried anew, having ended in between     retried it
    retried anew, without an end              resumed it
    ended in between, and runs                ran it again from a task
    more tasks are SKIPPED                    skipped these
    ========================================  =============================

    A pause is a phase, and an end is an end: both are told where they are seen.
    """
    if before is None:
        return []
    now = Lifecycle.of(workflow)
    told = []
    if now.created != before.created:
        return ["somebody restarted the workflow; it runs again from its first task"]
    ended = not workflow.status.ended and now.ended != before.ended
    if now.retried != before.retried:
        told.append(
            "somebody retried the workflow; it continues from its failed tasks"
            if ended
            else "somebody resumed the workflow"
        )
    elif ended:
        told.append("somebody reran the workflow from one of its tasks")
    if now.skipped > before.skipped:
        new = _skipped(workflow)[before.skipped :]
        named = ", ".join(one_line(name, 80) for name in new[:NAMED])
        more = f" and {len(new) - NAMED} more" if len(new) > NAMED else ""
        told.append(f"somebody skipped {named}{more}")
    return told


def _skipped(workflow: Workflow) -> list[str]:
    """Reference names of the skipped tasks, the last one skipped at the end."""
    found = [task for task in workflow.tasks if task.known_status is TaskStatus.SKIPPED]
    return [task.reference_name for task in sorted(found, key=lambda task: task.end_time)]
