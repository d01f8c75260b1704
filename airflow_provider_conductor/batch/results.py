"""What the workflows of an ended batch have put out, and why those failed that did."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.batch.state import GONE, REASON_LIMIT, REFUSED, Batch
from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.flows import READ_AT_ONCE, read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.failure_report import explain
from airflow_provider_conductor.polling.observation import diagnose
from airflow_provider_conductor.submission.earlier_workflows import Found
from airflow_provider_conductor.submission.lookup import look_up
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill, ended_by_our_timeout

__all__ = ["NOT_STARTED", "Causes", "Result", "chunks", "read_results"]

NOT_STARTED = "NOT_STARTED"
"""The status of an item that was not started, since the batch had failed before."""

TOLD = 10
"""Causes in a message, those with the most failures first."""

DIAGNOSED = 5
"""Causes of which one workflow is read with its tasks, to tell the root of it."""

DIAGNOSIS_LIMIT = 1_500
"""Characters of one diagnosis in a message."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one item ended. ``output`` is None unless it completed; ``external`` says where the server keeps it else."""

    index: int
    key: str
    workflow_id: str
    status: str
    reason: str = ""
    output: Mapping[str, Any] | None = None
    external: str = ""

    @property
    def completed(self) -> bool:
        return self.status == "COMPLETED"

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "item": self.key,
            "workflow_id": self.workflow_id,
            "status": self.status,
            "output": self.output,
        }
        if self.reason:
            data["reason"] = self.reason
        if self.external:
            data["external_output_path"] = self.external
        return data


def chunks(total: int) -> Iterable[range]:
    """Places to be read together."""
    return (range(begin, min(begin + READ_AT_ONCE, total)) for begin in range(0, total, READ_AT_ONCE))


def read_results(batch: Batch, places: Sequence[int], plan_of: Callable[[int], StartPlan]) -> Flow[list[Result]]:
    """How these items ended: by their workflows' ids where this process knows them, else by correlation id."""
    ids = {index: batch.items[index].workflow_id for index in places if index in batch.items}
    by_id: dict[str, Workflow] = yield from read_many([workflow_id for workflow_id in ids.values() if workflow_id])
    unknown = [index for index in places if not ids.get(index) and not batch.is_pending(index)]
    unknown = [index for index in unknown if index not in batch.items or batch.items[index].status != REFUSED]
    found: dict[int, tuple[Found, ...]] = {}
    if unknown:
        plans = [plan_of(index) for index in unknown]
        found = dict(zip(unknown, (yield from look_up(plans)), strict=True))
    results = []
    for index in places:
        workflow = by_id.get(ids.get(index, ""))
        if index in found:
            workflow = _newest(plan_of(index), found[index])
        results.append(_result(batch, index, workflow, ids.get(index, "")))
    return results


def _newest(plan: StartPlan, found: Sequence[Found]) -> Workflow | None:
    decided = plan.decide(found).workflow
    if decided is not None or not found:
        return decided
    return max((item.workflow for item in found), key=lambda workflow: workflow.create_time)


def _result(batch: Batch, index: int, workflow: Workflow | None, workflow_id: str) -> Result:
    key = batch.keys[index]
    if batch.is_pending(index):
        return Result(index, key, "", NOT_STARTED)
    item = batch.items.get(index)
    if batch.has_failed(index):
        status = (item.status if item else "") or (str(workflow.status) if workflow else "") or GONE
        reason = (item.reason if item else "") or (workflow.reason if workflow else "")
        if not reason and workflow is None:
            reason = "the server does not know its workflow (any more), or has refused its input"
        return Result(
            index, key, workflow.workflow_id if workflow else workflow_id, status, one_line(reason, REASON_LIMIT)
        )
    if workflow is None:
        return Result(index, key, workflow_id, GONE, "it completed, and the server has archived or deleted it since")
    external = "" if workflow.output else workflow.external_output_path
    output = None if external else workflow.output
    return Result(index, key, workflow.workflow_id, "COMPLETED", "", output, external)


# Why

_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{8,}\b|\d+", re.IGNORECASE)


@dataclass(slots=True)
class _Cause:
    status: str
    example: Result
    count: int = 0
    told: str = ""
    terminal: bool = False


@dataclass(slots=True)
class Causes:
    """Failures by cause: those whose status and reason are the same but for ids and numbers."""

    by_kind: dict[tuple[str, str], _Cause] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        kind = (result.status, _VARIES.sub("#", result.reason)[:200])
        self.by_kind.setdefault(kind, _Cause(result.status, result)).count += 1

    @property
    def most_frequent(self) -> list[_Cause]:
        return sorted(self.by_kind.values(), key=lambda cause: -cause.count)

    @property
    def for_good(self) -> bool:
        """Whether trying again cannot help any of them."""
        return bool(self.by_kind) and all(_for_good(cause) for cause in self.by_kind.values())

    def diagnose(self, url_of: Callable[[str], str]) -> Flow[None]:
        """Read one workflow of each of the most frequent causes with its tasks, and say what is at the root."""
        for cause in self.most_frequent[:DIAGNOSED]:
            workflow_id = cause.example.workflow_id
            if not workflow_id or cause.status not in ("FAILED", "TIMED_OUT", "TERMINATED"):
                continue
            try:
                workflow = yield from ask(endpoints.get_workflow(workflow_id))
            except ConductorRequestError:
                continue
            found = yield from diagnose(workflow)
            if found.failure is not None:
                cause.told = explain(found.failure, found.log_lines, url_of(workflow_id))[:DIAGNOSIS_LIMIT]
                cause.terminal = found.failure.terminal_error

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "count": cause.count,
                "status": cause.status,
                "reason": cause.example.reason,
                "item": cause.example.key,
                "workflow_id": cause.example.workflow_id,
            }
            for cause in self.most_frequent
        ]

    def text(self, url_of: Callable[[str], str]) -> str:
        """A line for each cause, with one workflow for an example, and below it what is at its root."""
        lines = []
        for cause in self.most_frequent[:TOLD]:
            example = cause.example
            where = f"; see {url_of(example.workflow_id)}" if example.workflow_id else ""
            reason = one_line(example.reason, 200) or "no reason given"
            lines.append(f"{cause.count:,} times {cause.status}: {reason} (item {one_line(example.key)}{where})")
            lines += [f"    {line}" for line in cause.told.splitlines()]
        others = self.most_frequent[TOLD:]
        if others:
            count = sum(cause.count for cause in others)
            lines.append(f"{count:,} more of {len(others):,} other causes")
        return "\n".join(lines)


def _for_good(cause: _Cause) -> bool:
    if cause.status == "TERMINATED":
        reason = cause.example.reason
        return not (ended_by_our_kill(reason) or ended_by_our_timeout(reason))
    return cause.status == REFUSED or cause.terminal
