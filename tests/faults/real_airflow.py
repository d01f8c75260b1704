"""A real Airflow for a test: scheduler, triggerer and what else it needs, each killed and started by its pid."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow import __version__ as airflow_version
from cryptography.fernet import Fernet

from dev.conductor_server import free_port
from dev.examples import airflow_environment, end, make_database

__all__ = ["AIRFLOW_2", "RealAirflow", "TaskSeen"]

AIRFLOW_2 = airflow_version.startswith("2.")

SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    # Airflow 2 wants one task at a time on SQLite, in an interpreter of its own each; with a write-ahead log and
    # patience, the few tasks of a test get along.
    "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__API__WORKERS": "1",
    # A worker fails its task where the API server of a busy machine answers later than this.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
    # How soon a worker or triggerer that says nothing any more is given up.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "12",
    # Airflow 2 acts on a finding late; found again by then, it would fail the next try for the last one's death.
    "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "20",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
}


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """A task instance as the metadata database has it."""

    dag_id: str
    run_id: str
    state: str | None
    try_number: int
    pid: int = 0
    map_index: int = -1

    @property
    def quoted_run_id(self) -> str:
        return quote(self.run_id, safe="")


@dataclass
class RealAirflow:
    """Started by ``with``; everything that it starts is ended with it.

    Args:
        home: its AIRFLOW_HOME.
        dags: its DAGs folder.
        conductor_url: where the connection ``conductor_default`` leads.
        env: more environment variables.
        triggerer: whether it has one.
        rest_api: whether Airflow 2.11 has a webserver; Airflow 3 always serves its API.
    """

    home: Path
    dags: Path
    conductor_url: str
    env: Mapping[str, str] = field(default_factory=dict)
    triggerer: bool = True
    rest_api: bool = False

    def __post_init__(self) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        self.url = url
        self._port = port
        self.prefix = f"crash-{uuid.uuid4().hex[:8]}"
        """Names this Airflow: on a server that is there already, others may have had the same DAGs and runs."""
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._env = {
            **airflow_environment(self.home, self.conductor_url),
            **SETTINGS,
            # With a short read timeout, a start of unknown fate is looked for no longer than it has to be.
            "AIRFLOW_CONN_CONDUCTOR_DEFAULT": json.dumps(
                {
                    "conn_type": "conductor",
                    "host": self.conductor_url,
                    "extra": {"read_timeout": 10, "identity_prefix": self.prefix},
                }
            ),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            # Without it, the process that writes airflow.cfg makes a key, and one that starts meanwhile has another or
            # none (seen on 2.11). A triggerer that cannot decrypt the arguments of a trigger ends.
            "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
            # The same: an API server that has another key than the scheduler refuses every task (seen on 3.1.8).
            "AIRFLOW__API_AUTH__JWT_SECRET": Fernet.generate_key().decode(),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            **self.env,
        }
        self._commands = {
            "scheduler": ["scheduler", "--skip-serve-logs"],
            "triggerer": ["triggerer", "--skip-serve-logs"],
        }
        if not AIRFLOW_2:
            self._commands = {
                "api-server": ["api-server", "--host", "127.0.0.1", "--port", str(port)],
                "dag-processor": ["dag-processor"],
                **self._commands,
            }
        elif self.rest_api:
            address = ["--hostname", "127.0.0.1", "--port", str(port)]
            self._commands = {"webserver": ["webserver", "--workers", "1", *address], **self._commands}
            self._env["AIRFLOW__API__AUTH_BACKENDS"] = "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth"

    def __enter__(self) -> RealAirflow:
        try:
            make_database(self.home)
            with contextlib.closing(sqlite3.connect(self.home / "airflow.db")) as database:
                database.execute("pragma journal_mode=wal")
            if "webserver" in self._commands:
                names = ["--firstname", "A", "--lastname", "B", "--email", "a@example.com"]
                self.command("users", "create", "--username", "admin", "--password", "admin", "--role", "Admin", *names)
            for name in self._commands:
                if name != "triggerer" or self.triggerer:
                    self.start(name)
                if name in ("api-server", "webserver"):
                    # The scheduler's workers give a task up that they cannot announce there.
                    self.wait_until(self._listens)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False

    def command(self, *arguments: str) -> str:
        """Run ``airflow …`` to its end."""
        return self._run("-m", "airflow", *arguments)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script in this Airflow's environment to its end."""
        return self._run("-c", script, *arguments)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def start(self, name: str) -> None:
        """Start one of its parts; ``triggerer2`` is a second triggerer."""
        with (self.home / f"{name}.log").open("ab") as log:
            self._parts[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *self._commands[name.rstrip("2")]],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """SIGKILL, and all that it started with it, as when a machine is lost."""
        process = self._parts[name]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def terminate(self, name: str) -> None:
        """SIGTERM, as in a rolling deploy."""
        end(self._parts[name])

    def pause(self, name: str) -> None:
        """Let it stand still, as a paused virtual machine does."""
        os.killpg(self._parts[name].pid, signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        os.killpg(self._parts[name].pid, signal.SIGCONT)

    def stop(self) -> None:
        for process in self._parts.values():
            if process.poll() is None:
                process.terminate()
        for process in self._parts.values():
            end(process, patience=15)

    def tasks(self) -> list[TaskSeen]:
        """All task instances, as they are now."""
        return [
            TaskSeen(*row)
            for row in self.query("select dag_id, run_id, state, try_number, pid, map_index from task_instance")
        ]

    def task(self, dag_id: str, map_index: int | None = None) -> TaskSeen | None:
        """The DAG's one task, or the instance of it with this map index."""
        indexes = (map_index,) if map_index is not None else (-1, 0)
        return next((seen for seen in self.tasks() if seen.dag_id == dag_id and seen.map_index in indexes), None)

    def query(self, sql: str, *values: Any) -> list[Any]:
        """Rows of the metadata database; none while it is locked."""
        path = f"file:{self.home}/airflow.db?mode=ro"
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(path, uri=True)) as base:
            return base.execute(sql, values).fetchall()
        return []

    def wait_until(self, what: Callable[[], Any], seconds: float = 300) -> Any:
        """``what``'s first true value.

        Raises:
            AssertionError: there was none in time; the message has the last lines of the logs.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in self._parts.items():
                assert process.poll() is None or process.returncode == -signal.SIGKILL, f"{name} ended\n{self.log()}"
            found = what()
            if found:
                return found
            time.sleep(0.3)
        raise AssertionError(f"not within {seconds} s: {self.tasks()}\n{self.log()}")

    def log(self, lines: int = 25) -> str:
        """The ends of all logs, those of the tasks included."""
        parts = []
        for path in [*self.home.glob("*.log"), *self.home.glob("logs/dag_id=*/**/*.log")]:
            text = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"---- {path.relative_to(self.home)}\n" + "\n".join(text))
        return "\n".join(parts)

    def task_log(self, dag_id: str) -> str:
        paths = sorted(self.home.glob(f"logs/dag_id={dag_id}/**/*.log"))
        return "\n".join(path.read_text(errors="replace") for path in paths)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request to Airflow 3's API, as its user would send it."""
        return self._request(method, path, body, self.authorization())

    def authorization(self) -> str:
        """The header ``Authorization`` of its user."""
        if AIRFLOW_2:
            return f"Basic {base64.b64encode(b'admin:admin').decode()}"
        token = self._request("POST", "/auth/token", {"username": "admin", "password": self._password()})
        return f"Bearer {token['access_token']}"

    def api_connection(self) -> str:
        """The connection to its REST API, for an environment variable."""
        return json.dumps({"conn_type": "http", "host": self.url, "login": "admin", "password": self._password()})

    def _password(self) -> str:
        if AIRFLOW_2:
            return "admin"
        passwords = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())
        return str(passwords["admin"])

    def _request(self, method: str, path: str, body: Any, authorization: str = "") -> Any:
        headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
        request = urllib.request.Request(
            self.url + path, None if body is None else json.dumps(body).encode(), headers, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=90) as answer:
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def real_airflow(
    home: Path, conductor_url: str, *, triggerer: bool = True, rest_api: bool = False, **env: str
) -> Iterator[RealAirflow]:
    """One at a time in this checkout: beside another, on a small machine, it would be late for its own deadlines."""
    here = Path(__file__).parent
    with alone(here), RealAirflow(home, here / "dags", conductor_url, env, triggerer, rest_api) as airflow:
        yield airflow


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder that other processes want to hold as well; one that dies lets go of it."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
