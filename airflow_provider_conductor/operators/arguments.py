"""What can be told of an argument when the DAG is parsed, before any template is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["given", "is_template"]


def is_template(value: Any) -> bool:
    """Whether it, or something within it, is known only when the task runs: a Jinja template, another task's result."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(is_template, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(is_template, value))
    return hasattr(value, "iter_references")


def given(value: Any, name: str) -> Any:
    """``value``, which must not be empty.

    Raises:
        ValueError: it is None, or a text without a letter.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{name} must not be empty")
    return value
