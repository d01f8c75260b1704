"""Terminate and retry, and what a real server does with a workflow in each state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client.sync import ConductorClient
from airflow_provider_conductor.exceptions import ConductorStateError
from airflow_provider_conductor.operators.conductor import (
    ConductorRetryWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from tests.operators.airflow_standin import context_of

pytestmark = pytest.mark.integration

NAME = f"states_{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module", params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def client(request: pytest.FixtureRequest) -> Iterator[ConductorClient]:
    """A server that has a workflow of one task, which a worker has to take."""
    with ConductorClient(request.getfixturevalue(request.param).api_url) as client:
        client.register_task_defs({"name": NAME, "retryCount": 0, "timeoutSeconds": 0, "ownerEmail": "a@example.com"})
        task = {"name": NAME, "taskReferenceName": "pack", "type": "SIMPLE"}
        definition = {"name": NAME, "version": 1, "schemaVersion": 2, "ownerEmail": "a@example.com", "tasks": [task]}
        client.register_workflow_defs(definition)
        yield client


@pytest.fixture(autouse=True)
def connection(client: ConductorClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{client.settings.api_url}"}}'
    )


def settle(client: ConductorClient, status: str) -> str:
    """A workflow in this state; returns its id."""
    workflow_id = client.start_workflow_by_name(NAME)

    def finish(result: str) -> None:
        give_up = time.monotonic() + 15
        while client.get_workflow_status(workflow_id).status == "RUNNING":
            assert time.monotonic() < give_up
            for task in client.get_workflow(workflow_id).tasks:
                client.update_task(workflow_id, task.task_id, result, reason="by itself")

    steps: dict[str, Callable[[], Any]] = {
        "RUNNING": lambda: None,
        "PAUSED": lambda: client.pause_workflow(workflow_id),
        "COMPLETED": lambda: finish("COMPLETED"),
        "FAILED": lambda: finish("FAILED"),
        "TERMINATED": lambda: client.terminate_workflow(workflow_id, "by somebody"),
    }
    steps[status]()
    assert client.get_workflow_status(workflow_id).status == status
    return workflow_id


@pytest.mark.parametrize(
    ("before", "terminated"),
    [("RUNNING", True), ("PAUSED", True), ("COMPLETED", False), ("FAILED", False), ("TERMINATED", False)],
)
def test_terminate(client: ConductorClient, before: str, terminated: bool) -> None:
    workflow_id = settle(client, before)
    reason_before = client.get_workflow(workflow_id, include_tasks=False).reason
    operator = ConductorTerminateWorkflowOperator(task_id="terminate", workflow_id=workflow_id, reason="by Airflow")
    assert operator.execute(context_of(operator)) == ([workflow_id] if terminated else [])
    after = client.get_workflow(workflow_id, include_tasks=False)
    assert after.status == ("TERMINATED" if terminated else before)
    assert after.reason == ("by Airflow" if terminated else reason_before)


@pytest.mark.parametrize(
    ("before", "after"), [("RUNNING", "RUNNING"), ("FAILED", "RUNNING"), ("TERMINATED", "RUNNING")]
)
def test_retry(client: ConductorClient, before: str, after: str) -> None:
    workflow_id = settle(client, before)
    operator = ConductorRetryWorkflowOperator(task_id="retry", workflow_id=workflow_id)
    assert operator.execute(context_of(operator)) == workflow_id
    assert client.get_workflow_status(workflow_id).status == after
    client.terminate_workflow(workflow_id)


@pytest.mark.parametrize("before", ["PAUSED", "COMPLETED"])
def test_retry_is_refused(client: ConductorClient, before: str) -> None:
    workflow_id = settle(client, before)
    operator = ConductorRetryWorkflowOperator(task_id="retry", workflow_id=workflow_id)
    with pytest.raises(ConductorStateError, match=before):
        operator.execute(context_of(operator))
    assert client.get_workflow_status(workflow_id).status == before
