"""Outputs that a real server moves into its external payload storage, which a stock server lets nobody read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow, endpoints
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.exceptions import ConductorOutputTooLargeError
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
def test_a_task_that_wants_it_fails_and_names_the_path(
    stored: Workflow, client: ConductorClient, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    connection = {"conn_type": "conductor", "host": client.settings.api_url}
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps(connection))
    arguments = {"return_output": True, "deferrable": False, **more}
    sensor = ConductorWorkflowSensor(task_id="sense", workflow_id=stored.workflow_id, **arguments)
    path = stored.tasks[0].external_output_path if "wait_until_task_ref" in more else stored.external_output_path
    with pytest.raises(ConductorOutputTooLargeError, match="gives no address") as told:
        run(sensor, context_of(sensor))
    assert path in str(told.value)


@pytest.mark.parametrize("payload_type", list(PayloadType))
def test_neither_server_gives_an_address_without_a_storage(
    client: ConductorClient, old_conductor_server: Any, payload_type: PayloadType
) -> None:
    call = endpoints.get_external_storage_location("some/output.json", payload_type)
    with ConductorClient(old_conductor_server.api_url) as old:
        assert (client.send(call), old.send(call)) == ("", "")
