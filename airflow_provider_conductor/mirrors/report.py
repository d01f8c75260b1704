"""A step's attempts as lines for the log."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.formatting import clock_time
from airflow_provider_conductor.polling.timeline import timeline

REASON_LIMIT = 300


def report(ref: str, tasks: Sequence[Task]) -> str:
    """The attempts of a step with worker, start, duration, status and reason; a table where it stands for others."""
    if any(task.reference_name != ref for task in tasks):
        return timeline(Workflow({"tasks": [task.data for task in tasks]}))
    now = max((task.end_time or task.start_time for task in tasks), default=0)
    return "\n".join(_line(number, task, now) for number, task in enumerate(tasks, 1))


def _line(number: int, task: Task, now: int) -> str:
    began = task.start_time or task.scheduled_time
    took = f", {(task.end_time - began) / 1000:.1f} s" if began and task.end_time >= began else ""
    worker = f" on {one_line(task.worker_id, 80)}" if task.worker_id else ""
    at = f", from {clock_time(began, now)}" if began else ""
    reason = f": {one_line(task.reason, REASON_LIMIT)}" if task.reason else ""
    return f"attempt {number}: {task.data.get('status')}{worker}{at}{took}{reason}"
