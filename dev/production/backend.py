"""The tests on real servers, with a Conductor of any version on SQLite, PostgreSQL, MariaDB or Redis.

What a test needs and the server lacks is found out, and the tests left out for it are listed at the end.
On PostgreSQL, a workflow's row is locked first, and what that does to look-ups is compared with docs/guarantees.md.

python -m dev.production.backend [--backend sqlite|postgres|mysql|redis] [--version V] [--serve] [PYTEST ARGUMENT ...]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev.conductor_server import JAVA_OPTIONS, NEWEST, ConductorServer
from dev.environments import NEWEST_CELL, ROOT
from dev.production.databases import DatabaseServer, PostgresServer, database_for_conductor
from dev.production.locked_row import check_locked_row
from dev.production.settings import BACKENDS, conductor_settings

TESTS = (
    "tests/integration",
    "tests/testing/test_against_a_server.py",
    "tests/operators",
    "-m",
    "integration and not faults",
    "-n",
    "2",
)
"""What talks to the server whose URL is given; the rest starts its own or needs none."""


@contextlib.contextmanager
def conductor_on(
    backend: str, version: str = NEWEST, *, java_options: Sequence[str] = JAVA_OPTIONS
) -> Iterator[tuple[ConductorServer, DatabaseServer | None]]:
    """A Conductor on this backend, in a temporary folder, and its database; SQLite needs no server."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"conductor-{backend}-")))
        folder.chmod(0o755)  # PostgreSQL's own user passes through
        database = None if backend == "sqlite" else database_for_conductor(backend, folder)
        settings = conductor_settings(backend, stack.enter_context(database).port) if database else {}
        if backend == "postgres" and version.startswith("3.21."):
            # Its lock in PostgreSQL keeps out the thread that has it (PostgresLockDAO), so a failure takes 30 s to end.
            settings["conductor.workflow-execution-lock.type"] = "local_only"
        server = ConductorServer(version, data_dir=folder / "conductor", settings=settings, java_options=java_options)
        yield stack.enter_context(server), database


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The tests on real servers, with another database.")
    parser.add_argument("--backend", default="postgres", choices=("sqlite", *BACKENDS))
    parser.add_argument("--version", default=NEWEST, help="of conductor-oss")
    parser.add_argument("--serve", action="store_true", help="run no tests, only the server, until Ctrl-C")
    chosen, pytest_arguments = parser.parse_known_args(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with conductor_on(chosen.backend, chosen.version) as (server, database):
        print(f"Conductor {chosen.version} on {chosen.backend}: {server.url}", flush=True)
        if chosen.serve:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            return 0
        faults = check_locked_row(server.api_url, database.port) if isinstance(database, PostgresServer) else []
        for fault in faults:
            print(f"FAULT {fault}", flush=True)
        env = {**os.environ, "CONDUCTOR_TEST_SERVER_URL": server.url}
        command = [str(NEWEST_CELL.python), "-m", "pytest", *(pytest_arguments or TESTS)]
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode or int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
