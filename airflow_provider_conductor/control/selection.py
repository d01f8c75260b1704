"""Which workflows an action applies to: by ids, conditions or a query; and never more than was meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
from airflow_provider_conductor.client.errors import ConductorInputError, ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.flows import LOOKUP_PAUSES, read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.control.conditions import (
    Condition,
    Fit,
    canonical,
    conditions_of_arguments,
    conditions_of_query,
    several,
    time_in,
)

PAGE = 1_000
"""Summaries in the answer of one search; servers give up to 5,000."""

NO_END_TIMES = (
    "The indexes of servers up to 3.32.0 have no end times: select by status and by started_before or startTime"
)

PASSES = 3
"""How often all pages are read if the index changes in between: what moves up meanwhile is on no page."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that a workflow must match, as the ``ARGUMENTS`` that were given or as text; and the most to find."""

    limit: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    query: str | None = None

    def __str__(self) -> str:
        if self.query is not None:
            return f"query {self.query!r}"
        return " and ".join(f"{name} {value!r}" for name, value in self.arguments.items())

    def check_count(self, count: int) -> None:
        if count > self.limit:
            raise ConductorInputError(
                f"{self} selects {count:,} workflows, more than max_workflows={self.limit:,}: no workflow was changed. "
                "Narrow the selection, or raise max_workflows"
            )


def given_ids(value: Any) -> list[str]:
    """The ids of a rendered ``workflow_id``: one id, a list of them, or such a list as text."""
    ids = several(value, "workflow_id")
    for item in ids:
        if not isinstance(item, str) or item.strip() in ("", "None"):
            raise ConductorInputError(
                f"{item!r} is not a workflow id: workflow_id takes a text or a list of texts; check that the template, "
                "XCom or variable that it comes from has a value. Nothing was sent"
            )
    return list(dict.fromkeys(map(one_workflow_id, ids)))


def select(selection: Selection, *, log: Callable[[str], None]) -> Flow[list[str]]:
    """The ids of the selected workflows, oldest first.

    One name with correlation ids is looked up in the server's database, and in its index. Everything else is searched
    for in the index, and what it finds is compared with the conditions: the index's summary, then the workflow itself.
    """
    now = yield from current_time()
    if selection.query is not None:
        conditions = conditions_of_query(selection.query)
    else:
        conditions = conditions_of_arguments(selection.arguments, now)
    if not conditions:
        raise ConductorInputError("a selection without a condition would match every workflow: nothing was sent")

    by_field = {condition.field: condition.values for condition in conditions}
    names, labels = by_field.get("workflowType", ()), by_field.get("correlationId")
    if selection.query is None and labels and len(names) == 1:
        ids = yield from _find_labelled(selection, conditions, names[0], labels)
        selection.check_count(len(ids))
        return ids
    try:
        ids = yield from _search(selection, conditions)
    except ConductorRequestError as error:
        if error.conclusive and "endTime" in by_field:  # on PostgreSQL, a field that the index lacks is an error
            log(f"no workflow was changed. {NO_END_TIMES}")
        raise
    if not ids:
        yield from _check_index(selection)
    workflows = yield from read_many(ids)
    # The index lags behind: a workflow may have changed since, or be gone.
    kept = [item for item in ids if item in workflows and _fits(conditions, workflows[item])]
    if len(kept) < len(ids):
        log(f"{len(ids) - len(kept):,} of the {len(ids):,} workflows that the index found no longer match")
    return kept


def _fits(conditions: Sequence[Condition], workflow: Workflow) -> bool:
    return all(condition.fit(workflow) is Fit.YES for condition in conditions)


def _find_labelled(
    selection: Selection, conditions: Sequence[Condition], name: str, labels: Sequence[str]
) -> Flow[list[str]]:
    """The ids of the workflows of one name under these correlation ids that match, oldest first.

    On PostgreSQL the look-up leaves out a workflow whose row is being written (``FOR SHARE SKIP LOCKED`` in
    PostgresExecutionDAO, seen on 3.32.2), so what it does not find may exist. What only the index finds is read by its
    id. If nothing matches, both are asked again: a lock is short, and an index lags.

    Raises:
        ConductorRequestError: the look-up or the index did not answer, so it is unknown what exists.
    """
    found: dict[str, Workflow] = {}
    for pause in LOOKUP_PAUSES:
        yield from sleep(pause)
        answer = yield from ask(endpoints.get_by_correlation_ids(name, labels))
        found |= {workflow.workflow_id: workflow for several in answer.values() for workflow in several}
        try:
            indexed = yield from _search(selection, conditions)
        except ConductorInputError:  # labels or times that this index cannot search for
            indexed = []
        except ConductorRequestError as error:
            if not (error.conclusive or error.refused_by_gateway):
                raise
            indexed = []  # this server has none, or not for these credentials
        found |= yield from read_many([workflow_id for workflow_id in indexed if workflow_id not in found])
        matching = [workflow for workflow in found.values() if _fits(conditions, workflow)]
        if matching:
            return [item.workflow_id for item in sorted(matching, key=lambda workflow: workflow.create_time)]
    if not found:
        yield from _check_index(selection)
    return []


def _check_index(selection: Selection) -> Flow[None]:
    """Fail if the index has no workflow at all: it is off, so that it finds nothing says nothing."""
    if not (yield from ask(endpoints.search_workflows(size=1))).total_hits:
        raise ConductorInputError(
            f"{selection} selects no workflow, but the server's search index has no workflow at all: it is off "
            "(conductor.indexing.enabled=false), or nothing was ever started. So it is unknown whether such a workflow "
            "exists, and none was changed. Select by workflow_id"
        )


def _search(selection: Selection, conditions: Sequence[Condition]) -> Flow[list[str]]:
    """What the index finds; all pages are read again if the index has changed in between."""
    query = canonical(conditions)
    size = min(PAGE, selection.limit + 1)
    began: dict[str, int] = {}
    for _ in range(PASSES):
        start, total, moved = 0, None, False
        seen: set[str] = set()
        while total is None or start < total:
            page = yield from ask(endpoints.search_workflows(query=query, start=start, size=size, sort="startTime:ASC"))
            for summary in page:
                seen.add(summary.workflow_id)
                if _matches_all(conditions, summary):
                    began[summary.workflow_id] = time_in(summary.data, "startTime") or 0
            selection.check_count(max(page.total_hits, len(began)))
            moved = moved or (total is not None and page.total_hits != total)
            start, total = start + len(page), page.total_hits
            if not len(page):
                moved = moved or start < total
                break
        if not moved and len(seen) >= start:
            break
    return sorted(began, key=lambda item: began[item])


def _matches_all(conditions: Sequence[Condition], summary: Workflow) -> bool:
    """Whether what the index has found matches; False if it misses a time by no more than the index's rounding.

    If the server ignored a condition, nothing that it found can be trusted: that is an error.
    """
    fits = [condition.fit(summary) for condition in conditions]
    for condition, fit in zip(conditions, fits, strict=True):
        if fit in (Fit.YES, Fit.NEARLY):
            continue
        if fit is Fit.UNKNOWN:
            why = f" without its {condition.field}, so it cannot be verified that it matches {condition}"
        else:
            why = (
                f", whose {condition.field} is {condition.value_in(summary)}, for the condition {condition}: the index "
                "does not apply that condition as written"
            )
        advice = "Select by workflow_id, or by workflow_name with correlation_id"
        if condition.field == "endTime":
            advice = NO_END_TIMES
        found = f"the server's search index has found workflow {summary.workflow_id}{why}"
        raise ConductorInputError(f"{found}. No workflow was changed. {advice}")
    return Fit.NEARLY not in fits
