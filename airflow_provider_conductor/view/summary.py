"""What a list shows of each of many workflows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.polling.limits import UNPOLLED_WARNING
from airflow_provider_conductor.view.workflow import View, waits_for


def summary(workflow: Workflow) -> dict[str, Any]:
    """Which workflow, and its state."""
    return {
        "id": workflow.workflow_id,
        "name": workflow.name,
        "version": workflow.version,
        "status": str(workflow.data.get("status") or ""),
        "started": workflow.create_time,
        "ended": workflow.end_time,
    }


@dataclass(frozen=True, slots=True)
class Standstill:
    """What a workflow that has not ended waits for.

    Attributes:
        blocker: in the words of the task's log.
        needs_user: whether it goes on only if a user acts.
        since: since when, in ms.
        stalled: whether it has made no progress for so long that a wait warns.
    """

    blocker: str
    needs_user: bool
    since: int
    stalled: bool

    @classmethod
    def of(cls, view: View) -> Standstill | None:
        """Of a workflow as it was read; None if it has ended, or only its status could be read."""
        progress, now = view.seen.progress, view.seen.server_now
        if progress is None or view.workflow.status.ended:
            return None
        blocker, needs_user = waits_for(view.seen)
        since = progress.stalled_since
        stalled = since is not None and now - since >= UNPOLLED_WARNING * 1000
        return cls(blocker, needs_user, progress.since if since is None else since, stalled)
