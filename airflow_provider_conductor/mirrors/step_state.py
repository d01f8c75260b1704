"""How a step of a workflow stands, and what a cleared task does about it. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from airflow_provider_conductor.client.flows import reached
from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow
from airflow_provider_conductor.client.task_types import without_iterations
from airflow_provider_conductor.mirrors.plan import Step


class Kind(Enum):
    """Where a step stands."""

    OPEN = "open"
    SUCCEEDED = "succeeded"
    WARNED = "succeeded with errors"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELED = "canceled"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class StepState:
    """Where a step stands.

    Attributes:
        task: its last attempt; None: it has none.
        wait_for: while it is open, the task to wait for.
        why: of one that is skipped, why.
    """

    kind: Kind
    task: Task | None = None
    wait_for: str = ""
    why: str = ""


def step_state(step: Step, workflow: Workflow) -> StepState:
    """Where the step stands in this workflow.

    ==================================================  =============================================
    the workflow                                        the step
    ==================================================  =============================================
    has the step, COMPLETED                             SUCCEEDED
    has it, COMPLETED_WITH_ERRORS (it is optional)      WARNED
    has ended, and the step failed, but is optional     WARNED
    has it, SKIPPED by a user                           SKIPPED
    has it, CANCELED since the workflow ended           CANCELED
    the same, and COMPLETED (by a TERMINATE)            SKIPPED
    has it, ended otherwise and not retried             FAILED
    has it, but not yet ended, and runs                 OPEN, wait for it
    a SWITCH around the step chose another case         SKIPPED
    runs, and a SWITCH around it is not decided         OPEN, wait for the SWITCH
    runs without it                                     OPEN, wait for it
    COMPLETED without it                                SKIPPED
    ended otherwise without it                          NOT_REACHED
    ==================================================  =============================================
    """
    task = workflow.latest_attempt(step.awaits)
    if task is None and step.awaits != step.ref:  # a fork whose JOIN has not been scheduled
        task = workflow.latest_attempt(step.ref) if workflow.status.ended else None
    if task is not None:
        return _with_task(step, workflow, task)
    for switch, case in step.cases:
        decided = workflow.latest_attempt(switch)
        if decided is None or decided.known_status is None or not decided.known_status.ended:
            if not workflow.status.ended:
                return StepState(Kind.OPEN, wait_for=switch)
            break
        if decided.known_status.successful and (chosen := chosen_case(decided)) != case:
            taken = "its default case" if chosen is None else f"the case {chosen!r}"
            return StepState(Kind.SKIPPED, why=f"SWITCH {switch!r} chose {taken}")
    if not workflow.status.ended:
        return StepState(Kind.OPEN, wait_for=step.awaits)
    if workflow.status.successful:
        return StepState(Kind.SKIPPED, why="the workflow completed without this step")
    return StepState(Kind.NOT_REACHED)


def _with_task(step: Step, workflow: Workflow, task: Task) -> StepState:
    status = task.known_status
    match status:
        case TaskStatus.COMPLETED if task.reference_name == step.awaits:
            return StepState(Kind.SUCCEEDED, task)
        case TaskStatus.COMPLETED_WITH_ERRORS:
            return StepState(Kind.WARNED, task)
        case TaskStatus.SKIPPED:
            return StepState(Kind.SKIPPED, task, why="somebody skipped this step in Conductor")
    if not reached(workflow, task.reference_name):
        return StepState(Kind.OPEN, task, wait_for=step.awaits)
    failed = status not in (None, TaskStatus.CANCELED, TaskStatus.COMPLETED) and not task.is_open
    if failed and task.workflow_task.get("optional") is True:
        # The server leaves one as FAILED if a JOIN has completed the workflow before it was evaluated (seen on 3.32.2).
        return StepState(Kind.WARNED, task)
    if not failed and workflow.status.successful:
        return StepState(Kind.SKIPPED, task, why="the workflow completed before this step had ended")
    return StepState(Kind.FAILED if failed else Kind.CANCELED, task)


def below(levels: Sequence[Workflow], state: StepState, *, began: bool) -> StepState:
    """Where a step of a sub-workflow stands, by the workflows around it.

    ==================================================  =============================================
    the state                                           becomes
    ==================================================  =============================================
    of the task above, which has ended badly before
    its sub-workflow has begun                          NOT_REACHED
    the same, but the task above is optional            SKIPPED
    CANCELED or NOT_REACHED, and a workflow above is
    COMPLETED (by a TERMINATE)                          SKIPPED
    any other                                           the same
    ==================================================  =============================================

    Args:
        levels: the workflow, and its sub-workflows down to the one that was read last.
        state: where the step stands there; with ``began`` False, where the SUB_WORKFLOW task above it stands.
        began: whether the sub-workflow that has the step has begun.
    """
    if not began and state.kind is Kind.WARNED:
        return StepState(Kind.SKIPPED, why="the sub-workflow that it is in did not begin, and is optional")
    if not began and state.kind in (Kind.FAILED, Kind.CANCELED):
        return StepState(Kind.NOT_REACHED)
    if state.kind in (Kind.CANCELED, Kind.NOT_REACHED) and any(level.status.successful for level in levels[:-1]):
        return StepState(Kind.SKIPPED, state.task, why="the workflow completed before this step had ended")
    return state


def chosen_case(switch: Task) -> str | None:
    """The case that a SWITCH or DECISION chose; None: its default case, also where the chosen one has no tasks."""
    output = switch.output
    found = output.get("evaluationResult") or output.get("caseOutput") or [output.get("selectedCase")]
    chosen = str(found[0] if isinstance(found, list) and found else found)
    cases = switch.workflow_task.get("decisionCases") or {}
    return chosen if cases.get(chosen) else None


def attempts(step: Step, workflow: Workflow) -> list[Task]:
    """All attempts of the step, of the tasks inside it, and of those that a dynamic fork has made, oldest first."""
    refs = tasks_of(step, workflow)
    return sorted((task for task in workflow.tasks if is_one_of(task, refs)), key=lambda task: task.seq)


def tasks_of(step: Step, workflow: Workflow) -> frozenset[str]:
    """The reference names of the step, of the tasks inside it, and of those that a dynamic fork has made."""
    join = workflow.latest_attempt(step.awaits) if step.awaits != step.ref else None
    joined = join.input.get("joinOn") if join is not None else None
    return frozenset([step.ref, step.awaits, *step.inside, *map(str, joined if isinstance(joined, list) else ())])


def is_one_of(task: Task, refs: Collection[str]) -> bool:
    """Whether it is one of these, or an iteration of one."""
    name = task.reference_name
    return name in refs or (task.iteration > 0 and without_iterations(name) in refs)


class Action(Enum):
    """What a task does about its step before it waits."""

    FOLLOW = "follow"
    RETRY = "retry"
    RERUN = "rerun"
    REFUSE = "refuse"


def mark(state: StepState) -> list[object] | None:
    """What tells this run of the step from the next one: a rerun keeps the task's id, a retry makes another task."""
    return None if state.task is None else [state.task.task_id, state.task.scheduled_time]


def action(state: StepState, *, workflow_ended: bool, seen: object) -> Action:
    """What a task does about its step.

    ========================================================  =======
    the task                                                  action
    ========================================================  =======
    was not cleared since it ended: its first try, or         FOLLOW
    Airflow's own retry
    was cleared, and its step has run anew since, runs, or
    has never run: another task has rerun the workflow        FOLLOW
    was cleared, and its step has not; the workflow
    - runs or is paused                                       REFUSE
    - has ended, the step badly                               RETRY
    - has ended, the step well                                RERUN
    ========================================================  =======

    Args:
        seen: the :func:`mark` that a try before the last clear has left when it ended; None: none has.
    """
    if seen is None or state.task is None or state.kind is Kind.OPEN or seen != mark(state):
        return Action.FOLLOW
    if not workflow_ended:
        return Action.REFUSE
    return Action.RETRY if state.kind in (Kind.FAILED, Kind.CANCELED) else Action.RERUN
