"""Which workflows an action applies to: by ids, conditions or a query; and never more than was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.flow import Flow, ask, current_time
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.control.condition_arguments import conditions_of_arguments, list_of_text
from airflow_provider_conductor.control.conditions import Condition, Fit, canonical, time_in
from airflow_provider_conductor.control.query import conditions_of_query

__all__ = ["Selection", "TooManyFoundError", "given_ids", "select"]

PAGE = 1_000
"""Summaries in the answer of one search; servers give up to 5,000."""

PASSES = 3
"""How often all pages are read if the index changes in between: what moves up meanwhile is on no page."""


class TooManyFoundError(ConductorInputError):
    """More workflows were found than the limit allows; no workflow was changed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that a workflow must match, all of them.

    Attributes:
        limit: the most workflows that may be found.
        arguments: those of :data:`~airflow_provider_conductor.control.condition_arguments.ARGUMENTS` that were given.
        query: the conditions as text, instead.
    """

    limit: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    query: str | None = None

    def __str__(self) -> str:
        if self.query is not None:
            return f"query {self.query!r}"
        return " and ".join(f"{name} {value!r}" for name, value in self.arguments.items())

    def conditions(self, now: float) -> tuple[Condition, ...]:
        """The conditions; ``now`` is in seconds since the epoch."""
        if self.query is not None:
            return conditions_of_query(self.query)
        return conditions_of_arguments(self.arguments, now)


def given_ids(value: Any) -> list[str]:
    """The ids of a rendered ``workflow_id``: one id, a list of them, or such a list as text.

    Raises:
        ConductorInputError: an empty id, or something that is not an id.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = list_of_text(value, "workflow_id")
    values: Iterable[Any] = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    ids = []
    for item in values:
        if not isinstance(item, str) or item.strip() in ("", "None"):
            raise ConductorInputError(
                f"{item!r} is not a workflow id: workflow_id takes a text or a list of texts; check that the template, "
                "XCom or variable that it comes from has a value. Nothing was sent"
            )
        ids.append(one_workflow_id(item))
    return list(dict.fromkeys(ids))


def select(selection: Selection, *, log: Callable[[str], None]) -> Flow[list[str]]:
    """The ids of the selected workflows, oldest first.

    One name with correlation ids is looked up in the server's database. Everything else is searched for in its index,
    and what it finds is compared with the conditions: the index's summary, then the workflow itself.

    Args:
        log: receives a line if workflows that the index found are left out.

    Raises:
        TooManyFoundError: more than ``limit``.
        ConductorInputError: conditions that no index reads, or a server that ignored one of them.
    """
    now = yield from current_time()
    conditions = selection.conditions(now)
    if not conditions:
        raise ConductorInputError("a selection without a condition would match every workflow: nothing was sent")
    by_field = {condition.field: condition for condition in conditions}
    names, labels = by_field.get("workflowType"), by_field.get("correlationId")
    found: list[Workflow]
    if selection.query is None and names and labels and len(names.values) == 1:
        answer = yield from ask(endpoints.get_by_correlation_ids(names.values[0], labels.values))
        found = [workflow for workflows in answer.values() for workflow in workflows if _fits(conditions, workflow)]
        found = sorted({workflow.workflow_id: workflow for workflow in found}.values(), key=lambda w: w.create_time)
        _check_count(selection, len(found))
        return [workflow.workflow_id for workflow in found]
    ids = yield from _search(selection, conditions)
    workflows = yield from read_many(ids)
    # The index lags behind: a workflow may have changed since, or be gone.
    kept = [item for item in ids if item in workflows and _fits(conditions, workflows[item])]
    if len(kept) < len(ids):
        log(f"{len(ids) - len(kept):,} of the {len(ids):,} workflows that the index found no longer match")
    return kept


def _fits(conditions: Sequence[Condition], workflow: Workflow) -> bool:
    return all(condition.fit(workflow) is Fit.YES for condition in conditions)


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
            _check_count(selection, max(page.total_hits, len(began)))
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

    Raises:
        ConductorInputError: the server ignored a condition, so nothing that it found can be trusted.
    """
    fits = True
    for condition in conditions:
        advice = _WHAT_TO_DO[condition.field == "endTime"]
        match condition.fit(summary):
            case Fit.NEARLY:
                fits = False
            case Fit.NO:
                raise ConductorInputError(
                    f"the server's search index has found workflow {summary.workflow_id}, whose {condition.field} is "
                    f"{condition.value_in(summary)}, for the condition {condition}: the index does not apply that "
                    f"condition as written. {advice}"
                )
            case Fit.UNKNOWN:
                raise ConductorInputError(
                    f"the server's search index has found workflow {summary.workflow_id} without its "
                    f"{condition.field}, so it cannot be verified that it matches {condition}. {advice}"
                )
    return fits


_WHAT_TO_DO = {
    False: "No workflow was changed. Select by workflow_id, or by workflow_name with correlation_id",
    True: (
        "No workflow was changed. The indexes of servers up to 3.32.0 have no end times: select by status and by "
        "started_before or startTime"
    ),
}


def _check_count(selection: Selection, count: int) -> None:
    if count > selection.limit:
        raise TooManyFoundError(
            f"{selection} selects {count:,} workflows, more than max_workflows={selection.limit:,}: no workflow "
            "was changed. Narrow the selection, or raise max_workflows"
        )
