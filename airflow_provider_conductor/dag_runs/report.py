"""What is reported to Conductor about a task of type ``airflow_dag``, and which DAG run is whose. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.dag_runs.airflow_api import DagRun, TaskState

PREFIX = "conductor__"
"""How the ids of the DAG runs begin; the id of Conductor's task follows."""

LONGEST_PAUSE = 60
"""Seconds between two reads of a DAG run, at most."""

PART_OF_AGE = 0.05
"""A DAG run is read again after this part of its age."""

ENDED_BY_WORKER = "Ended by the Conductor worker:"
"""Begins the note of a DAG run that was ended with its task. A run that a user clears afterwards is left alone."""


@dataclass(frozen=True, slots=True)
class Report:
    """An update of a task.

    Attributes:
        status: IN_PROGRESS returns the task to its queue for ``callback_after`` seconds.
        output: replaces what the task had as its output.
    """

    status: TaskStatus
    output: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    callback_after: int | None = None


def run_id_of(task_id: str) -> str:
    """The id of the DAG run of a task."""
    return f"{PREFIX}{task_id}"


def was_lost(attempt: Task) -> bool:
    """Whether an attempt timed out since no worker reported back; its DAG run belongs to the attempt that follows.

    The reason begins so on 3.13.8 and 3.32.2. An attempt that took too long has another one, and its run is ended.
    """
    return attempt.known_status is TaskStatus.TIMED_OUT and attempt.reason.startswith("responseTimeout")


def may_be_orphan(attempt: Task) -> bool:
    """Whether a task has ended in a way that its DAG run does not know of.

    ==============================================  =======
    status                                          orphan
    ==============================================  =======
    open                                            no
    COMPLETED, FAILED …: the run had ended then,
    so a user has cleared it since                  no
    CANCELED: the workflow has ended                yes
    SKIPPED, TIMED_OUT                              yes
    ==============================================  =======
    """
    return attempt.known_status in (TaskStatus.CANCELED, TaskStatus.SKIPPED, TaskStatus.TIMED_OUT)


def has_heir(attempt: Task, workflow: Workflow) -> bool:
    """Whether a later attempt of a lost one goes on with its DAG run."""
    if not was_lost(attempt) or workflow.status.ended:
        return False
    latest = workflow.latest_attempt(attempt.reference_name)
    return latest is not None and latest.is_open


def pause(age: float, shortest: float) -> int:
    """Seconds until a DAG run is read again.

    ======================  ===================
    age                     pause
    ======================  ===================
    up to 20 ``shortest``   ``shortest``
    then                    a twentieth of it
    from 20 minutes on      60 s
    ======================  ===================
    """
    return math.ceil(max(shortest, min(age * PART_OF_AGE, LONGEST_PAUSE)))


def open_run(run: DagRun, url: str, seconds: int, *, dag_is_paused: bool = False) -> Report:
    """The run goes on; in the output, Conductor's UI shows where."""
    waits = {"waiting_for": f"DAG {run.dag_id} is paused in Airflow: unpause it"} if dag_is_paused else {}
    return Report(TaskStatus.IN_PROGRESS, _output(run, url) | waits, callback_after=seconds)


def postponed(task: Task, why: str, seconds: int) -> Report:
    """Nothing could be done now; what the task's output has of its run is kept."""
    return Report(TaskStatus.IN_PROGRESS, {**task.output, "waiting_for": why}, callback_after=seconds)


def succeeded(run: DagRun, url: str, xcoms: Mapping[str, Any]) -> Report:
    return Report(TaskStatus.COMPLETED, _output(run, url) | {"xcoms": dict(xcoms)})


def failed(run: DagRun, url: str, tasks: Sequence[TaskState]) -> Report:
    """The run failed; Conductor retries the task if its definition allows, with a new run."""
    named = ", ".join(_shown(task) for task in tasks) or "no task has failed; the run was set to failed or timed out"
    reason = f"DAG run {run.run_id} of {run.dag_id} failed: {named} ({url})"
    output = {"failed_tasks": [{"task_id": t.task_id, "map_index": t.map_index, "state": t.state} for t in tasks]}
    return Report(TaskStatus.FAILED, _output(run, url) | output, reason)


def deleted(run_id: str, dag_id: str) -> Report:
    reason = f"DAG run {run_id} of {dag_id} was deleted in Airflow before it ended"
    return Report(TaskStatus.FAILED, {"dag_id": dag_id, "dag_run_id": run_id}, reason)


def refused(reason: str) -> Report:
    """A retry would fail alike."""
    return Report(TaskStatus.FAILED_WITH_TERMINAL_ERROR, {}, reason)


def ending_note(note: str, attempt: Task) -> str:
    """The note of a run that is ended, after the note that it had."""
    why = attempt.reason or f"the task is {attempt.data.get('status')}"
    own = f"{ENDED_BY_WORKER} task {attempt.task_id} of workflow {attempt.workflow_id}: {why}"[:500]
    return f"{note[:480]}\n\n{own}" if note else own


def _output(run: DagRun, url: str) -> dict[str, Any]:
    return {
        "dag_id": run.dag_id,
        "dag_run_id": run.run_id,
        "state": run.state,
        "logical_date": run.logical_date or None,
        "start_date": run.start_date or None,
        "end_date": run.end_date or None,
        "url": url,
    }


def _shown(task: TaskState) -> str:
    index = f"[{task.map_index}]" if task.map_index >= 0 else ""
    tries = f", try {task.try_number}" if task.state == "failed" and task.try_number else ""
    return f"{task.task_id}{index} ({task.state}{tries})"
