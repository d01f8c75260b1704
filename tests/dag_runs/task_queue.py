"""The queue of a Conductor, with what ``tests/recorded/leases`` has seen of real ones; its time is set by the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_provider_conductor.testing import ConductorStandIn, Request

Answer = tuple[int, str, bytes]


class TaskQueue:
    """Serves the tasks of one type; :meth:`pass_time` lets callbacks fall due.

    Attributes:
        tasks: task id → the task.
        updates: the updates that arrived, in order.
        definitions: the task definitions that were registered.
        workflows: workflow id → status.
        instead: a test's own answer to a request, or None for the usual one.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.updates: list[dict[str, Any]] = []
        self.definitions: list[dict[str, Any]] = []
        self.workflows: dict[str, str] = {}
        self.instead: Callable[[Request], Answer | None] = lambda request: None
        self.requeued = 0
        self._now = 1_000_000
        self._queue: dict[str, int] = {}
        self.server = ConductorStandIn()
        self.server.instead = self._answer

    def close(self) -> None:
        self.server.close()

    def add(self, task_id: str, task_input: dict[str, Any], **more: Any) -> str:
        """Schedule a task, in a workflow of its own."""
        workflow_id = f"workflow-of-{task_id}"
        self.workflows.setdefault(workflow_id, "RUNNING")
        self.tasks[task_id] = {
            "taskId": task_id,
            "workflowInstanceId": workflow_id,
            "referenceTaskName": "run_dag",
            "taskType": "airflow_dag",
            "status": "SCHEDULED",
            "seq": len(self.tasks) + 1,
            "pollCount": 0,
            "inputData": task_input,
            "outputData": {},
            "scheduledTime": self._now,
            **more,
        }
        if self.tasks[task_id]["status"] == "SCHEDULED":
            self._queue[task_id] = self._now
        return task_id

    def pass_time(self, seconds: float) -> None:
        self._now += int(seconds * 1000)

    def terminate(self, task_id: str) -> None:
        """Terminate the workflow of a task."""
        self.end(task_id, "CANCELED")
        self.workflows[self.tasks[task_id]["workflowInstanceId"]] = "TERMINATED"

    def end(self, task_id: str, status: str, reason: str = "") -> None:
        self.tasks[task_id].update(status=status, reasonForIncompletion=reason)
        self._queue.pop(task_id, None)

    def status(self, task_id: str) -> str:
        status: str = self.tasks[task_id]["status"]
        return status

    def take(self, count: int, worker_id: str = "") -> list[dict[str, Any]]:
        """Poll."""
        due = [task_id for task_id, at in self._queue.items() if at <= self._now][:count]
        for task_id in due:
            del self._queue[task_id]
            task = self.tasks[task_id]
            task.setdefault("startTime", self._now)
            task.update(status="IN_PROGRESS", pollCount=task["pollCount"] + 1, updateTime=self._now, workerId=worker_id)
        return [self.tasks[task_id] for task_id in due]

    def _answer(self, request: Request) -> Answer | None:
        own = self.instead(request)
        if own is not None:
            return own
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["tasks", "poll", "batch", "airflow_dag"]:
                return _json(200, self.take(int(request.query["count"]), request.query["workerid"]))
            case "POST", ["tasks"]:
                return self._update(request.body)
            case "POST", ["tasks", "queue", "requeue", "airflow_dag"]:
                self.requeued += 1
                for task_id, task in self.tasks.items():
                    if task["status"] == "IN_PROGRESS" and task_id not in self._queue:
                        self._queue[task_id] = self._now
                return 200, "text/plain", b"1"
            case "POST", ["metadata", "taskdefs"]:
                self.definitions += request.body
                return _json(200, None)
            case "GET", ["metadata", "taskdefs", "airflow_dag"] if self.definitions:
                return _json(200, self.definitions[0])
            case "GET", ["tasks", task_id] if task_id in self.tasks:
                return _json(200, self.tasks[task_id])
            case "GET", ["tasks", task_id]:
                return _json(404, _error(f"Task not found for taskId: {task_id}"))
            case "GET", ["workflow", workflow_id] if workflow_id in self.workflows:
                tasks = [task for task in self.tasks.values() if task["workflowInstanceId"] == workflow_id]
                status = self.workflows[workflow_id]
                return _json(200, {"workflowId": workflow_id, "status": status, "tasks": tasks})
        return None

    def _update(self, update: dict[str, Any]) -> Answer:
        self.updates.append(update)
        task = self.tasks[update["taskId"]]
        if task["status"] in ("SCHEDULED", "IN_PROGRESS"):
            task["outputData"] = update["outputData"]
            task["reasonForIncompletion"] = update.get("reasonForIncompletion")
            if update["status"] == "IN_PROGRESS":
                task["status"] = "SCHEDULED"
                self._queue[task["taskId"]] = self._now + 1000 * update.get("callbackAfterSeconds", 0)
            else:
                task["status"] = update["status"]
        return 200, "text/plain", update["taskId"].encode()


def _error(message: str) -> dict[str, Any]:
    return {"instance": "conductor-1", "retryable": False, "message": message, "status": 404}


def _json(status: int, value: Any) -> Answer:
    return status, "application/json", json.dumps(value).encode()
