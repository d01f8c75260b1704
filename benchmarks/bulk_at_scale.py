"""What ten thousand running workflows cost a Conductor on PostgreSQL, and its database.

    make scale

PostgreSQL and Conductor are started for the run. A few workflows are started, and their rows are copied in the database
under new ids, since starts take much longer. Measured are the starts; a while in which nobody polls; and, on a server
that does nothing else, ``bulk/search`` of all of them, 1,000 ids a request: the time until the answer is there, its
bytes, and the CPU time of Conductor's process and of all of PostgreSQL's, from ``/proc``. A busy machine makes the
times longer, the CPU times hardly.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import requests

from airflow_provider_conductor.client import ConductorClient
from dev.conductor_server import ConductorServer
from dev.production.backend import conductor_on
from dev.production.settings import conductor_settings

RESULTS = Path("build") / "bulk_at_scale.json"

STARTS_AT_ONCE = 4
TABLES = [
    "workflow",
    "workflow_def_to_workflow",
    "workflow_pending",
    "workflow_index",
    "workflow_to_task",
    "task",
    "task_scheduled",
    "task_in_progress",
    "queue_message",
]
"""Those that have rows of a running workflow with one task; its ids are nowhere else."""
STARTED = 50
"""Workflows that are started; the others are copies of them."""

READS_ONLY = {"conductor.system-task-workers.enabled": "false", "conductor.workflow-reconciler.enabled": "false"}
"""Without the server's own workers and sweeps, what it does is what the requests cost."""

TICK = os.sysconf("SC_CLK_TCK")

JAVA_OPTIONS = ("-Xmx4g",)
"""Those of a server that runs for long, not those that the tests start quickly with."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What something took; CPU in seconds, ``longest`` and ``median`` are of single requests, in ms.

    ``overdue`` is how many workflows the server had not swept at the end, though their sweep was due.
    """

    what: str
    workflows: int
    requests: int
    seconds: float
    server_cpu: float
    database_cpu: float
    overdue: int = 0
    megabytes: float = 0.0
    median: float = 0.0
    longest: float = 0.0


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, its children, and those of them that have ended."""
    spent = 0.0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parent, times = int(fields[1]), [int(ticks) for ticks in fields[11:15]]
                if int(folder.name) == pid:
                    spent += sum(times)
                elif parent == pid:
                    spent += sum(times[:2])
    return spent / TICK


@dataclass(slots=True)
class Meter:
    """CPU of the two servers."""

    server: int
    database: int

    def now(self) -> tuple[float, float, float]:
        return time.monotonic(), cpu_of(self.server), cpu_of(self.database)

    def since(self, before: tuple[float, float, float]) -> tuple[float, float, float]:
        seconds, server, database = (now - then for now, then in zip(self.now(), before, strict=True))
        return seconds, server, database


def start(client: ConductorClient, name: str, count: int) -> list[str]:
    with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
        return list(pool.map(lambda number: client.start_workflow_by_name(name, {"order": number}), range(count)))


def _address(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=conductor dbname=conductor"


def copy_rows(port: int, originals: Sequence[str], times: int) -> list[str]:
    """Copy all rows of these workflows so many times; returns the new workflows' ids."""
    with psycopg.connect(_address(port)) as connection:
        connection.execute(
            "CREATE TEMP TABLE copies AS SELECT workflow_id, task_id, gen_random_uuid()::text AS new_workflow_id, "
            "gen_random_uuid()::text AS new_task_id FROM workflow_to_task, generate_series(1, %s) "
            "WHERE workflow_id = ANY(%s)",
            [times, list(originals)],
        )
        for table in TABLES:
            connection.execute(
                "WITH originals AS (SELECT DISTINCT workflow_id, task_id FROM copies), rows AS MATERIALIZED ("
                "SELECT workflow_id, original.text FROM originals JOIN "
                f"(SELECT to_jsonb({table})::text AS text FROM {table}) AS original "
                "ON strpos(text, workflow_id) + strpos(text, task_id) > 0) "
                f"INSERT INTO {table} SELECT made.* FROM copies JOIN rows USING (workflow_id), "
                f"jsonb_populate_record(NULL::{table}, replace(replace(text, copies.workflow_id, new_workflow_id), "
                "task_id, new_task_id)::jsonb) AS made"
            )
        ids = [row[0] for row in connection.execute("SELECT new_workflow_id FROM copies")]
    with psycopg.connect(_address(port), autocommit=True) as connection:
        connection.execute("ANALYZE")
    return ids


def sweep(api_url: str, ids: Sequence[str], size: int, at_once: int, rounds: int) -> tuple[list[float], int]:
    """Milliseconds of each request, and the bytes of all answers."""
    chunks = [ids[at : at + size] for at in range(0, len(ids), size)] * rounds
    with requests.Session() as session, ThreadPoolExecutor(at_once) as pool:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=at_once))

        def ask(chunk: Sequence[str]) -> tuple[float, int]:
            begun = time.monotonic()
            answer = session.post(f"{api_url}/workflow/bulk/search?includeTasks=false", json=chunk, timeout=300)
            answer.raise_for_status()
            taken = (time.monotonic() - begun) * 1e3
            assert len(answer.json()["bulkSuccessfulResults"]) == len(chunk)
            return taken, len(answer.content)

        answers = list(pool.map(ask, chunks))
    return [taken for taken, _ in answers], sum(length for _, length in answers)


def overdue(port: int) -> int:
    with psycopg.connect(_address(port)) as connection:
        found = connection.execute(
            "SELECT count(*) FROM queue_message WHERE queue_name = '_deciderQueue' "
            "AND NOT popped AND deliver_on < current_timestamp - interval '1 second'"
        ).fetchone()
    return int(found[0]) if found else 0


def measure(count: int, size: int, rounds: int, idle: float) -> Iterator[Figures]:
    with conductor_on("postgres", java_options=JAVA_OPTIONS) as (server, database):
        assert database is not None
        assert database.process is not None
        meter = Meter(server.pid, database.process.pid)

        def nobody_polls(what: str, workflows: int) -> Figures:
            before = meter.now()
            time.sleep(idle)
            return Figures(what, workflows, 0, *meter.since(before), overdue=overdue(database.port))

        with ConductorClient(server.api_url) as client:
            name = "at_scale"
            hold = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT"}
            owned = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "bench@example.com"}
            client.register_workflow_defs({**owned, "tasks": [hold], "timeoutSeconds": 0})
            before = meter.now()
            started = start(client, name, STARTED)
            yield Figures("starts", STARTED, STARTED, *meter.since(before))
        yield nobody_polls("nobody polls", STARTED)
        ids = [*started, *copy_rows(database.port, started, count // STARTED - 1)]
        yield nobody_polls("nobody polls", len(ids))
        server.stop()
        settings = {**conductor_settings("postgres", database.port), **READS_ONLY}
        with ConductorServer(settings=settings, java_options=JAVA_OPTIONS) as server:
            meter = Meter(server.pid, database.process.pid)
            sweep(server.api_url, ids, size, 1, 3)  # until Java has compiled what answers
            yield nobody_polls("nobody polls, reads only", len(ids))
            for at_once in (1, 4, 16):
                before = meter.now()
                taken, length = sweep(server.api_url, ids, size, at_once, rounds)
                yield Figures(
                    f"bulk/search of {size:,}, {at_once} at a time",
                    len(ids) * rounds,
                    len(taken),
                    *meter.since(before),
                    megabytes=length / 1e6,
                    median=statistics.median(taken),
                    longest=max(taken),
                )


HEADER = (
    f"{'':<34} {'workflows':>9} {'requests':>8} {'s':>7} {'a second':>8} {'median ms':>9} {'longest':>8}"
    f" {'MB':>7} {'server CPU s':>12} {'database CPU s':>14} {'overdue':>7}"
)


def line(found: Figures) -> str:
    rate = found.workflows / found.seconds if found.requests else 0.0
    return (
        f"{found.what:<34} {found.workflows:>9,} {found.requests:>8,} {found.seconds:>7.1f} {rate:>8,.0f} "
        f"{found.median:>9.0f} {found.longest:>8.0f} {found.megabytes:>7.1f} {found.server_cpu:>12.1f} "
        f"{found.database_cpu:>14.1f} {found.overdue:>7,}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help=f"workflows that run, a multiple of {STARTED}")
    parser.add_argument("--size", type=int, default=1_000, help="ids a request")
    parser.add_argument("--rounds", type=int, default=3, help="sweeps of all of them, for each number at a time")
    parser.add_argument("--idle", type=float, default=120, help="seconds in which nobody polls")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the servers are stopped
    print(HEADER, flush=True)
    figures = []
    for found in measure(chosen.count, chosen.size, chosen.rounds, chosen.idle):
        figures.append(found)
        print(line(found), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"cores": os.cpu_count(), "figures": [asdict(found) for found in figures]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
