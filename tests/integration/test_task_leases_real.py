"""What a server does with tasks that a worker takes, returns, loses or updates too late: as it is recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from dev.conductor_server import NEWEST, OLDEST
from tests.recorded.record_leases import measure, recorded

pytestmark = pytest.mark.integration


@pytest.mark.covers("GET /tasks/poll/batch/{tasktype}")
@pytest.mark.parametrize(("server", "version"), [("conductor_server", NEWEST), ("old_conductor_server", OLDEST)])
def test_the_server_does_as_it_is_recorded(server: str, version: str, request: pytest.FixtureRequest) -> None:
    api_url: Any = request.getfixturevalue(server).api_url
    with ConductorClient(api_url) as client:
        found = measure(client)
    expected = recorded()[f"conductor-{version}"]
    assert replace(found, date="") == replace(expected, date="")
