"""How moments and durations read in our messages."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["clock_time", "duration"]

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def clock_time(moment: int, now: int) -> str:
    """A moment of the server (ms) as ``12:03:10 UTC``, with its date where that is not today's."""
    try:
        at = datetime.fromtimestamp(moment / 1000, UTC)
        today = datetime.fromtimestamp(now / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return "a date out of range"
    return at.strftime("%H:%M:%S UTC" if at.date() == today.date() else "%Y-%m-%d %H:%M:%S UTC")


def duration(milliseconds: float) -> str:
    """``58 s``, ``7 min``, ``2 h 5 min``, ``3 d 4 h``: as exact as it still matters."""
    seconds = max(0, round(milliseconds / 1000))
    if seconds < 2 * MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min"
    if seconds < DAY:
        return _two(seconds // HOUR, "h", seconds % HOUR // MINUTE, "min")
    return _two(seconds // DAY, "d", seconds % DAY // HOUR, "h")


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit} {small} {small_unit}" if small else f"{big} {big_unit}"
