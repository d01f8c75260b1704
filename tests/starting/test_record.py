"""What one try puts down, the next one reads; what it cannot read is as if it were not there."""

from __future__ import annotations

import json

import pytest

from airflow_provider_conductor.starting.record import StartRecord, first_try_of_series

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
