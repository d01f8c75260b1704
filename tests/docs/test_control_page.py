"""The page on control says what the code does: states, parameters, templates."""

from __future__ import annotations

import re

import pytest

from airflow_provider_conductor.client import WorkflowStatus
from airflow_provider_conductor.control.eligibility import Kind, Verb, decide
from airflow_provider_conductor.operators import control
from airflow_provider_conductor.operators.control_base import WaitingControlOperator
from tests.docs.test_docs import ROOT, parameters, table

PAGE = "control.md"
OPERATORS = [getattr(control, name) for name in control.__all__]

WORDS = {
    Kind.DUE: "does it",
    Kind.ALREADY: "already",
    Kind.CANNOT: "fails",
    Kind.MISSING: "fails",
}


def page() -> str:
    return (ROOT / "docs" / PAGE).read_text()


def section(name: str) -> str:
    return re.split(rf"^## {name}$", page(), flags=re.MULTILINE)[1].split("\n## ")[0]


def states() -> dict[tuple[str, str], str]:
    """(verb, status) → the cell, with its footnote."""
    lines = [line for line in section("What each action does in each state").splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {
        (verb.lower(), status): cell
        for verb, *cells in rows
        for column, cell in zip(header[1:], cells, strict=True)
        for status in column.split(", ")
    }


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("status", [*WorkflowStatus, None])
def test_states_are_the_decision_table(verb: Verb, status: WorkflowStatus | None) -> None:
    words, _, footnote = states()[verb, status or "unknown id"].partition(" ¹")
    if footnote or " ¹" in states()[verb, status or "unknown id"]:
        assert decide(verb, status, attempted=True).kind is Kind.ALREADY
    else:
        assert decide(verb, status, attempted=True) == decide(verb, status)
    assert words.rstrip(" ²³⁴⁵") == WORDS[decide(verb, status).kind]


def test_no_row_is_of_something_else() -> None:
    assert {verb for verb, _ in states()} == set(Verb)


def sections(cls: type) -> list[str]:
    return ["Selection", *(["Waiting"] if issubclass(cls, WaitingControlOperator) else []), cls.__name__]


@pytest.mark.parametrize("cls", OPERATORS)
def test_parameters_are_the_signature(cls: type) -> None:
    documented: dict[str, str] = {}
    for name in sections(cls):
        if "| Parameter |" in section(name):
            documented |= table(PAGE, "Parameter", name)
    assert documented == parameters(cls)


@pytest.mark.parametrize("cls", OPERATORS)
def test_templated_parameters_are_called_so(cls: type) -> None:
    text = "\n".join(section(name) for name in sections(cls))
    assert set(re.findall(r"^\| `(\w+)` \|.*Templated \|$", text, flags=re.MULTILINE)) == set(cls.template_fields)
