"""Text of servers, workers and definitions, made safe for databases, logs and terminals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

LINE_LIMIT = 2_000
"""Characters of a line in a log."""

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b\x9c]{0,300}(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?"
)
"""ANSI escape sequences: colours and cursor movements, titles and links, and the short ones."""

_FOLDS = re.compile(r"(?:::|##\[)((?:end)?group)(?:::|\])", re.IGNORECASE)
"""What Airflow's log view folds lines by, wherever it stands on a line (3.x), or after the level (2.11)."""


def one_line(text: Any, limit: int = 200) -> str:
    """Foreign text on one line, cut to ``limit`` characters.

    ====================================================  =====================
    in the text                                           becomes
    ====================================================  =====================
    NUL and other control characters, line breaks         a blank
    lone surrogates, bidirectional overrides, and the     a blank
    like: whatever is not printable
    ANSI escape sequences                                 nothing
    ``::group::``, ``##[endgroup]``                       ``(group)``, ``(endgroup)``
    several blanks                                        one
    ====================================================  =====================

    PostgreSQL's JSONB refuses NUL and lone surrogates (seen on 15), which ends a triggerer that stores an event. A line
    break, and what Airflow folds logs by, would let a workflow write log lines of its own.
    """
    whole = str(text)
    # Four times the limit is enough for what is kept; a reason can be megabytes.
    kept = " ".join(_clean(whole[: limit * 4]).split())
    if len(kept) <= limit and len(whole) <= limit * 4:
        return kept
    return kept[: limit - 1].rstrip() + "…"


def readable(text: Any, limit: int = 10_000) -> str:
    """The same for a text of several lines, which stay as they are: for messages composed by this package."""
    whole = str(text)
    kept = "\n".join(map(_clean, whole[:limit].split("\n")))
    return kept if len(whole) <= limit else kept + "…"


class Logger(Protocol):
    """What is used of a task's logger: Python's, or structlog's on Airflow 3."""

    def info(self, message: Any, /, *args: Any) -> Any: ...
    def warning(self, message: Any, /, *args: Any) -> Any: ...
    def error(self, message: Any, /, *args: Any) -> Any: ...


def to_log(write: Callable[..., None]) -> Callable[[str], None]:
    """A logger's method for lines with foreign text in them: each stays one line."""
    return lambda line: write("%s", one_line(line, LINE_LIMIT))


def _clean(line: str) -> str:
    if line.isascii() and line.isprintable() and "group" not in line.lower():
        return line
    shown = "".join(c if c.isprintable() else " " for c in _ESCAPES.sub("", line))
    return _FOLDS.sub(r"(\1)", shown)
