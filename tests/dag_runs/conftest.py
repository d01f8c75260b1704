from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dag_runs.fake_airflow import FakeAirflow
from tests.dag_runs.task_queue import TaskQueue


@pytest.fixture(params=[1, 2], ids=["version 1", "version 2"])
def airflow(request: pytest.FixtureRequest) -> Iterator[FakeAirflow]:
    fake = FakeAirflow(request.param)
    yield fake
    fake.close()


@pytest.fixture
def queue() -> Iterator[TaskQueue]:
    queue = TaskQueue()
    yield queue
    queue.close()
