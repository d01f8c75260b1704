"""Durations as people give them."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["patience", "seconds"]


def patience(value: float | timedelta, name: str) -> float:
    """A duration from 0 on, given as seconds or timedelta.

    Raises:
        ValueError: negative, not finite, or no number.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a number of seconds from 0 on or a timedelta, not {value!r}")
    return number


def seconds(value: float | timedelta | None, name: str) -> float | None:
    """A duration given as seconds or timedelta.

    Raises:
        ValueError: not above 0.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float)) or number <= 0):
        raise ValueError(f"{name} must be a number of seconds above 0 or a timedelta, not {value!r}")
    return number
