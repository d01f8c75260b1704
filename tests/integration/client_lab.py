"""A client, definitions of its own, and a worker that does a task when told."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from airflow_provider_conductor.client import ConductorClient, ConductorRequestError, Task, TaskStatus, Workflow
from tests.integration.abilities import abilities

__all__ = ["PATIENCE", "Lab"]

PATIENCE = 180.0
"""Seconds for what a server does in a moment, unless the tests beside this one keep it and the machine busy."""

T = TypeVar("T")


class Lab:
    """Everything made here carries ``tag``, so that tests on one server do not meet."""

    def __init__(self, api_url: str) -> None:
        self.client = ConductorClient(api_url)
        self.tag = uuid.uuid4().hex[:8]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def abilities(self) -> frozenset[str]:
        """What its server can do, see there."""
        return abilities(self.client.settings.api_url)

    def name(self, what: str) -> str:
        return f"{what}_{self.tag}"

    def simple(self, ref: str, **fields: Any) -> dict[str, Any]:
        """A task for our worker, whose input is the workflow's."""
        given = {"a": "${workflow.input.a}"}
        return {"name": self.name(ref), "taskReferenceName": ref, "type": "SIMPLE", "inputParameters": given} | fields

    @staticmethod
    def system(kind: str, ref: str, **fields: Any) -> dict[str, Any]:
        """A task that the server does itself."""
        return {"name": ref, "taskReferenceName": ref, "type": kind, "inputParameters": {}} | fields

    def definition(self, what: str, *tasks: Mapping[str, Any], version: int = 1, **fields: Any) -> dict[str, Any]:
        return {
            "name": self.name(what),
            "version": version,
            "schemaVersion": 2,
            "ownerEmail": "tests@example.com",
            "tasks": list(tasks),
        } | fields

    def define(self, what: str, *tasks: Mapping[str, Any], version: int = 1, **fields: Any) -> str:
        """Register a workflow and the definitions of its simple tasks, which fail at the first failure."""
        self.client.register_task_defs(
            [
                {"name": task["name"], "retryCount": 0, "ownerEmail": "tests@example.com", "timeoutSeconds": 0}
                for task in tasks
                if task["type"] == "SIMPLE"
            ]
            or [{"name": self.name("unused"), "ownerEmail": "tests@example.com"}]
        )
        self.client.register_workflow_defs(self.definition(what, *tasks, version=version, **fields))
        return self.name(what)

    def define_orders(self) -> str:
        """Two tasks in a row; the output is what they said."""
        outputs = {"packed": "${pack.output.packed}", "shipped": "${ship.output.shipped}"}
        ship = self.simple("ship", inputParameters={"packed": outputs["packed"]})
        return self.define("orders", self.simple("pack"), ship, outputParameters=outputs)

    def define_instant(self, what: str = "instant", version: int = 1) -> str:
        """Needs no worker; the output is the input."""
        given = "${workflow.input.a}"
        task = self.system("SET_VARIABLE", "set", inputParameters={"seen": given})
        return self.define(what, task, version=version, outputParameters={"a": given})

    def take(self, ref: str) -> Task:
        """Poll until the task is there; it then is IN_PROGRESS."""
        task = self.eventually(lambda: self.client.poll_task(self.name(ref), "tester"))
        assert task is not None
        return task

    def work(self, ref: str, status: str = "COMPLETED", output: Mapping[str, Any] | None = None, **fields: Any) -> Task:
        task = self.take(ref)
        self.client.update_task(task.data["workflowInstanceId"], task.task_id, status, output, **fields)
        return task

    def status_of(self, workflow_id: str, ref: str) -> TaskStatus | None:
        task = self.client.get_workflow(workflow_id).latest_attempt(ref)
        return task and task.status

    def ended(self, workflow_id: str) -> Workflow:
        return self.eventually(lambda: self.client.get_workflow(workflow_id), lambda found: found.status.ended)

    def end(self, *whats: str) -> None:
        """Terminate what runs of these definitions."""
        for name in map(self.name, whats):
            if running := self.client.get_running_workflows(name):
                self.client.bulk_terminate(running)

    def begin_sub_workflows(self, workflow_id: str) -> None:
        """Have the server evaluate this workflow, where it has no task yet, and what runs below it.

        The server begins a sub-workflow from the queue in which all running workflows are evaluated in turn, and that
        is as long as the tests beside this one make it.
        """
        workflow = self.client.get_workflow(workflow_id)
        if not workflow.tasks and not workflow.status.ended:
            with contextlib.suppress(ConductorRequestError):  # the server is at it itself
                self.client.decide_workflow(workflow_id)
        for task in workflow.tasks:
            if task.sub_workflow_id:
                self.begin_sub_workflows(task.sub_workflow_id)

    def sub_workflow_at(self, workflow_id: str, ref: str, below: str) -> str:
        """The id of the sub-workflow that this task runs, once it has come to its task ``below``."""

        def begun() -> str:
            self.begin_sub_workflows(workflow_id)
            task = self.client.get_workflow(workflow_id).latest_attempt(ref)
            found = task.sub_workflow_id if task else ""
            return found if found and self.status_of(found, below) else ""

        return self.eventually(begun)

    @staticmethod
    def eventually(look: Callable[[], T], right: Callable[[T], Any] = bool, seconds: float = PATIENCE) -> T:
        """What ``look`` gives once it is ``right``; the server does some things a little later."""
        end = time.monotonic() + seconds
        while not right(found := look()):
            assert time.monotonic() < end, f"still {found!r} after {seconds:g} s"
            time.sleep(0.1)
        return found
