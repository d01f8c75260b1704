"""One workflow per series of tries: look up, start, reconcile; a flow, so it does no I/O and has no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Flow, Now, Sleep
from airflow_provider_conductor.client.errors import (
    ConductorConflict,
    ConductorError,
    ConductorNotFound,
    ConductorRequestError,
)
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.starting.decision import Action, Decision, Found, RetryFrom, decide
from airflow_provider_conductor.starting.identity import StartKey, TaskIdentity

__all__ = ["StartPlan", "Started", "TerminatedByOthers", "start_once", "terminate_all"]

SETTLE = (0.0, 1.0, 2.0)
"""Seconds before each look for a start that an earlier try may have sent just before it died."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds between looks for a start whose fate is unknown."""

MAX_POSTS = 3
"""How often an unanswered start is sent in one try; after that Airflow's own retry goes on."""


class TerminatedByOthers(ConductorError):
    """Somebody terminated the workflow of this series; it is not brought back to life."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        super().__init__(
            f"workflow {workflow.workflow_id} was terminated by somebody else "
            f"({workflow.reason or 'no reason given'}), so it is not brought back to life; "
            "clear the task to start a new one"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan:
    """What to start and for whom.

    Args:
        identity: the task and its try.
        body: the start request as the server reads it; its ``correlationId``, if any, is the user's own label.
        stored_id: the workflow's id that an earlier try of this series put down, or None.
        retry_from: what a try after a failed workflow does.
        cancel_on_kill: whether a workflow dies with its task.
        label_since: ms on the server's clock; with a label of the user's own, older workflows are not ours.
        patience: seconds to look for a start whose fate is unknown before it is sent again.
        leftover_reason: given when a workflow of an earlier series is terminated.
    """

    identity: TaskIdentity
    body: dict[str, Any]
    stored_id: str | None = None
    retry_from: RetryFrom = "failed_task"
    cancel_on_kill: bool = True
    label_since: int = 0
    patience: float = 60.0
    leftover_reason: str = ""

    @property
    def label(self) -> str | None:
        return self.body.get("correlationId")

    @property
    def name(self) -> str:
        return str(self.body["name"])


@dataclass(frozen=True, slots=True)
class Started:
    """The workflow of this series. ``action`` says how it came about; ``posts`` how many starts were sent."""

    workflow_id: str
    action: Action
    posts: int = 0


@dataclass(slots=True)
class _Memory:
    """What happens on the way and is told at once: to the log, and to whoever stores the id."""

    say: Callable[[str], None]
    remember: Callable[[str], None]
    posts: int = field(default=0)


def start_once(plan: StartPlan, *, say: Callable[[str], None], remember: Callable[[str], None]) -> Flow[Started]:
    """Find the workflow of this series, or start it, once.

    ``remember`` is called with the id before anything else is done with it.

    Raises:
        TerminatedByOthers: see :func:`~airflow_provider_conductor.starting.decision.decide`.
        ConductorRequestError: the server refused, or could not be asked; a later try looks up what became of it.
    """
    memory = _Memory(say, remember)
    decision = Decision(Action.START)
    if plan.identity.may_have_started or plan.stored_id:
        found = yield from _look_up(plan)
        decision = decide(
            found,
            series=plan.identity.series,
            series_is_known=plan.identity.series_is_known,
            retry_from=plan.retry_from,
            cancel_on_kill=plan.cancel_on_kill,
        )
    for leftover in decision.terminate_first:
        if plan.label is None:
            yield from _terminate(leftover, plan.leftover_reason, memory)
    if decision.workflow is None:
        return (yield from _start(plan, decision.generation, memory))
    workflow = decision.workflow
    if decision.action is Action.REFUSE:
        raise TerminatedByOthers(workflow)
    remember(workflow.workflow_id)
    if decision.action is Action.ATTACH:
        say(f"workflow {workflow.workflow_id} of an earlier try is {workflow.status}: it is not started again")
        return Started(workflow.workflow_id, Action.ATTACH)
    action = yield from _run_again(workflow, decision.action, memory)
    return Started(workflow.workflow_id, action)


# Finding what earlier tries left


def _look_up(plan: StartPlan) -> Flow[list[Found]]:
    """What earlier tries left, by the stored id and by correlation ids.

    Where nothing is found and nothing was stored, an earlier try may have died just after it sent its start:
    the server gets a moment to bring it to light.
    """
    stored = (yield from _stored(plan)) if plan.stored_id else None
    for pause in (0.0,) if stored else SETTLE:
        if pause:
            yield Sleep(pause)
        found: list[Found] = yield from _correlated(plan)
        if stored and all(item.workflow.workflow_id != stored.workflow_id for item in found):
            generation = max((f.key.generation for f in found if f.key.first_try == plan.identity.series), default=0)
            found.append(Found(StartKey(plan.identity.series, generation), stored))
        if found:
            return found
    return []


def _stored(plan: StartPlan) -> Flow[Workflow | None]:
    try:
        return (yield endpoints.get_workflow(plan.stored_id or "", include_tasks=False))  # type: ignore[no-any-return]
    except ConductorNotFound:
        return None


def _correlated(plan: StartPlan) -> Flow[list[Found]]:
    identity = plan.identity
    if plan.label is not None:
        key = StartKey(identity.series)
        answer = yield endpoints.get_by_correlation_ids(plan.name, [plan.label])
        return [Found(key, workflow) for workflow in answer.get(plan.label, ()) if _is_ours(plan, workflow)]
    keys = {identity.correlation_id(key): key for key in identity.possible_keys()}
    answer = yield endpoints.get_by_correlation_ids(plan.name, list(keys))
    return [Found(keys[text], workflow) for text, several in answer.items() if text in keys for workflow in several]


def _is_ours(plan: StartPlan, workflow: Workflow) -> bool:
    """A label is not unique: a workflow under it counts only if it is younger than the dag run and has our input."""
    wanted: dict[str, Any] = plan.body.get("input") or {}
    same_input = all(workflow.input.get(key) == value for key, value in wanted.items())
    return workflow.create_time >= plan.label_since and same_input


# Starting


def _start(plan: StartPlan, generation: int, memory: _Memory) -> Flow[Started]:
    """Send the start; where its fate is unknown, look for it with patience before it is sent again."""
    key = StartKey(plan.identity.series, generation)
    correlation_id = plan.identity.correlation_id(key)
    body = {
        **plan.body,
        "correlationId": plan.label or correlation_id,
        # Enforced by Orkes; the open-source server ignores both.
        "idempotencyKey": plan.body.get("idempotencyKey") or correlation_id,
        "idempotencyStrategy": plan.body.get("idempotencyStrategy") or "RETURN_EXISTING",
    }
    call = endpoints.start_workflow(body)
    while True:
        memory.posts += 1
        try:
            workflow_id: str = yield call
        except ConductorRequestError as error:
            if not error.fate_unknown:
                raise
            memory.say(f"it is not known whether the workflow was started ({error}); looking for it")
            candidates = yield from _search_for(plan, key, error)
            if candidates:
                workflow_id = candidates[0].workflow_id
            elif memory.posts >= MAX_POSTS:
                raise
            else:
                memory.say("it was not started; it is sent again")
                continue
        memory.remember(workflow_id)
        if memory.posts > 1:
            workflow_id = yield from _keep_the_oldest(plan, key, workflow_id, memory)
        return Started(workflow_id, Action.START, posts=memory.posts)


def _search_for(plan: StartPlan, key: StartKey, error: ConductorRequestError) -> Flow[list[Workflow]]:
    """Look for the start of ``key`` until the patience is over.

    Returns the workflows found, oldest first; none means that the server was asked, to the end, and has none.

    Raises:
        ConductorRequestError: the server could not be asked at the end either: nothing is known, nothing is sent.
    """
    deadline = (yield Now()) + plan.patience
    pause = FIRST_PAUSE
    while True:
        failure: ConductorRequestError | None = None
        try:
            candidates = yield from _of_key(plan, key)
            if candidates:
                return candidates
        except ConductorRequestError as trouble:
            failure = trouble
        now = yield Now()
        if now >= deadline:
            if failure is not None:
                raise error
            return []
        yield Sleep(min(pause, deadline - now))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _of_key(plan: StartPlan, key: StartKey) -> Flow[list[Workflow]]:
    """The workflows of one start, oldest first."""
    if plan.label is not None:
        found: list[Found] = yield from _correlated(plan)
        mine = [item.workflow for item in found]
    else:
        correlation_id = plan.identity.correlation_id(key)
        answer = yield endpoints.get_by_correlation_ids(plan.name, [correlation_id])
        mine = list(answer.get(correlation_id, ()))
    return sorted(mine, key=lambda workflow: (workflow.create_time, workflow.workflow_id))


def _keep_the_oldest(plan: StartPlan, key: StartKey, workflow_id: str, memory: _Memory) -> Flow[str]:
    """After an ambiguous start: if two run, the older stays and the younger is terminated.

    With a label of the user's own nothing is terminated: another task may have started it.
    """
    try:
        candidates = yield from _of_key(plan, key)
    except ConductorRequestError as error:
        memory.say(f"could not check for a second workflow of this start: {error}")
        return workflow_id
    if len(candidates) < 2 or plan.label is not None:
        return workflow_id
    oldest, *younger = candidates
    memory.remember(oldest.workflow_id)
    for duplicate in younger:
        yield from _terminate(duplicate, f"duplicate of {oldest.workflow_id}: an unanswered start", memory)
    return oldest.workflow_id


# Running again, and ending


def _run_again(workflow: Workflow, action: Action, memory: _Memory) -> Flow[Action]:
    """Retry from the failed tasks, or restart; where there is nothing to retry, restart and say so."""
    workflow_id = workflow.workflow_id
    if action is Action.RETRY:
        try:
            yield endpoints.retry_workflow(workflow_id, resume_subworkflow_tasks=True)
        except ConductorConflict as error:
            memory.say(f"workflow {workflow_id} has no task to retry ({error.message}); it is restarted instead")
            action = Action.RESTART
        except ConductorRequestError as error:
            if not (yield from _runs_after(workflow_id, error)):
                raise
        else:
            memory.say(f"workflow {workflow_id} was {workflow.status} and runs on from its failed tasks")
            return action
    if action is Action.RESTART:
        try:
            yield endpoints.restart_workflow(workflow_id)
        except ConductorRequestError as error:
            if not (yield from _runs_after(workflow_id, error)):
                raise
        memory.say(f"workflow {workflow_id} was {workflow.status} and runs again from its start")
    return action


def _runs_after(workflow_id: str, error: ConductorRequestError) -> Flow[bool]:
    """Whether a call whose answer was lost took effect all the same."""
    if not error.fate_unknown:
        return False
    workflow: Workflow = yield endpoints.get_workflow(workflow_id, include_tasks=False)
    return not workflow.status.ended


def terminate_all(plan: StartPlan, reason: str, *, say: Callable[[str], None]) -> Flow[list[str]]:
    """Terminate what runs of this task's starts, a moment after they may have been sent; returns the ids."""
    memory = _Memory(say, lambda workflow_id: None)
    terminated: dict[str, None] = {}
    for pause in SETTLE:
        yield Sleep(pause)
        found: list[Found] = yield from _correlated(plan)
        for item in found:
            if not item.workflow.status.ended:
                yield from _terminate(item.workflow, reason, memory)
                terminated[item.workflow.workflow_id] = None
    return list(terminated)


def _terminate(workflow: Workflow, reason: str, memory: _Memory) -> Flow[None]:
    """Terminate what still runs; what has ended meanwhile stays as it is."""
    try:
        now: Workflow = yield endpoints.get_workflow(workflow.workflow_id, include_tasks=False)
        if now.status.ended:
            return
        yield endpoints.terminate_workflow(workflow.workflow_id, reason)
    except (ConductorConflict, ConductorNotFound):
        return
    memory.say(f"terminated workflow {workflow.workflow_id}: {reason}")
