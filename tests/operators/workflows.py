"""Workflows in each state that a real server knows, for operators to act on."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client import ConductorClient, ConductorRequestError, Workflow
from tests.integration.client_lab import Lab

UNKNOWN = "unknown id"

STATES = ("RUNNING", "PAUSED", "COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED", UNKNOWN)

OWNER = "tests@example.com"


class Workflows:
    """Definitions of its own on one server: ``pack`` then ``ship``, which a worker has to take."""

    def __init__(self, client: ConductorClient) -> None:
        self.client = client
        self.name = f"control_{uuid.uuid4().hex[:8]}"
        self.impatient = f"{self.name}_impatient"
        self._stock: list[str] = []
        task = {"ownerEmail": OWNER, "retryCount": 0, "timeoutSeconds": 0}
        client.register_task_defs(
            [
                {**task, "name": f"{self.name}_pack"},
                {**task, "name": f"{self.name}_ship"},
                {
                    **task,
                    "name": f"{self.impatient}_pack",
                    "timeoutSeconds": 1,
                    "responseTimeoutSeconds": 1,
                    "timeoutPolicy": "TIME_OUT_WF",
                },
            ]
        )
        for name, first in ((self.name, f"{self.name}_pack"), (self.impatient, f"{self.impatient}_pack")):
            self.define(name, {"pack": first, "ship": f"{self.name}_ship"})

    def define(self, name: str, tasks: Mapping[str, str | dict[str, Any]], **fields: Any) -> None:
        """A workflow of tasks in a row, by reference name: the name of a simple one, or what a task has beside it."""
        simple = {"type": "SIMPLE", "inputParameters": {"from": "start"}}
        listed = [
            {"taskReferenceName": ref, "name": ref, **task}
            if isinstance(task, dict)
            else {"taskReferenceName": ref, "name": task, **simple}
            for ref, task in tasks.items()
        ]
        head = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": OWNER}
        self.client.register_workflow_defs({**head, "tasks": listed, **fields})

    def several(self, state: str, count: int, **start: Any) -> list[str]:
        """That many workflows in this state."""
        if state == UNKNOWN:
            return [f"unknown-{uuid.uuid4()}" for _ in range(count)]
        if state == "TIMED_OUT":
            return [self._timed_out() for _ in range(count)]
        ids = [self.client.start_workflow_by_name(self.name, {"order": 7}, **start) for _ in range(count)]
        for workflow_id in ids:
            self._bring(workflow_id, state)
        return ids

    def _timed_out(self) -> str:
        """One of a stock, which is made at once: they take a second."""
        if not self._stock:
            self._stock = [self.client.start_workflow_by_name(self.impatient, {"order": 7}) for _ in range(12)]
            for _ in self._stock:
                Lab.eventually(lambda: self.client.poll_task(f"{self.impatient}_pack", "tester"))
            time.sleep(1.1)
            for workflow_id in self._stock:
                self.time_out(workflow_id)
        return self._stock.pop()

    def waiting(self, count: int, **start: Any) -> list[str]:
        """Many that run and need nobody: one WAIT task, defined in the start itself."""
        name = f"{self.name}_waiting"
        task = {"name": "wait", "taskReferenceName": "wait", "type": "WAIT", "inputParameters": {}}
        definition = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": OWNER, "tasks": [task]}
        request = {"name": name, "version": 1, "workflowDef": definition, **start}
        return [self.client.start_workflow(request) for _ in range(count)]

    def one(self, state: str, **start: Any) -> str:
        return self.several(state, 1, **start)[0]

    def _bring(self, workflow_id: str, state: str) -> None:
        match state:
            case "PAUSED":
                self.client.pause_workflow(workflow_id)
            case "COMPLETED":
                self.finish(workflow_id, "pack")
                self.finish(workflow_id, "ship")
            case "FAILED":
                self.finish(workflow_id, "pack", "FAILED")
            case "TERMINATED":
                self.client.terminate_workflow(workflow_id, "by somebody")
        self.until(workflow_id, state)

    def time_out(self, workflow_id: str) -> None:
        """Let the server look at it now, not at its next sweep (3.13 never sweeps here), until its time is over."""

        def timed_out() -> bool:
            with contextlib.suppress(ConductorRequestError):  # the server is at it itself
                self.client.decide_workflow(workflow_id)
            return self.status(workflow_id) == "TIMED_OUT"

        Lab.eventually(timed_out)

    def finish(self, workflow_id: str, ref: str, status: str = "COMPLETED") -> None:
        """Do this task as a worker would."""
        task = Lab.eventually(
            lambda: self.client.get_workflow(workflow_id).latest_attempt(ref),
            lambda found: found is not None and not found.status.ended,
        )
        assert task is not None
        self.client.update_task(workflow_id, task.task_id, status, reason="by itself" if status == "FAILED" else None)

    def until(self, workflow_id: str, status: str) -> None:
        Lab.eventually(lambda: self.status(workflow_id), status.__eq__)

    def end(self, workflow_ids: Sequence[str]) -> None:
        """Leave nothing running behind."""
        running = [item for item in workflow_ids if self.status(item) in ("RUNNING", "PAUSED")]
        if running:
            self.client.bulk_terminate(running)

    def status(self, workflow_id: str) -> str:
        """In the server's words; UNKNOWN where it does not know it."""
        found = self.client.run(_read(workflow_id))
        return UNKNOWN if found is None else str(found.status)


def _read(workflow_id: str) -> Any:
    from airflow_provider_conductor.client.flows import read_many

    found: dict[str, Workflow] = yield from read_many([workflow_id])
    return found.get(workflow_id)
