"""What importing an operator adds to a DAG file's parsing, in fresh interpreters."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row

OURS = (
    "airflow_provider_conductor.operators.execute",
    "airflow_provider_conductor.sensors.workflow",
)

PEERS = {
    "dbt Cloud operators": "airflow.providers.dbt.cloud.operators.dbt",
    "Databricks operators": "airflow.providers.databricks.operators.databricks",
    "HTTP operators": "airflow.providers.http.operators.http",
    "Airbyte operators": "airflow.providers.airbyte.operators.airbyte",
    "conductor-python's client": "conductor.client.orkes.orkes_workflow_client",
}

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = "BENCH_PYTHONS"
"""Environment variable: interpreters (separated as in PATH) with further Airflows to import in; by default the one
that `make setup` makes for Airflow 2.11."""

PROBE = """
import sys, time, warnings
warnings.simplefilter("ignore")
try:
    from airflow.sdk import BaseOperator
except ImportError:
    from airflow.models import BaseOperator
from airflow import __version__
begun, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
print("probe", __version__, time.perf_counter() - begun, time.process_time() - cpu)
"""


@row("import", "import of an operator module, after Airflow's own", needs_server=False)
def imports(bench: Bench) -> list[Comparison]:
    """Milliseconds; the modules take turns, each time in a new interpreter whose files the system has at hand."""
    found = []
    for python in _pythons():
        found += _measure(python, bench.count(9, 1))
    return found


def _pythons() -> list[str]:
    told = os.environ.get(PYTHONS)
    if told is not None:
        return [sys.executable, *filter(None, told.split(os.pathsep))]
    old = ROOT / ".venv" / "airflow-2.11" / "bin" / "python"
    return [sys.executable, *([str(old)] if old.exists() and str(old) != sys.executable else [])]


def _measure(python: str, rounds: int) -> list[Comparison]:
    peers = {peer: module for peer, module in PEERS.items() if _installed(python, module)}
    modules = [*OURS, *peers.values()]
    airflow = ""
    taken: dict[str, list[tuple[float, float]]] = {module: [] for module in modules}
    for turn in range(rounds + 1):
        for module in modules:
            airflow, wall, cpu = _probe(python, module)
            if turn:  # the first round is there to write bytecode
                taken[module].append((wall, cpu))
    walls = {module: statistics.median(item[0] for item in found) * 1e3 for module, found in taken.items()}
    cpus = {module: statistics.median(item[1] for item in found) * 1e3 for module, found in taken.items()}
    lines = []
    for module in OURS:
        what = f"import {module.removeprefix('airflow_provider_conductor.')} (Airflow {airflow})"
        note = f"CPU {cpus[module]:.1f} ms"
        lines.append(Comparison(what=what, unit="ms", ours=walls[module], n=rounds, goal=AtMost(10.0), note=note))
    return lines + [
        Comparison(
            what=f"import operators.conductor (Airflow {airflow})",
            unit="ms",
            ours=walls[OURS[0]],
            peer=peer,
            theirs=walls[theirs],
            n=rounds,
        )
        for peer, theirs in peers.items()
    ]


def _installed(python: str, module: str) -> bool:
    """Whether this peer is there to be compared with; `make setup` installs them all."""
    package = module.rsplit(".", 2)[0]
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return not subprocess.run([python, "-c", code, package], capture_output=True, timeout=120, check=False).returncode


def _probe(python: str, module: str) -> tuple[str, float, float]:
    """Airflow's version, and seconds on the wall and of CPU that the import took."""
    # What is installed brings bytecode along; ours is written by the first round, whatever this environment prefers.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, "-c", PROBE, module], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("probe ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{module} cannot be imported: {done.stderr.strip().splitlines()[-1:]}")
    _, airflow, wall, cpu = lines[-1].split()
    return airflow, float(wall), float(cpu)
