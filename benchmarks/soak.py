"""Half an hour of waits that come, end and are cancelled, while the server crashes twice.

    python -m benchmarks.soak --minutes 30

A server of its own keeps its data in a folder through SIGKILL and restart. Every wait must be answered exactly
once, with what its workflow ended as, and neither memory nor open sockets may grow. Exit code 0 says so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from airflow_provider_conductor.client import AsyncConductorClient, ConductorRequestError, endpoints
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from dev.conductor_server import ConductorServer

SAMPLE_EVERY = 10.0
"""Seconds between two looks at memory and sockets."""

MEMORY_GROWTH = 1.15
"""The largest ratio of the last third's memory to the first full third's that is not growth."""

SOCKETS_AT_MOST = 40
"""The poller's pool has 16 connections, this script's own has 16; the rest is what has not quite closed."""

LAST_WORD = 180.0
"""Seconds after the last workflow's end in which its wait must be answered: some of the longest intervals."""

RESTART_AT = (0.35, 0.65)
"""Shares of the time after which the server is killed."""

SERVER_AWAY = 15.0
"""Seconds that it stays away."""

T = TypeVar("T")

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Tally:
    """What became of the waits.

    Attributes:
        started, ended, cancelled: workflows, and waits that were called off.
        answered: how often each workflow's wait was answered, by id.
        wrong: waits answered with another status than their workflow ended with, or broken off.
    """

    started: int = 0
    cancelled: int = 0
    ended: dict[str, str] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at this process; ``minute`` from the beginning."""

    minute: float
    memory_mb: float
    sockets: int
    waits: int


def sample(begun: float, waits: int) -> Sample:
    gc.collect()
    sockets = 0
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets += os.readlink(handle).startswith("socket:")
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    return Sample(round((time.monotonic() - begun) / 60, 2), round(memory / 1e6, 1), sockets, waits)


class Soak:
    """One run.

    Args:
        server: running; it is killed and started again.
        minutes: how long waits come and go.
        waits: about how many there are at a time.
    """

    def __init__(self, server: ConductorServer, *, minutes: float, waits: int) -> None:
        self.server = server
        self.minutes = minutes
        self.target = waits
        self.tally = Tally()
        self.samples: list[Sample] = []
        self.restarts = 0
        self._begun = time.monotonic()
        self._end = self._begun + minutes * 60
        self._chance = random.Random(7)
        self._name = "soak_waiting"
        self._open: dict[str, asyncio.Task[None]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._client = AsyncConductorClient(server.api_url)
        self._watcher = Poller(AsyncConductorClient(server.api_url))

    async def run(self) -> list[str]:
        """What went wrong; nothing, in a good run."""
        await self._patiently(lambda: self._client.send(endpoints.register_workflow_defs([self._definition()])))
        helpers = [asyncio.create_task(body) for body in (self._sampling(), self._restarting())]
        try:
            await self._come_and_go()
            await asyncio.gather(*helpers)
            await self._end_all()
        finally:
            left = [*helpers, *self._answering]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self.samples.append(sample(self._begun, self._watcher.counts.waits))
            await self._watcher.close()
            await self._client.close()
        return self.faults()

    def faults(self) -> list[str]:
        tally = self.tally
        found = list(tally.wrong[:5])
        lost = [workflow_id for workflow_id in tally.ended if not tally.answered.get(workflow_id)]
        if lost:
            found.append(f"{len(lost)} waits were never answered, the first for {lost[0]}")
        twice = [workflow_id for workflow_id, times in tally.answered.items() if times > 1]
        if twice:
            found.append(f"{len(twice)} waits were answered more than once")
        early = [workflow_id for workflow_id in tally.answered if workflow_id not in tally.ended]
        if early:
            found.append(f"{len(early)} waits were answered though nobody had ended the workflow, the first {early[0]}")
        if self._watcher.counts.waits:
            found.append(f"{self._watcher.counts.waits} waits were left in the poller")
        return found + growth(self.samples)

    def _definition(self) -> dict[str, object]:
        return {
            "name": self._name,
            "version": 1,
            "schemaVersion": 2,
            "ownerEmail": "soak@example.com",
            "timeoutSeconds": 0,
            "timeoutPolicy": "ALERT_ONLY",
            "tasks": [{"name": "hold", "taskReferenceName": "hold", "type": "WAIT"}],
        }

    async def _come_and_go(self) -> None:
        """Keep about the wanted number of waits; each lives for some minutes at most."""
        while time.monotonic() < self._end:
            missing = self.target - len(self._open)
            for _ in range(max(0, min(missing, 20))):
                await self._begin_one()
            leaving = max(1, len(self._open) // 120)
            for workflow_id in self._chance.sample(list(self._open), min(leaving, len(self._open))):
                await (self._cancel_one if self._chance.random() < 0.2 else self._end_one)(workflow_id)
            await asyncio.sleep(1.0)

    async def _begin_one(self) -> None:
        workflow_id = await self._patiently(
            lambda: self._client.send(endpoints.start_workflow({"name": self._name, "version": 1, "input": {}}))
        )
        self.tally.started += 1
        task = asyncio.create_task(self._wait_for(workflow_id))
        self._open[workflow_id] = task
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _wait_for(self, workflow_id: str) -> None:
        spec = WaitSpec(workflow_id=workflow_id, started_at=time.time())
        try:
            event = await self._watcher.run(wait(spec, _quietly))
        except Exception as error:  # a wait must not break off, whatever the server does
            self.tally.wrong.append(f"the wait for {workflow_id} broke off: {error!r}")
            return
        self.tally.answered[workflow_id] = self.tally.answered.get(workflow_id, 0) + 1
        told = self.tally.ended.get(workflow_id)
        if told is not None and event.status != told:
            self.tally.wrong.append(f"{workflow_id} ended as {told}, and its wait says {event.status}")

    async def _end_one(self, workflow_id: str) -> None:
        completing = self._chance.random() < 0.7
        # Noted first: the wait may be answered before we hear that the request has succeeded.
        self.tally.ended[workflow_id] = "COMPLETED" if completing else "TERMINATED"
        self._open.pop(workflow_id)
        await self._patiently(lambda: self._complete(workflow_id) if completing else self._terminate(workflow_id))

    async def _complete(self, workflow_id: str) -> None:
        workflow = await self._client.send(endpoints.get_workflow(workflow_id))
        task = workflow.latest_attempt("hold")
        if task is not None and not workflow.status.ended:
            await self._client.send(endpoints.update_task(workflow_id, task.task_id, "COMPLETED"))

    async def _terminate(self, workflow_id: str) -> None:
        workflow = await self._client.send(endpoints.get_workflow(workflow_id, include_tasks=False))
        if not workflow.status.ended:
            await self._client.send(endpoints.terminate_workflow(workflow_id, "the soak ends it"))

    async def _cancel_one(self, workflow_id: str) -> None:
        task = self._open.pop(workflow_id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.tally.cancelled += 1
        await self._patiently(lambda: self._terminate(workflow_id))

    async def _end_all(self) -> None:
        for workflow_id in list(self._open):
            await self._end_one(workflow_id)
        deadline = time.monotonic() + LAST_WORD
        while self._answering and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(1.0)

    async def _restarting(self) -> None:
        for share in RESTART_AT:
            await asyncio.sleep(max(0.0, self._begun + share * self.minutes * 60 - time.monotonic()))
            await asyncio.to_thread(self.server.kill)
            await asyncio.sleep(SERVER_AWAY)
            await asyncio.to_thread(self.server.restart)
            self.restarts += 1

    async def _sampling(self) -> None:
        while time.monotonic() < self._end:
            self.samples.append(sample(self._begun, self._watcher.counts.waits))
            await asyncio.sleep(SAMPLE_EVERY)

    @staticmethod
    async def _patiently(body: Callable[[], Awaitable[T]]) -> T:
        """This script's own requests go on after a restart, however long it takes."""
        while True:
            try:
                return await body()
            except ConductorRequestError:
                await asyncio.sleep(1.0)


def growth(samples: Sequence[Sample]) -> list[str]:
    """Whether memory or sockets have grown: the last third of the run beside the middle one, once it has filled up."""
    third = len(samples) // 3
    if not third:
        return ["too few samples to tell growth"]
    middle, last = samples[third : 2 * third], samples[2 * third :]
    found = []
    before, after = (statistics.median(item.memory_mb for item in part) for part in (middle, last))
    if after > before * MEMORY_GROWTH:
        found.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    most = max(item.sockets for item in last)
    if most > SOCKETS_AT_MOST:
        found.append(f"{most} sockets were open at once")
    return found


def _quietly(message: str) -> None:
    """Nobody reads what these waits say."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--waits", type=int, default=800, help="about how many at a time")
    parser.add_argument("--json", type=Path, default=Path("build") / "soak.json")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, ConductorServer(data_dir=folder) as server:
        soak = Soak(server, minutes=chosen.minutes, waits=chosen.waits)
        faults = asyncio.run(soak.run())
    tally, counts = soak.tally, soak._watcher.counts
    last = soak.samples[-1]
    figures = {
        "minutes": chosen.minutes,
        "started": tally.started,
        "ended": len(tally.ended),
        "answered": sum(tally.answered.values()),
        "cancelled": tally.cancelled,
        "restarts": soak.restarts,
        "requests": counts.requests,
        "looks": counts.polls,
        "errors": counts.errors,
        "memory_mb": {"first": soak.samples[0].memory_mb, "last": last.memory_mb},
        "sockets": {"most": max(item.sockets for item in soak.samples), "last": last.sockets},
        "faults": faults,
    }
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps({**figures, "samples": [asdict(item) for item in soak.samples]}, indent=1) + "\n")
    for name, value in figures.items():
        print(f"{name:>10}  {value}")
    print("FAILED" if faults else "passed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
