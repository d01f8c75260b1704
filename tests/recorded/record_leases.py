"""Records what a Conductor does with a task that a worker takes, returns to the queue, loses, or updates too late.

    python -m tests.recorded.record_leases --url http://localhost:8080/api --into conductor-3.32.2

Written to ``leases/<version>.json``. The worker of DAG runs relies on each of these.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_provider_conductor.client import ConductorClient, ConductorNotFoundError, Task, endpoints

HERE = Path(__file__).parent / "leases"

PATIENCE = 90.0
"""Seconds for what a server does by itself."""

RESPONSE_TIMEOUT = 2
CALLBACK = 4
"""Seconds; longer than the response timeout."""


@dataclass(frozen=True, slots=True)
class Leases:
    """What was seen.

    Attributes:
        taken: a task's status when it was polled.
        returned: its status after an update IN_PROGRESS with ``callbackAfterSeconds``.
        comes_back: it is polled again, the same task, with a higher ``pollCount``.
        came_back_early: it was polled before its callback.
        output_is_replaced: an update without an output takes away what the one before has stored.
        callback_outlasts_response_timeout: the response timeout does not run while it is in the queue.
        lost: the status of a task that was polled and never updated, when its response timeout is over.
        lost_reason: how the reason of that begins.
        successor_names_it: the next attempt has its id as ``retriedTaskId``.
        requeue_returns_lost: ``/tasks/queue/requeue`` brings such a task back at once.
        requeue_keeps_callback: it does not shorten the callback of a task that is in the queue.
        requeue_keeps_domain: it returns a task to the queue of its domain.
        late_update: the status of a completed task after an update IN_PROGRESS.
        terminated: the status of a task whose workflow was terminated, also after an update IN_PROGRESS.
        removed_is_missing: a task of a removed workflow is 404.
    """

    date: str
    taken: str
    returned: str
    comes_back: bool
    came_back_early: bool
    output_is_replaced: bool
    callback_outlasts_response_timeout: bool
    lost: str
    lost_reason: str
    successor_names_it: bool
    requeue_returns_lost: bool
    requeue_keeps_callback: bool
    requeue_keeps_domain: bool
    late_update: str
    terminated: str
    removed_is_missing: bool


class Queue:
    """A queue of its own, and workflows with one task in it."""

    def __init__(self, client: ConductorClient, **definition: Any) -> None:
        self.client = client
        self.name = f"lease_{uuid.uuid4().hex[:8]}"
        common = {"name": self.name, "ownerEmail": "a@example.com"}
        client.register_task_defs({**common, "timeoutSeconds": 0, "retryCount": 0, **definition})
        task = {"name": self.name, "taskReferenceName": "held", "type": "SIMPLE"}
        client.register_workflow_defs({**common, "version": 1, "schemaVersion": 2, "tasks": [task]})

    def start(self, **more: Any) -> str:
        return self.client.start_workflow({"name": self.name, "version": 1, **more})

    def take(self, seconds: float = PATIENCE, domain: str | None = None) -> Task | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for task in self.client.send(endpoints.poll_tasks(self.name, 5, "worker-3", domain)):
                return task
            time.sleep(0.1)
        return None

    def taken(self, domain: str | None = None) -> Task:
        task = self.take(domain=domain)
        assert task is not None, f"{self.name}: nothing was queued"
        return task

    def update(self, task: Task, status: str = "IN_PROGRESS", **more: Any) -> Task:
        self.client.update_task(task.workflow_id, task.task_id, status, **more)
        return self.read(task)

    def read(self, task: Task) -> Task:
        found = self.client.get_task(task.task_id)
        assert found is not None
        return found


def measure(client: ConductorClient) -> Leases:
    """Try each on the server."""
    queue = Queue(client, responseTimeoutSeconds=RESPONSE_TIMEOUT)
    queue.start()
    first = queue.taken()
    returned = queue.update(first, output={"seen": 1}, callback_after_seconds=CALLBACK)
    began = time.monotonic()
    again = queue.taken()
    early = time.monotonic() - began < CALLBACK - 1
    replaced = queue.update(again, callback_after_seconds=1).output == {}
    done = queue.update(queue.taken(), "COMPLETED")
    late = queue.update(done, callback_after_seconds=1)

    lost_queue = Queue(client, responseTimeoutSeconds=RESPONSE_TIMEOUT, retryCount=1, retryDelaySeconds=1)
    lost_id = lost_queue.start()
    lost = lost_queue.taken()
    deadline = time.monotonic() + PATIENCE
    while (seen := lost_queue.read(lost)).is_open and time.monotonic() < deadline:
        client.decide_workflow(lost_id)  # the server's own sweep may take a minute
        time.sleep(0.5)
    successor = lost_queue.taken()

    kept = Queue(client, responseTimeoutSeconds=600)
    kept_id = kept.start()
    task = kept.taken()
    client.requeue_tasks(kept.name)
    requeued = kept.take(10)
    kept.update(task, callback_after_seconds=CALLBACK)
    client.requeue_tasks(kept.name)
    kept_callback = kept.take(1.5) is None
    client.terminate_workflow(kept_id, "recorded")
    terminated = kept.update(task, callback_after_seconds=1)
    client.delete_workflow(kept_id)
    try:
        missing = client.get_task(task.task_id) is None
    except ConductorNotFoundError:
        missing = True

    kept.start(taskToDomain={kept.name: "blue"})
    kept.taken("blue")
    client.requeue_tasks(kept.name)
    in_domain = kept.take(10, "blue")
    return Leases(
        date=time.strftime("%Y-%m-%d"),
        taken=str(first.status),
        returned=str(returned.status),
        comes_back=again.task_id == first.task_id and again.poll_count > first.poll_count,
        came_back_early=early,
        output_is_replaced=replaced,
        callback_outlasts_response_timeout=again.task_id == first.task_id,
        lost=str(seen.status),
        lost_reason=seen.reason.partition(":")[0],
        successor_names_it=successor.retried_task_id == lost.task_id,
        requeue_returns_lost=requeued is not None,
        requeue_keeps_callback=kept_callback,
        requeue_keeps_domain=in_domain is not None,
        late_update=str(late.status),
        terminated=str(terminated.status),
        removed_is_missing=missing,
    )


def recorded() -> dict[str, Leases]:
    """Name of a recording → what was recorded."""
    return {file.stem: Leases(**json.loads(file.read_text())) for file in sorted(HERE.glob("*.json"))}


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what a server does with the tasks that a worker takes.")
    parser.add_argument("--url", required=True, help="the API's address")
    parser.add_argument("--into", required=True, help="name of the file, for example conductor-3.32.2")
    chosen = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    with ConductorClient(chosen.url) as client:
        (HERE / f"{chosen.into}.json").write_text(json.dumps(asdict(measure(client)), indent=2) + "\n")


if __name__ == "__main__":
    main()
