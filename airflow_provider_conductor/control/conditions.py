"""The conditions of a selection: how they are read, how every search index reads them, and what fits them. No I/O.

The SQL indexes of Conductor split a query at exactly ``" AND "`` and drop what their own pattern does not read, so a
spelling that looks harmless selects more than was meant, up to everything (seen on 3.32). So a query is parsed here,
what is not certain is refused, and only the canonical form of the rest is sent.
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

__all__ = [
    "ARGUMENTS",
    "Condition",
    "Fit",
    "canonical",
    "conditions_of_arguments",
    "conditions_of_query",
    "listed_in",
    "moment",
    "texts",
    "time_in",
]

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
"""The operators' arguments that are conditions, and what each becomes."""

ROUNDING = 1_000
"""Indexes round times to seconds: what is found beyond a bound by no more than this, in ms, is left out."""

SHORTEST_TIME, LONGEST_TIME = 12, 13
"""Digits of a time in ms, from 1973 to 2286; one in seconds has 10."""

_CONDITION = re.compile(r"(?P<field>\w+) *(?P<operator>=|<|>|\bIN\b) *(?P<value>.*)")
_LIST = re.compile(r"\(([^()]*)\)")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_UNREADABLE = re.compile(r"[*'\"(),\x00-\x1f\x7f]| AND |^ | $")
"""What an index gives a meaning of its own within a value, or removes from it."""

EXAMPLE = "workflowType IN (orders) AND status IN (FAILED,TIMED_OUT) AND startTime < 1767222000000"


class Fit(Enum):
    """Whether a workflow fits a condition."""

    YES = "yes"
    NEARLY = "nearly"
    """No, and an index that reads the condition may find it all the same: it rounds times, and takes the time of the
    last change for 1970 where there was none, while here it is as old as its start."""

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
        """As every index reads it: without quotes, and without a blank behind a comma, which SQL would look for."""
        if self.operator == "IN":
            return f"{self.field} IN ({','.join(self.values)})"
        return f"{self.field} {self.operator} {self.values[0]}"

    def found_in(self, workflow: Workflow) -> str | int | None:
        """The field's value in a search summary or a workflow; None where it has none."""
        if self.field in TIMES:
            return time_in(workflow.data, self.field)
        value = workflow.name if self.field == "workflowType" else workflow.data.get(self.field)
        return value if isinstance(value, str) and value else None

    def fit(self, workflow: Workflow) -> Fit:
        """Whether a search summary, or a workflow, is what this asks for; texts are compared letter by letter."""
        found = self.found_in(workflow)
        if found is None:
            return Fit.UNKNOWN
        if not isinstance(found, int):
            return Fit.YES if found in self.values else Fit.NO
        never_changed = found == 0 and self.field == "updateTime"
        if never_changed:
            found = time_in(workflow.data, "startTime") or 0
        if found == 0:
            return Fit.UNKNOWN
        beyond = found - int(self.values[0]) if self.operator == "<" else int(self.values[0]) - found
        if beyond < 0:
            return Fit.YES
        return Fit.NEARLY if beyond <= ROUNDING or never_changed else Fit.NO


def time_in(data: Mapping[str, Any], field: str) -> int | None:
    """A time in ms: a number in a workflow, ISO text in a summary. 0, which summaries write as 1970: not yet."""
    value = data.get(field)
    if value is None:
        # The names in a bulk answer.
        value = data.get({"startTime": "createTime", "updateTime": "updatedTime"}.get(field, field))
    if isinstance(value, str) and not value.isdigit():
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return None
        return _ms(read) if read.tzinfo else None
    return int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def canonical(conditions: Sequence[Condition]) -> str:
    """The query as it is sent.

    Raises:
        ConductorInputError: a value that no index can search for.
    """
    for condition in conditions:
        for value in condition.values:
            if value == "" or _UNREADABLE.search(value):
                what = "an empty value" if value == "" else f"the value {value!r}"
                raise ConductorInputError(
                    f"the search index cannot look for {what} of {condition.field}: * is a wildcard there, and "
                    "quotes, parentheses, commas, line breaks, ' AND ' and blanks at either end do not count as text. "
                    "Nothing was sent. Select by workflow_id, or by workflow_name with correlation_id"
                )
    return " AND ".join(map(str, conditions))


# A query as text


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

    Raises:
        ConductorInputError: what was found, and what to write in its place.
    """
    if not isinstance(query, str) or not query.strip():
        raise ConductorInputError(f"query must not be empty, such as {EXAMPLE}; given: {query!r}")
    if re.search(r"[\x00-\x1f\x7f]", query):
        raise _refused(query, "a line break, a tab or another control character", "write it on one line, with blanks")
    conditions = _have_ended([_read(query, piece.strip(" ")) for piece in re.split(r" +AND +", f" {query} ")])
    canonical(conditions)
    return conditions


def _read(query: str, piece: str) -> Condition:
    read = _CONDITION.fullmatch(piece)
    if read is None:
        raise _refused(query, *_what_is_wrong(piece))
    field, operator, text = read["field"], read["operator"], read["value"].strip(" ")
    if text[:1] in ("=", "<", ">"):
        raise _refused(query, f"the operator {operator}{text[0]}", "use =, IN, < or >")
    if field not in (*TEXTS, *TIMES):
        raise _refused(
            query,
            f"the field {field!r}",
            f"servers ignore a field that they do not know; use {', '.join(TEXTS + TIMES)}",
        )
    if operator == "IN":
        listed = _LIST.fullmatch(text)
        if listed is None and not re.search(r"[ ()]", text):
            raise _refused(query, "IN without a list", f"write the values in parentheses: {field} IN ({text or '…'})")
        if listed is None:
            raise _refused(query, *_what_is_wrong(text))
        values = tuple(_unquoted(query, item.strip(" ")) for item in listed[1].split(","))
    else:
        values = (_unquoted(query, text),)
    if field in TIMES:
        return _time_condition(query, field, operator, values)
    if operator in ("<", ">"):
        raise _refused(query, f"{field} {operator}", f"{field} is a text: use = or IN")
    if field == "status":
        for value in values:
            _check_status(value, f"query {query!r}")
    return Condition(field, "IN", values)


def _time_condition(query: str, field: str, operator: str, values: tuple[str, ...]) -> Condition:
    if operator not in ("<", ">"):
        raise _refused(query, f"{field} {operator}", f"{field} is a time: use < or >")
    (value,) = values
    if not (value.isascii() and value.isdigit() and SHORTEST_TIME <= len(value) <= LONGEST_TIME):
        raise _refused(
            query,
            f"the time {value!r}",
            f"{field} takes milliseconds since 1970, such as 1767222000000; started_before and the like take a "
            f"datetime "
            "or an ISO text",
        )
    return Condition(field, operator, (str(int(value)),))


def _unquoted(query: str, text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None and text[1:-1]:
        return text[1:-1]
    if quoted is not None:
        raise _refused(query, "an empty value", "give a value, or leave the condition out")
    if text == "" or re.search(r" (?:and|or|not|AND|OR|NOT)\b|['\"()]", text):
        raise _refused(query, *_what_is_wrong(text))
    return text


def _what_is_wrong(piece: str) -> tuple[str, str]:
    """(what was found, what to do) for a piece that is no condition of ours."""
    if not piece or piece == "AND" or piece.startswith("AND ") or piece.endswith(" AND"):
        return "nothing beside an AND or an operator", "give a condition on each side of AND, and a value to each"
    for word, instead in _WORDS.items():
        met = re.search(rf"(?:^|[ )]){word}(?=$|[ (])", piece, re.IGNORECASE)
        if met and met[0].strip(" )") != "IN":
            return met[0].strip(" )"), instead
    operator = re.search(r"!=|<>|<=|>=|==|~|:", piece)
    if operator:
        return f"the operator {operator[0]}", "use =, IN, < or >, and name what is wanted, not what is unwanted"
    if re.search(r"['\"]", piece):
        return "a quote within a value", "quotes may only stand around a whole value"
    if re.search(r"[()]", piece):
        return "parentheses that are not the list of an IN", "leave them out: conditions are joined by AND only"
    return repr(piece), "that is no condition"


_WORDS = {
    "and": "write AND in capitals",
    "or": "servers do not read OR; use IN for several values of one field, or one task for each selection",
    "not": "servers do not read NOT; name with IN what is wanted",
    "like": "servers do not read LIKE; use = or IN with whole values",
    "between": "not all servers read BETWEEN; use > and <",
    "is": "not all servers read IS",
    "starts_with": "not all servers read STARTS_WITH; use = or IN with whole values",
    "in": "write IN in capitals, with a list in parentheses: status IN (FAILED,TIMED_OUT)",
}
"""What users write in queries, in any case, and the error for it."""


def _refused(query: str, found: str, instead: str) -> ConductorInputError:
    return ConductorInputError(
        f"query {query!r} has {found}: {instead}. Nothing was sent. A query is read as in {EXAMPLE}"
    )


def _check_status(value: str, where: str) -> None:
    if value not in WorkflowStatus.__members__:
        near = value.upper().strip()
        hint = f" (write {near})" if near in WorkflowStatus.__members__ else ""
        raise ConductorInputError(
            f"{where}: {value!r} is not a workflow status{hint}; there are {', '.join(WorkflowStatus)}"
        )


# Arguments


def conditions_of_arguments(given: Mapping[str, Any], now: float) -> tuple[Condition, ...]:
    """Read the arguments of :data:`ARGUMENTS`, all of which have to be fulfilled.

    Args:
        given: the arguments that the user has given, by name.
        now: seconds since the epoch, from which a timedelta counts back.

    Raises:
        ConductorInputError: an empty argument, no such status, no time, or bounds with nothing between them.
    """
    conditions = []
    for name, value in given.items():
        field, operator = ARGUMENTS[name]
        if operator == "IN":
            values = texts(value, name)
            if field == "status":
                for item in values:
                    _check_status(item, name)
        else:
            at = moment(value, name, now)
            # From a moment on, that moment included, so that intervals that follow each other miss and share nothing.
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
    return _have_ended(conditions)


def _have_ended(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """With a condition on the end, only what has ended is meant: to the index of 3.32.2 all others ended in 1970."""
    by_end = any(condition.field == "endTime" for condition in conditions)
    ended = Condition("status", "IN", tuple(status for status in WorkflowStatus if status.ended))
    given = any(item.field == "status" and set(item.values) <= set(ended.values) for item in conditions)
    return (*conditions, ended) if by_end and not given else tuple(conditions)


def texts(value: Any, name: str) -> tuple[str, ...]:
    """One text or several, none of them empty.

    Raises:
        ConductorInputError: something else, or nothing: a template or an XCom that came to nothing must not widen the
            selection.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = listed_in(value, name)
    several = value if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) else (value,)
    # Native rendering makes a number of a text of digits.
    found = tuple(str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in several)
    if not found or any(not isinstance(item, str) or item.strip() in ("", "None") for item in found):
        raise ConductorInputError(
            f"{name} must not be empty, and takes a text or a list of texts, not {value!r}; check that the template, "
            f"XCom or variable that it comes from has a value. Nothing was sent"
        )
    return tuple(str(item).strip() for item in found)


def listed_in(text: str, name: str) -> list[Any]:
    """What a template makes of a list that is not rendered natively.

    Raises:
        ConductorInputError: it cannot be read as a list.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    raise ConductorInputError(f"{name} looks like a list and cannot be read as one: {text[:200]!r}")


def moment(value: Any, name: str, now: float) -> int:
    """A time in ms since the epoch: a datetime, a date, an ISO text, or a timedelta back from ``now``.

    What has no time zone is UTC, as Airflow's ``ds`` is.

    Raises:
        ConductorInputError: something else.
    """
    if isinstance(value, timedelta):
        if value <= timedelta(0):
            raise ConductorInputError(f"{name} counts back from now, so its timedelta must be above 0, not {value}")
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
    return _ms(read)


def _ms(read: datetime) -> int:
    aware = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
