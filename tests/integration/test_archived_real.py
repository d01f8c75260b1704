"""What completed and was archived is not run again, with and without a record of its id."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.client.endpoints import start_body
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.identity import TaskIdentity
from airflow_provider_conductor.submission.start_once import Started, start_once
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord

pytestmark = pytest.mark.integration

INSTANT = {"name": "note", "taskReferenceName": "note", "type": "SET_VARIABLE", "inputParameters": {"noted": True}}


@pytest.fixture
def client(conductor_server: Any) -> Iterator[ConductorClient]:
    with ConductorClient(conductor_server.api_url) as client:
        yield client


def eventually(read: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not read():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.2)


@pytest.mark.parametrize("keeps", [False, True], ids=["no store", "store"])
def test_a_completed_and_archived_workflow_is_not_run_again(client: ConductorClient, keeps: bool) -> None:
    name = f"archived_{uuid.uuid4().hex[:8]}"
    definition = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "tests@example.com", "tasks": [INSTANT]}
    client.register_workflow_defs([{**definition, "timeoutSeconds": 0}])
    records: list[StartRecord] = []
    began, run_id = time.time(), f"scheduled__2026-01-01T00:00:00+00:00_{uuid.uuid4().hex[:8]}"

    def a_try(number: int) -> Started:
        identity = TaskIdentity(
            prefix="airflow", dag_id="d", run_id=run_id, task_id="t", map_index=-1, try_number=number, first_try=1
        )
        plan = StartPlan(
            identity=identity,
            body=start_body({"name": name, "version": 1, "input": {}}),
            max_tries=1,
            series_began=began,
            run_began=began,
            record=records[-1] if keeps and records else None,
            keeps_records=keeps,
        )
        return client.run(start_once(plan, log=lambda _: None, warn=lambda _: None, save=records.append))

    ours = a_try(1).workflow_id
    eventually(lambda: client.get_workflow(ours, include_tasks=False).status.successful)
    client.delete_workflow(ours, archive_workflow=True)
    query = f"workflowId IN ({ours})"
    eventually(lambda: [found.status.successful for found in client.search_workflows(query=query)] == [True])
    again = a_try(2)
    assert (again.action, again.workflow_id) == (Action.ATTACH, ours)
