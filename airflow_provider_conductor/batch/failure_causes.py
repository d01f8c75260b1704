"""Why the items of a batch failed: failures by cause, the most frequent with a diagnosis."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.batch.results import Result
from airflow_provider_conductor.batch.state import REFUSED
from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.failure_report import diagnose, explain
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill, ended_by_our_timeout

LISTED = 10
"""Causes in a message, those with the most failures first."""

DIAGNOSED = 5
"""Causes of which one workflow is read with its tasks, for its root cause."""

DIAGNOSIS_LIMIT = 1_500
"""Characters of one diagnosis in a message."""

_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{8,}\b|\d+", re.IGNORECASE)


@dataclass(slots=True)
class _Cause:
    example: Result
    count: int = 0
    diagnosis: str = ""
    terminal: bool = False

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help."""
        if self.example.status == "TERMINATED":
            reason = self.example.reason
            return not (ended_by_our_kill(reason) or ended_by_our_timeout(reason))
        return self.example.status == REFUSED or self.terminal


@dataclass(slots=True)
class FailureCauses:
    """Failures by cause: those whose status and reason are the same but for ids and numbers."""

    _by_kind: dict[tuple[str, str], _Cause] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        kind = (result.status, _VARIES.sub("#", result.reason)[:200])
        self._by_kind.setdefault(kind, _Cause(result)).count += 1

    @property
    def _most_frequent(self) -> list[_Cause]:
        return sorted(self._by_kind.values(), key=lambda cause: -cause.count)

    @property
    def example(self) -> Result:
        """A failure of the most frequent cause."""
        return self._most_frequent[0].example

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help any of them."""
        return bool(self._by_kind) and all(cause.permanent for cause in self._by_kind.values())

    def diagnose(self, url_of: Callable[[str], str]) -> Flow[None]:
        """Read one workflow of each of the most frequent causes with its tasks, and find its root cause."""
        for cause in self._most_frequent[:DIAGNOSED]:
            workflow_id = cause.example.workflow_id
            if not workflow_id or cause.example.status not in ("FAILED", "TIMED_OUT", "TERMINATED"):
                continue
            try:
                workflow = yield from ask(endpoints.get_workflow(workflow_id))
            except ConductorRequestError:
                continue
            failure = yield from diagnose(workflow)
            if failure is not None:
                cause.diagnosis = explain(failure, url_of(workflow_id))[:DIAGNOSIS_LIMIT]
                cause.terminal = failure.terminal

    def to_json(self) -> list[dict[str, Any]]:
        examples = [(cause.count, cause.example) for cause in self._most_frequent]
        return [
            {
                "count": count,
                "status": one.status,
                "reason": one.reason,
                "item": one.key,
                "workflow_id": one.workflow_id,
            }
            for count, one in examples
        ]

    def describe(self, url_of: Callable[[str], str]) -> str:
        """A line for each cause, with one workflow for an example, and below it the diagnosis."""
        lines = []
        for cause in self._most_frequent[:LISTED]:
            example = cause.example
            where = f"; see {url_of(example.workflow_id)}" if example.workflow_id else ""
            reason = one_line(example.reason, 200) or "no reason given"
            lines.append(f"{cause.count:,} times {example.status}: {reason} (item {one_line(example.key)}{where})")
            lines += [f"    {line}" for line in cause.diagnosis.splitlines()]
        others = self._most_frequent[LISTED:]
        if others:
            count = sum(cause.count for cause in others)
            lines.append(f"{count:,} more of {len(others):,} other causes")
        return "\n".join(lines)
