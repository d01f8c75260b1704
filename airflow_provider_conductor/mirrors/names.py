"""Reference names as parts of Airflow's task ids, which allow fewer characters."""

from __future__ import annotations

import re

START, FINISH = "start", "finish"
"""The tasks of each group that are no steps."""

TAKEN = frozenset([START, FINISH, "upstream_join_id", "downstream_join_id"])
"""Names of a group's tasks that no step may have: Airflow draws each group's edges from and to the last two."""

_REFUSED = re.compile(r"[^\w-]|[^\0-\uffff]|_(?=x[0-9a-f]+(?:_|[^\w-]|[^\0-\uffff]))")
"""What a group's id must not have, with what Airflow's columns of ids cannot store on MySQL (``utf8mb3_bin``); and an
underscore that would read like the beginning of an escape."""

_ESCAPED = re.compile(r"_x([0-9a-f]+)_")


def to_task_id(name: str) -> str:
    """The name, with what Airflow refuses as ``_x<code point>_``: ``ship order`` is ``ship_x20_order``.

    Two names never become the same id, and :func:`from_task_id` reads it back.
    """
    if name in TAKEN:
        return _escaped(name[0]) + name[1:]
    return _REFUSED.sub(lambda found: _escaped(found[0]), name)


def from_task_id(task_id: str) -> str:
    """The name that :func:`to_task_id` has made this of."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), task_id)


def refs_of(task_id: str, start_task_id: str) -> list[str]:
    """The reference names of a task of a group: of its step, after those of the sub-workflows that it is in.

    Args:
        start_task_id: the task that starts the group's workflow.

    Returns:
        No names for a task of the group that is no step.
    """
    parts = task_id.removeprefix(start_task_id.removesuffix(START)).split(".")
    if parts[-1] in (START, FINISH):
        parts.pop()
    return [from_task_id(part) for part in parts]


def _escaped(character: str) -> str:
    return f"_x{ord(character):x}_"
