"""Durations are checked in one place, before anything is started."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_conductor.polling.durations import LONGEST, patience, seconds

NO_DURATIONS = [
    -1,
    math.inf,
    -math.inf,
    math.nan,
    1e15,
    10**400,
    LONGEST + 1,
    timedelta.max,
    "60",
    "{{ x }}",
    True,
    [60],
]


@pytest.mark.parametrize("value", NO_DURATIONS, ids=str)
def test_what_is_no_duration_is_refused_by_name(value: Any) -> None:
    for check in (seconds, patience):
        with pytest.raises(ValueError, match=r"stall_timeout must be a number of seconds .* ten years"):
            check(value, "stall_timeout")


@pytest.mark.parametrize(("value", "number"), [(0.1, 0.1), (60, 60), (timedelta(hours=1), 3600.0), (LONGEST, LONGEST)])
def test_seconds_and_timedeltas_are_durations(value: Any, number: float) -> None:
    assert seconds(value, "timeout") == patience(value, "timeout") == number


def test_nothing_and_none() -> None:
    assert seconds(None, "timeout") is None
    assert patience(0, "wait_for_seconds") == 0
    with pytest.raises(ValueError, match="for no limit, leave it out"):
        seconds(0, "timeout")
