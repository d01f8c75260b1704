"""Reference names as parts of Airflow's task ids, which allow fewer characters."""

from __future__ import annotations

import re

START, FINISH = "start", "finish"
"""The tasks of each group that are no steps."""

_REFUSED = re.compile(r"[^\w-]|_(?=x[0-9a-f]+(?:_|[^\w-]))")
"""What a group's id must not have; and an underscore that would read like the beginning of an escape."""

_ESCAPED = re.compile(r"_x([0-9a-f]+)_")


def to_task_id(name: str) -> str:
    """The name, with what Airflow refuses as ``_x<code point>_``: ``ship order`` is ``ship_x20_order``.

    Two names never become the same id, and :func:`from_task_id` reads it back.
    """
    if name in (START, FINISH):
        return _escaped(name[0]) + name[1:]
    return _REFUSED.sub(lambda found: _escaped(found[0]), name)


def from_task_id(task_id: str) -> str:
    """The name that :func:`to_task_id` has made this of."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), task_id)


def _escaped(character: str) -> str:
    return f"_x{ord(character):x}_"
