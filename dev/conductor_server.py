"""A real Conductor server on this machine, for tests and the demo. Standard library only.

As a script it runs one in the foreground until Ctrl-C:

    python dev/conductor_server.py [--version V] [--port P]

As a module:

    with ConductorServer() as server:
        requests.get(server.api_url + "/metadata/workflow")

`--fetch-only` fetches the server and records which classes a start loads, which halves the time of later starts.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dev.server_release import (
    NEWEST,
    OLDEST,
    ServerError,
    class_archive,
    fetch,
    java_for,
    only_one,
    release_of,
)

__all__ = ["NEWEST", "OLDEST", "ConductorServer", "ServerError", "fetch", "free_port"]

# The tests need a server that is up soon, not one that is fast after an hour.
JAVA_OPTIONS = ("-Xmx2g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

GUARD = Path(__file__).resolve().with_name("server_guard.py")
"""The script that runs the server, see there."""


def record_classes(version: str = NEWEST) -> None:
    """Start the server once and keep what it loaded, so that later starts take half the time."""
    folder = fetch(version)
    archive = class_archive(folder, java_for(release_of(version)))
    with only_one(f"classes-{version}"):
        if archive.exists():
            return
        written = archive.with_suffix(".part")
        options = (*JAVA_OPTIONS, f"-XX:ArchiveClassesAtExit={written}", "-Xlog:cds=off")
        # Writing the archive is part of the server's exit.
        with ConductorServer(version=version, java_options=options, stop_timeout=120):
            pass
        # A Java without a base archive of its own can't write one; starts are then just slower.
        if written.exists():
            written.rename(archive)


class ConductorServer:
    """One Conductor server on the loopback address.

    A small guard process runs it, and ends it and removes its folder when this process is gone for any reason. `pid`
    is the server's own.

    Args:
        version: a release of conductor-oss; `OLDEST` is the oldest that the provider serves.
        port: a port of the loopback address; None takes a free one.
        data_dir: where it keeps its database and its log; None makes a temporary folder, which `stop` removes.
        start_timeout: how long to wait until the server is healthy.
        stop_timeout: how long it may take to end by itself before it is killed.
        java_options: for the Java machine, in place of `JAVA_OPTIONS`.
        settings: more of Conductor's properties.
    """

    def __init__(
        self,
        version: str = NEWEST,
        *,
        port: int | None = None,
        data_dir: str | Path | None = None,
        start_timeout: float = 300,
        stop_timeout: float = 10,
        java_options: Sequence[str] = JAVA_OPTIONS,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.version = version
        self._release = release_of(version)
        self._wanted_port = port
        self._port = port
        self._wanted_folder = Path(data_dir).resolve() if data_dir is not None else None
        self._folder: Path | None = None
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._java_options = tuple(java_options)
        self._settings = dict(settings or {})
        self._guard: subprocess.Popen[str] | None = None
        self._pid: int | None = None
        self._log_before = 0
        self._lock = threading.RLock()

    def __enter__(self) -> ConductorServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self._pid}" if self._pid else "not running"
        return f"<ConductorServer {self.version} {self.url if self._port else ''} ({state})>"

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServerError("the server has no port before its start")
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @property
    def pid(self) -> int:
        if self._pid is None:
            raise ServerError("the server is not running")
        return self._pid

    @property
    def data_dir(self) -> Path:
        if self._folder is None:
            raise ServerError("the server has no folder before its start")
        return self._folder

    @property
    def keeps_data(self) -> bool:
        """Whether its data survives `restart`."""
        return self._release.keeps_data

    def start(self) -> ConductorServer:
        """Start it and wait until it is healthy; does nothing if it runs."""
        with self._lock:
            if self._pid is not None and self._ask("poll") is None:
                return self
            folder = fetch(self.version)
            java = java_for(self._release)
            try:
                self._open_guard()
                for attempt in range(3):
                    if self._port is None:
                        self._port = free_port()
                    try:
                        _insist_on_free(self._port)
                        self._log_before = self._log_size()
                        self._pid = self._ask("start", command=self._command(folder, java))
                        self._wait_until_healthy()
                        break
                    except _PortTakenError:
                        # Another process took the port before Java could bind it.
                        if self._wanted_port is not None or attempt == 2:
                            raise
                        self._ask("terminate")
                        self._port = None
            except BaseException:
                self.stop()
                raise
            return self

    def stop(self) -> None:
        """End it, and remove its folder if it was a temporary one."""
        with self._lock:
            guard, self._guard, self._pid = self._guard, None, None
            if guard is not None:
                atexit.unregister(self.stop)
                _close(guard, self._stop_timeout)
            self._folder = None
            self._port = self._wanted_port

    def kill(self) -> None:
        """SIGKILL, like a crash: port and data stay for `restart`."""
        with self._lock:
            if self._pid is not None:
                self._ask("kill")
                self._pid = None

    def restart(self) -> ConductorServer:
        """End it, if it still runs, and start it again on the same port and data."""
        with self._lock:
            if self._pid is not None:
                self._ask("terminate")
                self._pid = None
            return self.start()

    def log(self, lines: int = 40) -> str:
        """The last lines that the server wrote."""
        with contextlib.suppress(OSError, ServerError):
            text = (self.data_dir / "server.log").read_text(errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return "(no log)"

    def _log_size(self) -> int:
        log = self.data_dir / "server.log"
        return log.stat().st_size if log.exists() else 0

    def _log_since_start(self) -> str:
        log = self.data_dir / "server.log"
        return log.read_bytes()[self._log_before :].decode(errors="replace") if log.exists() else ""

    def _command(self, folder: Path, java: Path) -> list[str]:
        layout = json.loads((folder / "layout.json").read_text())
        jars = [folder / "app.jar", *(folder / "lib" / name for name in layout["libraries"])]
        archive = class_archive(folder, java)
        # With less in its log, the last lines of a failure are about the failure.
        settings = {
            "server.port": str(self.port),
            "server.address": "127.0.0.1",
            "logging.level.root": "WARN",
            # To remove a task takes two connections to the database at the same time (SqliteIndexDAO.removeTask), in up
            # to ten threads. With the ten of a stock server, all requests may wait for 30 s and then fail. With many
            # more, SQLite refuses writes that come together, which fails workflows ("Error scheduling tasks").
            "spring.datasource.hikari.maximum-pool-size": "12",
            **self._settings,
        }
        return [
            str(java),
            *self._java_options,
            *([f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off"] if archive.exists() else []),
            "-cp",
            os.pathsep.join(map(str, jars)),
            layout["main"],
            # Spring makes a list of what is given twice.
            *(option for option in self._release.options if option[2:].partition("=")[0] not in settings),
            *(f"--{key}={value}" for key, value in settings.items()),
        ]

    def _open_guard(self) -> None:
        if self._guard is not None:
            return
        if self._wanted_folder is not None:
            self._wanted_folder.mkdir(parents=True, exist_ok=True)
            self._folder = self._wanted_folder
        else:
            self._folder = Path(tempfile.mkdtemp(prefix="conductor-server-"))
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in the terminal is for this process, which ends the guard.
            start_new_session=True,
        )
        atexit.register(self.stop)
        self._ask(
            "open",
            folder=str(self._folder),
            temporary=self._wanted_folder is None,
            patience=self._stop_timeout,
        )

    def _ask(self, word: str, **more: Any) -> int | None:
        with self._lock:
            guard = self._guard
            if guard is None or guard.stdin is None or guard.stdout is None:
                raise ServerError("the server was stopped")
            try:
                guard.stdin.write(json.dumps({"do": word, **more}) + "\n")
                guard.stdin.flush()
                answer: dict[str, Any] = json.loads(guard.stdout.readline())
            except (OSError, ValueError) as error:
                raise ServerError("the process that guards the server is gone") from error
            if "error" in answer:
                raise ServerError(answer["error"])
            number: int | None = answer["is"]
            return number

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self._start_timeout
        while True:
            code = self._ask("poll")
            log = self._log_since_start()
            # After a failure, the old server keeps running without a port.
            if code is not None or "APPLICATION FAILED TO START" in log:
                taken = re.search(r"port \d+ (was|is) already in use", log, re.IGNORECASE)
                raise (_PortTakenError if taken else ServerError)(
                    f"Conductor {self.version} did not start"
                    + (f" (exit code {code})" if code is not None else "")
                    + f":\n{self.log()}"
                )
            if _healthy(self.url):
                return
            if time.monotonic() > deadline:
                raise ServerError(
                    f"Conductor {self.version} at {self.url} was not healthy after {self._start_timeout:.0f} s:\n"
                    + self.log()
                )
            time.sleep(0.1)


class _PortTakenError(ServerError):
    pass


def free_port() -> int:
    """A port of the loopback address that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _insist_on_free(port: int) -> None:
    """A server of somebody else on this port would be mistaken for this one."""
    with socket.socket() as probe:
        # A connection in TIME_WAIT of a server that has just ended does not matter; nor does it to Java.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise _PortTakenError(f"port {port} of 127.0.0.1 is already in use: {error}") from None


def _healthy(url: str) -> bool:
    # A proxy of the environment does not apply to the loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5) as answer:
            return json.loads(answer.read()).get("healthy") is True
    except (OSError, ValueError, AttributeError):
        return False


def _close(guard: subprocess.Popen[str], patience: float) -> None:
    with contextlib.suppress(OSError):
        guard.communicate(json.dumps({"do": "close"}) + "\n", timeout=patience + 30)
    if guard.poll() is None:
        guard.kill()
        guard.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--version", default=NEWEST, help=f"{NEWEST} unless told; the oldest is {OLDEST}")
    parser.add_argument("--port", type=int, help="a free one unless told")
    parser.add_argument("--data-dir", type=Path, help="keep the data here, not in a temporary folder")
    parser.add_argument("--fetch-only", action="store_true", help="fill the cache and end")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if chosen.fetch_only:
            record_classes(chosen.version)
            print(fetch(chosen.version))
            return 0
        print(f"Conductor {chosen.version} is starting ...", flush=True)
        with ConductorServer(chosen.version, port=chosen.port, data_dir=chosen.data_dir) as server:
            print(f"UI   {server.url}\nAPI  {server.api_url}\nData {server.data_dir}\nCtrl-C ends it.", flush=True)
            while (code := server._ask("poll")) is None:
                time.sleep(1)
            print(f"the server exited with {code}:\n{server.log()}", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        return 0
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
