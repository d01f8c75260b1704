"""The workflows of a batch, the failed ones first: from the search index, or looked up by their correlation ids."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints.reading import has_name
from airflow_provider_conductor.client.errors import ConductorMissingRouteError, ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.control.conditions import time_in
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.lookup import IDS_AT_ONCE
from airflow_provider_conductor.submission.ownership import is_child

FAILED, RUNNING, COMPLETED = "failed", "running", "completed"

STATUSES = {
    FAILED: (("FAILED", "TIMED_OUT", "TERMINATED"), "DESC"),
    RUNNING: (("RUNNING", "PAUSED"), "ASC"),
    COMPLETED: (("COMPLETED",), "DESC"),
}
"""The statuses of each group, in the order of the list; and which of a group come first, by the time of their start."""

SERIES = 20
"""Series of tries that are searched for, from the newest on: one without workflows costs a request."""

IDS = 5 * IDS_AT_ONCE
"""Correlation ids that are looked up where the search index has nothing."""

_LITERAL = re.compile(r"[\w.:+~@=-]+", re.ASCII)
"""What every search index reads literally."""


@dataclass(frozen=True, slots=True)
class Started:
    """A workflow that was started for an item; ``workflow`` may be the index's summary, with its times as numbers."""

    item: str
    key: StartKey
    workflow: Workflow

    @property
    def group(self) -> str:
        status = str(self.workflow.data.get("status") or "")
        return next((group for group, (statuses, _) in STATUSES.items() if status in statuses), RUNNING)


@dataclass(frozen=True, slots=True)
class BatchWorkflows:
    """Those of the newest series of tries that has any, of each item the newest.

    Attributes:
        shown: as many as were asked for: the failed ones first, then the running ones, the oldest of them first.
        counts: how many there are, by group; at least so many where ``complete`` is False.
        complete: whether the list, or the counts, are known to be of all items that were started.
    """

    shown: Sequence[Started] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    complete: bool = True


def read_batch(identity: TaskIdentity, name: str, ids: Mapping[str, str], limit: int) -> Flow[BatchWorkflows]:
    """Find the workflows of a batch.

    Args:
        identity: of the task instance in its present try.
        name: of the workflows; "" if that is not known.
        ids: correlation id → item, of the first items, for a server whose index has nothing; may be empty.
        limit: how many to return.

    Raises:
        ConductorRequestError: Conductor is unreachable, or refuses.
    """
    found = BatchWorkflows()
    if _LITERAL.fullmatch(identity.items_begin_with):
        try:
            found = yield from _search_all(identity, name, limit)
        except ConductorRequestError as error:
            if not (error.conclusive or error.refused_by_gateway):
                raise
    if not found.shown and ids and name:
        with contextlib.suppress(ConductorMissingRouteError):
            found = yield from _look_up(identity, name, ids, limit)
    return found


def _search_all(identity: TaskIdentity, name: str, limit: int) -> Flow[BatchWorkflows]:
    """What the index has. Each group is a search of its own, so thousands of workflows cost three requests, or six."""
    begins = identity.items_begin_with
    for first_try in range(identity.try_number, max(0, identity.try_number - SERIES), -1):
        first, counts = yield from _search_series(identity, name, f"{begins}*:{first_try}", limit)
        again: list[Started] = []
        more = dict.fromkeys(STATUSES, 0)
        if identity.later_keys(first_try):
            again, more = yield from _search_series(identity, name, f"{begins}*:{first_try}.*", limit)
        if not first and not again:
            continue
        shown = _newest([*first, *again])
        replaced = len(first) + len(again) - len(shown)
        total = {group: counts[group] + more[group] for group in STATUSES}
        # What was started again had failed, or been terminated.
        total[FAILED] = max(total[FAILED] - replaced, 0)
        return BatchWorkflows(_sorted(shown)[:limit], total)
    return BatchWorkflows()


def _search_series(
    identity: TaskIdentity, name: str, pattern: str, limit: int
) -> Flow[tuple[list[Started], dict[str, int]]]:
    """Up to ``limit`` starts whose correlation ids match, by group; and how many there are in each."""
    found: list[Started] = []
    counts = dict.fromkeys(STATUSES, 0)
    for group, (statuses, order) in STATUSES.items():
        query = f"correlationId={pattern} AND status IN ({','.join(statuses)})"
        if name and _LITERAL.fullmatch(name):
            query += f" AND workflowType IN ({name})"
        # However many have failed, there is room for some that run: a user may be wanted there, too.
        size = max(1, limit * 3 // 4 if group == FAILED else limit - len(found))
        answer = yield from ask(endpoints.search_workflows(query=query, size=size, sort=f"startTime:{order}"))
        some = [
            started
            for summary in answer
            if (not name or has_name(summary, name)) and (started := _started(identity, summary)) is not None
        ]
        found += some
        # Others than those of the batch are only read where the index does not read the query as it is meant.
        counts[group] = answer.total_hits if len(some) == len(answer.results) else len(some)
    return found, counts


def _started(identity: TaskIdentity, summary: Workflow) -> Started | None:
    named = identity.item_start(summary.correlation_id)
    if named is None or is_child(summary):
        return None
    times = {
        "createTime": time_in(summary.data, "startTime"),
        "endTime": time_in(summary.data, "endTime"),
        "updateTime": time_in(summary.data, "updateTime"),
    }
    known = {name: time for name, time in times.items() if time}
    return Started(*named, replace(summary, data={**summary.data, "endTime": 0, **known}))


def _look_up(identity: TaskIdentity, name: str, ids: Mapping[str, str], limit: int) -> Flow[BatchWorkflows]:
    """The workflows of the first items, by their correlation ids. Items are started in order."""
    keys = identity.all_keys()
    wanted = {text: (item, keys[number % len(keys)]) for number, (text, item) in enumerate(ids.items())}
    texts = list(wanted)[:IDS]
    found: list[Started] = []
    for begin in range(0, len(texts), IDS_AT_ONCE):
        some = texts[begin : begin + IDS_AT_ONCE]
        answer = yield from ask(endpoints.get_by_correlation_ids(name, some))
        read = [Started(*wanted[text], one) for text, all_of_it in answer.items() for one in all_of_it]
        found += [started for started in read if not is_child(started.workflow)]
        if not read:
            break
    if not found:
        return BatchWorkflows()
    series = max(started.key.first_try for started in found)
    shown = _newest([started for started in found if started.key.first_try == series])
    counts = {group: sum(started.group == group for started in shown) for group in STATUSES}
    return BatchWorkflows(_sorted(shown)[:limit], counts, complete=len(wanted) < IDS)


def _newest(found: Sequence[Started]) -> list[Started]:
    """Of each item, the last that was started."""
    newest: dict[str, Started] = {}
    for started in found:
        known = newest.get(started.item)
        if known is None or known.key.generation < started.key.generation:
            newest[started.item] = started
    return list(newest.values())


def _sorted(found: Sequence[Started]) -> list[Started]:
    groups = list(STATUSES)

    def place(started: Started) -> tuple[int, int]:
        _, order = STATUSES[started.group]
        time = started.workflow.create_time or 0
        return groups.index(started.group), time if order == "ASC" else -time

    return sorted(found, key=place)
