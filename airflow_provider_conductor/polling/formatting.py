"""How moments and durations read in our messages."""

from __future__ import annotations

from datetime import UTC, datetime


def clock_time(moment: int, now: int) -> str:
    """A moment of the server (ms) as ``12:03:10 UTC``, with its date where that is not today's."""
    try:
        at, today = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (moment, now))
    except (OverflowError, ValueError, OSError):
        return "a date out of range"
    return at.strftime("%H:%M:%S UTC" if at.date() == today.date() else "%Y-%m-%d %H:%M:%S UTC")


def duration(milliseconds: float) -> str:
    """``58 s``, ``7 min``, ``2 h 5 min``, ``3 d 4 h``: as exact as it still matters."""
    seconds = max(0, round(milliseconds / 1000))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 2:
        return f"{seconds} s"
    if not hours:
        return f"{minutes} min"
    big, small = (f"{days} d", f"{hours % 24} h") if days else (f"{hours} h", f"{minutes % 60} min")
    return big if small.startswith("0") else f"{big} {small}"
