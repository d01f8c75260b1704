"""What tries make of a workflow that runs itself below, starts its successor, or is its own failure workflow."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.client.endpoints import start_body
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.identity import TaskIdentity
from airflow_provider_conductor.submission.start_once import Started, start_once, terminate_starts
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord
from tests.recorded.record_children import child_of, definitions

pytestmark = pytest.mark.integration


@pytest.fixture
def client(conductor_server: Any) -> Iterator[ConductorClient]:
    with ConductorClient(conductor_server.api_url) as client:
        yield client


def eventually(read: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := read()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.2)
    return found


class Task:
    """An Airflow task and its tries; ``keeps`` says whether it has a task state store."""

    def __init__(self, client: ConductorClient, kind: str, keeps: bool) -> None:
        self.client, self.kind, self.keeps = client, kind, keeps
        self.definition = definitions(uuid.uuid4().hex[:8])[kind]
        client.register_workflow_defs([self.definition])
        self.records: list[StartRecord] = []
        self.began = time.time()
        self.identity = TaskIdentity(
            prefix="airflow",
            dag_id="children",
            run_id=uuid.uuid4().hex,
            task_id="task",
            map_index=-1,
            try_number=1,
            first_try=1,
        )

    def plan(self) -> StartPlan:
        return StartPlan(
            identity=self.identity,
            body=start_body({"name": self.definition["name"], "version": 1, "input": {"depth": "1"}}),
            max_tries=self.identity.first_try,
            series_began=self.began,
            run_began=self.began,
            record=self.records[-1] if self.keeps and self.records else None,
            keeps_records=self.keeps,
            leftover_reason="Airflow task was killed: it starts anew",
        )

    def start(self) -> Started:
        def ignore(_: str) -> None: ...

        flow = start_once(self.plan(), log=ignore, warn=ignore, save=self.records.append)
        return self.client.run(flow)

    def child(self, workflow_id: str) -> str:
        if self.kind == "START_WORKFLOW":
            (wait,) = eventually(lambda: self.client.get_workflow(workflow_id).tasks)
            self.client.update_task(workflow_id, wait.task_id, "COMPLETED")
        return str(eventually(lambda: child_of(dict(self.client.get_workflow(workflow_id).data))))

    def status(self, workflow_id: str) -> str:
        return str(self.client.get_workflow(workflow_id, include_tasks=False).status)


@pytest.mark.parametrize("keeps", [False, True], ids=["no store", "store"])
@pytest.mark.parametrize("kind", ["SUB_WORKFLOW", "START_WORKFLOW", "failureWorkflow"])
def test_a_retry_and_a_clear_take_the_workflow_and_leave_its_child(
    client: ConductorClient, kind: str, keeps: bool
) -> None:
    task = Task(client, kind, keeps)
    ours = task.start().workflow_id
    child = task.child(ours)
    assert task.status(child) == "RUNNING"

    task.identity = replace(task.identity, try_number=2)
    again = task.start()
    assert again.workflow_id == ours
    if kind != "failureWorkflow":
        assert again.action is Action.ATTACH
    assert task.status(child) == "RUNNING"

    task.identity = replace(task.identity, try_number=3, first_try=3)
    task.began = time.time()
    assert task.start().action is Action.START
    # A sub-workflow ends with what it is a part of, and by the server.
    assert task.status(child) == ("TERMINATED" if kind == "SUB_WORKFLOW" else "RUNNING")
    client.run(terminate_starts(task.plan(), "over", lambda _: None))
    client.terminate_workflow(child)
