"""The tasks of a workflow as a table for the log."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.formatting import clock_time, duration

__all__ = ["timeline"]

ROWS = 50
NAME_WIDTH = 48
HEADER = ("task", "attempts", "start", "duration", "status")


@dataclass(slots=True)
class _Row:
    """One task, all its attempts."""

    name: str
    start: int
    end: int
    attempts: int
    status: str

    def add(self, task: Task) -> None:
        self.attempts += 1
        self.start = min(filter(None, (self.start, _start(task))), default=0)
        self.end = task.end_time
        self.status = _status(task)


def timeline(workflow: Workflow) -> str:
    """A table of the tasks in the order in which they began, with one row for all attempts of a task. Bounded."""
    rows: dict[str, _Row] = {}
    for task in sorted(workflow.tasks, key=lambda task: task.seq):
        row = rows.get(task.reference_name)
        if row is None:
            rows[task.reference_name] = _Row(task.reference_name, _start(task), task.end_time, 1, _status(task))
        else:
            row.add(task)
    now = workflow.end_time or max((row.end or row.start for row in rows.values()), default=0)
    cells = [HEADER, *(_cells(row, now) for row in list(rows.values())[:ROWS])]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    if len(rows) > ROWS:
        lines.append(f"… {len(rows) - ROWS} more")
    return "\n".join(lines)


def _cells(row: _Row, now: int) -> tuple[str, ...]:
    start = clock_time(row.start, now) if row.start else "-"
    return one_line(row.name, NAME_WIDTH), str(row.attempts), start, _took(row.end - row.start, row), row.status


def _took(milliseconds: int, row: _Row) -> str:
    if not row.start or milliseconds < 0:
        return "-"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 10_000 else duration(milliseconds)


def _start(task: Task) -> int:
    return task.start_time or task.scheduled_time


def _status(task: Task) -> str:
    return one_line(str(task.data.get("status")), 40)
