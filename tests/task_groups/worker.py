"""Definitions on a real server, a worker that does their simple tasks, and a site that their HTTP tasks call."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.client import ConductorClient, ConductorError
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup
from tests.integration.client_lab import Lab

NEVER_RETRIED = {"ownerEmail": "tests@example.com", "retryCount": 0, "timeoutSeconds": 0}


class Worker:
    """Does the simple tasks of a lab's workflows, and answers their HTTP tasks.

    Attributes:
        names: the tasks that it polls for.
        fails: the reference names of those that it fails; an HTTP task is named by the path that it calls.
        fails_first: reference name → how many of its next attempts it fails.
        done: what it has done, by reference name.
        site: where its HTTP server is.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.names: set[str] = set()
        self.fails: set[str] = set()
        self.fails_first: Counter[str] = Counter()
        self.done: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._page())
        self.site = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _work(self) -> None:
        with ConductorClient(self.lab.client.settings.api_url) as client:
            while not self._stop.is_set():
                with contextlib.suppress(ConductorError):
                    # A poll of an empty queue takes the server a tenth of a second.
                    sizes = client.get_queue_sizes(sorted(self.names)) if self.names else {}
                    for name in (name for name, size in sizes.items() if size):
                        self._do(client, client.poll_task(name, "packer-1"))
                time.sleep(0.03)

    def _do(self, client: ConductorClient, task: Any) -> None:
        if task is None:
            return
        ref = task.reference_name
        self.done.append(ref)
        if ref in self.fails or self.fails_first[ref] > 0:
            self.fails_first[ref] -= 1
            client.log_task(task.task_id, f"{ref}: no more boxes")
            client.update_task(
                task.data["workflowInstanceId"], task.task_id, "FAILED", reason="out of boxes", worker_id="packer-1"
            )
        else:
            client.update_task(task.data["workflowInstanceId"], task.task_id, "COMPLETED", output={"by": ref})

    def _page(self) -> type[BaseHTTPRequestHandler]:
        worker = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ref = self.path.strip("/")
                worker.done.append(ref)
                self.send_response(500 if ref in worker.fails else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b'{"out": "of boxes"}')

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                """Not to stderr."""

        return Page

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.shutdown()
        self._server.server_close()


def tasks_in(part: Any, *kinds: str) -> Iterator[dict[str, Any]]:
    """The tasks of these types in a definition, at any depth, and in the input of dynamic forks."""
    if isinstance(part, dict):
        if part.get("type") in kinds:
            yield part
        for inside in part.values():
            yield from tasks_in(inside, *kinds)
    elif isinstance(part, (list, tuple)):
        for inside in part:
            yield from tasks_in(inside, *kinds)


def define(
    lab: Lab,
    worker: Worker,
    what: str,
    *tasks: dict[str, Any],
    retries: Mapping[str, int] = MappingProxyType({}),
    **fields: Any,
) -> dict[str, Any]:
    """Register a workflow, and the definitions of its tasks, which are not tried again.

    Args:
        retries: reference name of a simple task → how often the server retries it, at once.
    """
    definition = lab.definition(what, *tasks, **fields)
    worked = {task["name"] for task in tasks_in(definition, "SIMPLE")}
    chosen = (task["inputParameters"][task["dynamicTaskNameParam"]] for task in tasks_in(definition, "DYNAMIC"))
    worked |= {name for name in chosen if not name.startswith("${")}
    called = {task["name"] for task in tasks_in(definition, "HTTP", "KAFKA_PUBLISH")}
    if worked | called:
        times = {lab.name(ref): {"retryCount": count, "retryDelaySeconds": 0} for ref, count in retries.items()}
        lab.client.register_task_defs(
            [NEVER_RETRIED | {"name": name} | times.get(name, {}) for name in sorted(worked | called)]
        )
    lab.client.register_workflow_defs(definition)
    worker.names |= worked
    return definition


def group_of(definition: Any, **arguments: Any) -> ConductorWorkflowTaskGroup:
    """A group with this definition, whose waits end where the server has lost a task: see ``GroupRun.go_again``."""
    arguments = {"stall_timeout": 180} | arguments
    with DAG("orders", start_date=datetime(2026, 1, 1), schedule=None):
        return ConductorWorkflowTaskGroup(definition, group_id="flow", **arguments)
