"""Durations as users give them, checked in one place: what cannot be is refused before anything is started."""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = 10 * 365 * 86_400.0
"""Ten years. What is longer is a mistake, or is meant as no limit; and the calendar ends in the year 9999."""

_PERCENTILE = re.compile(r"p([1-9][0-9]?)")


def percentile(text: str, name: str) -> int:
    """95 for ``p95``.

    Raises:
        ValueError: it is none from ``p1`` to ``p99``.
    """
    found = _PERCENTILE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{name} must be a number of seconds (or a timedelta), or a percentile from 'p1' to 'p99', like 'p95', "
            f"not {text!r}"
        )
    return int(found[1])


def patience(value: float | timedelta, name: str) -> float:
    """A duration from 0 on, given as seconds or timedelta.

    Raises:
        ValueError: negative, over ten years, not finite, or no number.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= LONGEST:
        raise ValueError(f"{name} must be a number of seconds (or a timedelta) from 0 to ten years, not {value!r}")
    return number


def seconds(value: float | timedelta | None, name: str) -> float | None:
    """The same above 0, or None.

    Raises:
        ValueError: not above 0, over ten years, not finite, or no number.
    """
    try:
        number = None if value is None else patience(value, name)
    except ValueError:
        number = 0.0
    if number == 0:
        raise ValueError(
            f"{name} must be a number of seconds (or a timedelta) above 0, up to ten years, not {value!r}; "
            f"for {'no limit' if 'timeout' in name else 'the default'}, leave it out"
        )
    return number
