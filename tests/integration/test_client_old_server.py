"""The oldest server the client serves: no ``/execute``, no ``/status``, no bulk search, no index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorClient,
    ConductorConflictError,
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorSettings,
    endpoints,
)
from tests.integration.client_lab import Lab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab(old_conductor_server: Any) -> Iterator[Lab]:
    lab = Lab(old_conductor_server.api_url)
    with lab.client:
        yield lab


@pytest.fixture
def client(lab: Lab) -> ConductorClient:
    return lab.client


@pytest.fixture(scope="module")
def orders(lab: Lab) -> str:
    return lab.define(
        "orders",
        lab.simple("pack"),
        lab.simple("ship", inputParameters={"packed": "${pack.output.packed}"}),
        outputParameters={"packed": "${pack.output.packed}", "shipped": "${ship.output.shipped}"},
    )


@pytest.fixture(scope="module")
def instant(lab: Lab) -> str:
    return lab.define(
        "instant",
        {"name": "set", "taskReferenceName": "set", "type": "SET_VARIABLE", "inputParameters": {"x": 1}},
        outputParameters={"a": "${workflow.input.a}"},
    )


def test_an_execution_starts_and_polls(lab: Lab, instant: str, orders: str) -> None:
    with ConductorClient(lab.client.settings) as client:
        workflow = client.execute_workflow({"name": instant, "input": {"a": 3}}, wait_for_seconds=10)
        assert (workflow.status, workflow.output) == ("COMPLETED", {"a": 3})
        assert client.capabilities.execute is False
        running = client.execute_workflow({"name": orders}, wait_for_seconds=1)
        assert running.status == "RUNNING"
        assert client.get_running_workflows(orders) == [running.workflow_id]
        client.terminate_workflow(running.workflow_id)


def test_an_execution_without_a_definition_is_an_error_of_its_own(client: ConductorClient, lab: Lab) -> None:
    with pytest.raises(ConductorDefinitionNotFoundError):
        client.execute_workflow({"name": lab.name("nobody")}, wait_for_seconds=5)


def test_a_status_is_the_workflow_without_its_tasks(lab: Lab, orders: str) -> None:
    with ConductorClient(lab.client.settings) as client:
        workflow_id = client.start_workflow_by_name(orders)
        assert client.get_workflow_status(workflow_id).status == "RUNNING"
        assert client.capabilities.status is False
        client.terminate_workflow(workflow_id, "enough")
        ended = client.get_workflow_status(workflow_id)
        assert (ended.status, ended.tasks) == ("TERMINATED", ())


async def test_the_asyncio_client_falls_back_alike(lab: Lab, instant: str) -> None:
    async with AsyncConductorClient(lab.client.settings) as client:
        workflow = await client.execute_workflow({"name": instant, "input": {"a": 3}}, wait_for_seconds=10)
        assert workflow.output == {"a": 3}
        status = await client.get_workflow_status(workflow.workflow_id)
        assert status.status == "COMPLETED"
        assert (client.capabilities.execute, client.capabilities.status) == (False, False)
        with pytest.raises(ConductorMissingRouteError):
            await client.send(endpoints.bulk_search([workflow.workflow_id]))


def test_missing_workflows_definitions_and_routes_are_different_errors(client: ConductorClient, lab: Lab) -> None:
    for call, kind in [
        (endpoints.get_workflow("no-such-id"), ConductorNotFoundError),
        (endpoints.get_workflow_status("no-such-id"), ConductorMissingRouteError),
        (endpoints.execute_workflow({"name": "x"}), ConductorMissingRouteError),
        (endpoints.fetch_token("id", "secret"), ConductorMissingRouteError),
        (endpoints.start_workflow_by_name(lab.name("nobody")), ConductorDefinitionNotFoundError),
        (endpoints.start_workflow({"name": lab.name("nobody")}), ConductorDefinitionNotFoundError),
        (endpoints.get_workflow_def(lab.name("nobody")), ConductorDefinitionNotFoundError),
    ]:
        with pytest.raises(kind) as caught:
            client.send(call)
        assert type(caught.value) is kind, call.path


def test_the_control_verbs_work(client: ConductorClient, lab: Lab, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders, {"a": 1}, correlation_id=lab.name("c"))
    client.pause_workflow(workflow_id)
    assert client.get_workflow_status(workflow_id).status == "PAUSED"
    client.resume_workflow(workflow_id)
    lab.work("pack", output={"packed": 1})
    lab.work("ship", "FAILED", reason="no van")
    assert lab.ended(workflow_id).latest_attempt("ship").reason == "no van"
    client.retry_workflow(workflow_id)
    ship = lab.work("ship", output={"shipped": 2})
    assert lab.ended(workflow_id).output == {"packed": 1, "shipped": 2}
    with pytest.raises(ConductorConflictError):
        client.retry_workflow(workflow_id)
    client.rerun_workflow(workflow_id, ship.task_id, task_input={"packed": 10})
    assert lab.work("ship").input["packed"] == 10
    lab.ended(workflow_id)
    client.restart_workflow(workflow_id)
    client.skip_task_from_workflow(workflow_id, "ship", task_output={"shipped": "by hand"})
    lab.work("pack", output={"packed": 5})
    assert lab.ended(workflow_id).output == {"packed": 5, "shipped": "by hand"}
    client.delete_workflow(workflow_id, archive_workflow=False)
    with pytest.raises(ConductorNotFoundError):
        client.get_workflow(workflow_id)


def test_the_bulk_verbs_work(client: ConductorClient, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders)
    result = client.bulk_terminate([workflow_id, "no-such-id"], "enough")
    assert result.successful == (workflow_id,)
    assert list(result.errors) == ["no-such-id"]
    assert client.get_workflow(workflow_id).reason == "enough"


def test_without_an_index_a_look_up_by_correlation_id_finds_nothing(
    client: ConductorClient, lab: Lab, orders: str
) -> None:
    workflow_id = client.start_workflow_by_name(orders, correlation_id=lab.name("lost"))
    assert client.get_by_correlation_ids(orders, [lab.name("lost")]) == {lab.name("lost"): ()}
    assert len(client.search_workflows(f"workflowId IN ({workflow_id})")) == 0
    client.terminate_workflow(workflow_id)


def test_logs_and_missing_tasks_are_nothing_rather_than_an_error(
    client: ConductorClient, lab: Lab, orders: str
) -> None:
    workflow_id = client.start_workflow_by_name(orders)
    task = lab.take("pack")
    client.log_task(task.task_id, "a line")
    assert client.get_task_logs(task.task_id) == ()
    assert client.get_task("no-such-id") is None
    client.terminate_workflow(workflow_id)


def test_a_key_for_an_open_server_is_ignored(lab: Lab, instant: str) -> None:
    settings = ConductorSettings(lab.client.settings.api_url, key_id="id", key_secret="s")
    with ConductorClient(settings) as client:
        assert client.get_workflow_def(instant)["name"] == instant
