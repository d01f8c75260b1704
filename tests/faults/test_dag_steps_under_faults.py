"""Three hundred tasks that run DAGs, while requests to both servers are lost, late or refused and workers are killed.

Conductor is a real one. Airflow is the fake of its API: a real one on SQLite answers concurrent starts with 500 after
minutes, since the database is locked.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.dag_runs.report import run_id_of
from tests.dag_runs.fake_airflow import LOGIN, PASSWORD, FakeAirflow
from tests.faults.proxy import FaultProxy, every_kind, fine
from tests.faults.test_dag_steps import Workers, define_step

pytestmark = [pytest.mark.integration, pytest.mark.faults]

COUNT = 300

RUN_SECONDS = 3.0

READ_TIMEOUT = 10

FAULTS = every_kind(READ_TIMEOUT)


@pytest.fixture(params=[1, 2], ids=["version 1", "version 2"])
def airflow(request: pytest.FixtureRequest) -> Iterator[FakeAirflow]:
    """DAG runs succeed after :data:`RUN_SECONDS`."""
    fake = FakeAirflow(request.param)
    over = threading.Event()

    def go_on() -> None:
        seen: dict[str, float] = {}
        while not over.wait(0.2):
            for run_id in list(fake.starts):
                if time.monotonic() - seen.setdefault(run_id, time.monotonic()) > RUN_SECONDS:
                    fake.end(run_id, "success")

    ending = threading.Thread(target=go_on)
    ending.start()
    yield fake
    over.set()
    ending.join()
    fake.close()


def test_no_run_is_started_twice_or_lost(
    direct: ConductorClient, proxy: FaultProxy, airflow: FakeAirflow, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Each tenth request to either server fails in some way, and a worker is killed after each fifty tasks."""
    faults = random.Random(7)
    proxy.choose = lambda line: faults.choice(FAULTS) if faults.random() < 0.1 else fine
    before_airflow = FaultProxy(airflow.url, choose=proxy.choose)
    connection = {"conn_type": "http", "host": before_airflow.url, "login": LOGIN, "password": PASSWORD}
    workers = Workers(tmp_path, proxy.url, json.dumps(connection), read_timeout=READ_TIMEOUT)
    name = define_step(direct)
    began = time.monotonic()
    try:
        request = {"name": name, "input": {"dag_id": "etl"}, "taskToDomain": {"airflow_dag": workers.domain}}
        ids = [direct.start_workflow(request) for _ in range(COUNT)]
        running = [workers.start(), workers.start()]
        left, killed = COUNT, 0
        while left and time.monotonic() < began + 800:
            time.sleep(2)
            left = len(direct.get_running_workflows(name))
            if left and COUNT - left >= (killed + 1) * COUNT / 6:
                running[0].kill()
                running[0].wait()
                running = [running[1], workers.start()]
                killed += 1
    finally:
        workers.stop()
        before_airflow.stop()
    workflows = [direct.get_workflow(workflow_id) for workflow_id in ids]
    attempts = [run_id_of(task.task_id) for workflow in workflows for task in workflow.tasks]
    completed = sum(workflow.status == "COMPLETED" for workflow in workflows)
    kinds = proxy.counts + before_airflow.counts
    faulty = sum(number for kind, number in kinds.items() if not kind.startswith("fine"))
    report(
        f"{COUNT} tasks: {completed} COMPLETED, {len(airflow.starts)} DAG runs, {len(attempts)} attempts, "
        f"{killed} workers killed, {faulty} of {sum(kinds.values())} requests faulty, {time.monotonic() - began:.0f} s"
    )
    assert completed == COUNT, workers.log()[-5000:]
    assert sorted(airflow.starts) == sorted(attempts)
    assert len(attempts) == COUNT
