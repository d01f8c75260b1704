"""What mypy knows of the clients' methods and of flows: checked by `make lint`, never run."""

from __future__ import annotations

from typing import Any, assert_type

from airflow_provider_conductor.client import AsyncConductorClient, BulkResult, ConductorClient, Workflow, endpoints
from airflow_provider_conductor.client.flow import Flow, ask, current_time


def blocking(client: ConductorClient) -> None:
    assert_type(client.start_workflow({"name": "orders"}), str)
    assert_type(client.get_workflow("w1", False), Workflow)
    assert_type(client.get_workflow("w1", include_tasks=False), Workflow)
    assert_type(client.execute_workflow({"name": "orders"}, wait_for_seconds=5), Workflow)
    assert_type(client.get_workflow_status("w1"), Workflow)
    assert_type(client.bulk_pause(["w1"]), BulkResult)
    assert_type(client.get_workflow_def("orders"), dict[str, Any])
    client.get_workflow(1)  # type: ignore[arg-type]
    client.get_workflow("w1", tasks=True)  # type: ignore[call-arg]
    client.get_workflow_status(client.capabilities, "w1")  # type: ignore[arg-type]


async def asynchronous(client: AsyncConductorClient) -> None:
    assert_type(await client.start_workflow({"name": "orders"}), str)
    assert_type(await client.get_workflow("w1", False), Workflow)
    assert_type(await client.execute_workflow({"name": "orders"}, wait_for_seconds=5), Workflow)
    assert_type(await client.bulk_pause(["w1"]), BulkResult)
    client.get_workflow("w1")  # type: ignore[unused-coroutine]
    await client.get_workflow(1)  # type: ignore[arg-type]


def flow() -> Flow[str]:
    assert_type((yield from current_time()), float)
    wrong: int = yield from ask(endpoints.get_workflow("w1"))  # type: ignore[assignment]
    assert_type((yield from ask(endpoints.start_workflow({"name": "orders"}))), str)
    return str(wrong)
