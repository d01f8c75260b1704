"""What one try puts down, the next one reads; what it cannot read is as if it were not there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airflow_provider_conductor.submission.start_record import StartRecord, first_try_of_series

RECORD = StartRecord(
    max_tries=4, first_try=3, generation=1, series_began=1_700_000_000.5, sent_at=1_700_000_001.5, workflow_id="wf-1"
)


def test_it_survives_json() -> None:
    assert StartRecord.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD


def test_what_a_later_version_adds_is_ignored() -> None:
    assert StartRecord.from_json({**RECORD.to_json(), "colour": "blue"}) == RECORD


@pytest.mark.parametrize(
    "value",
    [
        None,
        "wf-1",
        [],
        {},
        {"max_tries": 1},
        {"max_tries": "1", "first_try": 1},
        {**RECORD.to_json(), "workflow_id": 7},
    ],
)
def test_what_is_no_record_is_none(value: object) -> None:
    assert StartRecord.from_json(value) is None


def test_without_a_record_the_first_try_is_computed() -> None:
    assert first_try_of_series(None, max_tries=5, retries=2) == 4


@pytest.mark.parametrize("retries", [0, 1, 4, 9])
def test_a_record_of_this_series_wins_whatever_a_deploy_made_of_retries(retries: int) -> None:
    assert first_try_of_series(RECORD, max_tries=4, retries=retries) == 3


def test_a_record_of_an_earlier_series_does_not() -> None:
    assert first_try_of_series(RECORD, max_tries=7, retries=2) == 6


@pytest.mark.parametrize(
    ("max_tries", "retries", "clear_number", "same"),
    [
        (5, 2, 0, False),
        (5, 2, 1, False),
        (4, 2, 0, True),
        (4, 0, 0, True),
        (4, 0, None, True),
        (4, 2, 1, True),
        (4, 3, 1, True),
        (4, 1, 1, False),
    ],
)
def test_whether_a_record_is_of_the_present_series(
    max_tries: int, retries: int, clear_number: int | None, same: bool
) -> None:
    """It was put down in the series that began with try 3, with two retries, before anything was cleared."""
    record = replace(RECORD, clear_number=0)
    assert record.of_series(max_tries=max_tries, retries=retries, clear_number=clear_number) is same


def test_an_older_record_does_not_know_how_much_was_cleared() -> None:
    assert RECORD.of_series(max_tries=4, retries=1, clear_number=7)
