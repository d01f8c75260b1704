"""The Airflow task's ids in the input of the workflow that it starts (``pass_context``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_conductor.operators.task_run import TaskRun

__all__ = ["CONTEXT_KEY", "check_context_key", "task_context"]

CONTEXT_KEY = "airflow"
"""The key of the workflow's input that has them."""


def check_context_key(workflow_input: Any) -> None:
    """Refuse an input that already has the key.

    Raises:
        ValueError: it has.
    """
    if isinstance(workflow_input, Mapping) and CONTEXT_KEY in workflow_input:
        raise ValueError(
            f"workflow_input has a key {CONTEXT_KEY!r} of its own, which pass_context=True uses for the Airflow "
            "task: rename it, or leave pass_context out"
        )


def task_context(run: TaskRun, body: Mapping[str, Any]) -> dict[str, Any]:
    """Which task this is, as plain JSON under :data:`CONTEXT_KEY`.

    ``{"dag_id", "run_id", "task_id", "map_index" (-1: not mapped), "try_number", "logical_date" (ISO 8601, or None
    for a run without one), "url" (of the task instance's log; None where Airflow does not say)}``

    Raises:
        ConductorInputError: the start's ``body`` leaves no room for it.
    """
    from airflow_provider_conductor.client.errors import ConductorInputError

    try:
        check_context_key(body.get("input"))
    except ValueError as error:
        raise ConductorInputError(f"{error}; nothing was sent") from None
    if body.get("externalInputPayloadStoragePath"):
        raise ConductorInputError(
            "pass_context=True cannot add to an input in external payload storage: leave one of them out; "
            "nothing was sent"
        )
    return {
        CONTEXT_KEY: {
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "task_id": run.task_id,
            "map_index": run.map_index,
            "try_number": run.try_number,
            "logical_date": None if run.logical_date is None else run.logical_date.isoformat(),
            "url": run.log_url,
        }
    }
