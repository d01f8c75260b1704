"""The tests that import Airflow, on every Airflow and Python that the provider serves.

    python3 dev/matrix.py [--pytest-args "ARGUMENT ..."] [CELL ...]

A cell is named 3.0.6-3.12; all of them run unless told. Each has an environment of its own in .venv/matrix, and leaves
what pytest said in build/matrix.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dev.environments import CELLS, ROOT, Environment, make_all
from dev.shared_servers import sharing_servers
from dev.suites import WITHOUT_AIRFLOW, end_all, passed, start

LOGS = ROOT / "build" / "matrix"


def cell_name(environment: Environment) -> str:
    """Airflow's whole version, as in the requirements, and Python's."""
    pinned = (ROOT / "requirements" / f"{environment.requirements}.in").read_text()
    return f"{pinned.partition('==')[2].split()[0]}-{environment.pythons[0]}"


def run(environment: Environment, arguments: Sequence[str], servers: str) -> tuple[int, str]:
    """Make the cell's environment and run its tests there; pytest's exit code and closing line."""
    make_all([environment])
    with (LOGS / f"{cell_name(environment)}.log").open("w") as log:
        cell = start(environment, arguments, servers=servers, say=lambda line: print(line, file=log, flush=True))
        try:
            result = cell.result()
        finally:
            end_all([cell])
    return result, cell.closing or f"exited with {result}; see {log.name}"


def main(given: Sequence[str] | None = None) -> int:
    cells = {cell_name(environment): environment for environment in CELLS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"of {', '.join(cells)}")
    parser.add_argument("--pytest-args", default="", help="instead of all that import Airflow")
    chosen = parser.parse_args(given)
    if unknown := set(chosen.cells) - set(cells):
        parser.error(f"there is no cell {', '.join(sorted(unknown))}; there are {', '.join(cells)}")
    everything = [*(f"--ignore-glob={glob}" for glob in WITHOUT_AIRFLOW), "-n", "2", "--dist", "loadfile"]
    arguments = shlex.split(chosen.pytest_args) or everything

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    LOGS.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, int, str]] = []
    try:
        with sharing_servers() as servers:
            for name in chosen.cells or cells:
                print(f"{name} ...", flush=True)
                rows.append((name, *run(cells[name], arguments, servers)))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        print(f"\n{'Airflow-Python':<15}  pytest")
        for name, _, closing in rows:
            print(f"{name:<15}  {closing}")
    return 0 if passed([result for _, result, _ in rows]) else 1


if __name__ == "__main__":
    sys.exit(main())
