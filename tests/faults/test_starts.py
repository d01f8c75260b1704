"""Starts over a network that loses, cuts and delays: as many workflows as starts, none twice, none lost."""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorClient,
    ConductorRequestError,
    ConductorSettings,
    Workflow,
    endpoints,
)
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.start_once import start_once
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord
from airflow_provider_conductor.submission.termination_reasons import ended_as_duplicate
from tests.faults.conftest import WAITS
from tests.faults.proxy import (
    FaultProxy,
    Kind,
    cut_in_answer,
    every_kind,
    fine,
)

pytestmark = pytest.mark.integration

Report = Callable[[str], None]

READ_TIMEOUT = 4.0
PATIENCE = 12.0
"""Seconds; a loaded server takes a few to index what it has started, and nothing is started again before."""

THREADS = 8
TRIES = 6

KINDS = every_kind(READ_TIMEOUT)

BOUNDED = int(os.environ.get("CONDUCTOR_TEST_STARTS", "150"))
"""Starts of the run that every change has to pass."""

MANY = 1_000


def mix(seed: int, share: float) -> Callable[[str], Kind]:
    """``share`` of the starts, and a quarter as many of all other requests, go wrong."""
    dice, lock = random.Random(seed), threading.Lock()

    def choose(line: str) -> Kind:
        with lock:
            hit = dice.random() < (share if line == "POST /api/workflow" else share / 4)
            return dice.choice(KINDS) if hit else fine

    return choose


def connect(proxy: FaultProxy, read_timeout: float = READ_TIMEOUT) -> ConductorClient:
    return ConductorClient(ConductorSettings(proxy.api_url, read_timeout=read_timeout, connect_timeout=5))


class Tally:
    """What was seen, for people and for the assertion's message."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.tries: Counter[int] = Counter()
        self.posts = 0

    def __str__(self) -> str:
        faults = {kind: count for kind, count in sorted(self.proxy.counts.items()) if kind != "fine"}
        return f"tries needed: {dict(sorted(self.tries.items()))}; starts sent: {self.posts}; faults: {faults}"


def start_through(client: ConductorClient, run_id: str, number: int, tally: Tally) -> str:
    """One task's start, retried as Airflow would. Every second one has a task state store."""
    kept: list[StartRecord] = []
    for try_number in range(1, TRIES + 1):
        plan = StartPlan(
            identity=identity(run_id, number, try_number),
            body={"name": WAITS["name"], "version": 1, "input": {"number": number}},
            record=kept[-1] if kept else None,
            keeps_records=number % 2 == 0,
            search_seconds=PATIENCE,
        )
        remember = kept.append if plan.keeps_records else lambda record: None
        try:
            started = client.run(start_once(plan, log=lambda said: None, warn=lambda said: None, save=remember))
        except ConductorRequestError:
            continue
        tally.tries[try_number] += 1
        tally.posts += started.posts
        return started.workflow_id
    raise AssertionError(f"start {number} did not get through in {TRIES} tries; {tally}")


def identity(run_id: str, number: int, try_number: int = 1) -> TaskIdentity:
    return TaskIdentity(
        prefix="faults",
        dag_id="größe",
        run_id=run_id,
        task_id="start",
        map_index=number,
        try_number=try_number,
        first_try=1,
    )


def on_server(direct: ConductorClient, ids: list[str], name: str) -> dict[str, list[Workflow]]:
    """What the server has of each correlation id, without the duplicates that were terminated."""
    found: dict[str, list[Workflow]] = {}
    for at in range(0, len(ids), 200):
        answer = direct.send(endpoints.get_by_correlation_ids(name, ids[at : at + 200]))
        for key in ids[at : at + 200]:
            found[key] = [workflow for workflow in answer.get(key, ()) if not ended_as_duplicate(workflow.reason)]
    return found


def thousand(count: int) -> list[Any]:
    return [
        pytest.param(BOUNDED, id="bounded"),
        pytest.param(count, id=f"{count}", marks=pytest.mark.faults),
    ]


@pytest.mark.parametrize("count", thousand(MANY))
def test_as_many_workflows_as_starts(direct: ConductorClient, proxy: FaultProxy, report: Report, count: int) -> None:
    run_id = f"run-{uuid.uuid4().hex[:8]}"
    proxy.choose = mix(seed=count, share=0.2)
    tally = Tally(proxy)
    with connect(proxy) as client, ThreadPoolExecutor(THREADS) as pool:
        returned = list(pool.map(lambda number: start_through(client, run_id, number, tally), range(count)))
    keys = [identity(run_id, number).correlation_id(StartKey(1)) for number in range(count)]
    there = on_server(direct, keys, WAITS["name"])
    running = {key: [w.workflow_id for w in found if not w.status.ended] for key, found in there.items()}
    lost = [key for key, returned_id in zip(keys, returned, strict=True) if running[key][:1] != [returned_id]]
    twice = {key: ids for key, ids in running.items() if len(ids) > 1}
    report(f"{count} starts: {sum(map(len, running.values()))} run, {len(twice)} twice, {len(lost)} lost; {tally}")
    _end(direct, [workflow_id for ids in running.values() for workflow_id in ids])
    assert not twice, str(tally)
    assert not lost, str(tally)
    assert sum(map(len, there.values())) == count
    assert sum(value for kind, value in proxy.counts.items() if kind.endswith(" start")) > count / 10


@pytest.fixture(scope="module")
def answer_size(direct: ConductorClient) -> int:
    """Bytes of a start's whole answer, head and body."""
    sizes: list[int] = []

    def measured(passing: Any) -> None:
        answer = passing.forward()
        sizes.append(len(answer))
        passing.client.sendall(answer)

    proxy = FaultProxy(direct.settings.api_url, choose=lambda line: measured)
    with connect(proxy) as client:
        workflow_id = client.start_workflow({"name": WAITS["name"], "version": 1})
    proxy.stop()
    direct.terminate_workflow(workflow_id, "measured")
    return sizes[0]


def test_an_answer_cut_at_any_byte(
    direct: ConductorClient, proxy: FaultProxy, report: Report, answer_size: int
) -> None:
    run_id = f"bytes-{uuid.uuid4().hex[:8]}"
    tally = Tally(proxy)
    returned = []
    with connect(proxy, read_timeout=120) as client:  # an answer that is late would be asked for again
        for size in range(answer_size):
            sizes: Iterator[Kind] = iter([cut_in_answer(size)])
            proxy.choose = lambda line, sizes=sizes: (  # type: ignore[misc]
                next(sizes, fine) if line == "POST /api/workflow" else fine
            )
            returned.append(start_through(client, run_id, size, tally))
    there = on_server(
        direct, [identity(run_id, size).correlation_id(StartKey(1)) for size in range(answer_size)], WAITS["name"]
    )
    _end(direct, returned)
    report(f"cut at each of {answer_size} bytes: {Counter(map(len, there.values()))}; {tally}")
    assert [[workflow.workflow_id for workflow in found] for found in there.values()] == [[one] for one in returned]
    assert tally.tries == {1: answer_size}
    assert tally.posts == answer_size


def test_the_oldest_servers_answer_cut_at_any_byte(old_conductor_server: Any) -> None:
    """It looks nothing up, so this is only that half an id is never taken for one."""
    name = f"{WAITS['name']}_{uuid.uuid4().hex[:8]}"
    proxy = FaultProxy(old_conductor_server.api_url)
    try:
        with ConductorClient(old_conductor_server.api_url) as direct, connect(proxy, read_timeout=120) as client:
            direct.register_workflow_defs([{**WAITS, "name": name}])
            for size in range(120, 190):
                proxy.choose = lambda line, size=size: cut_in_answer(size)  # type: ignore[misc]
                try:
                    workflow_id = client.start_workflow({"name": name, "version": 1})
                except ConductorRequestError as error:
                    understood = error.fate_unknown
                else:
                    understood = len(workflow_id) == 36
                assert understood, size
            _end(direct, direct.get_running_workflows(name))
    finally:
        proxy.stop()


def _end(direct: ConductorClient, ids: list[str]) -> None:
    for at in range(0, len(ids), 500):
        direct.bulk_terminate(ids[at : at + 500], "the test is over")
