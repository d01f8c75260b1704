"""JSON of many megabytes, read in steps.

``json.loads`` holds the GIL until the document is read: 10 MB block an event loop for 100 ms, whichever thread reads
them. Here a document's outer lists and objects are read item by item, so that the loop can run between two items.
"""

from __future__ import annotations

import json
from json.decoder import WHITESPACE, scanstring  # type: ignore[attr-defined]
from typing import Any

__all__ = ["LARGE", "loads_in_steps"]

LARGE = 3_000_000
"""Bytes from which reading in steps is worth a thread: less holds the loop for 30 ms at most."""

STEPS_DOWN = 3
"""Levels whose items are steps of their own: a workflow, its tasks, a task; bulk results, a workflow, its tasks."""

_decode = json.JSONDecoder().raw_decode


def loads_in_steps(content: bytes) -> Any:
    """The same as ``json.loads``, slightly slower, in short steps.

    Raises:
        ValueError: not JSON.
    """
    text = content.decode()
    value, end = _value(text, _skip(text, 0), STEPS_DOWN)
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def _value(text: str, at: int, steps: int) -> tuple[Any, int]:
    opening = text[at : at + 1]
    if steps and opening == "{":
        return _object(text, at + 1, steps - 1)
    if steps and opening == "[":
        return _list(text, at + 1, steps - 1)
    return _decode(text, at)


def _object(text: str, at: int, steps: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        key, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        found[key], at = _value(text, _skip(text, at + 1), steps)
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return found, at + 1
        at = _after_comma(text, at)


def _list(text: str, at: int, steps: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return found, at + 1
    while True:
        value, at = _value(text, at, steps)
        found.append(value)
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return found, at + 1
        at = _after_comma(text, at)


def _after_comma(text: str, at: int) -> int:
    if text[at : at + 1] != ",":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = WHITESPACE.match(text, at)
    return match.end() if match else at
