"""The table of the API is whole and true: all of the server's routes, and every call and test that it names."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.methods import ClientMethods
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.provider_info import get_provider_info
from tests.client.test_methods import TABLE
from tests.recorded.record_routes import read

TESTS = Path(__file__).resolve().parent.parent
PAGE = TESTS.parent / "docs" / "coverage.md"
ROUTES = TESTS / "recorded" / "routes"

LEFT_OUT = "left out"
PLACES = (
    "operators.conductor",
    "operators.complete_task",
    "operators.definitions",
    "operators.batch",
    "sensors.conductor",
    "sensors.tasks",
)
"""Where operators and sensors are."""


@dataclass(frozen=True)
class Row:
    """A line of a table of the page; the test column of what is left out says why."""

    what: str
    second: str
    here: str
    tests: str

    @property
    def calls(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.here)

    @property
    def tested_by(self) -> list[str]:
        """The tests, or the calls that a reason names."""
        return re.findall(r"`([^`]+)`", self.tests)


def rows(header: str) -> list[Row]:
    """The rows of all tables whose first column has this header."""
    found: list[Row] = []
    reading = False
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            reading = False
        elif line.startswith(f"| {header} |"):
            reading = True
        elif reading and not line.startswith("|---"):
            what, second, here, tests = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Row(what.strip("`"), second, here, tests))
    return found


API = rows("Route")
COVERED = [row for row in API if row.here != LEFT_OUT]
GUIDE = rows("Sample")


def recorded(version: str) -> list[str]:
    return [line for lines in json.loads((ROUTES / f"{version}.json").read_text()).values() for line in lines]


def unnamed(route: str) -> str:
    """The route without the names of its places, which differ between the versions."""
    return re.sub(r"{\w+}", "{}", route)


def test_every_route_of_the_server_is_there_once() -> None:
    assert [row.what for row in API] == recorded("conductor-3.32.2")


def test_what_the_oldest_server_has_is_told() -> None:
    old = {unnamed(route) for route in recorded("conductor-3.13.8")}
    assert {row.what: row.second for row in API} == {
        row.what: "yes" if unnamed(row.what) in old else "no" for row in API
    }


@pytest.mark.integration
@pytest.mark.parametrize(
    ("version", "server"), [("conductor-3.32.2", "conductor_server"), ("conductor-3.13.8", "old_conductor_server")]
)
def test_the_recorded_routes_are_the_servers(version: str, server: str, request: pytest.FixtureRequest) -> None:
    api_url = request.getfixturevalue(server).api_url
    assert read(api_url.removesuffix("/api")) == json.loads((ROUTES / f"{version}.json").read_text())


@pytest.mark.parametrize("row", [*API, *GUIDE], ids=lambda row: row.what)
def test_each_has_a_call_and_a_test_or_a_reason(row: Row) -> None:
    if row.here == LEFT_OUT:
        assert len(row.tests.split()) > 3
        assert "::" not in row.tests
    else:
        assert row.calls
        assert row.tested_by


# What is named exists


@cache
def operators() -> dict[str, Any]:
    """All operators and sensors by name."""
    found: dict[str, Any] = {}
    for place in PLACES:
        module = f"airflow_provider_conductor.{place}"
        if importlib.util.find_spec(module):
            place_of = importlib.import_module(module)
            found |= {name: getattr(place_of, name) for name in place_of.__all__}
    return found


def exists(name: str) -> bool:
    where, _, what = name.rpartition(".")
    if where == "client":
        return callable(getattr(ClientMethods, what, None))
    if where == "hook":
        return callable(getattr(ConductorHook, what, None)) or what in ("client", "settings")
    if where == "endpoints":
        return callable(getattr(endpoints, what, None))
    if where == "@task":
        return what in {item["name"] for item in get_provider_info().get("task-decorators", ())}
    return name in operators()


NAMED = sorted(
    {name for row in [*COVERED, *GUIDE] for name in row.calls}
    | {name for row in API if row.here == LEFT_OUT for name in row.tested_by}
)


@pytest.mark.parametrize("name", NAMED)
def test_each_call_exists(name: str) -> None:
    assert exists(name)


def test_what_does_not_exist_is_seen() -> None:
    missing = ("client.explode", "hook.explode", "endpoints.explode", "@task.explode", "ConductorExplodeOperator")
    assert not any(map(exists, missing))
    assert not list(named_tests("integration/test_client_operations.py::test_nothing"))
    assert not list(named_tests("integration/test_nothing.py::test_nothing"))


def named_tests(name: str) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    path, _, function = name.partition("::")
    file = TESTS / path
    if file.is_file():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
                yield file, node


@pytest.mark.parametrize("name", sorted({name for row in [*COVERED, *GUIDE] for name in row.tested_by}))
def test_each_test_exists_and_runs_on_a_real_server(name: str) -> None:
    ((file, _),) = named_tests(name)
    assert re.search(r"^pytestmark = pytest\.mark\.integration$", file.read_text(), flags=re.MULTILINE)


# A verb is named where it belongs


VERB_ROUTES = {
    (verb, line.casefold())
    for call, line, *_ in TABLE
    for verb in call.__code__.co_names
    if hasattr(ClientMethods, verb)
}


@pytest.mark.parametrize(
    ("route", "verb"),
    [(row.what, call.partition(".")[2]) for row in COVERED for call in row.calls if call.startswith("client.")],
)
def test_each_verb_sends_that_request(route: str, verb: str) -> None:
    pattern = re.compile(re.sub(r"{\w+}", "[^/]+", route).casefold())
    assert [line for name, line in VERB_ROUTES if name == verb and pattern.fullmatch(line)]


def test_every_verb_is_on_the_page() -> None:
    named = {call.partition(".")[2] for row in COVERED for call in row.calls if call.startswith("client.")}
    assert {verb for verb, _ in VERB_ROUTES} <= named


def test_every_operator_is_on_the_page() -> None:
    kinds = {name for name in operators() if name.endswith(("Operator", "Sensor"))}
    assert kinds <= set(NAMED)


def test_every_sample_of_the_guides_tests_is_on_the_page() -> None:
    """But for those that show what goes wrong beside a sample."""
    file = TESTS / "integration" / "test_sdk_guide.py"
    there = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    named = {name.partition("::")[2] for row in GUIDE for name in row.tested_by}
    assert {name for name in there if name.startswith("test_")} - named == {"test_retry_of_what_has_nothing_to_retry"}
