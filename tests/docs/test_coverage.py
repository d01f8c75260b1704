"""docs/coverage.md names all of the server's routes, calls that exist, and nothing that no test has run on a server."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_conductor import operators, sensors
from airflow_provider_conductor.client import ConductorClient, endpoints
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.provider_info import get_provider_info
from tests.client.test_methods import TABLE
from tests.recorded.record_routes import read

TESTS = Path(__file__).resolve().parent.parent
PAGE = TESTS.parent / "docs" / "coverage.md"
ROUTES = TESTS / "recorded" / "routes"
LEFT_OUT = "left out: "


@dataclass(frozen=True)
class Row:
    """A line of a table of the page; ``here`` is what does it, or why nothing does."""

    what: str
    second: str
    here: str

    @property
    def covered(self) -> bool:
        return not self.here.startswith(LEFT_OUT)

    @property
    def calls(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.here)


def rows(header: str) -> list[Row]:
    """The rows of all tables whose first column has this header."""
    tables = re.findall(rf"^\| {header} \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE.read_text(), flags=re.MULTILINE)
    lines = "".join(tables).splitlines()
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


API = [Row(row.what.strip("`"), row.second, row.here) for row in rows("Route")]
GUIDE = rows("Sample")
COVERED = [row for row in [*API, *GUIDE] if row.covered]


def recorded(version: str) -> list[str]:
    return [line for lines in json.loads((ROUTES / f"{version}.json").read_text()).values() for line in lines]


def unnamed(route: str) -> str:
    """The route without the names of its places, which differ between the versions."""
    return re.sub(r"{\w+}", "{}", route)


def test_every_route_of_the_server_is_there_once() -> None:
    assert [row.what for row in API] == recorded("conductor-3.32.2")


def test_the_second_column_is_what_the_oldest_server_has() -> None:
    old = {unnamed(route) for route in recorded("conductor-3.13.8")}
    assert {row.what: row.second for row in API} == {
        row.what: "yes" if unnamed(row.what) in old else "no" for row in API
    }


@pytest.mark.integration
@pytest.mark.parametrize("server", ["conductor_server", "old_conductor_server"])
def test_the_servers_routes_are_those_of_a_recorded_version(server: str, request: pytest.FixtureRequest) -> None:
    """Which version it is depends on who runs the tests, and older servers do not tell."""
    api_url = request.getfixturevalue(server).api_url
    assert read(api_url.removesuffix("/api")) in [json.loads(file.read_text()) for file in ROUTES.glob("*.json")]


@pytest.mark.parametrize("row", [*API, *GUIDE], ids=lambda row: row.what)
def test_each_has_a_call_or_a_reason(row: Row) -> None:
    assert row.calls if row.covered else len(row.here.removeprefix(LEFT_OUT).split()) > 3


# What is named exists

OPERATORS = {name for name in (*operators.__all__, *sensors.__all__) if name.endswith(("Operator", "Sensor"))}


def exists(name: str) -> bool:
    where, _, what = name.rpartition(".")
    if where == "client":
        return callable(getattr(ConductorClient, what, None))
    if where == "hook":
        return callable(getattr(ConductorHook, what, None)) or what in ("client", "settings")
    if where == "endpoints":
        return callable(getattr(endpoints, what, None))
    if where == "@task":
        return what in {item["name"] for item in get_provider_info().get("task-decorators", ())}
    return name in OPERATORS


NAMED = {name for row in [*API, *GUIDE] for name in row.calls}


def test_each_call_exists() -> None:
    assert [name for name in sorted(NAMED) if not exists(name)] == []
    missing = ("client.explode", "hook.explode", "endpoints.explode", "@task.explode", "ConductorExplodeOperator")
    assert not any(map(exists, missing))


def test_every_operator_is_on_the_page() -> None:
    assert NAMED >= OPERATORS


# A test has run it on a server, and says so by its mark ``covers``


def marked(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.covers":
            yield from (ast.literal_eval(argument) for argument in node.args)


def test_what_is_covered_is_what_tests_run_on_a_server() -> None:
    on_a_server = re.compile(r"^pytestmark = pytest\.mark\.integration$", flags=re.MULTILINE)
    files = [file for file in TESTS.rglob("test_*.py") if on_a_server.search(file.read_text())]
    assert {name for file in files for name in marked(file)} == {row.what.replace("`", "") for row in COVERED}


def test_every_sample_of_the_guides_tests_is_on_the_page() -> None:
    """But for those that show what goes wrong beside a sample."""
    source = ast.parse((TESTS / "integration" / "test_sdk_guide.py").read_text())
    tests = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    without = {node.name for node in tests if "covers" not in "".join(map(ast.unparse, node.decorator_list))}
    assert without == {"test_retry_of_what_has_nothing_to_retry"}


# A verb is named where it belongs

VERB_ROUTES = {
    (verb, line.partition("?")[0].casefold())
    for call, line, *_ in TABLE
    for verb in call.__code__.co_names
    if hasattr(ConductorClient, verb)
}
NAMED_VERBS = [
    (row.what, call.partition(".")[2]) for row in API if row.covered for call in row.calls if call.startswith("client.")
]


@pytest.mark.parametrize(("route", "verb"), NAMED_VERBS)
def test_each_verb_sends_that_request(route: str, verb: str) -> None:
    pattern = re.compile(re.sub(r"{\w+}", "[^/]+", route).casefold())
    assert [line for name, line in VERB_ROUTES if name == verb and pattern.fullmatch(line)]


def test_every_verb_is_on_the_page() -> None:
    assert {verb for verb, _ in VERB_ROUTES} <= {verb for _, verb in NAMED_VERBS}
