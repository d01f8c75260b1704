"""What a verb means for a workflow in each status: due, so already, or not possible. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_conductor.client.models import WorkflowStatus

__all__ = ["TABLE", "Decision", "Kind", "Verb", "decide"]


class Verb(StrEnum):
    """What can be done to a workflow that exists."""

    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    RESTART = "restart"
    RETRY = "retry"
    RERUN = "rerun"
    SKIP = "skip"
    DELETE = "delete"


class Kind(StrEnum):
    DUE = "due"
    """The verb is sent."""

    ALREADY = "already"
    """What is wanted is so: nothing is sent, and that is a success."""

    CANNOT = "cannot"
    """The status does not allow it: nothing is sent, and that fails the task for good."""

    MISSING = "missing"
    """The server does not know the workflow."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``why`` follows the words "workflow … is STATUS"; empty where the verb is due."""

    kind: Kind
    why: str = ""


DUE = Decision(Kind.DUE)

RUNNING, PAUSED, COMPLETED, FAILED, TIMED_OUT, TERMINATED = WorkflowStatus

MISSING = Decision(Kind.MISSING, "not there: it never was, or it was deleted or archived")

_ALREADY_ENDED = Decision(Kind.ALREADY, "ended already and stays as it is")
_NOT_ENDED = "ConductorWorkflowSensor waits for its end, ConductorTerminateWorkflowOperator ends it first"
_RUN_ON = "ConductorRetryWorkflowOperator runs it on, ConductorRestartWorkflowOperator from its start"
_AGAIN = "ConductorRestartWorkflowOperator runs it again"


def _cannot(why: str) -> Decision:
    return Decision(Kind.CANNOT, why)


def _row(
    running: Decision, paused: Decision, completed: Decision, unsuccessful: Decision
) -> dict[WorkflowStatus | None, Decision]:
    """``unsuccessful``: FAILED, TIMED_OUT and TERMINATED, which no verb tells apart."""
    return {
        RUNNING: running,
        PAUSED: paused,
        COMPLETED: completed,
        FAILED: unsuccessful,
        TIMED_OUT: unsuccessful,
        TERMINATED: unsuccessful,
        None: MISSING,
    }


TABLE: dict[Verb, dict[WorkflowStatus | None, Decision]] = {
    Verb.PAUSE: _row(
        DUE,
        Decision(Kind.ALREADY, "paused already"),
        _cannot(f"there is nothing to pause; {_AGAIN}"),
        _cannot(f"there is nothing to pause; {_RUN_ON}"),
    ),
    Verb.RESUME: _row(
        _cannot("there is nothing to resume: it runs; ConductorPauseWorkflowOperator pauses it"),
        DUE,
        _cannot(f"there is nothing to resume; {_AGAIN}"),
        _cannot(f"there is nothing to resume; {_RUN_ON}"),
    ),
    Verb.TERMINATE: _row(DUE, DUE, _ALREADY_ENDED, _ALREADY_ENDED),
    Verb.RESTART: _row(
        _cannot(f"only what has ended can be restarted; {_NOT_ENDED}"),
        _cannot(
            "only what has ended can be restarted; ConductorResumeWorkflowOperator lets it go on, "
            "ConductorTerminateWorkflowOperator ends it first"
        ),
        DUE,
        DUE,
    ),
    Verb.RETRY: _row(
        Decision(Kind.ALREADY, "running already"),
        _cannot("there is nothing to retry; resume it instead (ConductorResumeWorkflowOperator)"),
        _cannot("there is nothing to retry; restart it to run it again (ConductorRestartWorkflowOperator)"),
        DUE,
    ),
    Verb.RERUN: _row(
        _cannot(f"only what has ended can be rerun; {_NOT_ENDED}"),
        _cannot(
            "only what has ended can be rerun; ConductorResumeWorkflowOperator lets it go on, "
            "ConductorTerminateWorkflowOperator ends it first"
        ),
        DUE,
        DUE,
    ),
    Verb.SKIP: _row(
        DUE,
        _cannot("a task can be skipped only while it runs; ConductorResumeWorkflowOperator lets it go on"),
        _cannot("no task of it is yet to come; ConductorRerunWorkflowOperator runs it again from a task"),
        _cannot(f"a task can be skipped only while it runs; {_RUN_ON}"),
    ),
    Verb.DELETE: _row(
        _cannot(
            "only what has ended is deleted; terminate_running=True or ConductorTerminateWorkflowOperator ends it first"
        ),
        _cannot(
            "only what has ended is deleted; terminate_running=True or ConductorTerminateWorkflowOperator ends it first"
        ),
        DUE,
        DUE,
    ),
}
TABLE[Verb.DELETE][None] = Decision(Kind.ALREADY, "not there (any more)")
"""By verb and status, None being a workflow the server does not know."""

_OUR_DOING = {
    (Verb.RESUME, RUNNING): "running: it has been resumed",
    (Verb.RESUME, COMPLETED): "completed meanwhile",
    (Verb.RESTART, RUNNING): "running: it has been restarted",
    (Verb.RERUN, RUNNING): "running: it has been rerun",
    (Verb.RETRY, COMPLETED): "completed meanwhile",
}
"""What an earlier attempt leads to. A first attempt that finds it refuses, and Airflow does not retry what refuses."""


def decide(verb: Verb, status: WorkflowStatus | None, *, attempted: bool = False) -> Decision:
    """Look the case up.

    Args:
        status: None for a workflow the server does not know.
        attempted: an earlier attempt (a try of the task, a request whose answer was lost) may have done it. What it
            leads to is then no error.
    """
    if attempted and status is not None and (verb, status) in _OUR_DOING:
        return Decision(Kind.ALREADY, _OUR_DOING[verb, status])
    return TABLE[verb][status]
