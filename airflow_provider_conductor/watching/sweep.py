"""One read of the search index for many watchers: page by page, each new end to those who want it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorInputError, ConductorRequestError
from airflow_provider_conductor.client.flow import Answer, Call, Flow, ask, current_time, sleep
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import SearchResult, Workflow
from airflow_provider_conductor.control.conditions import ROUNDING, Condition, canonical
from airflow_provider_conductor.polling.server_clock import ServerClock
from airflow_provider_conductor.watching.ends import End, Wanted
from airflow_provider_conductor.watching.position import OpenEnd, Position

PAGE = 200
"""Summaries in one answer. They have inputs and outputs as text, so a thousand may be many megabytes."""

NAMES_LENGTH = 1_500
"""Characters of names that fit into a query; with more, all names are read, and the watchers choose."""

FULL = 1_000
"""Ends that wait for one watcher; then the next page has to wait."""

FULL_PAUSE = 0.5
"""Seconds before the watchers are looked at again."""

NO_INDEX = (
    "The search index has no workflow at all: it is off (conductor.indexing.enabled=false), or no workflow was ever "
    "started. Without an index, no end of a workflow is found"
)

READ_OUTPUTS_TO = 4
"""An output that is this many times too large by the index's count, which is not JSON's, is not read."""


@dataclass(slots=True)
class Watcher:
    """One who wants ends.

    Args:
        wanted: which.
        lag: milliseconds by which an end may appear in the index later than others.
        catch_up: milliseconds of ends that are reported after an absence.
        max_output_bytes: outputs up to this size are reported with the end.
        report: called with each new end, and the workflow as it was read, or None.
        unconfirmed: the ends that it has not yet worked off.
        position: None: it begins now.
    """

    wanted: Wanted
    lag: int
    catch_up: int
    max_output_bytes: int
    report: Callable[[End, Workflow | None], None]
    unconfirmed: Callable[[], Collection[OpenEnd]]
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    page: SearchResult
    now: int
    """The server's time when it answered."""


def begin(watchers: Sequence[Watcher], log: Callable[[str], None]) -> Flow[None]:
    """Give those that have just come their positions, by the server's clock.

    What ended before a watcher was there is not its business; what ended in its absence is, up to a limit.
    """
    found = yield from _search(None, 0, 1)
    if not found.page.total_hits:
        log(NO_INDEX)
    for watcher in watchers:
        if watcher.position is None:
            watcher.position = Position(found.now, watcher.lag)
        else:
            watcher.position.known = max(watcher.position.known, found.now - watcher.catch_up)


def sweep(watchers: Sequence[Watcher]) -> Flow[None]:
    """Read what has ended since the watchers' positions, the first first, and advance them.

    The pages are found by the time of the last change: every index has it, and it is never before the end. Pages
    overlap, since the index may round times, and a workflow that is retried leaves its page.
    """
    # What is new, is new compared with these, though the positions advance with each page.
    before = [
        (watcher, position, replace(position)) for watcher in watchers if (position := watcher.position) is not None
    ]
    if not before:
        return
    since, start, newest = min(position.known for _, position, _ in before) - ROUNDING, 0, 0
    read: set[OpenEnd] = set()
    while True:
        while any(len(watcher.unconfirmed()) >= FULL for watcher, _, _ in before):
            yield from sleep(FULL_PAUSE)
        found = yield from _search(_query([watcher.wanted for watcher, _, _ in before], since), start, PAGE)
        page = [End.of(summary) for summary in found.page]
        new = [
            (end, watcher, position)
            for end in page
            if (end.workflow_id, end.time) not in read
            for watcher, position, then in before
            if watcher.wanted.may_be(end) and then.is_new(end.workflow_id, end.time)
        ]
        yield from _report(new)
        read.update((end.workflow_id, end.time) for end in page)
        newest = max([newest, *(end.time for end in page)])
        in_order = all(one.updated <= other.updated for one, other in pairwise(page))
        last = len(page) < PAGE
        if in_order or last:
            for watcher, position, _ in before:
                position.advance(newest, found.now, watcher.unconfirmed())
        if last:
            return
        reached = page[-1].updated - ROUNDING
        since, start = (reached, 0) if in_order and reached > since else (since, start + len(page))


def _report(new: Sequence[tuple[End, Watcher, Position]]) -> Flow[None]:
    to_read = [
        end.workflow_id
        for end, watcher, _ in new
        if watcher.wanted.needs_parent(end) or _may_have_output(end, watcher.max_output_bytes)
    ]
    workflows = yield from _read(list(dict.fromkeys(to_read)))
    for end, watcher, position in new:
        workflow = workflows.get(end.workflow_id)
        position.report(end.workflow_id, end.time)
        if watcher.wanted.sub_workflows or workflow is None or not workflow.parent_workflow_id:
            watcher.report(end, workflow)


def _may_have_output(end: End, limit: int) -> bool:
    size = end.summary.data.get("outputSize")
    return limit > 0 and not (isinstance(size, int) and size > limit * READ_OUTPUTS_TO)


def _read(workflow_ids: Sequence[str]) -> Flow[dict[str, Workflow]]:
    """The workflows that can be read; one that makes the server fail must not hide all ends after it."""
    try:
        return (yield from read_many(workflow_ids))
    except ConductorRequestError as error:
        if error.concerns_server:
            raise
    found: dict[str, Workflow] = {}
    for workflow_id in workflow_ids:
        try:
            found |= yield from read_many([workflow_id])
        except ConductorRequestError as error:
            if error.concerns_server:
                raise
    return found


def _query(wanted: Sequence[Wanted], since: int) -> str:
    """For all of them at once; what a query cannot express is left out, and filtered by :meth:`Wanted.may_be`."""
    statuses = sorted({status for one in wanted for status in one.statuses})
    conditions = [
        Condition("status", "IN", tuple(statuses)),
        Condition("updateTime", ">", (str(max(since, 0)),)),
    ]
    names = sorted({name for one in wanted for name in one.names})
    if all(one.names for one in wanted) and sum(map(len, names)) <= NAMES_LENGTH:
        with contextlib.suppress(ConductorInputError):  # a name that an index reads as something else
            return canonical([Condition("workflowType", "IN", tuple(names)), *conditions])
    return canonical(conditions)


def _search(query: str | None, start: int, size: int) -> Flow[_Found]:
    call = endpoints.search_workflows(query=query, start=start, size=size, sort="updateTime:ASC")

    def parse(answer: Answer) -> tuple[SearchResult, int]:
        return call.parse(answer), answer.server_time

    timed: Call[tuple[SearchResult, int]] = replace(call, parse=parse)  # type: ignore[arg-type, assignment]
    sent = yield from current_time()
    page, server_time = yield from ask(timed)
    received = yield from current_time()
    return _Found(page, ServerClock.observed(server_time, sent=sent, received=received).server(received))
