"""Which workflows: ids, a name with a correlation id, or a search query; and never more than was meant."""

from __future__ import annotations

import ast
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Flow
from airflow_provider_conductor.client.errors import ConductorAnswerError, ConductorInputError
from airflow_provider_conductor.client.models import SearchResult, Workflow

__all__ = ["Selection", "TooManyFound", "given_ids", "select"]

PAGE = 1_000
"""Summaries of one search request; servers give up to 5,000."""

_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=\bIN)\s*\([^()]*\)", re.IGNORECASE)
"""Texts, and the lists behind ``IN``. Other parentheses may have conditions in them."""

_FIELD = re.compile(r"([A-Za-z_][\w.]*)\s*(?:=|!=|<|>|\b(?:IN|LIKE|IS|BETWEEN|STARTS_WITH)\b)", re.IGNORECASE)
"""What stands before an operator of the query languages of the SQL and the Elasticsearch indexes."""

KNOWN_TIMES = ("startTime", "updateTime", "endTime")
"""Times that every index knows."""

NEVER = 253_402_214_400_000
"""The last day of the year 9999, in ms: impossible for a time, which indexes do not compare with text."""


class TooManyFound(ConductorInputError):
    """More workflows were found than the bound allows; nothing was done to any."""


@dataclass(frozen=True, slots=True)
class Selection:
    """By name and correlation id, or by a query of the search index; ``limit`` bounds how many."""

    limit: int
    workflow_name: str | None = None
    correlation_id: str | None = None
    query: str | None = None

    def __str__(self) -> str:
        if self.query is not None:
            return f"query {self.query!r}"
        return f"workflow_name {self.workflow_name!r} and correlation_id {self.correlation_id!r}"


def given_ids(value: Any) -> list[str]:
    """The ids of a rendered ``workflow_id``: one id, a list of them, or such a list as text.

    Raises:
        ConductorInputError: an empty id, or something that is no id at all.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _list_in(value)
    values: Iterable[Any] = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    ids = []
    for item in values:
        if not isinstance(item, str) or item.strip() in ("", "None"):
            raise ConductorInputError(
                f"{item!r} is no workflow id: a text was expected, or a list of texts; does the XCom or variable "
                "it comes from have a value? Nothing was sent"
            )
        ids.append(item.strip())
    return list(dict.fromkeys(ids))


def _list_in(text: str) -> list[Any]:
    """What a template makes of a list that is not rendered natively."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(found, list):
            return found
    raise ConductorInputError(f"workflow_id looks like a list and cannot be read as one: {text[:200]!r}")


def select(selection: Selection) -> Flow[list[str]]:
    """The ids of what is selected, oldest first.

    Raises:
        TooManyFound: more than ``limit``.
        ConductorInputError: a query that the server would not take at its word, or an empty argument.
    """
    if selection.query is not None:
        return (yield from _search(selection, selection.query))
    name, label = selection.workflow_name or "", selection.correlation_id or ""
    if not name.strip() or not label.strip():
        raise ConductorInputError(f"an empty text selects nothing: {selection}")
    answer = yield endpoints.get_by_correlation_ids(name, [label])
    found: list[Workflow] = sorted(answer.get(label, ()), key=lambda workflow: workflow.create_time)
    return _within(selection, [workflow.workflow_id for workflow in found], len(found))


def _search(selection: Selection, query: str) -> Flow[list[str]]:
    yield from _check_fields(query)
    ids: dict[str, None] = {}
    start = 0
    while True:
        size = min(PAGE, selection.limit + 1)
        page: SearchResult = yield endpoints.search_workflows(query=query, start=start, size=size, sort="startTime:ASC")
        _within(selection, [], page.total_hits)
        ids.update(dict.fromkeys(workflow.workflow_id for workflow in page))
        start += len(page)
        if not len(page) or start >= page.total_hits or len(ids) > selection.limit:
            return _within(selection, list(ids), len(ids))


def _within(selection: Selection, ids: list[str], count: int) -> list[str]:
    if count > selection.limit:
        raise TooManyFound(
            f"{selection} selects {count:,} workflows, over max_workflows={selection.limit:,}: nothing was done. "
            "Narrow the selection, or raise max_workflows"
        )
    return ids


def _check_fields(query: str) -> Flow[None]:
    """Refuse a condition that the server ignores: its SQL indexes drop those on fields they do not know, and what is
    left selects more, up to everything (seen on 3.32). Asked for an impossible value, a known field finds nothing.
    """
    bare = _VALUES.sub(" ", query)
    fields = list(dict.fromkeys(_FIELD.findall(bare)))
    if not fields:
        raise ConductorInputError(
            f"query {query!r} has no condition, such as workflowType IN (orders) AND status IN (RUNNING): nothing was "
            "sent"
        )
    impossible = f"'none-{uuid.uuid4()}'"
    for name in fields:
        if name in KNOWN_TIMES:
            continue
        value = NEVER if name.lower().endswith("time") else impossible
        try:
            answer: SearchResult = yield endpoints.search_workflows(query=f"{name}={value}", size=1)
        except ConductorAnswerError:  # it tried to make sense of the value, so it knows the field
            continue
        if answer.total_hits:
            raise ConductorInputError(
                f"the server's search index knows no field {name!r} and would ignore that condition of query "
                f"{query!r}: nothing was done. Every index knows workflowType, workflowId, correlationId, status, "
                "startTime, updateTime and endTime"
            )
