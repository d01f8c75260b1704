"""What the example DAGs need around them: the definitions of their workflows, their worker, an Airflow of their own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from airflow_provider_conductor.client import ConductorClient

__all__ = [
    "DAGS",
    "airflow_environment",
    "end",
    "make_database",
    "register_definitions",
    "running",
    "running_worker",
]

ROOT = Path(__file__).resolve().parent.parent
DAGS = ROOT / "example_dags"
DEFINITIONS = DAGS / "definitions"


def register_definitions(api_url: str) -> list[str]:
    """Tell the server of the example workflows and their tasks; returns the workflows' names."""
    tasks = json.loads((DEFINITIONS / "tasks.json").read_text())
    workflows = [json.loads(path.read_text()) for path in sorted(DEFINITIONS.glob("*.json")) if path.stem != "tasks"]
    with ConductorClient(api_url) as client:
        client.register_task_defs(tasks)
        client.register_workflow_defs(workflows)
    return [workflow["name"] for workflow in workflows]


def airflow_environment(home: Path, server_url: str) -> dict[str, str]:
    """Environment of an Airflow that keeps everything in `home`, whatever this machine's own Airflow is set to.

    The connection `conductor_default` is in it.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    loopback = ",".join(filter(None, [ours.get("NO_PROXY") or ours.get("no_proxy"), "127.0.0.1,localhost"]))
    return ours | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), ours.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), ours.get("PYTHONPATH")])),
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW_CONN_CONDUCTOR_DEFAULT": json.dumps({"conn_type": "conductor", "host": server_url}),
    }


def make_database(home: Path) -> None:
    """Give an Airflow its empty database: a copy of one that is made once for each environment of ours."""
    ours = Path(sys.prefix) / "airflow.db"
    with ours.with_suffix(".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not ours.exists():
            with tempfile.TemporaryDirectory() as folder:
                env = airflow_environment(Path(folder), "http://127.0.0.1:1")
                command = [sys.executable, "-m", "airflow", "db", "migrate"]
                done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
                if done.returncode:
                    raise RuntimeError(f"`airflow db migrate` failed: {done.stdout[-3000:]}{done.stderr[-3000:]}")
                shutil.move(Path(folder) / "airflow.db", ours)
    shutil.copyfile(ours, home / "airflow.db")


@contextlib.contextmanager
def running(
    command: Sequence[str], *, log: IO[str], env: dict[str, str] | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A child process for the length of a `with` block, ended with all that it started."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log if stdout is None else stdout,
        stderr=log,
        text=True,
        # Ctrl-C in the terminal is for us; and what the child starts can be told by its group.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[Any], patience: float = 20) -> None:
    """Ask a child to end, wait for it, then kill what is left of its process group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def running_worker(api_url: str, *, log: IO[str]) -> Iterator[int]:
    """The examples' worker in a process of its own; yields its id."""
    command = [sys.executable, str(ROOT / "dev" / "example_worker.py"), api_url]
    with running(command, log=log, env={**os.environ, "NO_PROXY": "127.0.0.1,localhost"}) as process:
        time.sleep(0.5)
        if process.poll() is not None:
            raise RuntimeError(f"the example worker exited with {process.returncode}; is the `sdk` extra installed?")
        yield process.pid
