"""A pytest plugin with the fixture ``conductor``.

In the ``conftest.py`` of the root: ``pytest_plugins = ["airflow_provider_conductor.testing.fixtures"]``
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_conductor.testing.server import ConductorStandIn


@pytest.fixture
def conductor(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConductorStandIn]:
    """A stand-in server, to which the connection ``conductor_default`` leads for the length of the test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ConductorStandIn() as server:
        monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", server.connection_uri())
        yield server
