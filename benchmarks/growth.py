"""How requests and CPU grow with the number of waits; also as a picture for the docs."""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks import polling
from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row
from benchmarks.watching import Waits

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "scaling.png"

CPU_NOISE = 1.1
"""How much more CPU a wait may seem to cost where it costs the same."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a sweep of so many waits costs: requests, and milliseconds of CPU, ours and with a request each."""

    waits: int
    requests: float
    cpu: float
    cpu_each: float


@row("growth", "cost of a sweep, as the waits become more")
def growth(bench: Bench) -> list[Comparison]:
    """Medians; beside each count stands the next smaller one."""
    counts = (10, 50) if bench.quick else (100, 1_000, 10_000)
    points = asyncio.run(_measure(bench, counts))
    if not bench.quick:
        draw(points, PICTURE)
    rounds = _rounds(bench)
    lines = []
    for fewer, more in itertools.pairwise(points):
        lines += [
            Comparison(
                what=f"requests a wait, {more.waits:,} waits",
                unit="requests",
                ours=more.requests / more.waits,
                peer=f"{fewer.waits:,} waits",
                theirs=fewer.requests / fewer.waits,
                n=rounds,
                goal=AtMost(1.0, "ratio"),
            ),
            Comparison(
                what=f"CPU a wait, {more.waits:,} waits",
                unit="ms",
                ours=more.cpu / more.waits,
                peer=f"{fewer.waits:,} waits",
                theirs=fewer.cpu / fewer.waits,
                n=rounds,
                goal=AtMost(CPU_NOISE, "ratio"),
                note=f"with a request for each wait {more.cpu_each / more.waits:.3g} ms",
            ),
        ]
    return lines


def _rounds(bench: Bench) -> int:
    return bench.count(5, 1)


async def _measure(bench: Bench, counts: Sequence[int]) -> list[Point]:
    points = []
    for count in counts:
        ids = await asyncio.to_thread(bench.lab.running, count)
        sweeps, each = [], []
        async with aiohttp.ClientSession() as session, Waits(bench.lab.api_url, ids) as waits:
            for turn in range(_rounds(bench) + 1):
                gc.collect()
                sweep = await waits.sweep()
                gc.collect()
                begun = time.process_time()
                await polling.pooled_polls(session, bench.lab.api_url, ids)
                if turn:
                    sweeps.append(sweep)
                    each.append(time.process_time() - begun)
        points.append(
            Point(
                count,
                requests=statistics.median(requests for requests, _ in sweeps),
                cpu=statistics.median(cpu for _, cpu in sweeps) * 1e3,
                cpu_each=statistics.median(each) * 1e3,
            )
        )
    return points


def draw(points: Sequence[Point], file: Path) -> None:
    """Requests and CPU of a sweep against the number of waits, ours and one request each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    waits = [point.waits for point in points]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.2), dpi=90)
    left.plot(waits, waits, "o--", color="#9e9e9e", label="a request for each wait")
    left.plot(waits, [point.requests for point in points], "o-", color="#1976d2", label="shared poller")
    left.set_ylabel("requests a sweep")
    right.plot(waits, [point.cpu_each for point in points], "o--", color="#9e9e9e", label="a request for each wait")
    right.plot(waits, [point.cpu for point in points], "o-", color="#1976d2", label="shared poller")
    right.set_ylabel("CPU of the triggerer a sweep, ms")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("waits")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(frameon=False)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)
