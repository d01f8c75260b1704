"""Read a search query as text, strictly: what is not certain is refused with what to write instead. No I/O."""

from __future__ import annotations

import re

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.control.conditions import (
    TEXTS,
    TIMES,
    Condition,
    canonical,
    check_status,
    only_ended,
)

__all__ = ["conditions_of_query"]

EXAMPLE = "workflowType IN (orders) AND status IN (FAILED,TIMED_OUT) AND startTime < 1767222000000"

SHORTEST_TIME, LONGEST_TIME = 12, 13
"""Digits of a time in ms, from 1973 to 2286; one in seconds has 10."""

_CONDITION = re.compile(r"(?P<field>\w+) *(?P<operator>=|<|>|\bIN\b) *(?P<value>.*)")
_LIST = re.compile(r"\(([^()]*)\)")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


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
        raise ConductorInputError(f"query must not be empty, but {query!r} is; an example of a query: {EXAMPLE}")
    if re.search(r"[\x00-\x1f\x7f]", query):
        raise _refused(query, "a line break, a tab or another control character", "write it on one line, with blanks")
    conditions = only_ended([_read(query, piece.strip(" ")) for piece in re.split(r" +AND +", f" {query} ")])
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
            f"servers ignore unknown fields; use {', '.join(TEXTS + TIMES)}",
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
            check_status(value, f"query {query!r}")
    return Condition(field, "IN", values)


def _time_condition(query: str, field: str, operator: str, values: tuple[str, ...]) -> Condition:
    if operator not in ("<", ">"):
        raise _refused(query, f"{field} {operator}", f"{field} is a time: use < or >")
    (value,) = values
    if not (value.isascii() and value.isdigit() and SHORTEST_TIME <= len(value) <= LONGEST_TIME):
        raise _refused(
            query,
            f"the time {value!r}",
            f"{field} takes milliseconds since 1970, such as 1767222000000; started_before and similar arguments "
            "take a datetime or an ISO text",
        )
    return Condition(field, operator, (str(int(value)),))


def _unquoted(query: str, text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None and text[1:-1]:
        return text[1:-1]
    if quoted is not None:
        raise _refused(query, "an empty value", "give a value, or omit the condition")
    if text == "" or re.search(r" (?:and|or|not|AND|OR|NOT)\b|['\"()]", text):
        raise _refused(query, *_what_is_wrong(text))
    return text


def _what_is_wrong(piece: str) -> tuple[str, str]:
    """What was found and what to do, for a piece that is not a condition."""
    if not piece or piece == "AND" or piece.startswith("AND ") or piece.endswith(" AND"):
        return "nothing next to an AND or an operator", "give a condition on each side of AND, each with a value"
    for word, instead in _WORDS.items():
        met = re.search(rf"(?:^|[ )]){word}(?=$|[ (])", piece, re.IGNORECASE)
        if met and met[0].strip(" )") != "IN":
            return met[0].strip(" )"), instead
    operator = re.search(r"!=|<>|<=|>=|==|~|:", piece)
    if operator:
        return f"the operator {operator[0]}", "use =, IN, < or >, and name what to include, not what to exclude"
    if re.search(r"['\"]", piece):
        return "a quote within a value", "quotes are allowed only around a whole value"
    if re.search(r"[()]", piece):
        return "parentheses that are not the list of an IN", "omit them: conditions are joined only by AND"
    return repr(piece), "that is not a condition"


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


def _refused(query: str, found: str, instead: str) -> ConductorInputError:
    return ConductorInputError(
        f"query {query!r} has {found}: {instead}. Nothing was sent. An example of a query: {EXAMPLE}"
    )
