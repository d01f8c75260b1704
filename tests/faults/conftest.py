from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow, endpoints
from dev.conductor_server import ConductorServer
from tests.faults.proxy import FaultProxy
from tests.recorded import airflow_rows

collect_ignore = [] if airflow_rows.AS_RECORDED else ["test_upgrade.py"]
"""It needs recordings of this Airflow's own rows."""

HOLD = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT", "inputParameters": {}}

WAITS = {
    "name": "fault_waits",
    "version": 1,
    "schemaVersion": 2,
    "ownerEmail": "tests@example.com",
    "tasks": [HOLD],
}
"""A workflow that runs until somebody ends it."""

ENDS = {
    **WAITS,
    "name": "fault_ends",
    "tasks": [
        {
            "name": "note",
            "taskReferenceName": "note",
            "type": "SET_VARIABLE",
            "inputParameters": {"seen": "${workflow.input.number}"},
        }
    ],
    "outputParameters": {"number": "${workflow.input.number}"},
}
"""A workflow that ends by itself."""


def started_as(client: ConductorClient, name: str, correlation_ids: list[str]) -> list[Workflow]:
    """The workflows that were started under these, the oldest first."""
    answer = client.send(endpoints.get_by_correlation_ids(name, correlation_ids))
    return sorted((w for found in answer.values() for w in found), key=lambda workflow: workflow.create_time)


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says at the end of the run what was counted."""
    return lambda line: record_property("counted", line)


@pytest.fixture(scope="session")
def direct(conductor_server: Any) -> Iterator[ConductorClient]:
    """The server itself, past any proxy, with the workflows of these tests."""
    with ConductorClient(conductor_server.api_url) as client:
        client.register_workflow_defs([WAITS, ENDS])
        yield client


@pytest.fixture
def own_server() -> Iterator[ConductorServer]:
    """A server that a test may kill."""
    with ConductorServer() as server:
        yield server


@pytest.fixture
def proxy(direct: ConductorClient) -> Iterator[FaultProxy]:
    proxy = FaultProxy(direct.settings.api_url)
    yield proxy
    proxy.stop()
