"""What the docs say of parameters is what the code has; their links lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from airflow_provider_conductor.client.settings import EXTRA_FIELDS
from airflow_provider_conductor.operators import (
    ConductorApprovalOperator,
    ConductorCompleteTaskOperator,
    ConductorRegisterDefinitionsOperator,
    ConductorSignalWorkflowOperator,
    control,
    execute as operators,
)
from airflow_provider_conductor.operators.control_base import WaitingControlOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup
from dev.conductor_server import NEWEST
from tests.docs.pages import PAGES, ROOT

START = operators.ConductorStartWorkflowOperator
EXECUTE = operators.ConductorExecuteWorkflowOperator
CONTROL = [getattr(control, name) for name in control.__all__]
DOCUMENTED: dict[type, tuple[str, ...]] = {
    START: ("operators.md",),
    EXECUTE: ("operators.md", START.__name__),
    ConductorWorkflowSensor: ("sensor.md",),
    ConductorApprovalOperator: ("approvals.md",),
    ConductorCompleteTaskOperator: ("tasks.md",),
    ConductorSignalWorkflowOperator: ("tasks.md",),
    ConductorTaskSensor: ("tasks.md",),
    ConductorRegisterDefinitionsOperator: ("definitions.md",),
    **dict.fromkeys(CONTROL, ("control.md", "Selection")),
    **{cls: ("control.md", "Selection", "Waiting") for cls in CONTROL if issubclass(cls, WaitingControlOperator)},
}
"""The page of a class, and the sections that are its as well, beside the one of its name."""

of_each = pytest.mark.parametrize("cls", DOCUMENTED, ids=lambda cls: cls.__name__)


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


def section(page: str, name: str = "") -> str:
    """A section of a page; the whole page, where it has none of this name."""
    text = (ROOT / "docs" / page).read_text()
    _, *found = re.split(rf"^## {name}$", text, flags=re.MULTILINE)
    return found[0].split("\n## ")[0] if found else text


def table(text: str, header: str) -> dict[str, str]:
    """First and second column of the first table with this header."""
    _, _, rest = text.partition(f"| {header} |")
    rows = [line for line in rest.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in rows]
    return {name: default for name, default, *_ in cells}


def templated(text: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|.*Templated \|$", text, flags=re.MULTILINE))


def texts(cls) -> list[str]:
    page, *others = DOCUMENTED[cls]
    return [section(page, name) for name in (*others, cls.__name__)]


@of_each
def test_parameters_are_the_signature(cls):
    documented: dict[str, str] = {}
    for text in texts(cls):
        rows = table(text, "Parameter")
        assert not documented.keys() & rows.keys()
        documented |= rows
    assert documented == parameters(cls)


def test_parameters_of_the_task_group_are_the_signature():
    assert table(section("task-groups.md", "Parameters"), "Parameter") == {
        "definition": "",
        **parameters(ConductorWorkflowTaskGroup),
    }


@of_each
def test_templated_parameters_are_called_so(cls):
    assert set().union(*map(templated, texts(cls))) == set(cls.template_fields)


def test_extra_keys_are_the_connections():
    documented = table(section("connection.md"), "Key")
    assert documented == {item.name: "" if item.default is None else repr(item.default) for item in EXTRA_FIELDS}


SITE = "https://airflow-provider-conductor.readthedocs.io/en/stable/"
"""Where the site of docs/ is; the README, which is the page on PyPI too, has absolute links to it."""


def where(page: Path, target: str) -> tuple[Path | None, str]:
    """The file that a link leads to, and the heading in it; no file where the link leaves the project."""
    path, _, anchor = target.partition("#")
    if target.startswith(SITE):
        path = path.removeprefix(SITE)
        return ROOT / "docs" / (path.removesuffix(".html") + ".md" if path.endswith(".html") else path), anchor
    if "://" in target:
        return None, ""
    return (page.parent / path) if path else page, anchor


def test_the_readme_has_no_relative_links():
    """It is the page on PyPI, too, where they lead nowhere."""
    assert [
        target for target in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text()) if "://" not in target
    ] == []


def test_the_server_in_docker_is_the_one_that_is_tested():
    assert f"image: conductoross/conductor:{NEWEST}\n" in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        there, anchor = where(page, target)
        if there is None:
            continue
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
