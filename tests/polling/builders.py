"""Workflows and tasks as the server describes them, built field by field; times are seconds from ``START``."""

from __future__ import annotations

from typing import Any

from airflow_provider_conductor.client import PollData, Task, Workflow

START = 1_700_000_000_000
"""The server's clock when every built workflow starts: 2023-11-14 22:13:20 UTC."""


def at(seconds: float) -> int:
    """A moment of the server's clock in ms."""
    return START + round(seconds * 1000)


def task(
    ref: str = "charge_card",
    status: str = "SCHEDULED",
    *,
    kind: str = "SIMPLE",
    scheduled: float | None = 0,
    started: float | None = None,
    updated: float | None = None,
    ended: float | None = None,
    delay: int = 0,
    attempt: int = 1,
    of: int | None = None,
    polls: int = 0,
    definition: dict[str, Any] | None = None,
    in_workflow: dict[str, Any] | None = None,
    **data: Any,
) -> dict[str, Any]:
    """One attempt of a task; ``of`` is how many its definition allows."""
    policy = ({} if of is None else {"retryCount": of - 1}) | (definition or {})

    def time(value: float | None) -> int:
        return 0 if value is None else at(value)

    return {
        "taskId": f"{ref}-{attempt}",
        "retriedTaskId": f"{ref}-{attempt - 1}" if attempt > 1 else None,
        "referenceTaskName": ref,
        "taskType": ref if kind in ("SIMPLE", "DYNAMIC") else kind,
        "taskDefName": ref,
        "status": status,
        "retryCount": attempt - 1,
        "pollCount": polls,
        "callbackAfterSeconds": delay,
        "scheduledTime": time(scheduled),
        "startTime": time(started),
        "updateTime": time(updated),
        "endTime": time(ended),
        "workflowTask": {"type": kind, "taskReferenceName": ref, "taskDefinition": policy} | (in_workflow or {}),
    } | data


def failed(
    ref: str = "charge_card", *, reason: str = "card service down", ended: float = 1, **more: Any
) -> dict[str, Any]:
    """An attempt that failed and, if more of them follow, has been retried."""
    fields = {"started": 0, "updated": 0, "polls": 1, "workerId": "worker-3", "reasonForIncompletion": reason} | more
    return task(ref, fields.pop("status", "FAILED"), ended=ended, **fields)


def workflow(*tasks: dict[str, Any], status: str = "RUNNING", id: str = "wf-1", **data: Any) -> Workflow:
    numbered = [{"seq": number} | one for number, one in enumerate(tasks, 1)]
    return Workflow(
        {"workflowId": id, "workflowName": "order", "status": status, "startTime": START, "createTime": START}
        | {"tasks": numbered}
        | data
    )


def sub(ref: str = "ship", runs: str = "wf-2", status: str = "IN_PROGRESS", **more: Any) -> dict[str, Any]:
    """A SUB_WORKFLOW task."""
    return task(ref, status, kind="SUB_WORKFLOW", started=0, subWorkflowId=runs, **more)


def join(**more: Any) -> dict[str, Any]:
    return task("join", kind="JOIN", started=0, **{"status": "IN_PROGRESS"} | more)


def live(ref: str = "pack", *, updated: float = 0, **more: Any) -> dict[str, Any]:
    """A task that a worker is at."""
    return task(ref, "IN_PROGRESS", started=0, updated=updated, polls=1, **{"workerId": "worker-1"} | more)


def polled(queue: str, seconds: float, worker: str = "worker-3", domain: str = "") -> PollData:
    return PollData({"queueName": queue, "workerId": worker, "lastPollTime": at(seconds), "domain": domain})


def one(data: dict[str, Any]) -> Task:
    return Task(data)
