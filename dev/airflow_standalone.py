"""Airflow with the example DAGs, a Conductor server and the examples' worker beside it, to look around.

    python dev/airflow_standalone.py [--airflow-port P] [--conductor-port P]

Starts what `airflow standalone` starts, but on the loopback address only (that command's log servers listen on all
addresses), on free ports, and with an AIRFLOW_HOME of its own, which is removed at the end. Ctrl-C ends it all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dev.conductor_server import ConductorServer, ServerError, free_port  # noqa: E402
from dev.examples import airflow_environment, register_definitions, running, running_worker  # noqa: E402

T = TypeVar("T")

PATIENCE = 300

STUCK = "approval"
"""Its workflow waits until somebody completes the task ``approve``."""

DAGS_TO_SEE = ("order_pipeline", "order_steps", "nightly_model_training", "stop_and_retry", STUCK)


def main() -> int:
    parser = argparse.ArgumentParser(description="Airflow with the example DAGs, beside a Conductor server.")
    parser.add_argument("--airflow-port", type=int, default=0, help="a free one unless told")
    parser.add_argument("--conductor-port", type=int, help="a free one unless told")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    folder = Path(tempfile.mkdtemp(prefix="conductor-airflow-"))
    failed = True
    try:
        serve(folder, chosen.airflow_port or free_port(), chosen.conductor_port)
    except KeyboardInterrupt:
        print("\nStopped.")
        failed = False
    except (ServerError, subprocess.SubprocessError, RuntimeError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        print(f"Logs: {folder}", file=sys.stderr)
        return 1
    except SystemExit:
        failed = False
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def serve(home: Path, port: int, conductor_port: int | None) -> None:
    """Run until Ctrl-C, or until a part of it has ended."""
    with contextlib.ExitStack() as stack:
        print("Conductor starts (the first time, its server is downloaded) ...", flush=True)
        server = stack.enter_context(ConductorServer(port=conductor_port))
        register_definitions(server.api_url)
        worker_log = stack.enter_context((home / "worker.log").open("w"))
        stack.enter_context(running_worker(server.api_url, log=worker_log))

        print("Airflow starts ...", flush=True)
        log = stack.enter_context((home / "airflow.log").open("w"))
        airflow = stack.enter_context(running_airflow(home, server.url, port, log))
        print(f"Airflow    {airflow.url}    user admin, password {airflow.password}")
        print(f"Conductor  {server.url}")
        print(f"What waits for a person: {run_dags(AirflowReader(airflow))}")
        print("Ctrl-C ends both.", flush=True)
        while True:
            time.sleep(1)
            check(airflow.parts)


def run_dags(reader: AirflowReader) -> str:
    """Start a run of each DAG that has something to show; returns the page of the one that gets stuck."""
    for dag_id in DAGS_TO_SEE:
        reader.until(partial(reader.get, f"/dags/{dag_id}"), f"the DAG {dag_id}")
        run_id = reader.run(dag_id)
    return f"{reader.airflow.url}/dags/{STUCK}/runs/{run_id}/tasks/wait_for_approval/plugin/conductor_task"


@dataclass(frozen=True)
class RunningAirflow:
    """An Airflow on the loopback address, all of whose parts are healthy."""

    url: str
    password: str
    parts: dict[str, subprocess.Popen[str]]


class AirflowReader:
    """Reads an Airflow's REST API."""

    def __init__(self, airflow: RunningAirflow) -> None:
        self.airflow = airflow
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between two programs of one machine
        login = {"username": "admin", "password": airflow.password}
        token = self._session.post(f"{airflow.url}/auth/token", json=login, timeout=60).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> Any:
        """The answer's JSON; {} for an error."""
        answer = self._session.get(f"{self.airflow.url}/api/v2{path}", timeout=60)
        return answer.json() if answer.ok else {}

    def run(self, dag_id: str) -> str:
        """Start a run of the DAG, and return its id."""
        body = {"logical_date": None}
        answer = self._session.post(f"{self.airflow.url}/api/v2/dags/{dag_id}/dagRuns", json=body, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["dag_run_id"])

    def until(self, what: Callable[[], T], meaning: str) -> T:
        """The first true value, while all parts of Airflow run."""
        ends = time.monotonic() + PATIENCE
        while not (found := what()):
            check(self.airflow.parts)
            if time.monotonic() > ends:
                raise RuntimeError(f"{meaning}: not within {PATIENCE} s")
            time.sleep(0.5)
        return found

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The DAG's runs, the first first."""
        runs: list[dict[str, Any]] = self.get(f"/dags/{dag_id}/dagRuns?order_by=id").get("dag_runs", [])
        return runs


@contextlib.contextmanager
def running_airflow(home: Path, conductor_url: str, port: int, log: IO[str]) -> Iterator[RunningAirflow]:
    """Airflow's parts and `airflow conductor worker`; `home` gets their database if it has none."""
    url = f"http://127.0.0.1:{port}"
    env = airflow_environment(home, conductor_url) | {
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
    }
    with contextlib.ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[str]:
            return stack.enter_context(running(["airflow", *command], log=log, env=env))

        if start("db", "migrate").wait(timeout=300):
            raise RuntimeError("`airflow db migrate` failed")
        parts = {
            "api-server": start("api-server", "--host", "127.0.0.1", "--port", str(port)),
            "scheduler": start("scheduler", "--skip-serve-logs"),
            "dag-processor": start("dag-processor"),
            "triggerer": start("triggerer", "--skip-serve-logs"),
        }
        wait_until_healthy(url, parts)
        password = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())["admin"]
        connection = {"conn_type": "http", "host": url, "login": "admin", "password": password}
        env["AIRFLOW_CONN_AIRFLOW_DEFAULT"] = json.dumps(connection)
        parts["conductor worker"] = start("conductor", "worker")
        yield RunningAirflow(url, password, parts)


def wait_until_healthy(url: str, parts: dict[str, subprocess.Popen[str]]) -> None:
    """Until Airflow says of every part that it is alive."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    health: dict[str, dict[str, str]] = {}
    while time.monotonic() < deadline:
        check(parts)
        with contextlib.suppress(OSError, ValueError), opener.open(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.loads(answer.read())
            if all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "triggerer")):
                return
        time.sleep(0.5)
    raise RuntimeError(f"Airflow was not healthy after {PATIENCE} s: {health or 'its API did not answer'}")


def check(parts: dict[str, subprocess.Popen[str]]) -> None:
    for name, process in parts.items():
        if process.poll() is not None:
            raise RuntimeError(f"`airflow {name}` ended with {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())
