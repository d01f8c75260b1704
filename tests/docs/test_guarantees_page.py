"""docs/guarantees.md says of each database what was recorded of its look-ups, and when."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.recorded.record_lookups import Lookups, recorded

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "guarantees.md"
NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MySQL", "redis": "Redis", "memory": "in memory"}
RECORDED = recorded()


def row_of(recording: str) -> str:
    _, version, database = recording.split("-")
    rows = re.findall(rf"^\| {NAMES[database]}.*\|$", PAGE.read_text(), flags=re.MULTILINE)
    [row] = [row for row in rows if version in row]
    return row


@pytest.mark.parametrize("recording", RECORDED)
def test_each_recording_is_in_the_table_with_its_date(recording: str) -> None:
    assert RECORDED[recording].date in row_of(recording)


def lookup(found: Lookups) -> str:
    if not found.answers:
        return "finds nothing"
    return "leaves out" if found.left_out else "finds a workflow as soon as"


@pytest.mark.parametrize("recording", RECORDED)
def test_the_table_says_what_was_recorded(recording: str) -> None:
    found = RECORDED[recording]
    _, _, column, index, *_ = row_of(recording).split("|")
    assert lookup(found) in column
    assert ("finds nothing" in index) is not found.has_index
    assert ("case counts" in column) is (found.answers and found.sees_case)
    assert ("ignores case" in column) is not found.sees_case
