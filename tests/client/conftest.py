from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorSettings
from tests.client.fault_server import Behaviour, FaultServer
from tests.client.transports import AsyncTransport, Clock, Connect, Meet, Serve, SyncTransport, Transport


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers with a behaviour each; they stop after the test."""
    servers: list[FaultServer] = []

    def start(behaviour: Behaviour, tls: ssl.SSLContext | None = None, *, down: bool = False) -> FaultServer:
        servers.append(FaultServer(behaviour, tls, down))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Connect]:
    """Opens a client to a server or an address: the blocking one, then the asyncio one."""
    kind = {"sync": SyncTransport, "async": AsyncTransport}[request.param]
    opened: list[Transport] = []

    def open_client(where: FaultServer | str, **settings: Any) -> Transport:
        url = where if isinstance(where, str) else where.api_url
        opened.append(kind(ConductorSettings(url, **settings), clock))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def meet(serve: Serve, connect: Connect) -> Meet:
    def both(behaviour: Behaviour, **settings: Any) -> tuple[Transport, FaultServer]:
        server = serve(behaviour)
        return connect(server, **settings), server

    return both
