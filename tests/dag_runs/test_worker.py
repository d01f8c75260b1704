"""The worker's loops, on a queue and an Airflow in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.dag_runs import worker as module
from airflow_provider_conductor.dag_runs.airflow_client import AT_ONCE
from airflow_provider_conductor.dag_runs.worker import TASK_DEFINITION, Worker
from airflow_provider_conductor.dag_runs.worker_spec import WorkerSpec
from airflow_provider_conductor.testing import Request
from tests.dag_runs.fake_airflow import FakeAirflow
from tests.dag_runs.task_queue import TaskQueue

PATIENCE = 60


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AFTER_AN_ERROR", 0.05)


class Running:
    """A worker beside the test."""

    def __init__(self, airflow: FakeAirflow, queue: TaskQueue, **spec: Any) -> None:
        self.airflow, self.queue = airflow, queue
        spec = {"poll_interval": 0.02, "status_interval": 1.0, "reconcile_interval": 0.1, **spec}
        settings = ConductorSettings(f"{queue.server.url}/api", max_attempts=1)
        self.worker = Worker(settings, airflow.settings(), WorkerSpec(**spec))

    async def until(self, what: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not what():
                self.queue.pass_time(1)
                for run in list(self.airflow.runs.values()):
                    if run["state"] == "queued":
                        run["state"] = "running"
                await asyncio.sleep(0.02)

    async def __aenter__(self) -> Running:
        self._task = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        await asyncio.wait_for(self._task, PATIENCE)


async def test_few_requests_to_airflow_are_under_way(airflow: FakeAirflow, queue: TaskQueue) -> None:
    """Its API server answers nobody once all its connections to its database are taken."""
    together = threading.Barrier(AT_ONCE)
    lock, under_way, starts = threading.Lock(), 0, 0
    most: list[int] = []

    def count(request: Request) -> None:
        nonlocal under_way, starts
        is_start = request.method == "POST" and request.path.endswith("/dagRuns")
        with lock:
            under_way += 1
            most.append(under_way)
            starts += is_start
            is_of_first = is_start and starts <= AT_ONCE
        if is_of_first:
            together.wait(PATIENCE)
            time.sleep(0.2)
        with lock:
            under_way -= 1

    for number in range(4 * AT_ONCE):
        queue.add(f"t{number}", {"dag_id": "etl"})
    airflow.instead = count
    async with Running(airflow, queue, concurrency=16) as running:
        await running.until(lambda: len(airflow.starts) == 4 * AT_ONCE)
    assert max(most) == AT_ONCE


async def test_it_serves_until_it_is_stopped(airflow: FakeAirflow, queue: TaskQueue) -> None:
    tasks = [queue.add(f"t{number}", {"dag_id": "etl"}) for number in range(20)]
    async with Running(airflow, queue, concurrency=3) as running:
        await running.until(lambda: len(airflow.starts) == 20)
        for run_id in airflow.starts:
            airflow.end(run_id, "success")
        await running.until(lambda: all(queue.status(task) == "COMPLETED" for task in tasks))
    assert queue.definitions == [TASK_DEFINITION]
    polls = [request for request in queue.server.requests if "/poll/" in request.path]
    assert max(int(poll.query["count"]) for poll in polls) == 3
    assert len(set(airflow.starts)) == 20


async def test_a_definition_that_is_there_is_left(airflow: FakeAirflow, queue: TaskQueue) -> None:
    own = {"name": "airflow_dag", "retryCount": 7}
    queue.definitions = [own]
    queue.add("t1", {"dag_id": "etl"})
    async with Running(airflow, queue) as running:
        await running.until(lambda: airflow.starts)
    assert queue.definitions == [own]


async def test_it_waits_for_both_servers(airflow: FakeAirflow, queue: TaskQueue) -> None:
    refused = {"airflow": 5, "conductor": 5}

    def refuse(who: str) -> Callable[[Request], Any]:
        def answer(request: Request) -> Any:
            refused[who] -= 1
            return (503, "text/plain", b"") if refused[who] >= 0 else None

        return answer

    airflow.instead, queue.instead = refuse("airflow"), refuse("conductor")
    queue.add("t1", {"dag_id": "etl"})
    async with Running(airflow, queue) as running:
        await running.until(lambda: airflow.starts)
    assert refused["airflow"] < 0
    assert refused["conductor"] < 0


@pytest.mark.parametrize("lost", ["poll", "update"])
async def test_what_was_lost_comes_back(airflow: FakeAirflow, queue: TaskQueue, lost: str) -> None:
    left = [2]

    def lose(request: Request) -> Any:
        is_poll = "/poll/" in request.path
        if is_poll is (lost == "poll") and (is_poll or request.path == "/tasks") and left[0] > 0:
            left[0] -= 1
            if is_poll:
                queue.take(5)
            return 0, "", b""
        return None

    queue.add("t1", {"dag_id": "etl"})
    async with Running(airflow, queue) as running:
        await running.until(lambda: airflow.starts)
        queue.instead = lose
        queue.add("t2", {"dag_id": "etl"})
        await running.until(lambda: left[0] == 0 and len(airflow.starts) == 2)
        for run_id in airflow.starts:
            airflow.end(run_id, "success")
        await running.until(lambda: queue.status("t1") == queue.status("t2") == "COMPLETED")
    assert sorted(airflow.starts) == ["conductor__t1", "conductor__t2"]


async def test_a_terminated_workflow_ends_its_run(airflow: FakeAirflow, queue: TaskQueue) -> None:
    queue.add("t1", {"dag_id": "etl"})
    async with Running(airflow, queue) as running:
        await running.until(lambda: airflow.starts)
        queue.terminate("t1")
        await running.until(lambda: airflow.runs["etl", "conductor__t1"]["state"] == "failed")


async def test_an_expired_token_is_renewed(airflow: FakeAirflow, queue: TaskQueue) -> None:
    queue.add("t1", {"dag_id": "etl"})
    async with Running(airflow, queue) as running:
        await running.until(lambda: airflow.starts)
        airflow.withdraw_tokens()
        airflow.end("conductor__t1", "success")
        await running.until(lambda: queue.status("t1") == "COMPLETED")
    assert all("waiting_for" not in update["outputData"] for update in queue.updates)


async def test_it_is_stopped_while_a_server_is_away(airflow: FakeAirflow, queue: TaskQueue) -> None:
    airflow.instead = lambda request: (503, "text/plain", b"")
    async with Running(airflow, queue) as running:
        await running.until(lambda: len(airflow.server.requests) > 1)


async def test_its_domain_is_polled(airflow: FakeAirflow, queue: TaskQueue) -> None:
    async with Running(airflow, queue, domain="blue") as running:
        await running.until(lambda: any("/poll/" in request.path for request in queue.server.requests))
    (query, *_) = [request.query for request in queue.server.requests if "/poll/" in request.path]
    assert query["domain"] == "blue"
