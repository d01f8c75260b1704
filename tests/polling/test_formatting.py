from __future__ import annotations

import pytest

from airflow_provider_conductor.polling.formatting import clock_time, duration
from tests.polling.builders import START, at


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (58, "58 s"),
        (119, "119 s"),
        (420, "7 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_as_exact_as_it_matters(seconds: float, text: str) -> None:
    assert duration(seconds * 1000) == text


def test_a_moment_of_another_day_carries_its_date() -> None:
    assert clock_time(START, at(10)) == "22:13:20 UTC"
    assert clock_time(at(7200), START) == "2023-11-15 00:13:20 UTC"
    assert clock_time(10**18, START) == "a date out of range"
