"""From a workflow's end to the event of the trigger that waits for it."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.airflow_here import connect
from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row

PEER_INTERVAL = 3.0
"""Seconds between polls: what Airbyte's operators do unless told; Databricks' take 30, dbt Cloud's 60."""

WATCHED_BEFORE = 3.0
"""Seconds that the triggers have been waiting when the first workflow ends."""

SPREAD = 20.0
"""Seconds over which the workflows end, so that no two looks serve many of them."""

PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to set the connection.

    Attributes:
        label: for the table.
        extra: of the connection.
        goal: milliseconds.
    """

    label: str
    extra: Mapping[str, Any]
    goal: float


VARIANTS = (
    Variant("as it is", {}, 1000.0),
    Variant("with the completion stream", {"completion_stream": True}, 50.0),
)


@row("latency", "from a workflow's end to its trigger's event")
def latency(bench: Bench) -> list[Comparison]:
    """Workflows about a minute old; server and client share a clock here."""
    return [asyncio.run(_measure(bench, variant)) for variant in VARIANTS]


async def _measure(bench: Bench, variant: Variant) -> Comparison:
    count, age = bench.count(60, 4), bench.count(60, 4)
    conn_id = connect(bench.lab.api_url, **variant.extra)
    ids = await asyncio.to_thread(bench.lab.start, bench.lab.waiting, 2 * count)
    begun = time.monotonic()
    await asyncio.sleep(max(0.0, age - WATCHED_BEFORE))
    ours, theirs = ids[::2], ids[1::2]
    seen = asyncio.gather(
        *(_moment_of(_by_trigger(conn_id, workflow_id)) for workflow_id in ours),
        *(_moment_of(_by_polls(bench.lab.api_url, workflow_id)) for workflow_id in theirs),
    )
    await asyncio.sleep(WATCHED_BEFORE)
    oldest = time.monotonic() - begun
    await _end_them(bench, ids, bench.count(int(SPREAD), 1))
    moments = await asyncio.wait_for(seen, PATIENCE)
    ends = await asyncio.to_thread(
        lambda: [bench.lab.client.get_workflow(i, include_tasks=False).end_time / 1000 for i in (*ours, *theirs)]
    )
    await asyncio.to_thread(bench.lab.remove, ids)
    lags = [(moment - end) * 1e3 for moment, end in zip(moments, ends, strict=True)]
    return Comparison(
        what=f"end to event, a run of {oldest:.0f} s, {variant.label}",
        unit="ms",
        ours=statistics.median(lags[:count]),
        peer=f"a poll every {PEER_INTERVAL:g} s",
        theirs=statistics.median(lags[count:]),
        n=count,
        goal=AtMost(variant.goal),
        note=f"longest {max(lags[:count]):.0f} ms, {max(lags[count:]):.0f} ms",
    )


async def _end_them(bench: Bench, ids: Sequence[str], spread: float) -> None:
    chance = random.Random(1)

    async def end(workflow_id: str) -> None:
        await asyncio.sleep(chance.uniform(0, spread))
        await asyncio.to_thread(bench.lab.complete_one, workflow_id)

    await asyncio.gather(*map(end, ids))


async def _moment_of(end: Awaitable[None]) -> float:
    await end
    return time.time()


async def _by_trigger(conn_id: str, workflow_id: str) -> None:
    from airflow_provider_conductor.triggers import ConductorWorkflowTrigger

    trigger = ConductorWorkflowTrigger(workflow_id=workflow_id, conductor_conn_id=conn_id)
    async for event in trigger.run():
        if event.payload["status"] != "COMPLETED":
            raise RuntimeError(f"workflow {workflow_id}: {event.payload}")


async def _by_polls(api_url: str, workflow_id: str) -> None:
    await asyncio.sleep(random.uniform(0, PEER_INTERVAL))
    while True:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{api_url}/workflow/{workflow_id}/status") as answer,
        ):
            if (await answer.json())["status"] == "COMPLETED":
                return
        await asyncio.sleep(PEER_INTERVAL)
