"""A wheel, built from this checkout and installed into an environment of its own, used from somewhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from airflow_provider_conductor import __version__
from dev.examples import DAGS, airflow_environment
from tests.docs.pages import ROOT

PACKAGE = "airflow_provider_conductor"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as the registry gets it: from the source distribution, not from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_the_wheel_has_the_package_and_the_example_dags_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    here = {path.relative_to(ROOT).as_posix() for path in files(ROOT / PACKAGE)}
    examples = {f"{PACKAGE}/{path.relative_to(ROOT).as_posix()}" for path in files(DAGS)}
    assert examples
    assert names == here | examples
    assert f"{PACKAGE}/py.typed" in names


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    assert wheel.name == f"{PACKAGE}-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        info = f"{PACKAGE}-{__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        assert "License-Expression: Apache-2.0" in metadata
        assert "Requires-Python: >=3.11" in metadata
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        assert f"provider_info = {PACKAGE}.provider_info:get_provider_info" in entry_points
        assert f"{info}/licenses/LICENSE" in archive.namelist()


class Installed:
    """An environment with the wheel, beside the packages of the one that the tests run in, and without its checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.home = folder / "elsewhere"
        self.home.mkdir()
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=300)
        self.python = folder / "venv" / "bin" / "python"
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        # A path in a .pth file is searched, and its own .pth files, one of which leads to the checkout, are not read.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        self.run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", str(wheel))

    def run(self, *arguments: str) -> str:
        env = airflow_environment(self.home, "http://127.0.0.1:1") | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags")
        }
        del env["PYTHONPATH"]
        command = [str(self.python), *arguments]
        done = subprocess.run(command, cwd=self.home, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def last_line_of(self, arguments: Sequence[str]) -> str:
        return self.run(*arguments).splitlines()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


def test_the_package_is_the_installed_one(installed: Installed) -> None:
    where = installed.run("-c", f"import {PACKAGE}; print({PACKAGE}.__file__)").strip()
    assert Path(where).is_relative_to(installed.folder / "venv")


def test_airflow_lists_the_provider(installed: Installed) -> None:
    said = installed.run("-m", "airflow", "providers", "list", "--output", "json")
    listed = json.loads(said[said.index("[{") :])
    (ours,) = [row for row in listed if row["package_name"] == "airflow-provider-conductor"]
    assert ours["version"] == __version__


def test_the_example_dags_are_read(installed: Installed) -> None:
    shipped = installed.folder / installed.run("-c", f"import {PACKAGE}; print({PACKAGE}.__path__[0])").strip()
    shutil.copytree(shipped / "example_dags", installed.home / "dags")
    errors, dags = json.loads(installed.last_line_of(["-c", READ]))
    assert errors == {}
    assert len(dags) >= len(list(DAGS.glob("*.py")))


READ = """
import json
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag
bag = DagBag()
print(json.dumps([bag.import_errors, sorted(bag.dags)]))
"""
