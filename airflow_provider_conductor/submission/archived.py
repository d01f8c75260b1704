"""What the search index keeps of workflows that the server has archived: removed from the database, once ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorAnswerError, NotConductorError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import Workflow

__all__ = ["ARCHIVED_AT_ONCE", "search_archived"]

ARCHIVED_AT_ONCE = 20
"""Correlation ids in one search: a query stands in the address, which servers limit to 8 kB."""

_PLAIN = re.compile(r"[\w.:+~@=-]+", re.ASCII)
"""Ids that every index reads as they are. Those with commas, quotes or blanks are not searched for."""


def search_archived(name: str, ids: Sequence[str]) -> Flow[dict[str, Workflow]]:
    """The ended workflows of this name with these correlation ids, as summaries with ``createTime`` in ms.

    Of several with one id, it is the oldest: the others are its children, or second starts.

    Raises:
        ConductorRequestError: Conductor is unreachable. A server without an index is no error.
    """
    found: dict[str, Workflow] = {}
    plain = [text for text in ids if _PLAIN.fullmatch(text)]
    for begin in range(0, len(plain), ARCHIVED_AT_ONCE):
        some = plain[begin : begin + ARCHIVED_AT_ONCE]
        try:
            answer = yield from ask(
                endpoints.search_workflows(
                    query=f"correlationId IN ({','.join(some)})", size=10 * ARCHIVED_AT_ONCE, sort="startTime:ASC"
                )
            )
        except (ConductorAnswerError, NotConductorError) as error:
            if error.repeatable:
                raise
            return {}
        for summary in answer:
            text = summary.correlation_id
            if summary.name != name or text not in some or not summary.status.ended:
                continue
            began = _milliseconds(summary.data.get("startTime"))
            if text not in found or began < found[text].create_time:
                found[text] = replace(summary, data={**summary.data, "createTime": began})
    return found


def _milliseconds(time: object) -> int:
    """A summary has its times as text; 1, the beginning of all times, where they cannot be read."""
    try:
        return int(datetime.fromisoformat(str(time)).timestamp() * 1000)
    except ValueError:
        return 1
