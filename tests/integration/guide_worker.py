"""The workers of the SDK guide's samples, made with the SDK: ``guide_worker.py API_URL TAG``.

It ends at SIGTERM, and by itself when the process that started it is gone.
"""

# The SDK reads the workers' annotations as types, so they can't be postponed by a __future__ import.

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.context.task_context import get_task_context
from conductor.client.worker.worker_task import worker_task

API_URL, TAG = sys.argv[1:]


@worker_task(f"simple_task_{TAG}")
def simple_task() -> dict[str, Any]:
    return {"answer": 42}


@worker_task(f"flaky_task_{TAG}", thread_count=4)
def flaky_task() -> dict[str, Any]:
    if get_task_context().get_retry_count() == 0:
        raise RuntimeError("card service down")
    return {"answer": 42}


def main() -> None:
    # The SDK runs each worker in a process of its own, unless told otherwise. With threads, this one is all to end.
    os.environ["CONDUCTOR_WORKER_ISOLATION"] = "thread"
    os.environ["CONDUCTOR_WORKER_POLL_INTERVAL"] = "100"
    stop = threading.Event()

    def stopped(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, stopped)
    handler = TaskHandler(configuration=Configuration(server_api_url=API_URL), monitor_processes=False)
    handler.start_processes()
    employer = os.getppid()
    while not stop.wait(0.5) and os.getppid() == employer:
        pass
    # The SDK's threads poll for ever and don't end with the main one.
    os._exit(0)


if __name__ == "__main__":
    main()
