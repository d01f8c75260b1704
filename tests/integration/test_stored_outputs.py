"""Outputs that a real server moves into its external payload storage.

A stock server lets nobody read them; one on Postgres hands them out itself. Which one this is, it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow, endpoints, fetch_payload
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.exceptions import ConductorOutputTooLargeError, PayloadNotOfferedError
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from tests.integration.client_lab import Lab
from tests.operators.airflow_standin import context_of, run

pytestmark = pytest.mark.integration

OVER_THE_THRESHOLD = 6_000_000
"""Bytes; a stock server keeps up to 5 MiB of a workflow's output, and 3 of a task's, in its database."""


@pytest.fixture(scope="module")
def client(conductor_server: Any) -> Iterator[ConductorClient]:
    with ConductorClient(conductor_server.api_url) as client:
        yield client


@pytest.fixture(scope="module")
def stored(conductor_server: Any) -> Workflow:
    """A completed workflow with a large output."""
    lab = Lab(conductor_server.api_url)
    name = lab.define("stored", lab.simple("pack"), outputParameters={"rows": "${pack.output.rows}"})
    workflow_id = lab.client.start_workflow_by_name(name)
    lab.work("pack", output={"rows": "x" * OVER_THE_THRESHOLD})
    workflow = lab.ended(workflow_id)
    assert workflow.status == "COMPLETED"
    return workflow


def test_the_server_answers_a_path_in_the_outputs_place(stored: Workflow) -> None:
    (task,) = stored.tasks
    assert (stored.output, dict(task.output)) == ({}, {})
    assert stored.external_output_path
    assert task.external_output_path


@pytest.mark.parametrize("more", [{"return_output": True}, {"output_path": "rows"}, {"wait_until_task_ref": "pack"}])
def test_a_task_that_wants_it_gets_it_or_names_the_path(
    stored: Workflow, client: ConductorClient, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    connection = {"conn_type": "conductor", "host": client.settings.api_url}
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps(connection))
    arguments = {"return_output": True, "deferrable": False, "max_output_bytes": 2 * OVER_THE_THRESHOLD, **more}
    sensor = ConductorWorkflowSensor(task_id="sense", workflow_id=stored.workflow_id, **arguments)
    of_task = "wait_until_task_ref" in more
    path = stored.tasks[0].external_output_path if of_task else stored.external_output_path
    kind = PayloadType.TASK_OUTPUT if of_task else PayloadType.WORKFLOW_OUTPUT
    if gives_addresses(client, path, kind):
        found = run(sensor, context_of(sensor))
        rows = found if "output_path" in more else (found["output"] if of_task else found)["rows"]
        assert len(rows) == OVER_THE_THRESHOLD
        return
    with pytest.raises(ConductorOutputTooLargeError, match="gives no address") as told:
        run(sensor, context_of(sensor))
    assert path in str(told.value)


@pytest.mark.parametrize("payload_type", list(PayloadType))
def test_what_no_server_stores_is_told_as_missing(
    client: ConductorClient, old_conductor_server: Any, payload_type: PayloadType
) -> None:
    path = "no-such-output.json"
    with ConductorClient(old_conductor_server.api_url) as old:
        for each in (client, old):
            why = "does not have it" if gives_addresses(each, path, payload_type) else "gives no address"
            with pytest.raises(PayloadNotOfferedError, match=why):
                fetch_payload(each, path, payload_type)


def gives_addresses(client: ConductorClient, path: str, payload_type: PayloadType) -> bool:
    """Whether the server has a storage that payloads can be read from."""
    return bool(client.send(endpoints.get_external_storage_location(path, payload_type)))
