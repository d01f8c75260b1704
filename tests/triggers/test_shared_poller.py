"""All triggers of a connection share one session, one token, one look-up; and what they share goes with the last."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from socket import gethostname
from typing import Any

import pytest
from airflow.models import Connection
from airflow.providers.common.compat import connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_conductor.polling.wait_spec import WaitSpec
from airflow_provider_conductor.testing import ConductorStandIn, Request
from airflow_provider_conductor.triggers import ConductorWorkflowTrigger, shared_poller as sharing
from tests.operators.airflow_standin import first_event

MANY = 40


def waiting_for(workflow_id: str, conn_id: str = "conductor_default", **arguments: Any) -> ConductorWorkflowTrigger:
    return ConductorWorkflowTrigger(workflow_id=workflow_id, conductor_conn_id=conn_id, poll_interval=0.2, **arguments)


async def event_of(trigger: ConductorWorkflowTrigger) -> dict[str, Any]:
    events = [event.payload async for event in trigger.run()]
    (payload,) = events
    return payload


async def until(condition: Any, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is the stand-in's threads that change it
            await asyncio.sleep(0.02)


def pollers() -> int:
    return len(sharing._pollers.get(asyncio.get_running_loop(), {}))


AWAY = RuntimeError("the API server is away")


class LookUps:
    """Airflow's look-up of a connection, which fails so often before it answers."""

    def __init__(self, error: Exception, times: int, answer: str) -> None:
        self.error, self.times, self.answer = error, times, answer
        self.made: list[str] = []
        self.first = asyncio.Event()

    async def __call__(self, conn_id: str) -> Any:
        self.made.append(conn_id)
        self.first.set()
        if len(self.made) <= self.times:
            raise self.error
        return Connection(conn_id=conn_id, uri=self.answer)


def failing(
    monkeypatch: pytest.MonkeyPatch, conductor: ConductorStandIn, error: Exception, times: int, **extra: Any
) -> LookUps:
    made = LookUps(error, times, conductor.connection_uri(**extra))
    monkeypatch.setattr(connection, "get_async_connection", made)
    return made


async def test_many_triggers_share_a_look_up_a_token_and_their_polls(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductor.key = ("key", "s3cret")
    looked_up = failing(monkeypatch, conductor, AWAY, 0).made
    ids = [conductor.add() for _ in range(MANY)]
    running = [asyncio.create_task(event_of(waiting_for(workflow_id))) for workflow_id in ids]
    await until(lambda: any(r.path == "/workflow/bulk/search" and len(r.body) == MANY for r in conductor.requests))
    for workflow_id in ids:
        conductor.end(workflow_id, "COMPLETED")
    events = await asyncio.gather(*running)
    assert {event["workflow_id"] for event in events} == set(ids)
    assert {event["status"] for event in events} == {"COMPLETED"}
    assert looked_up == ["conductor_default"]
    assert sum(r.path == "/token" for r in conductor.requests) == 1
    assert {
        r.headers.get("X-Authorization") for r in conductor.requests if r.path != "/token"
    } == conductor.tokens.keys()
    assert pollers() == 0


async def test_a_deferred_wait_that_was_looked_at_before_reads_no_tasks_again(conductor: ConductorStandIn) -> None:
    """Its state has what the worker saw: it begins with a pause, and a completed workflow needs no poll of its own."""
    from airflow_provider_conductor.client import ConductorClient
    from airflow_provider_conductor.polling.wait import wait

    ids = [conductor.add() for _ in range(5)]
    states = []
    with ConductorClient(conductor.url) as client:
        for workflow_id in ids:
            spec = WaitSpec(workflow_id=workflow_id, started_at=time.time(), poll_interval=0.2)
            states.append(client.run(wait(spec, lambda line: None, return_after=0)).state.to_json())
    conductor.requests.clear()
    triggers = [
        waiting_for(workflow_id, state=json.loads(json.dumps(state)))
        for workflow_id, state in zip(ids, states, strict=True)
    ]
    running = [asyncio.create_task(event_of(trigger)) for trigger in triggers]
    await until(lambda: len(conductor.requests) >= 3)
    for workflow_id in ids:
        conductor.end(workflow_id, "COMPLETED")
    assert {event["status"] for event in await asyncio.gather(*running)} == {"COMPLETED"}
    assert {r.path for r in conductor.requests} == {"/workflow/bulk/search"}


async def test_each_connection_has_a_watcher_of_its_own(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = failing(monkeypatch, conductor, AWAY, 0).made
    ids = [conductor.add() for _ in range(2)]
    running = [
        asyncio.create_task(event_of(waiting_for(workflow_id, conn_id)))
        for workflow_id, conn_id in zip(ids, ("conductor_default", "other"), strict=True)
    ]
    await until(lambda: len(conductor.requests) >= 4)
    assert pollers() == 2
    for workflow_id in ids:
        conductor.end(workflow_id, "COMPLETED")
    await asyncio.gather(*running)
    assert sorted(looked_up) == ["conductor_default", "other"]


async def test_connections_that_fail_hold_up_no_other(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server is gone, one answers nothing, one requires a key; the fourth's waits end as ever."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=MANY) as silent,
        ConductorStandIn(("key", "s3cret")) as refusing,
    ):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            ports = {"dead": gone.getsockname()[1], "hanging": silent.getsockname()[1], "refusing": refusing.port}
        for name, port in ports.items():
            uri = conductor.connection_uri().replace(f":{conductor.port}/", f":{port}/")
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", uri)
        ids = [conductor.add() for _ in range(MANY)]
        others = {
            name: [asyncio.create_task(event_of(waiting_for(workflow_id, name))) for workflow_id in ids]
            for name in ports
        }
        running = [asyncio.create_task(event_of(waiting_for(workflow_id))) for workflow_id in ids]
        # The fourth's waits go on being polled together, in requests that are answered.
        await until(lambda: sum(len(r.body or ()) == MANY for r in conductor.requests) >= 3)
        for workflow_id in ids:
            conductor.end(workflow_id, "COMPLETED")
        assert {event["status"] for event in await asyncio.gather(*running)} == {"COMPLETED"}
        refused = await asyncio.gather(*others["refusing"])
        assert {event["error"] for event in refused} == {"ConductorAuthError"}
        for name in ("dead", "hanging"):
            assert not any(task.done() for task in others[name]), name
            for task in others[name]:
                task.cancel()
        await asyncio.gather(*others["dead"], *others["hanging"], return_exceptions=True)
    assert pollers() == 0


async def test_a_cancelled_first_trigger_takes_nothing_from_the_second(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began the look-up that both wait for."""
    looking, go_on = asyncio.Event(), asyncio.Event()
    answer = Connection(conn_id="conductor_default", uri=conductor.connection_uri())

    async def slow(conn_id: str) -> Any:
        looking.set()
        await go_on.wait()
        return answer

    monkeypatch.setattr(connection, "get_async_connection", slow)
    workflow_id = conductor.add("COMPLETED")
    first = asyncio.create_task(event_of(waiting_for(workflow_id)))
    await looking.wait()
    second = asyncio.create_task(event_of(waiting_for(workflow_id)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go_on.set()
    assert (await second)["status"] == "COMPLETED"
    assert pollers() == 0


async def test_a_changed_password_is_taken_up_without_a_failed_task(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductor.key = ("key", "old")
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri())
    workflow_id = conductor.add()
    running = asyncio.create_task(event_of(waiting_for(workflow_id)))
    await until(lambda: len(conductor.requests) >= 3)
    conductor.key = ("key", "new")
    refusing = [True]
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri())

    def expired(request: Request) -> tuple[int, str, bytes] | None:
        """The token of the old key is not good any more; the new key brings this one in."""
        if request.path == "/token" and request.body.get("keySecret") == "new":
            refusing[0] = False
        if request.path != "/token" and refusing[0]:
            return 401, "application/json", b'{"message": "token expired", "status": 401, "retryable": false}'
        return None

    conductor.instead = expired
    await until(lambda: not refusing[0])
    conductor.end(workflow_id, "COMPLETED")
    assert (await running)["status"] == "COMPLETED"


async def test_the_metrics_name_waits_requests_errors_and_lag(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[Any]] = {}

    class Heard:
        @staticmethod
        def gauge(name: str, value: Any, tags: dict[str, str]) -> None:
            assert tags == {"conn_id": "conductor_default", "hostname": gethostname()}
            told.setdefault(name, []).append(value)

        @staticmethod
        def incr(name: str, count: int, tags: dict[str, str]) -> None:
            assert tags == {"conn_id": "conductor_default"}
            told.setdefault(name, []).append(count)

    monkeypatch.setattr(sharing, "Stats", Heard)
    monkeypatch.setattr(sharing, "METRICS_EVERY", 0.0)
    workflow_id = conductor.add()
    running = asyncio.create_task(event_of(waiting_for(workflow_id)))
    await until(lambda: len(conductor.requests) >= 4)
    conductor.end(workflow_id, "COMPLETED")
    await running
    assert told["conductor.waits"][0] == 1
    assert told["conductor.waits"][-1] == 0
    assert sum(told["conductor.requests"]) == len(conductor.requests)
    assert sum(told["conductor.polls"]) >= 1
    assert sum(told["conductor.woken"]) == 1
    assert "conductor.lag" in told
    assert "conductor.errors" not in told


async def test_metrics_that_fail_end_no_wait(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        @staticmethod
        def gauge(*_: Any, **__: Any) -> None:
            raise OSError("no statsd")

    monkeypatch.setattr(sharing, "Stats", Broken)
    workflow_id = conductor.add()
    running = asyncio.create_task(event_of(waiting_for(workflow_id)))
    await until(lambda: len(conductor.requests) >= 3)
    conductor.end(workflow_id, "COMPLETED")
    assert (await running)["status"] == "COMPLETED"


async def test_the_rate_is_kept_whatever_the_number_of_waits(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(max_requests_per_second=20))
    ids = [conductor.add() for _ in range(MANY)]
    began = time.monotonic()
    running = [asyncio.create_task(event_of(waiting_for(workflow_id))) for workflow_id in ids]
    await until(lambda: len(conductor.requests) >= MANY + 3)
    took = time.monotonic() - began
    for workflow_id in ids:
        conductor.end(workflow_id, "COMPLETED")
    await asyncio.gather(*running)
    assert took >= (MANY + 2) / 20


# A look-up that fails for a moment is no failed task, and one that cannot succeed is


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    zeros = (0.0,) * len(sharing.LOOK_UP_PAUSES)
    monkeypatch.setattr(sharing, "LOOK_UP_PAUSES", zeros)
    return zeros


def test_a_look_up_that_failed_twice_is_tried_again(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = failing(monkeypatch, conductor, AWAY, 2)
    assert first_event(waiting_for(conductor.add("COMPLETED")))["status"] == "COMPLETED"
    assert len(made.made) == 3


def test_a_look_up_that_keeps_failing_is_the_triggers_failure(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = failing(monkeypatch, conductor, AWAY, 1_000)
    workflow_id = conductor.add()
    with pytest.raises(RuntimeError, match="is away"):
        first_event(waiting_for(workflow_id))
    assert len(made.made) == len(pauses) + 1
    assert conductor.status(workflow_id) == "RUNNING"


def test_a_connection_that_does_not_exist_is_looked_up_once(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = failing(monkeypatch, conductor, AirflowNotFoundException("no such connection"), 2)
    with pytest.raises(AirflowNotFoundException):
        first_event(waiting_for("abc"))
    assert len(made.made) == 1


def test_a_connection_that_cannot_be_used_is_looked_up_once(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = failing(monkeypatch, conductor, AWAY, 0, read_timeot=5)
    event = first_event(waiting_for("abc"))
    assert event["status"] == "error"
    assert "read_timeot" in json.dumps(event)
    assert len(made.made) == 1


def test_a_deploy_of_a_minute_is_outlasted() -> None:
    assert sum(sharing.LOOK_UP_PAUSES) >= 60


async def test_a_cancelled_trigger_does_not_look_on(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = failing(monkeypatch, conductor, AWAY, 1_000)
    running = asyncio.create_task(anext(waiting_for("abc").run()))
    await asyncio.wait_for(made.first.wait(), 120)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(made.made) == 1
