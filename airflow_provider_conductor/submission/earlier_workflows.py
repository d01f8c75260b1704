"""What a try does about the workflows that earlier tries left, as a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from airflow_provider_conductor.client.models import Workflow, WorkflowStatus
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.termination_reasons import (
    ended_as_duplicate,
    ended_by_our_kill,
    ended_by_our_timeout,
)

__all__ = ["Action", "Decision", "Found", "RetryFrom", "decide", "settle"]

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
    """A workflow that an earlier try of this task left, and which start it came from.

    ``of_this_run`` is False for one that is older than the dag run: a dag run of the same id was deleted.
    ``by_label`` is True for one that was found by a label of the user's own, and may be another task's: it is never
    terminated. ``archived`` is True where only the search index knows it still: it cannot be run again.
    """

    key: StartKey
    workflow: Workflow
    of_this_run: bool = True
    by_label: bool = False
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, about which workflow, and which to terminate before.

    ``generation`` is that of a START. ``duplicates`` came of one start with the workflow that stays, ``leftovers``
    of an earlier series.
    """

    action: Action
    workflow: Workflow | None = None
    generation: int = 0
    duplicates: tuple[tuple[Workflow, Workflow], ...] = ()
    leftovers: tuple[Workflow, ...] = ()


def settle(workflows: Iterable[Workflow]) -> tuple[Workflow | None, tuple[Workflow, ...]]:
    """Of the workflows of one start: the one that stays, and those that run beside it.

    ======================================  ===================================
    among them                              stays
    ======================================  ===================================
    some that run, pause or have completed  the oldest of these
    only some that ended otherwise          the newest
    only terminated duplicates, or none     none
    ======================================  ===================================
    """
    mine = sorted(
        (w for w in workflows if not (w.status is WorkflowStatus.TERMINATED and ended_as_duplicate(w.reason))),
        key=lambda workflow: (workflow.create_time, workflow.workflow_id),
    )
    alive = [workflow for workflow in mine if not workflow.status.ended or workflow.status.successful]
    if not alive:
        return (mine[-1] if mine else None), ()
    oldest, *younger = alive
    return oldest, tuple(workflow for workflow in younger if not workflow.status.ended)


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
    FAILED, TIMED_OUT, TERMINATED by our timeout      RETRY, RESTART or START, as ``retry_from`` says
    the same, and archived by the server              START: it cannot be run again
    TERMINATED by our own kill                        START, the next generation
    TERMINATED by somebody else                       REFUSE: it is not brought back to life
    ================================================  ==================================================

    Where one start made several workflows, :func:`settle` tells which of them counts. A workflow still running from
    an earlier series is terminated first; with ``cancel_on_kill=False``, which says that workflows outlive their
    tasks, it is attached where the present series has none. Where the series is not known, every workflow of the
    dag run counts as the present series'.
    """
    present: dict[StartKey, list[Workflow]] = {}
    earlier = []
    for item in found:
        # A deploy may have made an earlier try believe in a later series; what it started is this series' too.
        if item.of_this_run and (not series_is_known or item.key.first_try >= series):
            present.setdefault(item.key, []).append(item.workflow)
        elif not item.workflow.status.ended:
            earlier.append(item.workflow)
    earlier.sort(key=lambda workflow: workflow.create_time)
    by_label = [item.workflow for item in found if item.by_label]
    leftovers = tuple(workflow for workflow in earlier if workflow not in by_label) if cancel_on_kill else ()
    next_generation = 1 + max((key.generation for key in present), default=-1)
    newest: tuple[int, int, Workflow] | None = None
    duplicates: list[tuple[Workflow, Workflow]] = []
    for key, workflows in present.items():
        stays, beside = settle(workflows)
        if stays is None:
            continue
        duplicates += [(workflow, stays) for workflow in beside]
        if newest is None or (stays.create_time, key.generation) > newest[:2]:
            newest = (stays.create_time, key.generation, stays)
    if newest is None and earlier and not cancel_on_kill:
        return Decision(Action.ATTACH, earlier[-1])

    def then(action: Action, workflow: Workflow | None = None) -> Decision:
        generation = next_generation if action is Action.START else 0
        return Decision(action, workflow, generation, duplicates=tuple(duplicates), leftovers=leftovers)

    if newest is None:
        return then(Action.START)
    workflow = newest[2]
    match workflow.status:
        case WorkflowStatus.RUNNING | WorkflowStatus.PAUSED | WorkflowStatus.COMPLETED:
            return then(Action.ATTACH, workflow)
        case WorkflowStatus.TERMINATED if ended_by_our_kill(workflow.reason):
            return then(Action.START)
        case WorkflowStatus.TERMINATED if not ended_by_our_timeout(workflow.reason):
            return then(Action.REFUSE, workflow)
    if retry_from == "new" or any(item.archived for item in found if item.workflow is workflow):
        return then(Action.START)
    return then(Action.RETRY if retry_from == "failed_task" else Action.RESTART, workflow)
