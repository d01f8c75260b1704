"""What one try saves, the next one reads; what it cannot read counts as missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airflow_provider_conductor.submission.start_record import StartRecord, first_try_of_series

RECORD = StartRecord(
    max_tries=4, first_try=3, generation=1, series_began=1_700_000_000.5, sent_at=1_700_000_001.5, workflow_id="wf-1"
)


def test_it_survives_json_and_what_a_later_version_adds() -> None:
    assert StartRecord.from_json(json.loads(json.dumps({**RECORD.to_json(), "colour": "blue"}))) == RECORD


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


@pytest.mark.parametrize(
    ("record", "max_tries", "retries", "first_try"),
    [
        (None, 5, 2, 4),
        *((RECORD, 4, retries, 3) for retries in (0, 1, 4, 9)),  # whatever a deploy made of retries
        (RECORD, 7, 2, 6),  # of an earlier series
    ],
)
def test_the_first_try_is_on_record_or_computed(
    record: StartRecord | None, max_tries: int, retries: int, first_try: int
) -> None:
    assert first_try_of_series(record, max_tries=max_tries, retries=retries) == first_try


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
    """It was saved in the series that began with try 3, with two retries, before anything was cleared."""
    record = replace(RECORD, clear_number=0)
    assert record.of_series(max_tries=max_tries, retries=retries, clear_number=clear_number) is same


def test_an_older_record_does_not_know_how_much_was_cleared() -> None:
    assert RECORD.of_series(max_tries=4, retries=1, clear_number=7)
