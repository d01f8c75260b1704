"""Picking a part of an output: ``orders[0].id``.

It is a small language of its own, since a missing part must be distinguished from null, and reported with what exists
instead. Libraries for querying JSON return nothing in both cases.

==========================  ==========================================================================
written                     picks
==========================  ==========================================================================
``total``                   the value of a key
``order.total``             a key of that
``rows[0]``, ``rows[-1]``   an item of a list, from its start or its end
``rows[*]``                 every item; what follows is picked from each, and the result is a list
``headers["x-id"]``         a key with other characters than letters, digits, ``_`` and ``-``
``$``                       the whole; ``$.total`` is the same as ``total``
==========================  ==========================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

EVERY = None
"""The step ``[*]``; the others are a key (text) or a place in a list (a whole number)."""

Step: TypeAlias = "str | int | None"

STEP = re.compile(
    r"""
    (?P<dot>\.)? (?P<key>[\w-]+)
    | \[ (?: (?P<index>-?[0-9]+) | (?P<every>\*) | (?P<quoted>"(?:[^"\\]|\\.)*" | '[^']*') ) \]
    """,
    re.VERBOSE,
)

MAX_NAMED = 20
"""Keys that an error names; more are counted."""


class MissingPartError(LookupError):
    """No value at this path; the message names the part that exists, and what it contains."""


@dataclass(frozen=True, slots=True)
class OutputPath:
    """A parsed path; ``text`` is its source."""

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, text: object) -> OutputPath:
        """Read a path.

        Raises:
            ValueError: it is not a path; the message shows where, and what a path looks like.
        """
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"output_path must be a path like 'order.total' or 'rows[0].id', not {text!r}")
        return cls(text, tuple(_steps(text)))

    def pick(self, value: Any) -> Any:
        """The part of ``value`` that the path leads to.

        Raises:
            MissingPartError: no such part.
        """
        return _pick(value, self.steps, "the output")


def _steps(text: str) -> Iterator[Step]:
    place = 1 if text.startswith("$") else 0
    while place < len(text):
        found = STEP.match(text, place)
        # The first name stands alone, each further one (and one after "$") behind a dot.
        if found is None or (found["key"] and bool(found["dot"]) != bool(place)):
            raise ValueError(
                f"output_path {text!r} cannot be read from {text[place:]!r} on: names are separated by dots "
                "('order.total'), list items are in brackets ('rows[0]', 'rows[-1]', 'rows[*]'), and so do names "
                'with other characters (headers["x id"])'
            )
        place = found.end()
        if found["key"]:
            yield found["key"]
        elif found["index"]:
            yield int(found["index"])
        elif found["every"]:
            yield EVERY
        else:
            yield _unquoted(found["quoted"], text)


def _unquoted(quoted: str, text: str) -> str:
    """The name in single quotes as it is written, in double quotes as JSON has it.

    Raises:
        ValueError: an escape, or a character that needs one, which JSON does not have.
    """
    if quoted.startswith("'"):
        return quoted[1:-1]
    try:
        return str(json.loads(quoted))
    except ValueError as error:
        raise ValueError(
            f"output_path {text!r} has a name that cannot be read, {quoted!a}: {error}. Within double "
            "quotes it is written as in JSON "
            '("a\\\\b" for a\\b, "\\u0041" for A); within single quotes every character is literal'
        ) from None


def _pick(value: Any, steps: tuple[Step, ...], where: str) -> Any:
    for number, step in enumerate(steps):
        if step is EVERY:
            if not isinstance(value, list):
                raise MissingPartError(f"{where} is not a list: {_what_is(value)}")
            rest = steps[number + 1 :]
            return [_pick(item, rest, f"{where}[{place}]") for place, item in enumerate(value)]
        if isinstance(step, int):
            if not isinstance(value, list) or not -len(value) <= step < len(value):
                raise MissingPartError(f"{where} has no item [{step}]: {_what_is(value)}")
            value = value[step]
            where = f"{where}[{step}]"
        else:
            if not isinstance(value, Mapping) or step not in value:
                raise MissingPartError(f"{where} has no {step!r}: {_what_is(value)}")
            value = value[step]
            where = f"{where}.{step}"
    return value


def _what_is(value: Any) -> str:
    """A description by kind and names; values are not shown, since they may be large or secret."""
    if isinstance(value, Mapping):
        names = ", ".join(map(repr, list(value)[:MAX_NAMED]))
        more = f" and {len(value) - MAX_NAMED} more" if len(value) > MAX_NAMED else ""
        return f"it has {names}{more}" if value else "it is empty"
    if isinstance(value, list):
        return f"it is a list of {len(value)}"
    kinds = {str: "a text", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return f"it is {kinds.get(type(value), type(value).__name__)}"
