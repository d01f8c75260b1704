"""A Conductor server to measure against, and workflows that run on it until they are told to end."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from types import TracebackType
from typing import Any

from airflow_provider_conductor.client import ConductorClient, ConductorRequestError, ConductorServerError, Workflow
from dev.conductor_server import NEWEST, ConductorServer

__all__ = ["SERVER_URL", "Lab", "batches"]

SERVER_URL = "CONDUCTOR_TEST_SERVER_URL"
"""Environment variable that names a server which runs already."""

AT_ONCE = 4
BUSY_TRIES = 10
"""Requests under way while workflows are started or ended: more does not make the server faster."""

BATCH = 500
"""Ids a bulk request while cleaning up."""


class Lab:
    """A server, started at first use, and what was made on it, removed at the end.

    Everything carries ``tag``, so that two runs on one server do not meet.
    """

    def __init__(self) -> None:
        self.tag = uuid.uuid4().hex[:8]
        self._stack = contextlib.ExitStack()
        self._definitions: list[str] = []
        self._made: list[str] = []
        self._pool: list[str] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if "client" in vars(self):
                self._clean_up()
        finally:
            self._stack.close()

    @cached_property
    def api_url(self) -> str:
        url = os.environ.get(SERVER_URL)
        if url:
            return url.rstrip("/").removesuffix("/api") + "/api"
        # Ten thousand running workflows: more than the tests' short starts are tuned for.
        return self._stack.enter_context(ConductorServer(NEWEST, java_options=("-Xmx3g",))).api_url

    @cached_property
    def client(self) -> ConductorClient:
        return self._stack.enter_context(ConductorClient(self.api_url))

    def define(self, what: str, *tasks: dict[str, Any], **fields: Any) -> str:
        """Register a workflow; returns its name."""
        name = f"bench_{what}_{self.tag}"
        self.client.register_workflow_defs(
            {
                "name": name,
                "version": 1,
                "schemaVersion": 2,
                "ownerEmail": "bench@example.com",
                "tasks": list(tasks),
                "timeoutSeconds": 0,
                "timeoutPolicy": "ALERT_ONLY",
                **fields,
            }
        )
        self._definitions.append(name)
        return name

    @cached_property
    def waiting(self) -> str:
        """The name of a workflow that waits until somebody completes its one task, ``hold``."""
        return self.define("waiting", {"name": "hold", "taskReferenceName": "hold", "type": "WAIT"})

    def start(self, name: str, count: int, workflow_input: dict[str, Any] | None = None) -> list[str]:
        """Start so many; returns their ids."""

        def one(_: int) -> str:
            for again in range(BUSY_TRIES):
                try:
                    return self.client.start_workflow_by_name(name, workflow_input or {})
                except ConductorServerError as error:  # SQLite is locked; whether it was started does not matter here
                    if "SQLITE_BUSY" not in str(error) or again == BUSY_TRIES - 1:
                        raise
                    time.sleep(0.2 * (again + 1))
            raise AssertionError("unreachable")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            ids = list(pool.map(one, range(count)))
        self._made += ids
        return ids

    def running(self, count: int) -> list[str]:
        """Ids of so many workflows that wait on the server; those of earlier rows are used again."""
        if count > len(self._pool):
            self._pool += self.start(self.waiting, count - len(self._pool))
        return self._pool[:count]

    def take_running(self, count: int) -> list[str]:
        """The same for a row that ends them."""
        taken = self.running(count)
        self._pool = self._pool[count:]
        return taken

    def complete(self, workflow_ids: Sequence[str], ref: str = "hold") -> None:
        """Let their one open task end, and with it the workflow."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda workflow_id: self.complete_one(workflow_id, ref), workflow_ids))

    def complete_one(self, workflow_id: str, ref: str = "hold") -> None:
        task = self.client.get_workflow(workflow_id).latest_attempt(ref)
        assert task is not None, f"workflow {workflow_id} has no task {ref}"
        self.client.update_task(workflow_id, task.task_id, "COMPLETED", {"done": True})

    def until_ended(self, workflow_id: str, patience: float = 60.0) -> Workflow:
        """Look until it has.

        Raises:
            TimeoutError: it still runs after ``patience`` seconds.
        """
        give_up = time.monotonic() + patience
        while not (workflow := self.client.get_workflow(workflow_id)).status.ended:
            if time.monotonic() > give_up:
                raise TimeoutError(f"workflow {workflow_id} still runs after {patience:g} s")
            time.sleep(0.05)
        return workflow

    def remove(self, workflow_ids: Sequence[str]) -> None:
        """Terminate what runs of these, and delete all of them."""
        for some in batches(workflow_ids, BATCH):
            with contextlib.suppress(ConductorRequestError):
                self.client.bulk_terminate(some, "the benchmark is over")
            with contextlib.suppress(ConductorRequestError):
                self.client.bulk_delete(some, archive_workflow=False)
        gone = set(workflow_ids)
        self._made = [workflow_id for workflow_id in self._made if workflow_id not in gone]

    def _clean_up(self) -> None:
        if os.environ.get(SERVER_URL):  # a server of our own goes with its folder
            self.remove(self._made)
            for name in self._definitions:
                with contextlib.suppress(ConductorRequestError):
                    self.client.unregister_workflow_def(name, 1)


def batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """``items`` in turn, ``size`` at once."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
