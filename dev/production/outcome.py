"""What is counted while the trial runs, and the table's figures."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from dev.production.databases import PostgresServer
from dev.production.shape import ProductionShape

__all__ = ["Outcome", "report", "spread", "watching"]


@dataclass
class Outcome:
    """What was counted: ``figures`` are for the table, ``faults`` is what must be empty."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, expected: object) -> None:
        self.figures[what] = found
        if found != expected:
            self.faults.append(f"{what}: {found}, expected {expected}")


def spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 2),
        "max": round(ordered[-1], 2),
        "n": len(ordered),
    }


@contextmanager
def watching(shape: ProductionShape, outcome: Outcome) -> Iterator[None]:
    """Add what was seen meanwhile: open connections, the machine's load, requests, blocked event loops."""
    most: dict[str, int] = {}
    loads: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(5):
            loads.append(os.getloadavg()[0])
            for name, server in {"Airflow": shape.airflow_database, "Conductor": shape.conductor_database}.items():
                if not isinstance(server, PostgresServer):
                    continue
                try:
                    [(count,)] = server.rows("select count(*) from pg_stat_activity where datname = current_database()")
                except psycopg.Error:  # the database is being restarted
                    continue
                # One of them is this one.
                most[name] = max(most.get(name, 0), count - 1)

    begin = datetime.now(UTC)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    end = datetime.now(UTC)
    outcome.figures["took, s"] = round((end - begin).total_seconds())
    outcome.figures["load of the machine"] = spread(loads)
    for name, count in most.items():
        outcome.figures[f"most connections at {name}'s database"] = count
    outcome.figures["requests a minute at Conductor"] = spread(_requests(shape, begin, end))
    outcome.figures["blocked event loops in triggerers, s"] = spread(_blocked(shape, begin))
    outcome.figures["restarted after they ended by themselves"] = dict(shape.restarts)


def _requests(shape: ProductionShape, begin: datetime, end: datetime) -> list[float]:
    """Requests of each full minute, by Conductor's access log; health checks left out."""
    minutes = {
        (begin + timedelta(minutes=n)).astimezone().strftime("%Y-%m-%dT%H:%M"): 0
        for n in range(1, int((end - begin).total_seconds() // 60))
    }
    for log in (shape.folder / "tomcat").rglob("*access*"):
        for line in log.read_text().splitlines():
            if line[:16] in minutes and "/health" not in line:
                minutes[line[:16]] += 1
    return list(minutes.values())


def _blocked(shape: ProductionShape, since: datetime) -> list[float]:
    """How long triggers' event loops did nothing else, where Airflow warned of it (0.2 s and more)."""
    found = []
    for part in ("triggerer1", "triggerer2"):
        text = (shape.folder / f"{part}.log").read_text(errors="replace")
        for at, seconds in re.findall(r"^(\S+Z) .*async thread was blocked for ([\d.]+) seconds", text, re.MULTILINE):
            if datetime.fromisoformat(at.replace("Z", "+00:00")) >= since:
                found.append(float(seconds))
    return found


def report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
