"""Arrows point downward: what decides and what talks to Conductor knows nothing of Airflow or of what uses it."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_conductor
from tests.retries.conftest import HAS_POLICIES

PACKAGE = "airflow_provider_conductor"
ROOT = Path(airflow_provider_conductor.__file__).parent

STOREYS = (
    ("_exports",),
    ("client",),
    ("control", "dag_runs", "definitions", "mirrors", "polling", "submission", "watching"),
    ("batch", "view"),
    ("_airflow", "_options", "_required_actions", "connection_form", "exceptions", "hooks", "links", "triggers"),
    ("assets", "cli", "decorators", "notifications", "operators", "provider_info", "retries", "sensors", "ui"),
    ("task_groups",),
    ("testing",),
)
"""From the ground up; what stands beside each other in a line may use each other one way."""

WITHOUT_AIRFLOW = (
    *("batch", "client", "control", "dag_runs", "definitions", "mirrors", "polling", "submission", "view", "watching"),
)

INTERNAL = (
    "_airflow",
    "_exports",
    "_options",
    "_required_actions",
    "batch",
    "cli",
    "connection_form",
    "control",
    "dag_runs",
    "definitions",
    "mirrors",
    "polling",
    "submission",
    "ui",
    "view",
    "watching",
)

FLOOR = {name: floor for floor, names in enumerate(STOREYS) for name in names}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


FILES = sorted(file for file in ROOT.rglob("*.py"))
MODULES = {module_name(file): file for file in FILES}


def imports(source: str) -> Iterator[str]:
    """Everything a module imports, wherever in it: inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written out"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """``client`` of ``airflow_provider_conductor.client.sync``; "" of the package itself."""
    return module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


def arrows() -> Iterator[tuple[str, str]]:
    """Each import of one part of the package by another: (module, what it imports)."""
    for module, file in MODULES.items():
        for target in imports(file.read_text()):
            if target.startswith(f"{PACKAGE}.") and target != f"{PACKAGE}.__version__":
                yield module, target


def test_every_module_has_a_storey() -> None:
    homeless = {module for module in MODULES if part(module) and part(module) not in FLOOR}
    assert not homeless
    assert {part(module) for module in MODULES} >= {"client", "polling", "hooks", "operators", "sensors", "triggers"}


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from e.f import g\nif TYPE_CHECKING:\n    import h\n"
    assert set(imports(source)) == {"a.b", "c.d", "e.f.g", "h"}


def test_arrows_point_downward() -> None:
    upward = [
        f"{module} imports {target}"
        for module, target in arrows()
        if part(module) and FLOOR[part(module)] < FLOOR[part(target)]
    ]
    assert upward == []


def test_no_two_parts_need_each_other() -> None:
    pairs = {(part(module), part(target)) for module, target in arrows() if part(module) != part(target)}
    assert sorted(pair for pair in pairs if pair[::-1] in pairs) == []


def test_the_ground_floor_knows_nothing_of_airflow() -> None:
    knowing = [
        f"{module} imports {target}"
        for module, file in MODULES.items()
        if part(module) in WITHOUT_AIRFLOW
        for target in imports(file.read_text())
        if target.partition(".")[0] == "airflow"
    ]
    assert knowing == []


def test_what_is_private_stays_in_its_module() -> None:
    crossing = [
        f"{module} imports {target}"
        for module, target in arrows()
        if any(name.startswith("_") for name in target.split(".")[2:]) and part(target)
    ]
    assert crossing == []


def test_no_files_need_each_other() -> None:
    """Not through others either, nor inside of functions or for type checkers."""
    needs = {
        module: {name for target in imports(file.read_text()) if (name := file_of(target)) and name != module}
        for module, file in MODULES.items()
    }
    below: set[str] = set()
    while ready := {module for module in needs.keys() - below if needs[module] <= below}:
        below |= ready
    assert sorted(needs.keys() - below) == [], "these need each other, or what does"


def file_of(target: str) -> str | None:
    """The module of ours that is imported, or that has the imported name; a package's lazy exports need nothing."""
    if target in MODULES:
        return target
    module = target.rpartition(".")[0]
    return module if module in MODULES else None


LAZY = [module for module, file in MODULES.items() if file.name == "__init__.py" and "exports(" in file.read_text()]


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_what_a_package_exports(package: str) -> None:
    named = list(imports(MODULES[package].read_text()))
    seen = {name.rpartition(".")[2] for name in named} - {"TYPE_CHECKING", "exports", "errors", "*"}
    whole = [importlib.import_module(name.removesuffix(".*")).__all__ for name in named if name.endswith(".*")]
    assert seen.union(*whole) == set(importlib.import_module(package).__all__)


IMPORT = re.compile(rf"from ({PACKAGE}[\w.]*) import (\([^)]*\)|[^`\n]+)")

PAGES = sorted(
    page
    for page in (
        ROOT.parent / "README.md",
        *(ROOT.parent / "docs").glob("*.md"),
        *(ROOT.parent / "example_dags").glob("*.py"),
    )
    if IMPORT.search(page.read_text()) and (page.name != "retries.md" or HAS_POLICIES)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_docs_and_examples_import_public_names_only(page: Path) -> None:
    for module, names in IMPORT.findall(page.read_text()):
        assert module.count(".") == 1, f"{module} is internal"
        assert part(module) not in INTERNAL
        for name in re.findall(r"\w+", names):
            assert name in importlib.import_module(module).__all__


@pytest.mark.parametrize("floor", WITHOUT_AIRFLOW)
def test_it_can_be_imported_where_there_is_no_airflow(floor: str) -> None:
    modules = [module for module in MODULES if part(module) == floor]
    script = (
        "import importlib, json, sys\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        "print(json.dumps([name for name in sys.modules if name.partition('.')[0] == 'airflow']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert modules
    assert json.loads(done.stdout) == []
