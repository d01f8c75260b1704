"""A real server, and a worker for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.client_lab import Lab
from tests.task_groups.worker import Worker


@pytest.fixture
def lab(conductor_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    url = conductor_server.api_url
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{url}"}}')
    with Lab(url) as lab:
        yield lab


@pytest.fixture
def worker(lab: Lab) -> Iterator[Worker]:
    worker = Worker(lab)
    yield worker
    worker.stop()
