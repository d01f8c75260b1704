"""A worker that takes every task of one type as soon as it is there and ends it so long after."""

from __future__ import annotations

import threading
from types import TracebackType

import requests

__all__ = ["Worker"]

POLL_MS = 1000
"""How long the server may keep a poll that finds nothing."""


class Worker:
    """Runs in a thread of its own while the context is open.

    Args:
        api_url: the server's API.
        task_type: the queue to take from.
        seconds: how long each task takes; one at a time.
    """

    def __init__(self, api_url: str, task_type: str, seconds: float) -> None:
        self._api_url = api_url
        self._task_type = task_type
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"worker of {task_type}", daemon=True)

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(POLL_MS / 1000 + self._seconds + 10)

    def _work(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                answer = session.get(
                    f"{self._api_url}/tasks/poll/batch/{self._task_type}",
                    params={"count": "1", "timeout": str(POLL_MS), "workerid": "bench"},
                    timeout=60,
                )
                if answer.status_code != 200:
                    continue
                for task in answer.json():
                    self._stop.wait(self._seconds)
                    session.post(
                        f"{self._api_url}/tasks",
                        json={
                            "workflowInstanceId": task["workflowInstanceId"],
                            "taskId": task["taskId"],
                            "status": "COMPLETED",
                            "outputData": {"done": True},
                        },
                        timeout=60,
                    ).raise_for_status()
