"""One look at many workflows: how many requests, how much CPU, and how both grow."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp

from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from benchmarks import polling
from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row
from benchmarks.watching import CountingClient, Waits

SHORTEST, LONGEST = 1.0, 60.0
"""Seconds between a wait's looks."""


@row("requests", "requests of ten thousand waits")
def requests(bench: Bench) -> list[Comparison]:
    """A sweep with all due together, and a minute with looks at intervals from 1 to 60 s."""
    return asyncio.run(_requests(bench))


async def _requests(bench: Bench) -> list[Comparison]:
    count = bench.count(10_000, 100)
    rounds = bench.count(3, 1)
    ids = await asyncio.to_thread(bench.lab.running, count)
    async with Waits(bench.lab.api_url, ids) as waits:
        sweeps = [(await waits.sweep())[0] for _ in range(rounds)]
    together = Comparison(
        what=f"a sweep of {count:,}, all due together",
        unit="requests",
        ours=statistics.median(sweeps),
        peer="a request for each wait",
        theirs=count,
        n=rounds,
        goal=AtMost(10.0),
    )
    seconds = bench.count(60, 3)
    chance = random.Random(1)
    async with Waits(bench.lab.api_url, ids, lambda: chance.uniform(SHORTEST, LONGEST)) as waits:
        before, looks = waits.client.requests, waits.poller.counts.polls
        await asyncio.sleep(seconds)
        asked, looked = waits.client.requests - before, waits.poller.counts.polls - looks
    over_a_minute = Comparison(
        what=f"{seconds} s of {count:,} waits, a look every {SHORTEST:g} to {LONGEST:g} s",
        unit="requests/s",
        ours=asked / seconds,
        peer="a request for each look",
        theirs=looked / seconds,
        n=1,
    )
    return [together, over_a_minute]


@row("begins", "requests of short waits that begin with an id alone")
def begins(bench: Bench) -> list[Comparison]:
    """As with ``start_from_trigger``: no worker has read the workflow, so the first poll is the triggerer's."""
    return [asyncio.run(_begins(bench))]


async def _begins(bench: Bench) -> Comparison:
    count, seconds = bench.count(1_000, 20), bench.count(25, 2)
    ids = await asyncio.to_thread(bench.lab.take_running, count)
    async with CountingClient(bench.lab.api_url) as client:
        poller = Poller(client)
        waits = []
        for workflow_id in ids:
            spec = WaitSpec(workflow_id=workflow_id, started_at=time.time())
            waits.append(asyncio.create_task(poller.run(wait(spec, lambda line: None))))
            await asyncio.sleep(0.001)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(bench.lab.complete, ids)
        events = await asyncio.gather(*waits)
        await poller.close()
    if wrong := [event for event in events if event.status != "COMPLETED"]:
        raise RuntimeError(f"{len(wrong)} waits ended otherwise, the first with {wrong[0]}")
    return Comparison(
        what=f"{count:,} waits of {seconds} s, and until all are completed",
        unit="requests",
        ours=client.requests,
        peer="a request for each first poll",
        theirs=count,
        n=1,
        goal=AtMost(200.0),
        note=f"{poller.counts.polls:,} polls",
    )


@row("cpu", "CPU of a sweep of a thousand")
def cpu(bench: Bench) -> list[Comparison]:
    """This process's CPU time; the server's is its own."""
    return asyncio.run(_cpu(bench))


async def _cpu(bench: Bench) -> list[Comparison]:
    count, rounds = bench.count(1_000, 50), bench.count(11, 2)
    ids = await asyncio.to_thread(bench.lab.running, count)
    api_url = bench.lab.api_url
    taken: dict[str, list[float]] = {"ours": [], "bulk": [], "pooled": [], "new": []}
    async with aiohttp.ClientSession() as session, Waits(api_url, ids) as waits:
        bodies: dict[str, Callable[[], Awaitable[object]]] = {
            "bulk": lambda: polling.bulk_search(session, api_url, ids),
            "pooled": lambda: polling.pooled_polls(session, api_url, ids),
            "new": lambda: polling.new_session_per_poll(api_url, ids),
        }
        for turn in range(rounds + 1):
            gc.collect()
            spent = {"ours": (await waits.sweep())[1]}
            for name, body in bodies.items():
                gc.collect()
                begun = time.process_time()
                await body()
                spent[name] = time.process_time() - begun
            if turn:
                for name, seconds in spent.items():
                    taken[name].append(seconds * 1e3)
    median = {name: statistics.median(found) for name, found in taken.items()}

    def beside(peer: str, name: str, goal: AtMost | None) -> Comparison:
        return Comparison(
            what=f"a sweep of {count:,}",
            unit="ms CPU",
            ours=median["ours"],
            peer=peer,
            theirs=median[name],
            n=rounds,
            goal=goal,
        )

    return [
        beside("a bare bulk/search and json.loads", "bulk", AtMost(1.3, "ratio")),
        beside("a new session for each poll", "new", AtMost(1 / 8, "ratio")),
        beside("a request for each wait, pooled", "pooled", None),
    ]
