"""Test runs beside each other, on Conductor servers that they share. Standard library only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.environments import ROOT, Environment
from dev.shared_servers import VARIABLE

__all__ = ["WITHOUT_AIRFLOW", "Run", "end_all", "passed", "start"]

# Globs of what does not import Airflow, or tests servers: it is tested once, with the newest; the rest with each.
WITHOUT_AIRFLOW = (
    "tests/batch",
    "tests/benchmarks",
    "tests/client",
    "tests/control",
    "tests/definitions",
    "tests/docs",
    "tests/faults/test_starts.py",
    "tests/integration",
    "tests/operators/*_on_a_server.py",
    "tests/polling",
    "tests/submission",
    "tests/testing",
    "tests/test_layering.py",
    "tests/test_requirements.py",
    "tests/test_wheel.py",
    "tests/ui_browser/test_finding_chromium.py",
)

NOTHING_SELECTED = 5
CLOSING = re.compile(r"^=* ?(?:\d+ \w+.*|no tests ran) in [\d.]+s\b.*$")


@dataclass(slots=True)
class Run:
    """A pytest of one environment."""

    name: str
    process: subprocess.Popen[str]
    reader: threading.Thread
    closing: str = ""

    def result(self) -> int:
        code = self.process.wait()
        self.reader.join()
        return code


def start(
    environment: Environment, arguments: Sequence[str], *, servers: str, say: Callable[[str], None], label: str = ""
) -> Run:
    """Begin a run. Each line that it writes is told to `say` as it comes, with the label before it."""
    process = subprocess.Popen(
        [environment.python, "-m", "pytest", *arguments],
        cwd=ROOT,
        env={**os.environ, VARIABLE: servers, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Ctrl-C in the terminal is for us; and what the run starts can be told by its group.
        start_new_session=True,
    )

    def read() -> None:
        for line in process.stdout or ():
            if CLOSING.match(line):
                run.closing = line.rstrip()
            say(f"{label}{line.rstrip()}")

    run = Run(Path(environment.name).name, process, threading.Thread(target=read, daemon=True))
    run.reader.start()
    return run


def end_all(runs: Sequence[Run], patience: float = 30) -> None:
    """Let those that still run tidy up, as at Ctrl-C; then end what is left of their process groups."""
    for number, wait in ((signal.SIGINT, patience), (signal.SIGKILL, None)):
        for run in runs:
            # A group's id is free for others only after its first process was waited for.
            if run.process.returncode is None:
                os.killpg(run.process.pid, number)
        for run in runs:
            try:
                run.process.wait(wait)
            except subprocess.TimeoutExpired:
                print(f"{run.name} did not end in {wait:.0f} s", file=sys.stderr)


def passed(results: Sequence[int]) -> bool:
    """A selection that one of them has nothing of is in order, as long as another has something of it."""
    return set(results) <= {0, NOTHING_SELECTED} and 0 in results
