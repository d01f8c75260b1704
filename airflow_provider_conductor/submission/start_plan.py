"""What to start, and for which task, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_conductor.client.endpoints import StartBody, start_body
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.ownership import has_input, is_child
from airflow_provider_conductor.submission.start_arguments import ARGUMENTS
from airflow_provider_conductor.submission.start_record import StartRecord

RetryFrom = Literal["failed_task", "start", "new"]


def make_start_body(arguments: Mapping[str, Any], further: Mapping[str, Any]) -> StartBody:
    """The request of a start from a task. It is made here, once; what sends or compares it does not change it.

    Raises:
        ConductorInputError: no name, an input that is no mapping, or something that is not JSON (NaN included).
    """
    fields = {wire: arguments[name] for name, wire in ARGUMENTS.items()}
    fields["input"] = {} if fields["input"] is None else fields["input"]
    fields["correlationId"] = fields["correlationId"] or None
    return start_body({name: value for name, value in {**fields, **further}.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan:
    """What to start and for which task. Times are seconds since the epoch on this Airflow's clock.

    Args:
        body: the start request; its ``correlationId``, if any, is the user's own label.
        context_input: added to the input. It differs from try to try, so workflows are not compared by it.
        max_tries: the task instance's, saved with the start.
        series_began: when the try series began, or the dag run where that is not known; older workflows are not its.
        run_began: when the dag run began; distinguishes it from an earlier dag run with the same id.
        record: what the task's last start saved, of whichever series.
        keeps_records: whether the next try can read what this one saves.
        search_seconds: how long to search for a start whose fate is unknown before it is sent again.
        leftover_reason: the reason for terminating a workflow of an earlier series.
    """

    identity: TaskIdentity
    body: StartBody
    context_input: Mapping[str, Any] = field(default_factory=dict)
    max_tries: int = 0
    series_began: float = 0.0
    run_began: float = 0.0
    record: StartRecord | None = None
    keeps_records: bool = False
    retry_from: RetryFrom = "failed_task"
    cancel_on_kill: bool = True
    search_seconds: float = 60.0
    leftover_reason: str = ""

    @property
    def label(self) -> str | None:
        """The user's own correlation id, which other tasks may use as well."""
        return self.body.get("correlationId") or None

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def current_record(self) -> StartRecord | None:
        """The record, if it is of the present series."""
        return self.record if self.record is not None and self.record.max_tries == self.max_tries else None

    def has_input_of(self, workflow: Workflow) -> bool | None:
        """Whether the workflow was started with this input; None where its input cannot be read."""
        path = self.body.get("externalInputPayloadStoragePath")
        return has_input(workflow, self.body.get("input") or {}, path, besides=self.context_input)

    def may_have_started(self, workflow: Workflow) -> bool:
        """Whether a workflow under the label can be this task's: it has our input, and the requested version."""
        version = self.body.get("version")
        return (
            not is_child(workflow)
            and (not version or workflow.version == version)
            and self.has_input_of(workflow) is True
        )

    def request(self, key: StartKey) -> StartBody:
        correlation_id = self.identity.correlation_id(key)
        body = {
            **self.body,
            "correlationId": self.label or correlation_id,
            # Enforced by Orkes; the open-source server ignores both.
            "idempotencyKey": f"{correlation_id}@{self.run_began:.0f}",
            "idempotencyStrategy": "RETURN_EXISTING",
        }
        if self.context_input:
            body["input"] = {**(self.body.get("input") or {}), **self.context_input}
        return StartBody(body)

    def new_record(self, generation: int) -> StartRecord:
        """The record of a start, before anything is sent."""
        first_try, began = self.identity.series, self.series_began
        return StartRecord(max_tries=self.max_tries, first_try=first_try, generation=generation, series_began=began)
