"""Looking up what earlier tries left of many starts: many correlation ids in one request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Flow, ask, current_time
from airflow_provider_conductor.submission.earlier_workflows import Found
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.start_once import StartPlan, found_of

__all__ = ["IDS_AT_ONCE", "look_up_many"]

IDS_AT_ONCE = 200
"""Correlation ids in one request: the server asks its database for one after the other, and answers whole workflows."""


def look_up_many(plans: Sequence[StartPlan]) -> Flow[list[tuple[Found, ...]]]:
    """What the server has of each plan's start, of every series and generation there can have been.

    The plans are those of one task, and start the same definition under identities, not labels.

    Raises:
        ConductorMissingRouteError: this server has no look-up.
        ConductorRequestError: Conductor was unreachable.
    """
    found: list[list[Found]] = [[] for _ in plans]
    yield from _look_up(plans, ((i, key) for i, plan in enumerate(plans) for key in plan.identity.first_keys()), found)
    later = [
        (i, key)
        for i, plan in enumerate(plans)
        for first_try in sorted({item.key.first_try for item in found[i]} - {plan.identity.series})
        for key in plan.identity.later_keys(first_try)
    ]
    yield from _look_up(plans, later, found)
    return [tuple(items) for items in found]


def _look_up(
    plans: Sequence[StartPlan], wanted: Iterable[tuple[int, StartKey]], found: list[list[Found]]
) -> Flow[None]:
    ids = {plans[i].identity.correlation_id(key): (i, key) for i, key in wanted}
    texts = list(ids)
    for begin in range(0, len(texts), IDS_AT_ONCE):
        answer = yield from ask(endpoints.get_by_correlation_ids(plans[0].name, texts[begin : begin + IDS_AT_ONCE]))
        now = yield from current_time()
        for text, workflows in answer.items():
            if text not in ids:
                continue
            i, key = ids[text]
            found[i] += found_of(plans[i], key, workflows, now)
