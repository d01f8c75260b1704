"""Every code block of README and docs does what the reader is told: it is run, or read as what it is."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from airflow.providers_manager import ProvidersManager

from airflow_provider_conductor import cli
from airflow_provider_conductor._airflow import watchers_exist
from airflow_provider_conductor.hooks import ConductorHook
from dev.examples import (
    DEFINITIONS,
    airflow_environment,
    make_database,
    register_definitions,
    running,
    running_worker,
)
from tests.docs.pages import PAGES, ROOT, Block, blocks

FROM_AIRFLOW_3 = () if watchers_exist() else ("docs/schedule.md",)
"""Pages whose code needs it."""

BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
RUN = [block for block in PYTHON if block.marker != "not run" and block.page not in FROM_AIRFLOW_3]
DAGS = [block for block in RUN if block.has_dag]
NOT_RUN = 0
"""Blocks that are marked as not run."""

PATIENCE = 900

named = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)


def of(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == language], ids=lambda b: b.name)


# Python


@pytest.fixture(scope="module")
def outcome(conductor_server, tmp_path_factory) -> dict[str, dict]:
    """What became of every Python block, and of every DAG, on a real server with the examples' worker."""
    home = tmp_path_factory.mktemp("docs")
    (home / "dags").mkdir()
    (home / "dags" / "definitions").symlink_to(DEFINITIONS)
    for block in DAGS:
        (home / "dags" / f"{dag_file(block)}.py").write_text(block.code)
    (home / "blocks.json").write_text(
        json.dumps([{"page": block.page, "name": block.name, "code": block.code} for block in RUN])
    )
    env = airflow_environment(home, conductor_server.url) | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "CONDUCTOR_API": conductor_server.api_url,
    }
    register_definitions(conductor_server.api_url)
    make_database(home)
    script = [sys.executable, "-m", "tests.docs.run_blocks", str(home / "blocks.json"), str(home / "outcome.json")]
    with (
        (home / "log").open("w") as log,
        running_worker(conductor_server.api_url, log=log),
        running(script, log=log, env=env) as process,
    ):
        assert process.wait(PATIENCE) == 0, (home / "log").read_text()
    return json.loads((home / "outcome.json").read_text()) | {"log": (home / "log").read_text()}


def dag_file(block: Block) -> str:
    return f"{'parsed' if block.marker == 'parsed' else 'run'}_{re.sub(r'[^A-Za-z0-9]', '_', block.name)}"


@pytest.mark.integration
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_python_runs(block, outcome):
    assert outcome["blocks"][block.name] == "", outcome["log"]


@pytest.mark.integration
@pytest.mark.parametrize("block", DAGS, ids=lambda block: block.name)
def test_a_dag_runs_to_its_end(block, outcome):
    assert outcome["dags"][dag_file(block)] == {"error": ""}, outcome["log"]


@of("python")
def test_python_compiles(block):
    compile(block.code, block.name, "exec", flags=0x2000)  # with `await` outside of functions


def test_what_is_not_run_is_counted():
    assert Counter(block.marker for block in BLOCKS if block.marker not in ("", "parsed")) == (
        {"not run": NOT_RUN} if NOT_RUN else {}
    )


def test_only_dags_are_marked_as_parsed():
    assert [block.name for block in BLOCKS if block.marker == "parsed" and not block.has_dag] == []


def test_the_quickstart_is_short_and_is_the_first():
    first = blocks(ROOT / "README.md")[0]
    assert first.has_dag
    assert first.marker == ""
    assert len([line for line in first.code.splitlines() if line.strip()]) <= 20


# Other languages


@named
def test_language_is_one_that_is_checked(block):
    assert block.language in ("bash", "ini", "json", "python", "text", "yaml") or block.language.startswith("{")


def test_ini_json_and_yaml_are_valid():
    """Of whichever pages have some."""
    for block in BLOCKS:
        if block.language == "json":
            assert json.loads(block.code)
        elif block.language == "yaml":
            assert list(yaml.safe_load_all(block.code))
        elif block.language == "ini":
            parsed = configparser.ConfigParser()
            parsed.read_string(block.code)
            assert parsed.sections()


# Shell


def make(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    wanted = [argument for argument in arguments if "=" not in argument]
    assert wanted
    assert set(wanted) <= set(targets)


def pip(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in arguments[1:]:
        found = re.fullmatch(r"(\.|airflow-provider-conductor|[\w.-]+\.whl)(?:\[([\w,-]+)\])?", wanted)
        assert found, f"{wanted} is not ours"
        assert set((found[2] or "").split(",")) - {""} <= set(project["optional-dependencies"])


def export(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for assignment in arguments:
        name, _, value = assignment.partition("=")
        assert name.startswith("AIRFLOW_"), f"{name} is not a variable of Airflow's"
        if name.startswith("AIRFLOW_CONN_"):
            monkeypatch.setenv(name, value)
            hook = ConductorHook(name.removeprefix("AIRFLOW_CONN_").lower())
            assert hook.settings.api_url.endswith("/api")
            assert bool(hook.settings.key_id) is ("login" in value or "@" in value)


def python(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ROOT / arguments[0]).is_file()


def airflow_conductor(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {
        "airflow-conductor": "airflow_provider_conductor.cli:main"
    }
    cli.parser().parse_args(arguments)


def airflow(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if arguments[0] == "conductor" and not hasattr(ProvidersManager, "cli_command_functions"):  # before 3.2
        return
    words = [word for word in arguments[:3] if re.fullmatch(r"[a-z-]+", word)][:2]
    command = [str(Path(sys.executable).parent / "airflow"), *words, "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, env=dict(os.environ))
    for option in re.findall(r"--[\w-]+", " ".join(arguments)):
        assert option in said.stdout


COMMANDS: dict[str, Callable[[list[str], pytest.MonkeyPatch], None]] = {
    "airflow": airflow,
    "airflow-conductor": airflow_conductor,
    "export": export,
    "make": make,
    "pip": pip,
    "python": python,
    "python3": python,
}
"""How each command that the docs may tell people to type is checked."""


@of("bash")
def test_shell_commands_are_ones_that_work(block, monkeypatch):
    subprocess.run(["bash", "-n"], input=block.code, text=True, check=True, timeout=30)
    lines = block.code.replace("\\\n", " ").splitlines()
    commands = [words for words in (shlex.split(line, comments=True) for line in lines) if words]
    assert commands
    for command, *arguments in commands:
        assert command in COMMANDS, f"add a check for {command}"
        COMMANDS[command](arguments, monkeypatch)
