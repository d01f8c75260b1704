"""How the items of an ended batch ended, and what their workflows put out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.batch.state import GONE, REASON_LIMIT, REFUSED, Batch, Item
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.flows import READ_AT_ONCE, read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.submission.earlier_workflows import Found, decide
from airflow_provider_conductor.submission.lookup import look_up
from airflow_provider_conductor.submission.start_plan import StartPlan

NOT_STARTED = "NOT_STARTED"
"""The status of an item that was not started, since the batch had failed before."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one item ended; ``external`` is where the server keeps an output outside of the answer."""

    index: int
    key: str
    workflow_id: str
    status: str
    reason: str = ""
    output: Mapping[str, Any] | None = None
    external: str = ""

    def to_json(self) -> dict[str, Any]:
        ended = {"item": self.key, "workflow_id": self.workflow_id, "status": self.status, "output": self.output}
        further = {"reason": self.reason, "external_output_path": self.external}
        return ended | {name: text for name, text in further.items() if text}


def chunks(total: int) -> Iterable[range]:
    """Places to be read together."""
    return (range(begin, min(begin + READ_AT_ONCE, total)) for begin in range(0, total, READ_AT_ONCE))


def read_results(batch: Batch, places: Sequence[int], plan_of: Callable[[int], StartPlan]) -> Flow[list[Result]]:
    """How these items ended: by their workflows' ids where this process knows them, else by correlation id."""
    items = {index: batch.items.get(index) or Item() for index in places}
    workflows = yield from read_many([item.workflow_id for item in items.values() if item.workflow_id])
    unknown = [
        index
        for index, item in items.items()
        if not item.workflow_id and item.status != REFUSED and not batch.is_pending(index)
    ]
    plans = [plan_of(index) for index in unknown]
    looked_up = (yield from look_up(plans)) if plans else []
    found = {index: _newest(plan, items) for index, plan, items in zip(unknown, plans, looked_up, strict=True)}
    return [
        _result(batch, index, item, found.get(index) or workflows.get(item.workflow_id))
        for index, item in items.items()
    ]


def _newest(plan: StartPlan, found: Sequence[Found]) -> Workflow | None:
    decided = decide(plan, found).workflow
    if decided is not None or not found:
        return decided
    return max((item.workflow for item in found), key=lambda workflow: workflow.create_time)


def _result(batch: Batch, index: int, item: Item, workflow: Workflow | None) -> Result:
    key = batch.keys[index]
    if batch.is_pending(index):
        return Result(index, key, "", NOT_STARTED)
    workflow_id = item.workflow_id if workflow is None else workflow.workflow_id
    if batch.has_failed(index):
        status, reason = item.status, item.reason
        if workflow is not None:
            status, reason = status or str(workflow.status), reason or workflow.reason
        elif not reason:
            reason = "the server does not know its workflow (any more), or has refused its input"
        return Result(index, key, workflow_id, status or GONE, one_line(reason, REASON_LIMIT))
    if workflow is None:
        return Result(index, key, workflow_id, GONE, "it completed, and the server has archived or deleted it since")
    external = "" if workflow.output else workflow.external_output_path
    return Result(index, key, workflow_id, "COMPLETED", "", None if external else workflow.output, external)
