"""The conditions of a selection, as arguments or as a query: how indexes read them, which workflows match. No I/O.

The SQL indexes of Conductor split a query at exactly ``" AND "`` and drop what their own pattern does not read, so a
spelling that looks harmless selects more than was meant, up to everything (seen on 3.32). Therefore only the canonical
form of what is certain is sent.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.statuses import WorkflowStatus

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow

TEXTS = ("workflowType", "workflowId", "correlationId", "status")
"""Fields of every index that hold a text."""

TIMES = ("startTime", "updateTime", "endTime")
"""Fields that hold a time, in ms. SQL indexes up to 3.32.0 lack ``endTime``, and drop a condition on it."""

ARGUMENTS: Mapping[str, tuple[str, str]] = {
    "workflow_name": ("workflowType", "IN"),
    "correlation_id": ("correlationId", "IN"),
    "status": ("status", "IN"),
    "started_after": ("startTime", ">"),
    "started_before": ("startTime", "<"),
    "ended_after": ("endTime", ">"),
    "ended_before": ("endTime", "<"),
}
"""By the operators' argument, the field and the operator of its condition."""

ROUNDING = 1_000
"""Indexes round times to seconds: what is found up to this much beyond a bound, in ms, is left out."""

_UNREADABLE = re.compile(r"[*'\"(),\x00-\x1f\x7f]| AND |^ | $|^$")
"""What no value may contain: an index would read something else from it."""

EXAMPLE = "workflowType IN (orders) AND status IN (FAILED,TIMED_OUT) AND startTime < 1767222000000"

_CONDITION = re.compile(r"(?P<field>\w+) *(?P<operator>=|<|>|\bIN\b) *(?P<value>.*)")
_LIST = re.compile(r"\(([^()]*)\)")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_MILLISECONDS = re.compile(r"[0-9]{12,13}")
"""From 1973 to 2286; a time in seconds has 10 digits."""

_WORDS = {
    "and": "write AND in capitals",
    "or": "servers do not read OR; use IN for several values of one field, or one task for each selection",
    "not": "servers do not read NOT; name with IN what to include",
    "like": "servers do not read LIKE; use = or IN with whole values",
    "between": "not all servers read BETWEEN; use > and <",
    "is": "not all servers read IS",
    "starts_with": "not all servers read STARTS_WITH; use = or IN with whole values",
    "in": "write IN in capitals, with a list in parentheses: status IN (FAILED,TIMED_OUT)",
}
"""What users write in queries, in upper or lower case, and what to do instead."""


class Fit(Enum):
    """Whether a workflow matches a condition."""

    YES = "yes"
    NEARLY = "nearly"
    """No, but an index that reads the condition may find it: it rounds times, and takes the time of the last change for
    1970 if there was none, while here the workflow is then as old as its start."""

    NO = "no"
    UNKNOWN = "unknown"
    """The field is missing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: ``IN`` with texts, or ``<`` or ``>`` with one time as digits."""

    field: str
    operator: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        """As every index reads it: without quotes, and without a blank behind a comma, which SQL would search for."""
        value = f"({','.join(self.values)})" if self.operator == "IN" else self.values[0]
        return f"{self.field} {self.operator} {value}"

    def value_in(self, workflow: Workflow) -> str | int | None:
        """The field's value in a search summary or a workflow; None if it has none."""
        if self.field in TIMES:
            return time_in(workflow.data, self.field)
        value = workflow.name if self.field == "workflowType" else workflow.data.get(self.field)
        return value if isinstance(value, str) and value else None

    def fit(self, workflow: Workflow) -> Fit:
        """Whether a search summary or a workflow matches; texts are compared exactly."""
        found = self.value_in(workflow)
        if isinstance(found, str):
            return Fit.YES if found in self.values else Fit.NO
        never_changed = found == 0 and self.field == "updateTime"
        if never_changed:
            found = time_in(workflow.data, "startTime")
        if not found:
            return Fit.UNKNOWN
        beyond = found - int(self.values[0]) if self.operator == "<" else int(self.values[0]) - found
        if beyond < 0:
            return Fit.YES
        return Fit.NEARLY if beyond <= ROUNDING or never_changed else Fit.NO


def time_in(data: Mapping[str, Any], field: str) -> int | None:
    """A time in ms: a number in a workflow, ISO text in a summary. 0, which summaries write as 1970, means never."""
    value = data.get(field)
    if value is None:  # the names in the answer of a bulk read
        value = data.get({"startTime": "createTime", "updateTime": "updatedTime"}.get(field, field))
    if isinstance(value, str) and not value.isdigit():
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return None
        return _milliseconds(read) if read.tzinfo else None
    return int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _milliseconds(read: datetime) -> int:
    """Milliseconds since the epoch; a time without a time zone is UTC, as Airflow's ``ds`` is."""
    aware = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def canonical(conditions: Sequence[Condition]) -> str:
    """The query as it is sent; a value that no index can search for is an error."""
    for condition in conditions:
        for value in filter(_UNREADABLE.search, condition.values):
            what = f"the value {value!r}" if value else "an empty value"
            raise ConductorInputError(
                f"the search index cannot search for {what} of {condition.field}: * is a wildcard there, and "
                "quotes, parentheses, commas, line breaks, ' AND ' and blanks at either end are not part of a "
                "text. Nothing was sent. Select by workflow_id, or by workflow_name with correlation_id"
            )
    return " AND ".join(map(str, conditions))


def only_ended(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """With a condition on the end, only what has ended is meant: to the index of 3.32.2 all others ended in 1970."""
    ended = Condition("status", "IN", tuple(status for status in WorkflowStatus if status.ended))
    by_end = any(condition.field == "endTime" for condition in conditions)
    given = any(item.field == "status" and set(item.values) <= set(ended.values) for item in conditions)
    return (*conditions, ended) if by_end and not given else tuple(conditions)


def check_statuses(values: Iterable[str], where: str) -> None:
    for value in values:
        if value not in WorkflowStatus.__members__:
            near = value.upper().strip()
            hint = f" (write {near})" if near in WorkflowStatus.__members__ else ""
            raise ConductorInputError(
                f"{where}: {value!r} is not a workflow status{hint}; the statuses are {', '.join(WorkflowStatus)}"
            )


def conditions_of_arguments(given: Mapping[str, Any], now: float) -> tuple[Condition, ...]:
    """The conditions of the ``ARGUMENTS`` that the user has given; a timedelta counts back from ``now``, in seconds."""
    conditions: dict[str, Condition] = {}
    for name, value in given.items():
        field, operator = ARGUMENTS[name]
        if operator == "IN":
            values = texts(value, name)
            if field == "status":
                check_statuses(values, name)
        else:
            # The moment itself is included, so that consecutive intervals neither overlap nor leave a gap.
            values = (str(moment(value, name, now) - (1 if operator == ">" else 0)),)
        conditions[name] = Condition(field, operator, values)
    for name in ("started", "ended"):
        after, before = conditions.get(f"{name}_after"), conditions.get(f"{name}_before")
        if after and before and int(after.values[0]) + 1 >= int(before.values[0]):
            raise ConductorInputError(
                f"{name}_after ({given[f'{name}_after']}) is not before {name}_before ({given[f'{name}_before']}), so "
                "no workflow can match: nothing was sent"
            )
    return only_ended(tuple(conditions.values()))


def several(value: Any, name: str) -> tuple[Any, ...]:
    """One value, or a list of them, also one that a template has rendered as text, not natively."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
        return tuple(value) if many else (value,)
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return tuple(found)
    raise ConductorInputError(f"{name} looks like a list but cannot be read as one: {value[:200]!r}")


def texts(value: Any, name: str) -> tuple[str, ...]:
    """One text or several, none of them empty: an empty template or XCom must not widen the selection."""
    # Native rendering makes a number of a text of digits.
    found = [
        str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in several(value, name)
    ]
    if not found or any(not isinstance(item, str) or item.strip() in ("", "None") for item in found):
        raise ConductorInputError(
            f"{name} must not be empty, and takes a text or a list of texts, not {value!r}; check that the template, "
            "XCom or variable that it comes from has a value. Nothing was sent"
        )
    return tuple(item.strip() for item in found)


def moment(value: Any, name: str, now: float) -> int:
    """A time in ms since the epoch: a datetime, a date, an ISO text, or a timedelta back from ``now``."""
    if isinstance(value, timedelta):
        if value <= timedelta(0):
            raise ConductorInputError(f"{name} counts back from now, so its timedelta must be positive, not {value}")
        return round((now - value.total_seconds()) * 1000)
    try:
        read = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        read = None
    if not isinstance(read, date):
        raise ConductorInputError(
            f"{name} takes a datetime, an ISO text such as 2026-01-31T06:00:00+00:00 or a timedelta back from now, not "
            f"{value!r}: nothing was sent"
        )
    return _milliseconds(read if isinstance(read, datetime) else datetime(read.year, read.month, read.day))


class _RefusedError(Exception):
    """What was found in the query, and what to do instead."""


def conditions_of_query(query: str) -> tuple[Condition, ...]:
    """Read a query of the search index, strictly: conditions joined by ``AND``.

    ==========================================  ========================================
    condition                                   read as
    ==========================================  ========================================
    ``status IN (FAILED, TIMED_OUT)``           any of these texts
    ``status = FAILED``, ``status = 'FAILED'``  this text
    ``startTime < 1767222000000``               before this time, in ms
    ``startTime > 1767222000000``               after it
    anything else                               refused, with its name and what to do
    ==========================================  ========================================
    """
    if not isinstance(query, str) or not query.strip():
        raise ConductorInputError(f"query must not be empty, but {query!r} is; an example of a query: {EXAMPLE}")
    try:
        if re.search(r"[\x00-\x1f\x7f]", query):
            raise _RefusedError("a line break, a tab or another control character", "write it on one line, with blanks")
        conditions = only_ended([_read(piece.strip(" ")) for piece in re.split(r" +AND +", f" {query} ")])
    except _RefusedError as refused:
        found, instead = refused.args
        raise ConductorInputError(
            f"query {query!r} has {found}: {instead}. Nothing was sent. An example of a query: {EXAMPLE}"
        ) from None
    for condition in conditions:
        if condition.field == "status":
            check_statuses(condition.values, f"query {query!r}")
    canonical(conditions)
    return conditions


def _read(piece: str) -> Condition:
    read = _CONDITION.fullmatch(piece)
    if read is None:
        raise _no_condition(piece)
    field, operator, text = read["field"], read["operator"], read["value"].strip(" ")
    if text[:1] in ("=", "<", ">"):
        raise _RefusedError(f"the operator {operator}{text[0]}", "use =, IN, < or >")
    if field not in (*TEXTS, *TIMES):
        raise _RefusedError(f"the field {field!r}", f"servers ignore unknown fields; use {', '.join(TEXTS + TIMES)}")
    listed = _LIST.fullmatch(text) if operator == "IN" else None
    if operator == "IN" and listed is None:
        if re.search(r"[ ()]", text):
            raise _no_condition(text)
        raise _RefusedError("IN without a list", f"write the values in parentheses: {field} IN ({text or '…'})")
    values = tuple(_unquoted(item.strip(" ")) for item in (listed[1].split(",") if listed else [text]))
    if field in TEXTS:
        if operator in ("<", ">"):
            raise _RefusedError(f"{field} {operator}", f"{field} is a text: use = or IN")
        return Condition(field, "IN", values)
    if operator not in ("<", ">"):
        raise _RefusedError(f"{field} {operator}", f"{field} is a time: use < or >")
    if not _MILLISECONDS.fullmatch(values[0]):
        raise _RefusedError(
            f"the time {values[0]!r}",
            f"{field} takes milliseconds since 1970, such as 1767222000000; started_before and similar arguments "
            "take a datetime or an ISO text",
        )
    return Condition(field, operator, (str(int(values[0])),))


def _unquoted(text: str) -> str:
    if _QUOTED.fullmatch(text):
        if text[1:-1]:
            return text[1:-1]
        raise _RefusedError("an empty value", "give a value, or omit the condition")
    if text == "" or re.search(r" (?:and|or|not|AND|OR|NOT)\b|['\"()]", text):
        raise _no_condition(text)
    return text


def _no_condition(piece: str) -> _RefusedError:
    if not piece or piece == "AND" or piece.startswith("AND ") or piece.endswith(" AND"):
        found = "nothing next to an AND or an operator"
        return _RefusedError(found, "give a condition on each side of AND, each with a value")
    for word, instead in _WORDS.items():
        met = re.search(rf"(?:^|[ )]){word}(?=$|[ (])", piece, re.IGNORECASE)
        if met and met[0].strip(" )") != "IN":
            return _RefusedError(met[0].strip(" )"), instead)
    if operator := re.search(r"!=|<>|<=|>=|==|~|:", piece):
        instead = "use =, IN, < or >, and name what to include, not what to exclude"
        return _RefusedError(f"the operator {operator[0]}", instead)
    if re.search(r"['\"]", piece):
        return _RefusedError("a quote within a value", "quotes are allowed only around a whole value")
    if re.search(r"[()]", piece):
        return _RefusedError(
            "parentheses that are not the list of an IN", "omit them: conditions are joined only by AND"
        )
    return _RefusedError(repr(piece), "that is not a condition")
