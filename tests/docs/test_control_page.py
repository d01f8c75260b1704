"""The page on control says what each action does in each state."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.client import WorkflowStatus
from airflow_provider_conductor.control.eligibility import Kind, Verb, decide
from tests.docs.test_docs import section

WORDS = {
    Kind.DUE: "does it",
    Kind.ALREADY: "already",
    Kind.CANNOT: "fails",
    Kind.MISSING: "fails",
}


def states() -> dict[tuple[str, str], str]:
    """(verb, status) → the cell, with its footnote."""
    lines = [
        line
        for line in section("control.md", "What each action does in each state").splitlines()
        if line.startswith("|")
    ]
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
