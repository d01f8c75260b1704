"""One tree of errors, with all that operators, sensors, the hook and clients raise, and what a callback needs."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

import airflow_provider_conductor
from airflow_provider_conductor import exceptions
from airflow_provider_conductor.client import errors
from airflow_provider_conductor.polling.root_cause import Failure

ROOT = Path(airflow_provider_conductor.__file__).parent

TREE = {name: getattr(exceptions, name) for name in exceptions.__all__}

OURS = {name: kind for name, kind in TREE.items() if issubclass(kind, exceptions.ConductorOperatorError)}

ROOMS = ("decorators", "hooks", "operators", "sensors")

NOT_OURS = {
    "AirflowOptionalProviderFeatureException": "an extra is not installed",
    "AirflowSkipException": "soft_fail and never_fail",
    "AttributeError": "of a module",
    "NotImplementedError": "of a base class",
    "TaskKilledError": "caught where the flow is driven",
    "TypeError": "when the DAG file is parsed",
    "ValueError": "when the DAG file is parsed",
}


def drawn() -> Iterator[tuple[str, str]]:
    """(error, the one it is drawn under) of the module's docstring."""
    above: dict[int, str] = {}
    for line in (exceptions.__doc__ or "").splitlines():
        found = re.match(r"    ([ │]*)(?:[├└]── )?(\w+)(?: {2}|$)", line)
        if found is None:
            continue
        depth, name = len(found[1]) + 4 * ("─" in line), found[2]
        above[depth] = name
        if depth:
            yield name, above[depth - 4]


def test_the_tree_is_drawn_as_it_is() -> None:
    tree = dict(drawn())
    assert tree.keys() | {"ConductorError"} == TREE.keys()
    for name, parent in tree.items():
        assert (TREE | {"AirflowException": AirflowException})[parent] in TREE[name].__bases__


def test_the_clients_errors_are_in_it() -> None:
    assert {name for name in errors.__all__ if isinstance(getattr(errors, name), type)} <= TREE.keys()


TREES = {file: ast.parse(file.read_text()) for room in ROOMS for file in sorted((ROOT / room).glob("*.py"))}

RETURNED = {
    node.name: ast.unparse(node.returns)
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef) and node.returns is not None
}
"""Function → what it is said to return; some make an error that another one raises."""


def raised(tree: ast.Module) -> Iterator[str]:
    """What a module raises anew: a class, by its name or as the result of a function; or a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            name = ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc).removeprefix("self.")
            yield RETURNED.get(name, name)


@pytest.mark.parametrize("file", TREES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_everything_raised_is_in_it(file: Path) -> None:
    found = set(raised(TREES[file]))
    classes = {name for name in found if name.isidentifier() and name[0].isupper()}
    assert classes - TREE.keys() - NOT_OURS.keys() == (
        {"AirflowException"} if file.match("sensors/base.py") else set()  # what Airflow raised may become its skip
    )
    # A class chosen from the tree, or an error that was made or caught before.
    assert found - classes <= {"error", "kind", "lenient", "ours if isinstance(ours, AirflowSkipException) else error"}


@pytest.mark.parametrize("name", OURS)
def test_each_names_its_workflow_and_the_reason_on_one_line(name: str) -> None:
    about: Any = {"workflow_id": "w1", "reason": "no\nroute"}
    if issubclass(OURS[name], exceptions.ConductorWorkflowFailedError):
        about = {"failure": Failure(status="FAILED", **about)}
    error = OURS[name]("what happened", url="http://conductor/execution/w1", **about)
    again = pickle.loads(pickle.dumps(error))
    for seen in (error, again):
        assert (str(seen), seen.workflow_id, seen.url) == ("what happened", "w1", "http://conductor/execution/w1")
        assert "\n" not in seen.reason
        assert "route" in seen.reason


@pytest.mark.parametrize("name", OURS)
def test_names_say_that_it_is_an_error_and_whether_airflow_retries_it(name: str) -> None:
    assert name.endswith("Error")
    permanent = issubclass(OURS[name], (AirflowFailException, AirflowSensorTimeout))
    expected = issubclass(OURS[name], (exceptions.ConductorPermanentError, exceptions.ConductorSensorTimeoutError))
    assert permanent == (expected or "Permanently" in name)
