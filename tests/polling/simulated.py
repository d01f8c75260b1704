"""A connection to a server made of plain data, for what runs in an event loop with virtual time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorServerError,
    ConductorSettings,
    ConductorTimeoutError,
    ConductorUnreachableError,
    NotConductorError,
)
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.flows import Capabilities
from airflow_provider_conductor.polling.poll_pause import PollPause, Revision
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.polling.virtual_time import now

T = TypeVar("T")

ROUTE = {"method": "POST", "path": "/workflow", "server": "http://conductor:8080"}


def refused() -> ConductorUnreachableError:
    return ConductorUnreachableError("cannot connect", repeatable=True, **ROUTE)


def server_error(*, repeatable: bool = False) -> ConductorServerError:
    return ConductorServerError("out of order", status=500, repeatable=repeatable, **ROUTE)


def forbidden() -> ConductorAuthError:
    return ConductorAuthError("no permission", status=403, **ROUTE)


@dataclass
class Server:
    """What it knows (id → status and update time), what it can do, and what it was asked.

    Attributes:
        away: nothing can be reached.
        broken: ids that it cannot answer for; one of them fails a bulk request.
        forbidden: ids that we may not see; likewise. ``unauthorized``: all of them.
        errors: raised by the next requests, one each.
        hangs: takes requests and answers none.
        answers: by id, what its answer has besides, or instead of it where that is no dict.
        too_deep: ids whose input cannot be read: a bulk answer or a whole one with it in is no JSON.
        padding: bytes of each workflow besides.
        asked: how often, by kind of request.
        at: when each was sent.
        batches: ids of each bulk request.
    """

    workflows: dict[str, list[Any]] = field(default_factory=dict)
    bulk: bool = True
    status_route: bool = True
    padding: int = 0
    latency: float = 0.01
    away: bool = False
    hangs: bool = False
    answers: dict[str, Any] = field(default_factory=dict)
    too_deep: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    unauthorized: bool = False
    errors: list[ConductorError | ZeroDivisionError] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    at: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    capabilities: Capabilities = field(default_factory=Capabilities)
    settings: ConductorSettings = field(default_factory=lambda: ConductorSettings("http://conductor:8080"))
    closed: bool = False

    def add(self, *names: str) -> None:
        for name in names:
            self.workflows[name] = ["RUNNING", 1]

    def end(self, *names: str, status: str = "COMPLETED") -> None:
        for name in names:
            self.workflows[name] = [status, self.workflows[name][1] + 1]

    async def send(self, call: Call[T]) -> T:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(call)
        finally:
            self.under_way -= 1

    async def _answer(self, call: Call[T]) -> T:
        path, _, last = call.path.rpartition("/")
        kind = {"search": "bulk", "status": "status", "polldata": "polldata"}.get(last, "get")
        if kind == "bulk" and path == "/workflow":
            kind = "index"
        self.asked[kind] += 1
        self.at.append(now())
        await asyncio.sleep(self.latency)
        if self.errors:
            raise self.errors.pop(0)
        if self.hangs:
            await asyncio.sleep(call.within or self.settings.read_timeout)
            raise ConductorTimeoutError("no answer", repeatable=True, **ROUTE)
        if self.away:
            raise refused()
        if self.unauthorized:
            raise ConductorAuthError("who are you?", status=401, **ROUTE)
        if (kind == "bulk" and not self.bulk) or (kind == "status" and not self.status_route):
            raise ConductorMissingRouteError("no such endpoint", status=404, **ROUTE)
        deep = False
        match kind:
            case "index":
                body: Any = {"totalHits": 0, "results": []}
            case "polldata":
                body = []
            case "bulk":
                self.batches.append(len(call.body))
                if self.broken & set(call.body):
                    raise server_error()
                if self.forbidden & set(call.body):
                    raise forbidden()
                found = [self._told(name, self._whole(name)) for name in call.body if name in self.workflows]
                body = {"bulkSuccessfulResults": found, "bulkErrorResults": {}}
                deep = bool(self.too_deep & set(call.body))
            case _:
                name = call.path.split("/")[2]
                if name in self.broken:
                    raise server_error()
                if name in self.forbidden:
                    raise forbidden()
                if name not in self.workflows:
                    raise ConductorNotFoundError("No such workflow found by id", status=404, **ROUTE)
                body = self._told(name, self._whole(name) if kind == "get" else self._short(name))
                deep = kind == "get" and name in self.too_deep
        try:
            if deep:
                raise RecursionError("maximum recursion depth exceeded")
            return call.parse(Answer(200, {}, json.dumps(body).encode()))
        except Exception as error:  # as the client's own exchange does
            raise NotConductorError(f"not a valid Conductor answer: {error}", status=200, **ROUTE) from None

    def _told(self, name: str, body: dict[str, Any]) -> Any:
        besides = self.answers.get(name, {})
        return body | besides if isinstance(besides, dict) else besides

    def _short(self, name: str) -> dict[str, Any]:
        return {"workflowId": name, "status": self.workflows[name][0]}

    def _whole(self, name: str) -> dict[str, Any]:
        times = {"createTime": 1, "startTime": 1, "updateTime": self.workflows[name][1]}
        return self._short(name) | times | {"tasks": [], "input": {"padding": "x" * self.padding}}

    async def close(self) -> None:
        self.closed = True


def watcher_of(server: Server, **more: Any) -> Poller:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)

    given = {"clock": now, **more}
    poller = Poller(server, monotonic=now, sleep=sleep, jitter=lambda: 0.5, **given)  # type: ignore[arg-type]
    asyncio.get_running_loop().closing.append(poller.close)  # type: ignore[attr-defined]
    return poller


def watch(*workflows: str, of: type[Server] = Server, **server: Any) -> tuple[Any, Poller]:
    """A server that has these workflows, and a poller for it."""
    there = of(**server)
    there.add(*workflows)
    return there, watcher_of(there)


def begin(poller: Poller, workflow_id: str, **more: Any) -> asyncio.Task[WaitEvent]:
    """A wait for it that begins now."""
    spec = WaitSpec(workflow_id=workflow_id, started_at=now(), **more)
    return start(poller.run(wait(spec, lambda line: None)))


def waits_on(poller: Poller, server: Server, count: int) -> list[asyncio.Task[WaitEvent]]:
    """Waits that begin now, each for a workflow of its own."""
    server.add(*names(count))
    return [begin(poller, name) for name in names(count)]


def names(count: int) -> list[str]:
    return [f"w{index}" for index in range(count)]


def resting(
    workflow_id: str, seconds: float = 1.0, *, revision: tuple[str, int] | None = ("RUNNING", 1), **more: Any
) -> Iterator[Any]:
    """A flow that rests once; its result is what it was handed. ``wake_in`` seconds is an hour."""
    at = now()
    wake_in = more.pop("wake_in", 3600.0)
    handed = yield PollPause(
        seconds,
        workflow_id=workflow_id,
        revision=None if revision is None else Revision(*revision),
        wake_at=at + wake_in,
        blind_wake_at=at + more.pop("blind_in", wake_in),
        **{"started": at, **more},
    )
    return handed


async def end(poller: Poller, *waits: asyncio.Task[Any]) -> None:
    """Cancel what still waits, and close."""
    for waiting in waits:
        waiting.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await poller.close()


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(coroutine)
    asyncio.get_running_loop().begun.append(task)  # type: ignore[attr-defined]
    return task
