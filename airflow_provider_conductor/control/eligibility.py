"""What a verb means for a workflow in each status: send it, already so, or not possible. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_conductor.client.models import WorkflowStatus


class Verb(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    RESTART = "restart"
    RETRY = "retry"
    RERUN = "rerun"
    SKIP = "skip"
    DELETE = "delete"


class Kind(StrEnum):
    """Whether the verb is sent (or was, and the server refused), needless and so a success, impossible, or unknown."""

    DUE = "due"
    ALREADY = "already"
    CANNOT = "cannot"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Decision:
    """``why`` follows "workflow … is STATUS: "; with ``fate_unknown``, a lost request may have succeeded."""

    kind: Kind
    why: str = ""
    fate_unknown: bool = False


DUE = Decision(Kind.DUE)


def cannot(why: str) -> Decision:
    return Decision(Kind.CANNOT, why)


def _only_ended(past: str) -> tuple[Decision, Decision, Decision, Decision]:
    first = f"only an ended workflow can be {past}; {{}}, ConductorTerminateWorkflowOperator ends it first"
    return cannot(first.format("ConductorWorkflowSensor waits for its end")), cannot(first.format(_RESUME)), DUE, DUE


RUNNING, PAUSED, COMPLETED, *_ = WorkflowStatus

_ALREADY_ENDED = Decision(Kind.ALREADY, "it has already ended and is left unchanged")
_RESUME = "ConductorResumeWorkflowOperator resumes it"
_RESTART = "ConductorRestartWorkflowOperator runs it again"
_RETRY = "ConductorRetryWorkflowOperator continues with its failed tasks, ConductorRestartWorkflowOperator starts over"
_NOT_DELETED = cannot(
    "only an ended workflow can be deleted; terminate_running=True or ConductorTerminateWorkflowOperator ends it first"
)

_ROWS: dict[Verb, tuple[Decision, Decision, Decision, Decision]] = {
    Verb.PAUSE: (
        DUE,
        Decision(Kind.ALREADY, "it is already paused"),
        cannot(f"there is nothing to pause; {_RESTART}"),
        cannot(f"there is nothing to pause; {_RETRY}"),
    ),
    Verb.RESUME: (
        cannot("it is not paused; ConductorPauseWorkflowOperator pauses it"),
        DUE,
        cannot(f"there is nothing to resume; {_RESTART}"),
        cannot(f"there is nothing to resume; {_RETRY}"),
    ),
    Verb.TERMINATE: (DUE, DUE, _ALREADY_ENDED, _ALREADY_ENDED),
    Verb.RESTART: _only_ended("restarted"),
    Verb.RETRY: (
        Decision(Kind.ALREADY, "it is already running"),
        cannot(f"there is nothing to retry; {_RESUME}"),
        cannot(f"there is nothing to retry; {_RESTART}"),
        DUE,
    ),
    Verb.RERUN: _only_ended("rerun"),
    Verb.SKIP: (
        DUE,
        cannot(f"a task can be skipped only while the workflow is running; {_RESUME}"),
        cannot("it has no task left to skip; ConductorRerunWorkflowOperator runs it again from a task"),
        cannot(f"a task can be skipped only while the workflow is running; {_RETRY}"),
    ),
    Verb.DELETE: (_NOT_DELETED, _NOT_DELETED, DUE, DUE),
}
"""By verb: RUNNING, PAUSED, COMPLETED, and FAILED, TIMED_OUT or TERMINATED, which no verb distinguishes."""

_AFTER_OUR_ATTEMPT = {
    (Verb.RESUME, RUNNING): "it has been resumed",
    (Verb.RESUME, COMPLETED): "it has completed since",
    (Verb.RESTART, RUNNING): "it has been restarted",
    (Verb.RERUN, RUNNING): "it has been rerun",
    (Verb.RETRY, COMPLETED): "it has completed since",
}
"""What an earlier attempt leads to. A first attempt that finds it refuses, and Airflow does not retry a refusal."""


def decide(verb: Verb, status: WorkflowStatus | None, *, attempted: bool = False) -> Decision:
    """Decide by the status alone, which is None for a workflow that the server does not know.

    With ``attempted``, an earlier attempt (a try of the task, or a request whose answer was lost) may have succeeded.
    """
    if status is None and verb is Verb.DELETE:
        return Decision(Kind.ALREADY, "unknown to the server")
    if status is None:
        why = "unknown to the server: it never existed, or it has been deleted or archived"
        return Decision(Kind.MISSING, why)
    if attempted and (verb, status) in _AFTER_OUR_ATTEMPT:
        return Decision(Kind.ALREADY, _AFTER_OUR_ATTEMPT[verb, status])
    return _ROWS[verb][{RUNNING: 0, PAUSED: 1, COMPLETED: 2}.get(status, 3)]
