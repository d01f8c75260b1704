"""Read the operators' arguments that are conditions. No I/O."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.control.conditions import Condition, check_status, milliseconds, only_ended

__all__ = ["ARGUMENTS", "conditions_of_arguments", "list_of_text", "moment", "texts"]

ARGUMENTS: Mapping[str, tuple[str, str]] = {
    "workflow_name": ("workflowType", "IN"),
    "correlation_id": ("correlationId", "IN"),
    "status": ("status", "IN"),
    "started_after": ("startTime", ">"),
    "started_before": ("startTime", "<"),
    "ended_after": ("endTime", ">"),
    "ended_before": ("endTime", "<"),
}
"""By argument, the field and the operator of its condition."""


def conditions_of_arguments(given: Mapping[str, Any], now: float) -> tuple[Condition, ...]:
    """The conditions of the arguments in :data:`ARGUMENTS`.

    Args:
        given: the arguments that the user has given, by name.
        now: seconds since the epoch, from which a timedelta counts back.

    Raises:
        ConductorInputError: an empty argument, an unknown status, not a time, or bounds with nothing between them.
    """
    conditions = []
    for name, value in given.items():
        field, operator = ARGUMENTS[name]
        if operator == "IN":
            values = texts(value, name)
            if field == "status":
                for item in values:
                    check_status(item, name)
        else:
            at = moment(value, name, now)
            # The moment itself is included, so that consecutive intervals neither overlap nor leave a gap.
            values = (str(at - 1 if operator == ">" else at),)
        conditions.append(Condition(field, operator, values))
    for name in ("started", "ended"):
        bounds = {bound: given.get(f"{name}_{bound}") for bound in ("after", "before")}
        if None in bounds.values():
            continue
        after, before = (moment(value, f"{name}_{bound}", now) for bound, value in bounds.items())
        if after >= before:
            raise ConductorInputError(
                f"{name}_after ({bounds['after']}) is not before {name}_before ({bounds['before']}), so no workflow "
                f"can match: nothing was sent"
            )
    return only_ended(conditions)


def texts(value: Any, name: str) -> tuple[str, ...]:
    """One text or several, none of them empty.

    Raises:
        ConductorInputError: something else, or nothing: an empty template or XCom must not widen the selection.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = list_of_text(value, name)
    several = value if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) else (value,)
    # Native rendering makes a number of a text of digits.
    found = tuple(str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in several)
    if not found or any(not isinstance(item, str) or item.strip() in ("", "None") for item in found):
        raise ConductorInputError(
            f"{name} must not be empty, and takes a text or a list of texts, not {value!r}; check that the template, "
            f"XCom or variable that it comes from has a value. Nothing was sent"
        )
    return tuple(str(item).strip() for item in found)


def list_of_text(text: str, name: str) -> list[Any]:
    """A list that a template has rendered as text, not natively.

    Raises:
        ConductorInputError: it is not a list.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    raise ConductorInputError(f"{name} looks like a list but cannot be read as one: {text[:200]!r}")


def moment(value: Any, name: str, now: float) -> int:
    """A time in ms since the epoch: a datetime, a date, an ISO text, or a timedelta back from ``now``.

    Raises:
        ConductorInputError: something else.
    """
    if isinstance(value, timedelta):
        if value <= timedelta(0):
            raise ConductorInputError(f"{name} counts back from now, so its timedelta must be positive, not {value}")
        return round((now - value.total_seconds()) * 1000)
    read: date | None = value if isinstance(value, date) else None
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value.strip())
        except ValueError:
            read = None
    if read is None:
        raise ConductorInputError(
            f"{name} takes a datetime, an ISO text such as 2026-01-31T06:00:00+00:00 or a timedelta back from now, not "
            f"{value!r}: nothing was sent"
        )
    if not isinstance(read, datetime):
        read = datetime(read.year, read.month, read.day)
    return milliseconds(read)
