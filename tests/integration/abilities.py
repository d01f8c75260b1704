"""What the Conductor under test can do that not every one can, found out from the server itself."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

from airflow_provider_conductor.client import ConductorClient, ConductorRequestError
from tests.recorded.record_routes import read_document, routes

__all__ = ["ABILITIES", "EXECUTE", "abilities", "unmet"]

ABILITIES = {
    "look-up": "finds no workflow by its correlation id",
    "index": "has no search index",
    "end times": "has an index without the times of workflows' ends",
    "event stream": "streams no events of a workflow",
}
"""An ability → what is said of a server without it. A route, as in ``POST /workflow/bulk/search``, is one, too."""

EXECUTE = "POST /workflow/execute/{name}/{version}"
"""A route that 3.21.14 lacks. It also stands for what cannot be found out without harm, or without a worker: that
release leaves an endless script running for good, with a core of the server's, and a task's next attempt has no reason.
"""

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds in which an index may show a workflow."""


@cache
def abilities(api_url: str) -> frozenset[str]:
    """Those of ``ABILITIES`` that the server has, and its routes."""
    name = f"abilities_{uuid.uuid4().hex[:8]}"
    hold = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT"}
    definition = {"name": name, "version": 1, "ownerEmail": "tests@example.com", "tasks": [hold]}
    document = read_document(api_url.removesuffix("/api"))
    found = {route for of_one_resource in routes(document).values() for route in of_one_resource}
    if any("/agent/stream/" in path for path in document["paths"]):
        found.add("event stream")
    with ConductorClient(api_url) as client:
        one = client.start_workflow({"name": name, "version": 1, "workflowDef": definition, "correlationId": name})
        if _soon(lambda: client.get_by_correlation_ids(name, [name]).get(name)):
            found.add("look-up")
        client.terminate_workflow(one)
        ended = f"workflowId IN ({one}) AND status IN (TERMINATED)"
        if _soon(lambda: client.search_workflows(ended).results):
            found.add("index")
            # An index without them refuses such a condition, or ignores it.
            with contextlib.suppress(ConductorRequestError):
                if [client.search_workflows(f"{ended} AND endTime {at}").total_hits for at in ("> 0", "< 1")] == [1, 0]:
                    found.add("end times")
    return frozenset(found)


def _soon(find: Callable[[], T]) -> T:
    """What is found at once, or within ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def unmet(api_url: str, needs: Iterable[str], lacks: Iterable[str]) -> str | None:
    """Why a test that needs some abilities, and others to be missing, is not for this server.

    Returns:
        What the server lacks; "" if it lacks nothing, and the test wants it to; None if the test is for it.
    """
    found = abilities(api_url)
    for name in needs:
        if name not in found:
            return ABILITIES.get(name, f"has no {name}")
    return "" if any(name in found for name in lacks) else None
