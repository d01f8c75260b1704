"""The decision: what a try does about the workflows that earlier tries started, as a pure function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from airflow_provider_conductor.client.models import Workflow, WorkflowStatus
from airflow_provider_conductor.control.lost_retry import FOR_A_CANCELED_TASK, UNDO_REASON
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.start_plan import RetryFrom, StartPlan
from airflow_provider_conductor.submission.termination_reasons import (
    duplicate_reason,
    ended_as_duplicate,
    ended_by_our_kill,
    ended_by_our_timeout,
)


class Action(Enum):
    """What to do next."""

    START = "start"
    ATTACH = "attach"
    RETRY = "retry"
    RESTART = "restart"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Found:
    """A workflow that an earlier try of this task started.

    Args:
        of_this_run: False where it is older than the dag run: an earlier dag run had the same id.
        by_label: it was found by a label of the user's own and may be another task's, so it is never terminated.
        archived: only the search index still has it, so it cannot be run again.
    """

    key: StartKey
    workflow: Workflow
    of_this_run: bool = True
    by_label: bool = False
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and about which workflow; for a START, in which generation.

    ``to_terminate`` has running workflows to terminate before, by id, each with the reason: duplicates of the one that
    stays, and what an earlier series left.
    """

    action: Action
    found: Found | None = None
    generation: int = 0
    to_terminate: dict[str, str] = field(default_factory=dict)

    @property
    def workflow(self) -> Workflow | None:
        return None if self.found is None else self.found.workflow


def settle(found: Iterable[Found]) -> tuple[Found | None, tuple[Found, ...]]:
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
        (
            item
            for item in found
            if item.workflow.status is not WorkflowStatus.TERMINATED or not ended_as_duplicate(item.workflow.reason)
        ),
        key=lambda item: (item.workflow.create_time, item.workflow.workflow_id),
    )
    alive = [item for item in mine if not item.workflow.status.ended or item.workflow.status.successful]
    if not alive:
        return (mine[-1] if mine else None), ()
    oldest, *younger = alive
    return oldest, tuple(item for item in younger if not item.workflow.status.ended)


def decide(plan: StartPlan, found: Iterable[Found]) -> Decision:
    """Decide by the newest workflow of the present series.

    ================================================  ==================================================
    newest of the series                              action
    ================================================  ==================================================
    none                                              START
    RUNNING, PAUSED                                   ATTACH
    COMPLETED                                         ATTACH (its output is the result)
    FAILED, TIMED_OUT, TERMINATED by our timeout, or  RETRY, RESTART or START, as ``retry_from`` says
    for a retry that the server undid
    the same, and archived by the server              START: it cannot be run again
    TERMINATED by our own kill                        START, the next generation
    TERMINATED by somebody else                       REFUSE: no try runs it again
    ================================================  ==================================================

    Where one start made several workflows, :func:`settle` picks the one that counts. A workflow still running from
    an earlier series is terminated first. With ``cancel_on_kill=False``, workflows outlive their tasks: it is attached
    where the present series has none. Where the series is not known, every workflow of the dag run counts as the
    present series'.
    """
    present: dict[StartKey, list[Found]] = {}
    earlier: list[Found] = []
    for item in found:
        # A deploy may have made an earlier try believe in a later series; what it started is this series' too.
        if item.of_this_run and (not plan.identity.series_is_known or item.key.first_try >= plan.identity.series):
            present.setdefault(item.key, []).append(item)
        elif not item.workflow.status.ended:
            earlier.append(item)
    newest: Found | None = None
    to_terminate: dict[str, str] = {}
    for of_one_start in present.values():
        stays, beside = settle(of_one_start)
        if stays is None:
            continue
        if not stays.by_label:
            reason = duplicate_reason(stays.workflow.workflow_id)
            to_terminate |= {item.workflow.workflow_id: reason for item in beside if not item.by_label}
        if newest is None or _order(stays) > _order(newest):
            newest = stays
    if plan.cancel_on_kill:
        to_terminate |= {item.workflow.workflow_id: plan.leftover_reason for item in earlier if not item.by_label}
    elif newest is None and earlier:
        return Decision(Action.ATTACH, max(earlier, key=lambda item: item.workflow.create_time))
    action = Action.START if newest is None else _action(newest, plan.retry_from)
    if newest is None or action is Action.START:
        generation = 1 + max((key.generation for key in present), default=-1)
        return Decision(Action.START, generation=generation, to_terminate=to_terminate)
    return Decision(action, newest, to_terminate=to_terminate)


def _order(item: Found) -> tuple[int, int]:
    return item.workflow.create_time, item.key.generation


def _action(newest: Found, retry_from: RetryFrom) -> Action:
    match newest.workflow.status:
        case WorkflowStatus.RUNNING | WorkflowStatus.PAUSED | WorkflowStatus.COMPLETED:
            return Action.ATTACH
        case WorkflowStatus.TERMINATED if ended_by_our_kill(newest.workflow.reason):
            return Action.START
        case WorkflowStatus.TERMINATED if not _is_to_run_again(newest.workflow.reason):
            return Action.REFUSE
    if newest.archived:
        return Action.START
    return {"failed_task": Action.RETRY, "start": Action.RESTART, "new": Action.START}[retry_from]


def _is_to_run_again(reason: str) -> bool:
    return ended_by_our_timeout(reason) or reason == UNDO_REASON or FOR_A_CANCELED_TASK in reason
