"""The production shape on one machine: Airflow with CeleryExecutor on PostgreSQL and Redis; Conductor on its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dev.conductor_server import ConductorServer, free_port
from dev.examples import airflow_environment, end
from dev.production.databases import PostgresServer, RedisServer, database_for_conductor
from dev.production.settings import conductor_settings
from dev.production.stored import NOT_NOW, stored_workflows
from dev.production.switch import Switch

__all__ = ["ProductionShape"]

DAGS = Path(__file__).resolve().parent / "dags"

CONNECTIONS = ("dead", "refusing", "hanging")
"""Connections whose way to Conductor can be switched to fail."""

PARTS: dict[str, Sequence[str]] = {
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer1": ("triggerer", "--skip-serve-logs"),
    "triggerer2": ("triggerer", "--skip-serve-logs"),
    "worker": ("celery", "worker", "--concurrency", "8", "--skip-serve-logs"),
}
"""Airflow's processes: one Celery worker of 8, two triggerers."""

DAG_WORKER = ("conductor", "worker", "--conductor-conn-id", "conductor_well", "--status-interval", "2")

FURTHER_PARTS: dict[str, Sequence[str]] = {"dag-worker1": DAG_WORKER, "dag-worker2": DAG_WORKER}
"""Processes that one part of the trial starts and ends: workers that run DAGs for workflows."""


class ProductionShape:
    """All servers and processes, each of which may be killed, stopped and started by its name.

    Args:
        folder: an empty folder of its own for data and logs.
        backend: what Conductor keeps its data in.
        celery: False runs tasks in the scheduler's LocalExecutor, without worker and broker.
    """

    def __init__(self, folder: Path, backend: str = "postgres", *, celery: bool = True) -> None:
        self.folder, self.backend, self.celery = folder, backend, celery
        self._stack = contextlib.ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts: dict[str, int] = {}
        """How often each of Airflow's processes ended by itself and was started again."""

    def __enter__(self) -> ProductionShape:
        try:
            self._bring_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bring_up(self) -> None:
        # A database's own user must be able to pass through.
        self.folder.chmod(0o755)
        enter = self._stack.enter_context
        self.airflow_database = enter(PostgresServer(self.folder, "airflow-postgres", "airflow"))
        self.conductor_database = enter(database_for_conductor(self.backend, self.folder))
        self.redis = enter(RedisServer(self.folder, "redis"))
        settings = conductor_settings(self.backend, self.conductor_database.port)
        # The access log is where requests are counted.
        access = {
            "basedir": str(self.folder / "tomcat"),
            "accesslog.enabled": "true",
            "accesslog.buffered": "false",
            "accesslog.pattern": "%{yyyy-MM-dd'T'HH:mm:ss.SSS}t %m %U %s %D",
        }
        settings |= {f"server.tomcat.{key}": value for key, value in access.items()}
        self.conductor = enter(ConductorServer(data_dir=self.folder / "conductor", settings=settings))
        self.switches = {name: enter(Switch(self.conductor.port)) for name in CONNECTIONS}
        self._environment = self._airflow_environment()
        self._stack.callback(self._stop_airflow)
        self.airflow("db", "migrate")
        for name in PARTS:
            if name != "worker" or self.celery:
                self.start(name)
        self.wait_until(self._is_healthy, 600)
        if self.restarts:
            name = next(iter(self.restarts))
            text = (self.folder / f"{name}.log").read_text(errors="replace")
            raise RuntimeError(f"{name} does not keep running:\n{text[-3000:]}")

    def _airflow_environment(self) -> dict[str, str]:
        port = free_port()
        self.url = url = f"http://127.0.0.1:{port}"
        passwords = self.folder / "passwords.json"
        password = secrets.token_hex(12)
        passwords.write_text(json.dumps({"admin": password}))
        database = f"127.0.0.1:{self.airflow_database.port}/airflow"
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor" if self.celery else "LocalExecutor",
            "CORE__DAGS_FOLDER": str(DAGS),
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            # What the one worker runs, and as many that it has fetched ahead.
            "CORE__PARALLELISM": "16",
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow@{database}",
            "CELERY__BROKER_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "CELERY__RESULT_BACKEND": f"db+postgresql://airflow@{database}",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__WORKERS": "1",
            "API__BASE_URL": url,
            "API__SECRET_KEY": secrets.token_hex(24),
            "API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            # On a loaded machine a task's process waits long for its turn; a lost one is found all the same.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "WORKERS__EXECUTION_API_TIMEOUT": "30",
            # What a killed worker had fetched ahead is queued again after that time; ten minutes if not set.
            "SCHEDULER__TASK_QUEUED_TIMEOUT": "300",
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        ways = {"WELL": self.conductor.port} | {name.upper(): switch.port for name, switch in self.switches.items()}
        return (
            airflow_environment(self.folder / "airflow", self.conductor.url)
            | {f"AIRFLOW__{key}": value for key, value in settings.items()}
            | {f"AIRFLOW_CONN_CONDUCTOR_{name}": _connection(port) for name, port in ways.items()}
            | {
                "AIRFLOW_CONN_AIRFLOW_DEFAULT": json.dumps(
                    {"conn_type": "http", "host": url, "login": "admin", "password": password}
                )
            }
            # The installed wheel is tried, not the checkout; nor is it in the working directory, see `start`.
            | {"PYTHONPATH": ""}
        )

    def _is_healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with (
            contextlib.suppress(OSError, ValueError),
            opener.open(f"{self.url}/api/v2/monitor/health", timeout=10) as answer,
        ):
            health = json.loads(answer.read())
            return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "triggerer"))
        return False

    def airflow(self, *arguments: str) -> str:
        """Run ``airflow …`` to its end; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)}: exited with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout

    def start(self, name: str) -> None:
        """Start a process, of :data:`PARTS` or :data:`FURTHER_PARTS`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *(PARTS | FURTHER_PARTS)[name]],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """SIGKILL to a process and all that it started in its group, as when its machine is lost."""
        process = self._processes[name]
        _signal_tree(process.pid, signal.SIGKILL)
        process.wait()

    def pause(self, name: str) -> None:
        """SIGSTOP, as when a virtual machine is moved."""
        _signal_tree(self._processes[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        _signal_tree(self._processes[name].pid, signal.SIGCONT)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of Airflow's database."""
        return self.airflow_database.rows(sql, *values)

    def workflows(self, name: str) -> list[dict[str, Any]]:
        """The workflows of this name that Conductor has stored, see :func:`stored_workflows`."""
        return [found for found in stored_workflows(self.conductor_database) if found["workflowName"] == name]

    def wait_until(self, what: Callable[[], Any], seconds: float) -> Any:
        """The first true value of ``what``. A process that ends by itself is started again, as systemd would.

        Raises:
            RuntimeError: there was none in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() not in (None, -signal.SIGKILL):
                    self.restarts[name] = self.restarts.get(name, 0) + 1
                    self.start(name)
            # A database that restarts is no failure of the trial.
            with contextlib.suppress(*NOT_NOW):
                if found := what():
                    return found
            time.sleep(1)
        raise RuntimeError(f"not within {seconds:.0f} s: {getattr(what, '__name__', what)}; logs are in {self.folder}")

    def _stop_airflow(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                _signal_tree(process.pid, signal.SIGCONT)
                process.terminate()
        for process in self._processes.values():
            end(process, patience=30)

    def stop(self) -> None:
        """End everything by its process id."""
        self._stack.close()


def _connection(port: int) -> str:
    return json.dumps({"conn_type": "conductor", "host": f"http://127.0.0.1:{port}"})


def _signal_tree(pid: int, number: int) -> None:
    """Signal a process and its descendants: Celery's and Airflow's children lead process groups of their own."""
    for child in _descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found
