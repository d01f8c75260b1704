"""Conductor's workflows, tasks and start requests.

Workflow and Task are read-only *views* of the JSON that the server sent: nothing is copied or converted until it is
read, so a workflow of 200 tasks costs what ``json.loads`` costs, and a field that this package does not know is in
``.data``. A field that is missing or null reads as "", 0 or {}. All times are the server's clock in milliseconds since
the epoch, 0 if not yet known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from airflow_provider_conductor.client.plain import to_plain
from airflow_provider_conductor.client.statuses import TaskStatus as TaskStatus, WorkflowStatus as WorkflowStatus

T_co = TypeVar("T_co", covariant=True)

UNTIMED = 2147483647
"""``callbackAfterSeconds`` of a WAIT task without a duration (Java's Integer.MAX_VALUE; seen on 3.32)."""

STORED_AT = "externalOutputPayloadStoragePath"

LARGEST = 2**63
"""Java's numbers end here."""

LATEST = 253_402_300_799_999
"""The end of the year 9999 in ms: the last that a calendar knows."""


class _Field(property):
    """A field of the JSON as a property of its view.

    Args:
        wire: the server's name of it.
        kind: ``str`` or ``dict``; for numbers the largest allowed.
    """

    def __init__(self, wire: str, kind: type | int, doc: str) -> None:
        self.wire, self.kind = wire, kind
        empty = kind if isinstance(kind, type) else int
        super().__init__(lambda view: view.data.get(wire) or empty(), doc=doc or f"``{wire}``.")


class _Reads(Protocol[T_co]):
    """What type checkers see of a field."""

    @overload
    def __get__(self, view: None, owner: type[Any]) -> property: ...
    @overload
    def __get__(self, view: object, owner: type[Any]) -> T_co: ...


def _text(wire: str, doc: str = "") -> _Reads[str]:
    return cast(_Reads[str], _Field(wire, str, doc))


def _number(wire: str, doc: str = "", largest: int = LARGEST) -> _Reads[int]:
    return cast(_Reads[int], _Field(wire, largest, doc))


def _time(wire: str, doc: str = "") -> _Reads[int]:
    return _number(wire, doc, LATEST)


def _mapping(wire: str, doc: str = "") -> _Reads[dict[str, Any]]:
    return cast(_Reads[dict[str, Any]], _Field(wire, dict, doc))


def fields_of(view: type) -> dict[str, type | int]:
    """The kind of each field of a view, by the server's name."""
    return {item.wire: item.kind for item in vars(view).values() if isinstance(item, _Field)}


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

    task_id = _text("taskId")
    workflow_id = _text("workflowInstanceId")
    reference_name = _text("referenceTaskName", "Inside a do-while it carries the iteration (``ship__2``).")
    task_type = _text("taskType", "The definition's name for a SIMPLE task, the kind for a system task (WAIT, JOIN …).")
    retried_task_id = _text("retriedTaskId", "The attempt that this one follows.")
    reason = _text("reasonForIncompletion")
    worker_id = _text("workerId")
    domain = _text("domain", "The task domain that its queue belongs to.")
    external_output_path = _text(STORED_AT, "Where the server stored an output too large to keep in the workflow.")
    retry_count = _number("retryCount", "0 for the first attempt; manual retries can raise it over the limit.")
    seq = _number("seq", "The place in the order in which tasks were scheduled.")
    iteration = _number("iteration", "The iteration of the do-while around it, from 1 on.")
    poll_count = _number("pollCount", "How often a worker took it; for system tasks (JOIN …) without meaning.")
    callback_after_seconds = _number("callbackAfterSeconds", "Seconds after which the task is offered again.")
    rate_limit_per_frequency = _number("rateLimitPerFrequency")
    scheduled_time = _time("scheduledTime")
    start_time = _time("startTime")
    end_time = _time("endTime")
    update_time = _time("updateTime")
    input = _mapping("inputData")
    output = _mapping("outputData")
    workflow_task = _mapping("workflowTask", "The task as the workflow's definition has it.")
    _status = _text("status")
    _sub_workflow_id = _text("subWorkflowId")
    _definition = _mapping("taskDefinition")

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
            return TaskStatus(self._status)
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
    def sub_workflow_id(self) -> str:
        in_output = self.output.get("subWorkflowId")  # anything, where the output is a worker's
        return self._sub_workflow_id or (in_output if isinstance(in_output, str) else "")

    @property
    def definition(self) -> Mapping[str, Any]:
        """The task definition (retry policy, timeouts) as it stood when the workflow started, or {}."""
        return self._definition or self.workflow_task.get("taskDefinition") or {}

    @property
    def max_attempts(self) -> int | None:
        """Attempts the definition allows (``retryCount`` + 1), or None where it has none."""
        own = self.workflow_task.get("retryCount")
        count = own if own is not None else self.definition.get("retryCount")
        return None if count is None else int(count) + 1

    @property
    def async_complete(self) -> bool:
        """True for a system task (HTTP, EVENT …) that is completed from outside after it has done its part."""
        own = self.input.get("asyncComplete")
        return bool(self.workflow_task.get("asyncComplete") if own is None else own)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow execution; ``data`` is the server's JSON.

    ``observed_at`` is the server's clock (ms) when it answered, from its ``Date`` header, or 0.
    """

    data: Mapping[str, Any]
    observed_at: int = 0

    workflow_id = _text("workflowId")
    correlation_id = _text("correlationId")
    parent_workflow_id = _text("parentWorkflowId")
    reason = _text("reasonForIncompletion")
    external_output_path = _text(STORED_AT, "Where the server stored an output too large to keep in the workflow.")
    start_time = _time("startTime")
    update_time = _time("updateTime")
    end_time = _time("endTime")
    last_retried_time = _time("lastRetriedTime", "When it was last retried, rerun or resumed.")
    input = _mapping("input")
    output = _mapping("output")
    variables = _mapping("variables")
    _name = _text("workflowName")
    _type = _text("workflowType")
    _definition = _mapping("workflowDefinition")
    _workflow_version = _number("workflowVersion")
    _version = _number("version")
    _create_time = _time("createTime")

    @property
    def name(self) -> str:
        return self._name or self._type or self._definition.get("name") or ""

    @property
    def version(self) -> int:
        return self._workflow_version or self._version

    @property
    def status(self) -> WorkflowStatus:
        return WorkflowStatus(self.data["status"])

    @property
    def create_time(self) -> int:
        return self._create_time or self.start_time

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
    def has_tasks(self) -> bool:
        """True when the answer carried the list of tasks at all."""
        return "tasks" in self.data

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All attempts of all tasks, in the server's order (oldest first)."""
        return tuple(map(Task, self.data.get("tasks") or ()))

    def latest_attempt(self, reference_name: str) -> Task | None:
        """The newest attempt of the task with this reference name, or None; that of a retry has seq 0 at first."""
        attempts = [task for task in reversed(self.tasks) if task.reference_name == reference_name]
        return max(attempts, key=lambda task: (not task.retried, task.seq), default=None)


@dataclass(frozen=True, slots=True)
class PollData:
    """Who polled a queue last; ``data`` is the server's JSON."""

    data: Mapping[str, Any]

    queue = _text("queueName")
    worker_id = _text("workerId")
    domain = _text("domain")
    last_poll_time = _time("lastPollTime")


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One page of results."""

    total_hits: int
    results: tuple[T_co, ...]

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


class SearchResult(Page[Workflow]):
    """One page of a search; ``results`` are summaries from the (eventually consistent) index."""


class TaskSearchResult(Page[Task]):
    """One page of tasks, of a workflow or of a search (then summaries from the eventually consistent index)."""


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

    def to_json(self) -> dict[str, Any]:
        """The body as the server reads it: names in camelCase, unset fields left out."""
        pairs = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {_camel_case(name): to_plain(value) for name, value in pairs if value is not None}


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))
