"""What the docs say of parameters is what the code has; their code compiles; their links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_conductor.client.settings import EXTRA_FIELDS
from airflow_provider_conductor.operators import conductor as operators
from airflow_provider_conductor.sensors.conductor import ConductorWorkflowSensor
from dev.examples import airflow_environment

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

START = operators.ConductorStartWorkflowOperator
EXECUTE = operators.ConductorExecuteWorkflowOperator
DOCUMENTED = {
    START: "operators.md",
    EXECUTE: "operators.md",
    ConductorWorkflowSensor: "sensor.md",
}


def parameters(cls) -> dict[str, str]:
    """Our own parameters of an operator and their defaults as text, "" for those that must be given."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("airflow_provider_conductor") or "__init__" not in vars(base):
            continue
        for parameter in inspect.signature(base.__init__).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                found[parameter.name] = "" if parameter.default is parameter.empty else repr(parameter.default)
    return found


def table(page: str, header: str, section: str | None = None) -> dict[str, str]:
    """First and second column of the first table with this header, within a section."""
    text = (ROOT / "docs" / page).read_text()
    if section is not None:
        text = re.split(rf"^## {section}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    _, _, rest = text.partition(f"| {header} |")
    rows = [line for line in rest.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in rows]
    return {name: default for name, default, *_ in cells}


@pytest.mark.parametrize("cls", DOCUMENTED, ids=lambda cls: cls.__name__)
def test_parameters_are_the_signature(cls):
    page = DOCUMENTED[cls]
    documented = table(page, "Parameter", cls.__name__ if page == "operators.md" else None)
    if cls is EXECUTE:
        assert not documented.keys() & table(page, "Parameter", START.__name__).keys()
        documented |= table(page, "Parameter", START.__name__)
    assert documented == parameters(cls)


@pytest.mark.parametrize("cls", DOCUMENTED, ids=lambda cls: cls.__name__)
def test_templated_parameters_are_called_so(cls):
    page = DOCUMENTED[cls]
    sections = [cls.__name__, *([START.__name__] if cls is EXECUTE else [])] if page == "operators.md" else [None]
    templated = set()
    for section in sections:
        text = (ROOT / "docs" / page).read_text()
        if section:
            text = re.split(rf"^## {section}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
        templated |= set(re.findall(r"^\| `(\w+)` \|.*Templated \|$", text, flags=re.MULTILINE))
    assert templated == set(cls.template_fields)


def test_extra_keys_are_the_connections():
    documented = table("connection.md", "Key")
    assert documented == {item.name: "" if item.default is None else repr(item.default) for item in EXTRA_FIELDS}


def blocks(page: Path) -> list[str]:
    return re.findall(r"^ *```python\n(.*?)^ *```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_compiles(page):
    for code in blocks(page):
        compile(code, str(page), "exec")


def test_imports_in_the_docs_exist():
    lines = {line for page in PAGES for code in blocks(page) for line in imports(code)}
    assert lines
    for line in sorted(lines):
        exec(line, {})


def imports(code: str) -> list[str]:
    tree = ast.parse(code)
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_quickstart_is_a_dag(tmp_path):
    (tmp_path / "dags").mkdir()
    code = blocks(ROOT / "README.md")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "dags" / "quickstart.py").write_text(code)
    env = airflow_environment(tmp_path, "http://127.0.0.1:1")
    env["AIRFLOW__CORE__DAGS_FOLDER"] = str(tmp_path / "dags")
    run = subprocess.run(
        [sys.executable, "-c", READ], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == [{}, {"orders": ["fulfil_order", "book_revenue"]}]


READ = """
import json
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag
bag = DagBag()
print(json.dumps([bag.import_errors, {i: [task.task_id for task in dag.tasks] for i, dag in bag.dags.items()}]))
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
