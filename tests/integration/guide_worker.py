"""The workers of the SDK guide's samples, made with the SDK: ``guide_worker.py API_URL TAG``.

It ends at SIGTERM, and by itself when the process that started it is gone.
"""

# The SDK reads the workers' annotations as types, so they can't be postponed by a __future__ import.

import sys
from pathlib import Path
from typing import Any

from conductor.client.context.task_context import get_task_context
from conductor.client.worker.worker_task import worker_task

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dev.sdk_worker import work

API_URL, TAG = sys.argv[1:]


@worker_task(f"simple_task_{TAG}")
def simple_task() -> dict[str, Any]:
    return {"answer": 42}


@worker_task(f"flaky_task_{TAG}", thread_count=4)
def flaky_task() -> dict[str, Any]:
    if get_task_context().get_retry_count() == 0:
        raise RuntimeError("card service down")
    return {"answer": 42}


if __name__ == "__main__":
    work(API_URL, poll_interval_ms=100)
