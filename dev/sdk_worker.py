"""Runs the workers that the importing script has declared with Conductor's Python SDK."""

from __future__ import annotations

import os
import signal
import threading
import time

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration

__all__ = ["work"]


def work(api_url: str, *, poll_interval_ms: int) -> None:
    """Work until SIGTERM or Ctrl-C, or until the process that started this one is gone; then end this process."""
    # The SDK runs each worker in a process of its own, unless told otherwise. With threads, this one is all to end.
    os.environ["CONDUCTOR_WORKER_ISOLATION"] = "thread"
    os.environ["CONDUCTOR_WORKER_POLL_INTERVAL"] = f"{poll_interval_ms}"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    handler = TaskHandler(configuration=Configuration(server_api_url=api_url), monitor_processes=False)
    handler.start_processes()
    print(f"working for {api_url}", flush=True)
    employer = os.getppid()
    while not stop.wait(0.5) and os.getppid() == employer:
        pass
    # What has been polled is done first: whoever shares the server would wait a minute for it, and lose its workflow.
    for worker in handler.workers:
        worker.paused = True
    time.sleep(1)
    # The SDK's threads poll for ever and don't end with the main one.
    os._exit(0)
