"""Read a search query as text, strictly: what is not certain is refused with what to write instead. No I/O."""

from __future__ import annotations

import re

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.control.conditions import (
    TEXTS,
    TIMES,
    Condition,
    canonical,
    check_statuses,
    only_ended,
)

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
