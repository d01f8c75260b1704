"""The poller with its own client, on a loopback server that drops, resets, refuses, stays silent and errs."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from airflow_provider_conductor.client import AsyncConductorClient, ConductorSettings, endpoints
from airflow_provider_conductor.client.aio import POOL
from airflow_provider_conductor.polling.outage import Outage
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.poller_client import PollerClient, PollerLimits
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.client import fault_server as told
from tests.client.fault_server import Behaviour, Exchange, FaultServer

HURRY = 60
"""Seconds of the poller's in one of ours: its pauses reach a minute."""

WAITS, VANISH, CANCEL = 48, 4, 4

FAULTS: dict[str, Behaviour] = {
    "drop": told.drop,
    "reset": told.reset(),
    "cut": told.reset(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"),
    "503": told.status(503),
    "502 of a gateway": told.html(502),
    "429": told.status(429, retry_after="2"),
    "silent": told.silent,
}

STRANGE: dict[str, Behaviour] = {
    "404 of a gateway": told.status(404, {"message": "no Route matched with those values"}),
    "page": told.html(200),
    "no HTTP": told.garbage,
    "too deep": told.raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n" + b"[" * 100_000
    ),
}


@dataclass
class Conductor:
    """Some workflows and the routes by which they are looked at; every third answer is a fault while ``faulty``."""

    bulk: bool
    status_route: bool
    workflows: dict[str, str] = field(default_factory=dict)
    faulty: bool = True
    faults: dict[str, Behaviour] = field(default_factory=lambda: dict(FAULTS))
    told: set[str] = field(default_factory=set)
    met: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange) -> None:
        with self.lock:
            fault = ""
            if self.faulty and self.chance.random() < 1 / 3:
                fault = min(self.faults, key=lambda name: (self.met[name], name))
                self.met[fault] += 1
        (self.faults[fault] if fault else self.answer)(exchange)

    def answer(self, exchange: Exchange) -> None:
        path = exchange.request.path.removeprefix("/api")
        if path == "/workflow/bulk/search":
            asked = exchange.request.json()
            found = [self.whole(name) for name in asked if name in self.workflows]
            body = {"bulkSuccessfulResults": found, "bulkErrorResults": {}}
            if self.bulk:
                self.told.update(asked)
            behaviour = told.json_answer(body) if self.bulk else no_route(path)
        elif path == "/workflow/search":
            behaviour = told.json_answer({"totalHits": 0, "results": []})
        elif path.endswith("/status") and not self.status_route:
            behaviour = no_route(path)
        else:
            name = path.split("/")[2]
            self.told.add(name)
            missing = {"status": 404, "message": f"No such workflow found by id: {name}", "retryable": False}
            behaviour = told.json_answer(self.whole(name)) if name in self.workflows else told.status(404, missing)
        behaviour(exchange)

    def whole(self, name: str) -> dict[str, object]:
        status = self.workflows[name]
        return {"workflowId": name, "status": status, "startTime": 1, "updateTime": len(status), "tasks": []}


def no_route(path: str) -> Behaviour:
    """What Spring answers, both of 3.13 and 3.32."""
    return told.status(404, {"timestamp": "now", "status": 404, "error": "Not Found", "path": f"/api{path}"})


def hurried() -> Callable[[], float]:
    began, at = time.monotonic(), time.time()
    return lambda: at + (time.monotonic() - began) * HURRY


async def until(right: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not right():  # noqa: ASYNC110 (the server's threads tell nobody)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("bulk", "status_route"), [(True, True), (False, True), (False, False)], ids=["bulk", "status", "get"]
)
async def test_every_wait_is_answered_once_whatever_the_network_does(
    bulk: bool, status_route: bool, request: pytest.FixtureRequest
) -> None:
    conductor = Conductor(bulk, status_route)
    server = FaultServer(conductor)
    request.addfinalizer(server.stop)
    names = [f"w{number}" for number in range(WAITS)]
    conductor.workflows.update(dict.fromkeys(names, "RUNNING"))
    clock = hurried()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / HURRY)

    settings = ConductorSettings(server.api_url, read_timeout=0.5)
    poller = Poller(
        AsyncConductorClient(settings, sleep=sleep, clock=clock, monotonic=clock),
        clock=clock,
        monotonic=clock,
        sleep=sleep,
    )
    answers: dict[str, list[WaitEvent]] = {name: [] for name in names}

    async def one(name: str) -> None:
        answers[name].append(await poller.run(wait(WaitSpec(workflow_id=name, started_at=clock()), lambda _: None)))

    tasks = {name: asyncio.create_task(one(name)) for name in names}
    ending = names[VANISH + CANCEL :]
    # All kinds of faults first, then the ends, while the faults go on; at last a server that is well. What would show a
    # wrong address comes only once the waits know better.
    await until(lambda: conductor.told >= set(names))
    conductor.faults |= STRANGE
    await until(lambda: min(conductor.met[name] for name in conductor.faults) >= 2)
    for name in names[:VANISH]:
        del conductor.workflows[name]
    for name in names[VANISH : VANISH + CANCEL]:
        tasks.pop(name).cancel()
    for number, name in enumerate(ending):
        conductor.workflows[name] = "FAILED" if number % 3 == 0 else "COMPLETED"
        await asyncio.sleep(0.02)
    conductor.faulty = False
    await asyncio.gather(*tasks.values())
    assert {name: len(found) for name, found in answers.items()} == {name: int(name in tasks) for name in names}, (
        "answered other than once"
    )
    for number, name in enumerate(ending):
        assert answers[name][0].status == ("FAILED" if number % 3 == 0 else "COMPLETED")
    assert {answers[name][0].status for name in names[:VANISH]} == {"gone"}
    assert poller.counts.waits == 0
    assert poller.counts.errors > 0
    await poller.close()
    assert server.most_open <= POOL
    await until(lambda: not server.open)


@pytest.mark.parametrize("renewed", [False, True], ids=["first connection", "renewed connection"])
async def test_as_many_polls_are_under_way_as_the_limit_allows(renewed: bool, request: pytest.FixtureRequest) -> None:
    server = FaultServer(told.silent)
    request.addfinalizer(server.stop)

    async def changed() -> AsyncConductorClient:
        return AsyncConductorClient(ConductorSettings(server.api_url))

    client = PollerClient(
        AsyncConductorClient(ConductorSettings(server.api_url, read_timeout=50)),
        changed,
        Outage(),
        PollerLimits(polls_at_once=POOL + 6),
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        jitter=random.random,
    )
    assert not renewed or await client.renewed()
    polls = [asyncio.create_task(client.poll(endpoints.get_workflow(f"w{number}"))) for number in range(2 * POOL)]
    await until(lambda: server.most_open >= POOL + 6)
    for poll in polls:
        poll.cancel()
    await asyncio.wait(polls)
    await client.close()
    assert server.most_open == POOL + 6
