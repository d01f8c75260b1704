"""What the asyncio client alone does: it reads the event stream of a workflow, and bounds an answer."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorConnectionLostError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorSettings,
    ConductorTimeoutError,
    ConductorUnreachableError,
    NotConductorError,
    aio,
)
from tests.client import fault_server as faults
from tests.client.fault_server import FaultServer
from tests.client.transports import Serve

STREAM = b":connected\n\nid:1\nevent:tool_call\ndata:{}\n\nid:2\nevent:done\ndata:{}\n\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
"""As 3.32 sends it, and then the end."""


async def heard(server: FaultServer | str, **settings: object) -> list[str]:
    url = server if isinstance(server, str) else server.api_url
    client = AsyncConductorClient(ConductorSettings(url, **settings))  # type: ignore[arg-type]
    async with client:
        return [event async for event in client.listen("w1")]


async def test_it_hears_the_kinds_of_events(serve: Serve) -> None:
    server = serve(faults.by_path(token=faults.token("t"), agent=faults.raw(HEAD + STREAM)))
    assert await heard(server, key_id="k", key_secret="s") == ["", "tool_call", "done"]
    (request,) = server.sent_to("/agent/stream/w1")
    assert request.headers["x-authorization"] == "t"


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (faults.no_route, ConductorMissingRouteError),
        (faults.status(404), NotConductorError),
        (faults.error(404, "No such workflow found by id: w1"), ConductorNotFoundError),
        (faults.html(), NotConductorError),
        (faults.json_answer({}), NotConductorError),
        (faults.drop, ConductorConnectionLostError),
    ],
)
async def test_an_answer_that_is_not_a_stream_is_an_error(
    serve: Serve, behaviour: faults.Behaviour, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await heard(serve(behaviour))


async def test_a_stream_without_a_heartbeat_is_dead(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "SILENCE", 0.3)
    with pytest.raises(ConductorTimeoutError):
        await heard(serve(faults.silent))


async def test_an_unreachable_server_is_an_error() -> None:
    with pytest.raises(ConductorUnreachableError):
        await heard("http://127.0.0.1:9/api")
