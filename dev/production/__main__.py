"""Bring up the production shape, run the trial on it, print a table and write ``build/production.json``.

python -m dev.production [--only waits,batch,connections] [--bounded]
        [--executor celery|local]
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
from pathlib import Path

from dev.environments import BUILD, ROOT, run, uv
from dev.production.shape import ProductionShape
from dev.production.trial import Outcome, batch, connections, register, waits

UNTRIED = {
    "redis": "the trial counts workflows in Conductor's search index, which is off there; "
    "`make backend BACKEND=redis` runs the tests on real servers",
    "mysql": "no wheel and no Maven artifact carries a MySQL or MariaDB server, and this command installs nothing else",
}
"""What Conductor may keep its data in as well, and why the trial does not run there."""


def main() -> int:
    parser = argparse.ArgumentParser(description="The provider in production shape, on this machine.")
    parser.add_argument("--backend", default="postgres", help="Conductor's database; only postgres")
    parser.add_argument("--only", default="waits,batch,connections", help="a comma-separated part of the trial")
    parser.add_argument("--bounded", action="store_true", help="a tenth of it, with LocalExecutor unless told")
    parser.add_argument("--executor", choices=("celery", "local"), help="Airflow's; celery unless bounded")
    chosen = parser.parse_args()
    if chosen.backend != "postgres":
        parser.error(f"--backend {chosen.backend}: {UNTRIED.get(chosen.backend, 'not a database of Conductor')}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    part: dict[str, Callable[[ProductionShape], Outcome]] = {
        "waits": lambda shape: waits(shape, *((30, 120) if chosen.bounded else (300, 600))),
        "batch": lambda shape: batch(shape, 200 if chosen.bounded else 2000),
        "connections": lambda shape: connections(shape, *((5, 60) if chosen.bounded else (50, 300))),
    }
    if unknown := set(chosen.only.split(",")) - set(part):
        parser.error(f"--only takes {', '.join(part)}, not {', '.join(sorted(unknown))}")
    celery = (chosen.executor or ("local" if chosen.bounded else "celery")) == "celery"
    folder = Path(tempfile.mkdtemp(prefix="conductor-production-"))
    install_wheel(folder)
    print(f"Logs are in {folder}", flush=True)
    outcomes: list[Outcome] = []
    with ProductionShape(folder, celery=celery) as shape:
        register(shape)
        for name in chosen.only.split(","):
            outcomes.append(part[name](shape))
            show(outcomes[-1])
    failed = any(outcome.faults for outcome in outcomes)
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    written = ROOT / "build" / "production.json"
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps({"machine": machine, "outcomes": [vars(outcome) for outcome in outcomes]}, indent=1))
    print(f"{'FAILED' if failed else 'passed'}; {written.relative_to(ROOT)}")
    return 1 if failed else 0


def install_wheel(folder: Path) -> None:
    """Replace the checkout in this environment by a wheel that is built of it, as a user would install it."""
    run(uv(), "build", "--quiet", "--wheel", "--build-constraint", BUILD, "--out-dir", folder / "wheel")
    (wheel,) = (folder / "wheel").glob("*.whl")
    run(uv(), "pip", "install", "--quiet", "--no-deps", "--reinstall", "--python", sys.executable, wheel)


def show(outcome: Outcome) -> None:
    print(f"\n{outcome.name}")
    for what, found in outcome.figures.items():
        print(f"  {what:<40} {found}")
    for fault in outcome.faults:
        print(f"  FAULT {fault}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
