"""One line for each of many workflows: what a list shows of them."""

from __future__ import annotations

from typing import Any

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.view.workflow import View, waits_for

LONG = 600_000
"""Milliseconds without progress after which a wait warns, and a list calls the workflow stalled."""


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


def blocked(view: View | None) -> dict[str, Any]:
    """What a workflow waits for; nothing where it was not read, or has ended."""
    if view is None or view.workflow.status.ended:
        return {"blocker": "", "needs_user": False}
    blocker, action_needed = waits_for(view.seen)
    return {"blocker": blocker, "needs_user": action_needed}


def wait(view: View) -> dict[str, Any] | None:
    """A workflow that has stalled, or goes on only if a user acts; None for another one."""
    progress, now = view.seen.progress, view.seen.server_now
    if progress is None or view.workflow.status.ended:
        return None
    stalled = progress.stalled_since is not None and now - progress.stalled_since >= LONG
    about = blocked(view)
    if not stalled and not about["needs_user"]:
        return None
    since = progress.since if progress.stalled_since is None else progress.stalled_since
    return {
        **about,
        "workflow_id": view.workflow.workflow_id,
        "workflow_name": view.workflow.name,
        "since": since,
        "stalled": stalled,
    }
