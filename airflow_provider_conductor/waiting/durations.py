"""Durations as people give them."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["seconds"]


def seconds(value: float | timedelta | None, name: str) -> float | None:
    """A duration given as seconds or timedelta.

    Raises:
        ValueError: not above 0.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float)) or number <= 0):
        raise ValueError(f"{name} must be a number of seconds above 0 or a timedelta, not {value!r}")
    return number
