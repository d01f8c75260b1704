"""The reasons for which this package terminates workflows: a later try recognizes by them who did it."""

from __future__ import annotations

from typing import Any

KILLED = "Airflow task was killed: "
TIMED_OUT = "Airflow task timed out: "
DUPLICATE = "Airflow task started it twice, the other is "


def label_of(ti: Any) -> str:
    """The Airflow task, by its task instance on a worker or in a triggerer, as reasons and messages name it."""
    index = "" if ti.map_index is None or ti.map_index < 0 else f"[{ti.map_index}]"
    return f"{ti.dag_id}.{ti.task_id}{index} run {ti.run_id} try {ti.try_number}"


def killed_reason(task_label: str) -> str:
    """Why a workflow was terminated whose Airflow task was killed (cleared, marked, SIGTERM)."""
    return KILLED + task_label


def timed_out_reason(task_label: str) -> str:
    """Why a workflow was terminated whose wait ran into a timeout."""
    return TIMED_OUT + task_label


def duplicate_reason(workflow_id: str) -> str:
    """Why the younger of two workflows of one start was terminated; ``workflow_id`` is the older."""
    return DUPLICATE + workflow_id


def ended_by_our_kill(reason: str) -> bool:
    return reason.startswith(KILLED)


def ended_by_our_timeout(reason: str) -> bool:
    return reason.startswith(TIMED_OUT)


def ended_as_duplicate(reason: str) -> bool:
    return reason.startswith(DUPLICATE)
