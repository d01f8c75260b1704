"""Which types of tasks the server runs itself, and which of them a definition contains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SWITCHES, FORKS, JOINS = ("SWITCH", "DECISION"), ("FORK_JOIN", "FORK"), ("JOIN", "EXCLUSIVE_JOIN")

CONTAINERS = frozenset(
    {"JOIN", "EXCLUSIVE_JOIN", "DO_WHILE", "FORK", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "SWITCH", "DECISION"}
)
"""Tasks that are open only because other tasks of the same workflow are."""

CHOSEN_AT_RUN_TIME = frozenset({"DYNAMIC", "FORK_JOIN_DYNAMIC"})
"""Types whose tasks, with their types and reference names, are not in the definition."""


_ITERATIONS = re.compile(r"(?:__\d+)+$")


def without_iterations(reference_name: str) -> str:
    """The reference name without what the server appends to it in a loop: ``pack`` of ``pack__2``."""
    return _ITERATIONS.sub("", reference_name)


def may_contain(definition: Any, *types: str) -> bool:
    """Whether a workflow with this definition may have a task of one of these types, at any depth.

    True also where the definition is not known, and where it has tasks whose type is chosen at run time.
    """
    if not isinstance(definition, Mapping) or not definition:
        return True
    unread: list[Any] = [definition.get("tasks")]
    while unread:
        part = unread.pop()
        if isinstance(part, Mapping):
            if part.get("type") in CHOSEN_AT_RUN_TIME or part.get("type") in types:
                return True
            unread.extend(part.values())
        elif isinstance(part, list):
            unread.extend(part)
    return False
