"""What Conductor's API speaks of: workflows, tasks, statuses and start requests.

The models are read-only *views* over the JSON the server sent. Nothing is copied or converted
until it is asked for, so reading a workflow of 200 tasks costs what ``json.loads`` costs, and a
field this package has never heard of is still there in ``.data``.

All times are the server's clock in milliseconds since the epoch, 0 where not yet known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from airflow_provider_conductor.client.plain import to_plain
from airflow_provider_conductor.client.statuses import TaskStatus as TaskStatus, WorkflowStatus as WorkflowStatus

__all__ = [
    "BulkResult",
    "PayloadType",
    "PollData",
    "SearchResult",
    "StartWorkflowRequest",
    "Task",
    "TaskSearchResult",
    "Workflow",
]

UNTIMED = 2147483647
"""``callbackAfterSeconds`` of a WAIT task without a duration (Java's Integer.MAX_VALUE; seen on 3.32)."""


class PayloadType(StrEnum):
    """Whose payload it is that the server keeps outside its database."""

    WORKFLOW_INPUT = "WORKFLOW_INPUT"
    WORKFLOW_OUTPUT = "WORKFLOW_OUTPUT"
    TASK_INPUT = "TASK_INPUT"
    TASK_OUTPUT = "TASK_OUTPUT"


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt of one task of a workflow; ``data`` is the server's JSON."""

    data: Mapping[str, Any]

    @property
    def task_id(self) -> str:
        return self.data.get("taskId") or ""

    @property
    def reference_name(self) -> str:
        """``referenceTaskName``; inside a do-while it carries the iteration (``ship__2``)."""
        return self.data.get("referenceTaskName") or ""

    @property
    def definition_name(self) -> str:
        """``taskDefName``: the queue that workers of a SIMPLE task poll."""
        return self.data.get("taskDefName") or self.data.get("taskType") or ""

    @property
    def task_type(self) -> str:
        """``taskType``: SIMPLE tasks carry their definition's name here, system tasks their kind (WAIT, JOIN …)."""
        return self.data.get("taskType") or ""

    @property
    def kind(self) -> str:
        """The type in the definition: SIMPLE, WAIT, HUMAN, SUB_WORKFLOW, HTTP, JOIN … (falls back on ``taskType``)."""
        return self.workflow_task.get("type") or self.task_type

    @property
    def status(self) -> TaskStatus:
        return TaskStatus(self.data["status"])

    @property
    def known_status(self) -> TaskStatus | None:
        """``status``, or None for one that this package has never heard of (a newer server's)."""
        try:
            return TaskStatus(self.data.get("status") or "")
        except ValueError:
            return None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended; a status of a newer server counts by its end time."""
        status = self.known_status
        return self.end_time == 0 if status is None else not status.ended

    @property
    def retried(self) -> bool:
        """True for an attempt that has a successor."""
        return bool(self.data.get("retried"))

    @property
    def retry_count(self) -> int:
        """0 for the first attempt. Manual retries can carry it past the definition's limit."""
        return self.data.get("retryCount") or 0

    @property
    def retried_task_id(self) -> str:
        """The attempt this one follows, or ""."""
        return self.data.get("retriedTaskId") or ""

    @property
    def seq(self) -> int:
        return self.data.get("seq") or 0

    @property
    def iteration(self) -> int:
        return self.data.get("iteration") or 0

    @property
    def poll_count(self) -> int:
        """How often a worker took it; for system tasks (JOIN …) an internal counter that says nothing."""
        return self.data.get("pollCount") or 0

    @property
    def scheduled_time(self) -> int:
        return self.data.get("scheduledTime") or 0

    @property
    def start_time(self) -> int:
        return self.data.get("startTime") or 0

    @property
    def end_time(self) -> int:
        return self.data.get("endTime") or 0

    @property
    def update_time(self) -> int:
        return self.data.get("updateTime") or 0

    @property
    def callback_after_seconds(self) -> int:
        return self.data.get("callbackAfterSeconds") or 0

    @property
    def reason(self) -> str:
        """``reasonForIncompletion``, or ""."""
        return self.data.get("reasonForIncompletion") or ""

    @property
    def worker_id(self) -> str:
        return self.data.get("workerId") or ""

    @property
    def domain(self) -> str:
        """The task domain its queue belongs to, or ""."""
        return self.data.get("domain") or ""

    @property
    def sub_workflow_id(self) -> str:
        in_output = self.output.get("subWorkflowId")  # anything, where the output is a worker's
        return self.data.get("subWorkflowId") or (in_output if isinstance(in_output, str) else "")

    @property
    def input(self) -> Mapping[str, Any]:
        return self.data.get("inputData") or {}

    @property
    def output(self) -> Mapping[str, Any]:
        return self.data.get("outputData") or {}

    @property
    def external_output_path(self) -> str:
        """Where the server put an output too large to keep in the workflow, or ""."""
        return self.data.get("externalOutputPayloadStoragePath") or ""

    @property
    def rate_limit_per_frequency(self) -> int:
        return self.data.get("rateLimitPerFrequency") or 0

    @property
    def rate_limit_frequency_seconds(self) -> int:
        return self.data.get("rateLimitFrequencyInSeconds") or 0

    @property
    def workflow_task(self) -> Mapping[str, Any]:
        """The task as the workflow's definition has it."""
        return self.data.get("workflowTask") or {}

    @property
    def definition(self) -> Mapping[str, Any]:
        """The task definition (retry policy, timeouts) as it stood when the workflow started, or {}."""
        return self.data.get("taskDefinition") or self.workflow_task.get("taskDefinition") or {}

    @property
    def max_attempts(self) -> int | None:
        """Attempts the definition allows (``retryCount`` + 1), or None where it has none."""
        own = self.workflow_task.get("retryCount")
        count = own if own is not None else self.definition.get("retryCount")
        return None if count is None else int(count) + 1

    @property
    def optional(self) -> bool:
        """True when the workflow goes on though this task fails."""
        return bool(self.workflow_task.get("optional"))

    @property
    def async_complete(self) -> bool:
        """True for a system task (HTTP, EVENT …) that somebody outside completes after it has done its part."""
        own = self.input.get("asyncComplete")
        return bool(self.workflow_task.get("asyncComplete") if own is None else own)

    @property
    def permissive(self) -> bool:
        """True when the workflow runs its other branches to the end before this task fails it."""
        return bool(self.workflow_task.get("permissive"))


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow execution; ``data`` is the server's JSON.

    ``observed_at`` is the server's clock (ms) when it answered, from its ``Date`` header, or 0.
    """

    data: Mapping[str, Any]
    observed_at: int = 0

    @property
    def workflow_id(self) -> str:
        return self.data.get("workflowId") or ""

    @property
    def name(self) -> str:
        return (
            self.data.get("workflowName")
            or self.data.get("workflowType")
            or (self.data.get("workflowDefinition") or {}).get("name")
            or ""
        )

    @property
    def version(self) -> int:
        return self.data.get("workflowVersion") or self.data.get("version") or 0

    @property
    def status(self) -> WorkflowStatus:
        return WorkflowStatus(self.data["status"])

    @property
    def correlation_id(self) -> str:
        return self.data.get("correlationId") or ""

    @property
    def input(self) -> Mapping[str, Any]:
        return self.data.get("input") or {}

    @property
    def output(self) -> dict[str, Any]:
        return self.data.get("output") or {}

    @property
    def external_output_path(self) -> str:
        """Where the server put an output too large to keep in the workflow, or ""."""
        return self.data.get("externalOutputPayloadStoragePath") or ""

    @property
    def variables(self) -> Mapping[str, Any]:
        return self.data.get("variables") or {}

    @property
    def reason(self) -> str:
        """``reasonForIncompletion``, or ""."""
        return self.data.get("reasonForIncompletion") or ""

    @property
    def create_time(self) -> int:
        return self.data.get("createTime") or self.start_time

    @property
    def start_time(self) -> int:
        return self.data.get("startTime") or 0

    @property
    def update_time(self) -> int:
        return self.data.get("updateTime") or 0

    @property
    def end_time(self) -> int:
        return self.data.get("endTime") or 0

    @property
    def last_retried_time(self) -> int:
        """When somebody last retried, reran or resumed it, or 0."""
        return self.data.get("lastRetriedTime") or 0

    @property
    def failure_workflow_id(self) -> str:
        """The workflow that the server started because this one failed (``failureWorkflow``), or ""."""
        found = str(self.output.get("conductor.failure_workflow") or "")
        return "" if any(map(str.isspace, found)) else found

    @property
    def failure_workflow_error(self) -> str:
        """Why the server could not start that workflow, or ""; it writes this where the id would be (3.13 and 3.32)."""
        return "" if self.failure_workflow_id else str(self.output.get("conductor.failure_workflow") or "")

    @property
    def parent_workflow_id(self) -> str:
        return self.data.get("parentWorkflowId") or ""

    @property
    def has_tasks(self) -> bool:
        """True when the answer carried the list of tasks at all."""
        return "tasks" in self.data

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All attempts of all tasks, in the server's order (oldest first)."""
        return tuple(map(Task, self.data.get("tasks") or ()))

    def latest_attempt(self, reference_name: str) -> Task | None:
        """The newest attempt of the task with this reference name, or None."""
        found = None
        for task in self.tasks:
            if task.reference_name == reference_name and (found is None or task.seq >= found.seq):
                found = task
        return found

    @property
    def signal_timed_out(self) -> bool:
        """In an answer to ``execute``: the server's hold ended before the workflow did."""
        return bool(self.data.get("signalTimeout"))


@dataclass(frozen=True, slots=True)
class PollData:
    """Who polled a queue last."""

    queue: str
    worker_id: str
    last_poll_time: int
    domain: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> PollData:
        return cls(
            queue=data.get("queueName") or "",
            worker_id=data.get("workerId") or "",
            last_poll_time=data.get("lastPollTime") or 0,
            domain=data.get("domain") or "",
        )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of a search; ``results`` are summaries from the (eventually consistent) index."""

    total_hits: int
    results: tuple[Workflow, ...]

    def __iter__(self) -> Iterator[Workflow]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True, slots=True)
class TaskSearchResult:
    """One page of tasks, of a workflow or of a search (then summaries from the eventually consistent index)."""

    total_hits: int
    results: tuple[Task, ...]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a bulk call did: the ids it worked for, and why not for each of the others."""

    successful: tuple[Any, ...]
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorkflowRequest:
    """What a start carries. Field names are the SDK's; ``version=None`` is the latest.

    ``workflow_def`` (an inline definition) may be a dict or an object of the Python SDK.
    """

    name: str
    version: int | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    priority: int | None = None
    task_to_domain: Mapping[str, str] | None = None
    workflow_def: Any = None
    external_input_payload_storage_path: str | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    idempotency_strategy: str | None = None

    _WIRE: ClassVar[Mapping[str, str]] = {
        "name": "name",
        "version": "version",
        "input": "input",
        "correlation_id": "correlationId",
        "priority": "priority",
        "task_to_domain": "taskToDomain",
        "workflow_def": "workflowDef",
        "external_input_payload_storage_path": "externalInputPayloadStoragePath",
        "created_by": "createdBy",
        "idempotency_key": "idempotencyKey",
        "idempotency_strategy": "idempotencyStrategy",
    }

    def to_json(self) -> dict[str, Any]:
        """The body as the server reads it: camelCase, unset fields left out."""
        pairs = ((wire, getattr(self, name)) for name, wire in self._WIRE.items())
        return {wire: to_plain(value) for wire, value in pairs if value is not None}
