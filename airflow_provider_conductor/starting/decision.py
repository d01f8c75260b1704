"""What a try does about the workflows that earlier tries left, as a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from airflow_provider_conductor.client.models import Workflow, WorkflowStatus
from airflow_provider_conductor.starting.identity import StartKey
from airflow_provider_conductor.starting.reasons import ended_by_our_kill, ended_by_our_timeout

__all__ = ["Action", "Decision", "Found", "RetryFrom", "decide"]

RetryFrom = Literal["failed_task", "start", "new"]


class Action(Enum):
    """What to do next."""

    START = "start"
    ATTACH = "attach"
    RETRY = "retry"
    RESTART = "restart"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Found:
    """A workflow that an earlier try of this task left, and which start it came from."""

    key: StartKey
    workflow: Workflow


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, about which workflow, and which to terminate before.

    ``generation`` is that of a START.
    """

    action: Action
    workflow: Workflow | None = None
    generation: int = 0
    terminate_first: tuple[Workflow, ...] = ()


def decide(
    found: Sequence[Found], *, series: int, series_is_known: bool, retry_from: RetryFrom, cancel_on_kill: bool
) -> Decision:
    """Decide by the newest workflow of the present series.

    ================================================  ==================================================
    newest of the series                              action
    ================================================  ==================================================
    none                                              START
    RUNNING, PAUSED                                   ATTACH
    COMPLETED                                         ATTACH (its output is the result)
    FAILED, TIMED_OUT, TERMINATED by our time-out     RETRY, RESTART or START, as ``retry_from`` says
    TERMINATED by our own kill                        START, the next generation
    TERMINATED by somebody else                       REFUSE: it is not brought back to life
    ================================================  ==================================================

    A workflow still running from an earlier series is terminated first; with ``cancel_on_kill=False``, which says
    that workflows outlive their tasks, it is attached where the present series has none. Where the series is not
    known, every workflow of the task counts as the present series'.
    """
    present = [item for item in found if not series_is_known or item.key.first_try == series]
    earlier = [item for item in found if series_is_known and item.key.first_try < series]
    leftovers = sorted(
        (item.workflow for item in earlier if not item.workflow.status.ended), key=lambda w: w.create_time
    )
    next_generation = 1 + max((item.key.generation for item in present), default=-1)
    to_terminate = tuple(leftovers) if cancel_on_kill else ()
    if not present:
        if leftovers and not cancel_on_kill:
            return Decision(Action.ATTACH, leftovers[-1])
        return Decision(Action.START, generation=next_generation, terminate_first=to_terminate)
    newest = max(present, key=lambda item: (item.workflow.create_time, item.key.generation)).workflow
    fresh = Decision(Action.START, generation=next_generation, terminate_first=to_terminate)
    match newest.status:
        case WorkflowStatus.RUNNING | WorkflowStatus.PAUSED | WorkflowStatus.COMPLETED:
            return Decision(Action.ATTACH, newest, terminate_first=to_terminate)
        case WorkflowStatus.TERMINATED if ended_by_our_kill(newest.reason):
            return fresh
        case WorkflowStatus.TERMINATED if not ended_by_our_timeout(newest.reason):
            return Decision(Action.REFUSE, newest)
    if retry_from == "new":
        return fresh
    action = Action.RETRY if retry_from == "failed_task" else Action.RESTART
    return Decision(action, newest, terminate_first=to_terminate)
