"""The virtual environments that the tests run in, one for each Airflow we name. Standard library only.

    python3 dev/environments.py 2.11 3.3     make them, or find that they are up to date
    python3 dev/environments.py --lock       resolve requirements/*.txt anew

An environment is made anew when its requirements have changed, and never otherwise. The work is done by a
private, pinned uv.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venv"
UV = "0.13.9"

# Which Pythons an Airflow runs on, the one we'd rather have first.
PYTHONS = {
    "2.11": ("3.12", "3.11"),
    "3.3": ("3.13", "3.12", "3.11"),
}


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
    if not stamp.exists() or stamp.read_text() != UV:
        run(sys.executable, "-m", "venv", "--clear", tools)
        run(tools / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", f"uv=={UV}")
        stamp.write_text(UV)
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


def python_for(airflow: str) -> str:
    for version in PYTHONS[airflow]:
        for python in interpreters(version):
            if works(python):
                return str(python)
    return PYTHONS[airflow][0]


def digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def make(airflow: str) -> None:
    venv = VENVS / f"airflow-{airflow}"
    python = venv / "bin" / "python"
    requirements = ROOT / "requirements" / f"airflow-{airflow}.txt"
    installed, linked = venv / ".requirements", venv / ".project"
    if not installed.exists() or installed.read_text() != digest(requirements):
        print(f"making {venv.relative_to(ROOT)} ...", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        run(uv(), "venv", "--quiet", "--python", python_for(airflow), venv)
        run(uv(), "pip", "install", "--quiet", "--python", python, "-r", requirements)
        installed.write_text(digest(requirements))
    # The entry point and the version are written down at installation.
    project = digest(ROOT / "pyproject.toml", ROOT / "airflow_provider_conductor" / "__init__.py")
    if not linked.exists() or linked.read_text() != project:
        run(uv(), "pip", "install", "--quiet", "--python", python, "--no-deps", "-e", ".")
        linked.write_text(project)


def lock() -> None:
    for airflow in PYTHONS:
        source = ROOT / "requirements" / f"airflow-{airflow}.in"
        run(
            *(uv(), "pip", "compile", "--quiet", "--upgrade", "--universal"),
            *("--python-version", PYTHONS[airflow][-1]),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate"),
            *("--custom-compile-command", "make lock"),
            *("--extra", "dev", "--extra", "sdk"),
            *("pyproject.toml", source, "--output-file", source.with_suffix(".txt")),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("airflow", nargs="*", help=f"of {', '.join(PYTHONS)}; all of them unless told")
    parser.add_argument("--lock", action="store_true", help="resolve the requirements anew")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.airflow) - set(PYTHONS):
        parser.error(f"there is no environment for Airflow {', '.join(sorted(unknown))}")
    VENVS.mkdir(exist_ok=True)
    with (VENVS / ".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if chosen.lock:
            lock()
        else:
            for airflow in chosen.airflow or PYTHONS:
                make(airflow)


if __name__ == "__main__":
    main()
