"""Bring up the production shape, run the trial on it, print a table and write ``build/production.json``.

python -m dev.production [--only waits,batch,connections,steps,ends] [--size whole|bounded|smallest]
        [--executor celery|local] [--backend postgres|mysql|redis]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from dev.conductor_server import NEWEST
from dev.environments import BUILD, ROOT, run, uv
from dev.production.other_way import ends, steps
from dev.production.outcome import Outcome
from dev.production.settings import BACKENDS
from dev.production.shape import ProductionShape
from dev.production.trial import batch, connections, register, waits

WRITTEN = ROOT / "build" / "production.json"


class Size(NamedTuple):
    """How much of everything; of waits, the number and their seconds."""

    waits: tuple[int, int]
    batch: int
    connections: int
    steps: int
    ends: int


SIZES = {
    "whole": Size(waits=(300, 600), batch=2000, connections=50, steps=300, ends=1000),
    "bounded": Size(waits=(30, 120), batch=200, connections=5, steps=30, ends=160),
    "smallest": Size(waits=(8, 90), batch=50, connections=5, steps=8, ends=80),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="The provider in production shape, on this machine.")
    parser.add_argument(
        "--only", default="waits,batch,connections,steps,ends", help="a comma-separated part of the trial"
    )
    parser.add_argument("--size", choices=SIZES, default="whole", help="how much of everything")
    parser.add_argument("--backend", choices=BACKENDS, default="postgres", help="what Conductor keeps its data in")
    parser.add_argument("--executor", choices=("celery", "local"), default="celery", help="Airflow's")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    size = SIZES[chosen.size]
    part: dict[str, Callable[[ProductionShape], Outcome]] = {
        "waits": lambda shape: waits(shape, *size.waits),
        "batch": lambda shape: batch(shape, size.batch),
        "connections": lambda shape: connections(shape, size.connections),
        "steps": lambda shape: steps(shape, size.steps),
        "ends": lambda shape: ends(shape, size.ends),
    }
    if unknown := set(chosen.only.split(",")) - set(part):
        parser.error(f"--only takes {', '.join(part)}, not {', '.join(sorted(unknown))}")
    folder = Path(tempfile.mkdtemp(prefix="conductor-production-"))
    install_wheel(folder)
    print(f"Logs are in {folder}", flush=True)
    outcomes: list[Outcome] = []
    with ProductionShape(folder, chosen.backend, celery=chosen.executor == "celery") as shape:
        register(shape)
        for name in chosen.only.split(","):
            outcomes.append(part[name](shape))
            show(outcomes[-1])
            WRITTEN.parent.mkdir(exist_ok=True)
            WRITTEN.write_text(
                json.dumps({"machine": machine(), "outcomes": [vars(each) for each in outcomes]}, indent=1)
            )
    failed = any(outcome.faults for outcome in outcomes)
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{'FAILED' if failed else 'passed'}; {WRITTEN.relative_to(ROOT)}")
    return 1 if failed else 0


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "memory, GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "airflow": version("apache-airflow"),
        "conductor": NEWEST,
        "on": datetime.now(UTC).date().isoformat(),
    }


def install_wheel(folder: Path) -> None:
    """Replace the checkout in this environment by a wheel that is built of it, as a user would install it."""
    run(uv(), "build", "--quiet", "--wheel", "--build-constraint", BUILD, "--out-dir", folder / "wheel")
    (wheel,) = (folder / "wheel").glob("*.whl")
    run(uv(), "pip", "install", "--quiet", "--no-deps", "--reinstall", "--python", sys.executable, wheel)


def show(outcome: Outcome) -> None:
    """Print a table in Markdown."""
    print(f"\n| {outcome.name} | |\n|---|---|")
    for what, found in outcome.figures.items():
        row = ", ".join(f"{key} {value}" for key, value in found.items()) if isinstance(found, dict) else found
        print(f"| {what} | {row} |")
    for fault in outcome.faults:
        print(f"FAULT {fault}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
