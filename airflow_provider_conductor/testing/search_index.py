"""The stand-in's search: what ``GET /workflow/search`` of Conductor 3.32.2 finds with an SQL index."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

INDEXED = (
    *("workflowType", "workflowId", "correlationId", "status"),
    *("startTime", "updateTime", "endTime", "parentWorkflowId"),
)
"""The fields of a workflow that the SQL indexes of 3.32.2 have; earlier ones have no end times."""

_CONDITION = re.compile(r"([a-zA-Z]+)\s?(=|>|<|IN)\s?(.*)")


def search(
    workflows: Sequence[Mapping[str, Any]], query: str, indexed: Collection[str], sort: str = ""
) -> list[dict[str, Any]]:
    """Find workflows as an SQL index does, the first started first, or as ``sort`` has it (``updateTime:ASC``).

    It splits the query at exactly " AND ", does not trim, and ignores fields that it does not know.

    Raises:
        ValueError: a condition is not one.
    """
    found = [_summary(workflow) for workflow in workflows]
    for condition in query.split(" AND ") if query else ():
        parsed = _CONDITION.search(condition)
        if parsed is None:
            raise ValueError(f"Incorrectly formatted query string: {condition}")
        name, operator, text = parsed.groups()
        values = re.sub("[\"'()]", "", text).split(",")
        if name not in indexed:
            continue
        if name.endswith("Time"):
            at = _iso(int(values[0]))
            never = _iso(0)  # to the index, what has not ended ended in 1970
            found = [item for item in found if _is_beyond(item.get(name, never), operator, at)]
        elif len(values) == 1:
            pattern = re.escape(values[0]).replace(r"\*", ".*")
            found = [item for item in found if re.fullmatch(pattern, item.get(name) or "")]
        else:
            found = [item for item in found if item.get(name) in values]
    field, _, order = sort.partition(":")
    by = field if field in indexed and order.upper() in ("ASC", "DESC") else "startTime"
    return sorted(found, key=lambda item: str(item.get(by) or ""), reverse=order.upper() == "DESC")


def _is_beyond(time: str, operator: str, at: str) -> bool:
    return time < at if operator == "<" else time > at


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


def _summary(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """As 3.32 has it in a search's answer: times as text, no end while it runs."""
    texts = {key: workflow[key] for key in ("workflowId", "correlationId", "status")}
    times = {key: _iso(workflow[key]) for key in ("startTime", "updateTime")}
    end = {"endTime": _iso(workflow["endTime"])} if workflow["endTime"] else {}
    if workflow.get("reasonForIncompletion"):
        texts["reasonForIncompletion"] = workflow["reasonForIncompletion"]
    definition = {"workflowType": workflow["workflowName"], "version": workflow["workflowVersion"]}
    return {**definition, **texts, **times, **end, "parentWorkflowId": workflow.get("parentWorkflowId") or ""}
