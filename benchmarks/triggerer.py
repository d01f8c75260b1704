"""Ten thousand real triggers in Airflow's own TriggerRunner, beside as many that do nothing.

Each kind runs in a process of its own, so that its memory is its own: this module as a script, which speaks with
the row by lines of JSON on its standard input and output.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from airflow_provider_conductor.client import ConductorRequestError
from benchmarks.airflow_here import CONN_ID, connect
from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row

TICK = 0.01
"""Seconds between two turns of the loop's watchdog."""

STEADY_FOR = 6.0
"""Seconds without growth after which memory counts as what the triggers need."""

STEADY = 0.01
"""Share of growth that is none."""

GRACE = 150.0
"""Seconds after the last workflow's end in which its event must come: two of the longest intervals, and some."""

RELAXED = (10_000, 10, 1_000)
"""Thresholds of Python's garbage collector with which it hardly ever walks through all objects."""

PAGE = os.sysconf("SC_PAGE_SIZE")


@row("triggerer", "triggers in Airflow's TriggerRunner")
def triggerer(bench: Bench) -> list[Comparison]:
    """Deliveries, the longest the loop was blocked, and memory a trigger."""
    from airflow import __version__

    if int(__version__.split(".")[0]) < 3:
        raise RuntimeError(f"the TriggerRunner of Airflow 3.3 is meant; this is {__version__}")
    count = bench.count(10_000, 50)
    ids = bench.lab.take_running(count)
    connect(bench.lab.api_url)
    with _Process("empty", ids) as process:
        empty = process.ask("measure")
    with _Process("relaxed", ids) as process:
        relaxed = process.ask("measure")
    with _Process("ours", ids) as process:
        process.ask("measure")
        bench.lab.complete(ids)
        ours = process.ask("finish")
    wrong, note = _not_as_on_the_server(bench, ours["others"])
    wrong += ours["failures"]
    bench.lab.remove(ids)
    what = f"{count:,} triggers"
    return [
        Comparison(
            what=f"{what}: completions not delivered, or twice",
            unit="",
            ours=ours["missing"] + ours["twice"] + wrong,
            n=count,
            goal=AtMost(0),
            note=f"{ours['missing']} missing, {ours['twice']} twice, {wrong} with another status{note}",
        ),
        Comparison(
            what=f"{what}: loop blocked, longest",
            unit="ms",
            ours=ours["blocked_ms"],
            peer="empty triggers",
            theirs=empty["blocked_ms"],
            n=ours["ticks"],
            goal=AtMost(200.0),
            note=f"longest pass of Python's garbage collector {ours['gc_ms']:.0f} ms ({empty['gc_ms']:.0f} ms), "
            f"longest block apart from it {ours['apart_ms']:.0f} ms ({empty['apart_ms']:.0f} ms); "
            f"once, importing with the very first trigger: {ours['first_ms']:.0f} ms ({empty['first_ms']:.0f} ms)",
        ),
        Comparison(
            what=f"{what}: the same with relaxed garbage collection",
            unit="ms",
            ours=relaxed["blocked_ms"],
            n=relaxed["ticks"],
            goal=AtMost(200.0),
            note=f"gc.set_threshold{RELAXED}, as docs/scaling.md advises; while all are taken up, without their ends; "
            f"longest pass {relaxed['gc_ms']:.0f} ms",
        ),
        Comparison(
            what=f"{what}: memory each",
            unit="kB",
            ours=ours["memory"] / count / 1e3,
            peer="empty triggers",
            theirs=empty["memory"] / count / 1e3,
            n=count,
            goal=AtMost(10.0, "difference"),
        ),
    ]


def _not_as_on_the_server(bench: Bench, others: Sequence[tuple[str, dict[str, Any]]]) -> tuple[int, str]:
    """How many of the events that are not COMPLETED say something else than the server does; and what they say."""
    wrong, note = 0, ""
    for workflow_id, payload in others:
        try:
            status = str(bench.lab.client.get_workflow(workflow_id).status)
        except ConductorRequestError as error:
            status = str(error)
        if (payload.get("workflow_id"), payload.get("status")) != (workflow_id, status):
            wrong += 1
        note = note or f"; {payload}, and the server says {status}"
    return wrong, note


class _Process:
    """This module as a script, and the questions put to it."""

    def __init__(self, kind: str, ids: Sequence[str]) -> None:
        self._kind = kind
        self._ids = ids

    def __enter__(self) -> _Process:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.triggerer", self._kind],
            cwd=Path(__file__).resolve().parent.parent,
            env={**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._write(self._ids)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, word: str) -> dict[str, Any]:
        """Raises ``RuntimeError`` where the process has died."""
        self._write(word)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with {self._kind} triggers died, with {self._process.wait(10)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _write(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()


# ---- in the process ----


class _Watchdog:
    """How late the loop is for a turn every hundredth of a second, and how much of that Python's garbage takes."""

    def __init__(self) -> None:
        self._collecting = 0.0
        self._collected = 0.0
        self.forget()
        gc.callbacks.append(self._on_collection)

    def forget(self) -> None:
        self.ticks = 0
        self.blocked = self.apart = self.longest_pass = 0.0

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
            return
        taken = time.perf_counter() - self._collecting
        self._collected += taken
        self.longest_pass = max(self.longest_pass, taken)

    async def run(self) -> None:
        while True:
            begun, collected = time.perf_counter(), self._collected
            await asyncio.sleep(TICK)
            self.ticks += 1
            late = time.perf_counter() - begun - TICK
            self.blocked = max(self.blocked, late)
            self.apart = max(self.apart, late - (self._collected - collected))


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def _steady(limit: float = 240.0) -> int:
    """Memory, once it has stopped growing."""
    end = time.monotonic() + limit
    before = resident()
    while time.monotonic() < end:
        await asyncio.sleep(STEADY_FOR)
        now = resident()
        if now <= before * (1 + STEADY):
            break
        before = now
    return resident()


def _runner(events: list[Any], failures: list[Any]) -> Any:
    """Airflow's TriggerRunner, whose supervisor is us: nothing else of it is replaced."""
    from types import SimpleNamespace

    from airflow.jobs.triggerer_job_runner import TriggerRunner, messages

    class Runner(TriggerRunner):
        async def init_comms(self) -> None:
            never = asyncio.create_task(asyncio.Event().wait())
            self.comms_decoder = cast("Any", SimpleNamespace(_reader_task=never))

        async def asend(self, msg: Any) -> Any:
            events.extend((entry.trigger_id, entry.event.payload) for entry in msg.events or ())
            failures.extend(msg.failures or ())
            return messages.TriggerStateSync(to_create=[], to_cancel=set())

    return Runner()  # type: ignore[no-untyped-call]


def workloads(kind: str, ids: Sequence[str]) -> list[Any]:
    """What the supervisor would hand over for the rows of the database.

    Made of one trigger: objects of a class share the names of their attributes, as far as the first thirty or so have
    all of them. These would lack those that the runner sets, and each of ten thousand triggers would have a dict.
    """
    from airflow.executors.workloads.trigger import RunTrigger
    from airflow.models.trigger import Trigger

    classpath, kwargs = _trigger(kind, ids[0]).serialize()
    return [
        RunTrigger(
            id=number,
            classpath=classpath,
            encrypted_kwargs=Trigger.encrypt_kwargs(kwargs | {"workflow_id": workflow_id}),
            ti=None,
        )
        for number, workflow_id in enumerate(ids)
    ]


def _trigger(kind: str, workflow_id: str) -> Any:
    if kind == "empty":
        from benchmarks.empty_trigger import EmptyTrigger

        return EmptyTrigger(workflow_id)
    from airflow_provider_conductor.triggers import ConductorWorkflowTrigger

    return ConductorWorkflowTrigger(workflow_id=workflow_id, conductor_conn_id=CONN_ID, started_at=time.time())


async def _serve(kind: str, orders: AsyncIterator[Any], answers: TextIO) -> None:
    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    ids = await anext(orders)
    if kind == "relaxed":
        gc.set_threshold(*RELAXED)
    events: list[tuple[int, dict[str, Any]]] = []
    failures: list[Any] = []
    runner = _runner(events, failures)
    watchdog = _Watchdog()
    running = asyncio.create_task(runner.arun())
    rows = workloads(kind, ids)
    watching = asyncio.create_task(watchdog.run())
    # The first of its kind imports what all need: that is no trigger's cost, but once a triggerer's life.
    runner.to_create.append(rows[0])
    await _steady()
    first_ms = watchdog.blocked * 1e3
    before = resident()
    watchdog.forget()
    runner.to_create.extend(rows[1:])
    del rows
    async for word in orders:
        if word == "measure":
            while len(runner.triggers) < len(ids) and not failures:  # noqa: ASYNC110 (Airflow tells nobody)
                await asyncio.sleep(0.2)
            memory = await _steady() - before
        else:
            end = time.monotonic() + GRACE
            while len(events) < len(ids) and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            await asyncio.sleep(2.0)  # for one that comes twice
        seen = Counter(number for number, _ in events)
        others = [
            [ids[number], payload]
            for number, payload in events
            if payload.get("status") != "COMPLETED" or payload.get("workflow_id") != ids[number]
        ]
        say(
            {
                "missing": len(ids) - len(seen),
                "twice": sum(times - 1 for times in seen.values()),
                "others": others,
                "failures": len(failures),
                "blocked_ms": watchdog.blocked * 1e3,
                "apart_ms": watchdog.apart * 1e3,
                "gc_ms": watchdog.longest_pass * 1e3,
                "first_ms": first_ms,
                "ticks": watchdog.ticks,
                "memory": memory,
            }
        )
    runner.stop = True
    for task in (watching, running):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _lines(source: TextIO) -> AsyncIterator[Any]:
    """What stands on each line, read in a thread of its own."""
    found: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in source:
            loop.call_soon_threadsafe(found.put_nowait, line)
        loop.call_soon_threadsafe(found.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await found.get():
        yield json.loads(line)


def main() -> None:
    # Airflow logs to standard output, which is for our answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    asyncio.run(_serve(sys.argv[1], _lines(sys.stdin), answers))


if __name__ == "__main__":
    main()
