"""Python's garbage collector walks through all objects of all waits, and no trigger runs meanwhile: they are few."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import nullcontext
from typing import Any

import pytest

from airflow_provider_conductor.triggers import ConductorWorkflowTrigger, base
from tests.polling.builders import live
from tests.polling.simulated import end, names, start, watch
from tests.polling.virtual_time import in_virtual_time, now

MANY = 500

AT_MOST = 36
"""Objects that the collector knows, for each wait: a trigger, its run, the wait in it, and what it has read."""


async def run(trigger: ConductorWorkflowTrigger) -> list[Any]:
    return [event async for event in trigger.run()]


def tracked() -> int:
    gc.collect()
    return len(gc.get_objects())


@in_virtual_time
async def test_a_wait_in_its_pause_has_few_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = names(2 * MANY)
    server, poller = watch(*ids)
    monkeypatch.setattr(base, "shared_poller", lambda conductor_conn_id: nullcontext(poller))
    quiet = logging.getLogger("quiet")  # pytest keeps what is logged
    monkeypatch.setattr(quiet, "disabled", True)
    monkeypatch.setattr(ConductorWorkflowTrigger, "_log", quiet)
    began = int(now() * 1000)
    for workflow_id in ids:
        server.answers[workflow_id] = {"startTime": began, "tasks": [live("hold", kind="WAIT", taskId=workflow_id)]}

    async def begin(some: list[str]) -> list[asyncio.Task[list[Any]]]:
        waits = [
            start(run(ConductorWorkflowTrigger(workflow_id=workflow_id, started_at=now()))) for workflow_id in some
        ]
        await asyncio.sleep(30)
        return waits

    waits = await begin(ids[:MANY])
    before = tracked()
    waits += await begin(ids[MANY:])
    after = tracked()
    await end(poller, *waits)
    each = (after - before) / MANY
    assert each <= AT_MOST
