"""What a verb means for a workflow in each status: send it, already so, or not possible. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_conductor.client.models import WorkflowStatus

__all__ = ["DUE", "TABLE", "Decision", "Kind", "Verb", "cannot", "decide"]


class Verb(StrEnum):
    """What can be done to an existing workflow."""

    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    RESTART = "restart"
    RETRY = "retry"
    RERUN = "rerun"
    SKIP = "skip"
    DELETE = "delete"


class Kind(StrEnum):
    """The kinds of a decision."""

    DUE = "due"
    """The verb is sent."""

    ALREADY = "already"
    """The workflow is already in the wanted state: nothing is sent, and that is a success."""

    CANNOT = "cannot"
    """The status does not allow the verb: nothing is sent, and the task fails permanently."""

    MISSING = "missing"
    """The server does not know the workflow."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``why`` follows the words "workflow … is STATUS: "; it is empty if the verb is due."""

    kind: Kind
    why: str = ""


DUE = Decision(Kind.DUE)


def cannot(why: str) -> Decision:
    """The decision that the verb is not possible."""
    return Decision(Kind.CANNOT, why)


RUNNING, PAUSED, COMPLETED, FAILED, TIMED_OUT, TERMINATED = WorkflowStatus

_UNKNOWN = Decision(Kind.MISSING, "unknown to the server: it never existed, or it has been deleted or archived")
_ALREADY_ENDED = Decision(Kind.ALREADY, "it has already ended and is left unchanged")
_RESUME = "ConductorResumeWorkflowOperator resumes it"
_RESTART = "ConductorRestartWorkflowOperator runs it again"
_RETRY = "ConductorRetryWorkflowOperator continues with its failed tasks, ConductorRestartWorkflowOperator starts over"
_FIRST_END = "only an ended workflow can be {}; {}, ConductorTerminateWorkflowOperator ends it first"
_WAIT = "ConductorWorkflowSensor waits for its end"
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
    Verb.RESTART: (
        cannot(_FIRST_END.format("restarted", _WAIT)),
        cannot(_FIRST_END.format("restarted", _RESUME)),
        DUE,
        DUE,
    ),
    Verb.RETRY: (
        Decision(Kind.ALREADY, "it is already running"),
        cannot(f"there is nothing to retry; {_RESUME}"),
        cannot(f"there is nothing to retry; {_RESTART}"),
        DUE,
    ),
    Verb.RERUN: (
        cannot(_FIRST_END.format("rerun", _WAIT)),
        cannot(_FIRST_END.format("rerun", _RESUME)),
        DUE,
        DUE,
    ),
    Verb.SKIP: (
        DUE,
        cannot(f"a task can be skipped only while the workflow is running; {_RESUME}"),
        cannot("it has no task left to skip; ConductorRerunWorkflowOperator runs it again from a task"),
        cannot(f"a task can be skipped only while the workflow is running; {_RETRY}"),
    ),
    Verb.DELETE: (_NOT_DELETED, _NOT_DELETED, DUE, DUE),
}
"""By verb: RUNNING, PAUSED, COMPLETED, and FAILED, TIMED_OUT or TERMINATED, which no verb distinguishes."""

TABLE: dict[Verb, dict[WorkflowStatus | None, Decision]] = {
    verb: {
        RUNNING: running,
        PAUSED: paused,
        COMPLETED: completed,
        **dict.fromkeys((FAILED, TIMED_OUT, TERMINATED), unsuccessful),
        None: _UNKNOWN if verb is not Verb.DELETE else Decision(Kind.ALREADY, "unknown to the server"),
    }
    for verb, (running, paused, completed, unsuccessful) in _ROWS.items()
}
"""By verb and status; None is a workflow that the server does not know."""

_AFTER_OUR_ATTEMPT = {
    (Verb.RESUME, RUNNING): "it has been resumed",
    (Verb.RESUME, COMPLETED): "it has completed since",
    (Verb.RESTART, RUNNING): "it has been restarted",
    (Verb.RERUN, RUNNING): "it has been rerun",
    (Verb.RETRY, COMPLETED): "it has completed since",
}
"""What an earlier attempt leads to. A first attempt that finds it refuses, and Airflow does not retry a refusal."""


def decide(verb: Verb, status: WorkflowStatus | None, *, attempted: bool = False) -> Decision:
    """Look up the decision in :data:`TABLE`.

    Args:
        status: None for a workflow that the server does not know.
        attempted: an earlier attempt (a try of the task, or a request whose answer was lost) may have succeeded; its
            result is then no error.
    """
    if attempted and status is not None and (verb, status) in _AFTER_OUR_ATTEMPT:
        return Decision(Kind.ALREADY, _AFTER_OUR_ATTEMPT[verb, status])
    return TABLE[verb][status]
