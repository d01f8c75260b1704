"""The tasks of a workflow as a table for the log."""

from __future__ import annotations

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.formatting import clock_time, duration

ROWS = 50
NAME_WIDTH = 48
HEADER = ("task", "attempts", "start", "duration", "status")


def timeline(workflow: Workflow, rows: int | None = None) -> str:
    """A table of the tasks in the order in which they began, with one row for all attempts of a task.

    Args:
        rows: how many at most; None: 50.
    """
    rows = ROWS if rows is None else rows
    tasks: dict[str, list[Task]] = {}
    for task in sorted(workflow.tasks, key=lambda task: task.seq):
        tasks.setdefault(task.reference_name, []).append(task)
    now = workflow.end_time or max((row[-1].end_time or _start(row) for row in tasks.values()), default=0)
    cells = [HEADER, *(_cells(row, now) for row in list(tasks.values())[:rows])]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    if len(tasks) > rows:
        lines.append(f"… {len(tasks) - rows} more")
    return "\n".join(lines)


def _cells(attempts: list[Task], now: int) -> tuple[str, ...]:
    start, last, took = _start(attempts), attempts[-1], "-"
    milliseconds = last.end_time - start
    if start and milliseconds >= 0:
        took = f"{milliseconds / 1000:.1f} s" if milliseconds < 10_000 else duration(milliseconds)
    name, status = one_line(last.reference_name, NAME_WIDTH), one_line(str(last.data.get("status")), 40)
    return name, str(len(attempts)), clock_time(start, now) if start else "-", took, status


def _start(attempts: list[Task]) -> int:
    return min(filter(None, (task.start_time or task.scheduled_time for task in attempts)), default=0)
