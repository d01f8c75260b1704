"""The virtual environments that tests and docs are made in. Standard library only.

    python3 dev/environments.py                       those that CI uses, made or found to be up to date
    python3 dev/environments.py docs matrix/3.0-3.12  these
    python3 dev/environments.py --lock                resolve requirements/*.txt anew

An environment is made anew when its requirements have changed, and never otherwise. The work is done by a
private, pinned uv. Everything that is installed has the hash that is pinned, uv and what builds the project included.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
TOOLS = REQUIREMENTS / "tools.txt"
"""The uv that makes the environments."""
BUILD = REQUIREMENTS / "build.txt"
"""What builds the project where it is installed."""

# The Pythons that an Airflow runs on, of those we name.
AIRFLOWS = {
    "2.11": ("3.11", "3.12"),
    "3.0": ("3.11", "3.12"),
    "3.1": ("3.11", "3.12", "3.13"),
    "3.2": ("3.11", "3.12", "3.13"),
    "3.3": ("3.11", "3.12", "3.13", "3.14"),
}
NEWEST = "3.3"
BROWSED = ("3.1", "3.2", "3.3")
"""The Airflows whose pages are tested in a browser: those that show a plugin's."""
PREFERRED = ("3.13", "3.12", "3.11")
"""Python 3.14 only in the matrix: not every tool of the others has been tried on it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder below `.venv`, what is installed there, and the Pythons that it may have, the best one first."""

    name: str
    requirements: str
    pythons: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return VENVS / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


# Oldest with oldest, newest with newest, as far as this machine has them.
OLDEST_CELL = Environment("airflow-2.11", "airflow-2.11", AIRFLOWS["2.11"])
NEWEST_CELL = Environment("airflow-3.3", "airflow-3.3", PREFERRED)
DOCS = Environment("docs", "docs", PREFERRED)
# The wheels that carry Redis end with Python 3.12.
PRODUCTION = Environment("production", "production", ("3.12", "3.11"))
CELLS = tuple(
    Environment(f"matrix/{airflow}-{python}", f"airflow-{airflow}", (python,))
    for airflow, pythons in AIRFLOWS.items()
    for python in pythons
)
CI = (OLDEST_CELL, NEWEST_CELL)
PEERS = "peers"
"""Requirements of what the benchmarks measure beside us, added to an environment that is there."""
ALL = {environment.name: environment for environment in (*CI, DOCS, PRODUCTION, *CELLS)}


def run(*command: str | Path) -> None:
    # An installed interpreter is good enough; uv downloads one only where there is none.
    env = {**os.environ, "UV_PYTHON_PREFERENCE": "system", "UV_NO_PROGRESS": "1"}
    env.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, cwd=ROOT, env=env, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exited with {done.returncode}")


def uv() -> Path:
    """Our own uv, of the version that wrote the requirements."""
    tools = VENVS / "tools"
    stamp = tools / ".stamp"
    if not stamp.exists() or stamp.read_text() != digest(TOOLS):
        run(sys.executable, "-m", "venv", "--clear", tools)
        pip = (tools / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
        run(*pip, "--require-hashes", "-r", TOOLS)
        stamp.write_text(digest(TOOLS))
    return tools / "bin" / "uv"


def interpreters(version: str) -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"), reverse=True)


def works(python: Path) -> bool:
    """Whether it starts and can make an environment: pyenv's shims are there for versions that aren't set."""
    if not python.exists():
        return False
    try:
        probe = subprocess.run(
            [python, "-c", "import ctypes, lzma, sqlite3, ssl"], capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def python_for(environment: Environment) -> str:
    for version in environment.pythons:
        for python in interpreters(version):
            if works(python):
                return str(python)
    return environment.pythons[0]


def digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def make(environment: Environment) -> None:
    venv, python = environment.folder, environment.python
    requirements = REQUIREMENTS / f"{environment.requirements}.txt"
    installed, linked = venv / ".requirements", venv / ".project"
    if not installed.exists() or installed.read_text() != digest(requirements):
        print(f"making {venv.relative_to(ROOT)} ...", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        run(uv(), "venv", "--quiet", "--python", python_for(environment), venv)
        install(environment, requirements)
        installed.write_text(digest(requirements))
    # The entry point and the version are written down at installation.
    project = digest(ROOT / "pyproject.toml", ROOT / "airflow_provider_conductor" / "__init__.py")
    if not linked.exists() or linked.read_text() != project:
        how = ("--quiet", "--python", python, "--no-deps", "--build-constraint", BUILD)
        run(uv(), "pip", "install", *how, "-e", ".")
        linked.write_text(project)


def install(environment: Environment, requirements: Path) -> None:
    """Install what is pinned, and nothing whose hash is not the pinned one."""
    run(uv(), "pip", "install", "--quiet", "--require-hashes", "--python", environment.python, "-r", requirements)


def add_peers(environment: Environment) -> None:
    requirements = REQUIREMENTS / f"{PEERS}-{environment.requirements.removeprefix('airflow-')}.txt"
    added = environment.folder / ".peers"
    if not added.exists() or added.read_text() != digest(requirements):
        install(environment, requirements)
        added.write_text(digest(requirements))


def make_all(environments: Sequence[Environment]) -> None:
    """One after the other, and not while another process does the same."""
    VENVS.mkdir(exist_ok=True)
    with (VENVS / ".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        for environment in environments:
            make(environment)


def lock() -> None:
    for tools in (TOOLS, BUILD):
        resolve(tools.stem, tools.with_suffix(".in"))
    for airflow in AIRFLOWS:
        name = f"airflow-{airflow}"
        extras = ("dev", "sdk", *(["browser"] if airflow in BROWSED else []))
        chosen = [word for extra in extras for word in ("--extra", extra)]
        resolve(name, "pyproject.toml", *chosen, REQUIREMENTS / f"{name}.in")
    # The docs read the package, so they need what it needs; of the versions that the tests have.
    for cell in CI:
        resolve(
            f"{PEERS}-{cell.requirements.removeprefix('airflow-')}",
            *("pyproject.toml", "--extra", "bench", "--constraint", REQUIREMENTS / f"{cell.requirements}.txt"),
        )
    newest = REQUIREMENTS / f"airflow-{NEWEST}.txt"
    resolve("docs", "pyproject.toml", "--extra", "docs", "--extra", "sdk", "--constraint", newest)
    resolve("production", "pyproject.toml", "--extra", "production", "--constraint", newest)


def resolve(name: str, *what: str | Path) -> None:
    run(
        *(uv(), "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate"),
        *("--custom-compile-command", "make lock"),
        *(*what, "--output-file", REQUIREMENTS / f"{name}.txt"),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--with-peers", action="store_true", help="and what the benchmarks measure beside us")
    parser.add_argument("--lock", action="store_true", help="resolve the requirements anew")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(ALL):
        parser.error(f"there is no environment {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if chosen.lock:
        VENVS.mkdir(exist_ok=True)
        lock()
    else:
        environments = [ALL[name] for name in chosen.names] or CI
        make_all(environments)
        if chosen.with_peers:
            for environment in environments:
                add_peers(environment)


if __name__ == "__main__":
    main()
