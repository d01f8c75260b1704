"""The buttons: which of them a workflow or a task allows, and what they do. They do what the operators do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.client.text import one_line, readable
from airflow_provider_conductor.control import commands
from airflow_provider_conductor.control.apply import apply
from airflow_provider_conductor.control.commands import Command
from airflow_provider_conductor.control.eligibility import Decision, Kind
from airflow_provider_conductor.control.task_choice import Completion, CompletionRefusedError, choose
from airflow_provider_conductor.control.task_completion import complete
from airflow_provider_conductor.polling.blocker import SIGNALLED

REASON_LIMIT = 500
"""Characters of a reason that a user gives."""


class Action(StrEnum):
    """What a button does."""

    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    RETRY = "retry"
    RESTART = "restart"
    RERUN = "rerun"
    SKIP = "skip"
    COMPLETE = "complete"
    FAIL = "fail"


OF_WORKFLOWS = (Action.PAUSE, Action.RESUME, Action.TERMINATE, Action.RETRY, Action.RESTART)
"""The buttons of a whole workflow; the others are those of a task."""

COMPLETED_FROM_OUTSIDE = frozenset({"WAIT", "HUMAN"}) | SIGNALLED
"""Types of tasks that no worker runs, and that wait until somebody completes them."""

BUTTONS = {
    "ConductorPauseWorkflowOperator": '"Pause"',
    "ConductorResumeWorkflowOperator": '"Resume"',
    "ConductorTerminateWorkflowOperator": '"Terminate"',
    "ConductorRetryWorkflowOperator": '"Retry from failed task"',
    "ConductorRestartWorkflowOperator": '"Restart"',
    "ConductorRerunWorkflowOperator": '"Rerun from this task"',
    "ConductorSkipTaskOperator": '"Skip"',
    "ConductorCompleteTaskOperator": '"Complete"',
    "ConductorWorkflowSensor waits": "wait",
}
"""What a reason that names an operator says beside the buttons."""

_OPERATOR = re.compile("|".join(map(re.escape, BUTTONS)))


class ActionRefusedError(Exception):
    """The action is not possible; the message says why, and what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One press of a button.

    Attributes:
        workflow_id: the workflow that it concerns, perhaps a sub-workflow.
        ref: the task to rerun from or to skip.
        task_id: the attempt to complete or to fail.
        reason: stored by the server (terminate, fail).
        output: the task's output (skip, complete, fail).
        terminal: whether Conductor must not retry the task (fail).
        user: who pressed it; becomes a part of the reason, or the worker of the task.
    """

    action: Action
    workflow_id: str
    user: str
    ref: str = ""
    task_id: str = ""
    reason: str = ""
    output: Mapping[str, Any] = field(default_factory=dict)
    terminal: bool = False


def workflow_actions(workflow: Workflow) -> dict[str, dict[str, Any]]:
    """By button of a whole workflow, whether it is allowed, and why not."""
    return {action: _allowed(_command(action).decide(workflow)) for action in OF_WORKFLOWS}


def task_actions(workflow: Workflow, ref: str, task: Task | None) -> dict[str, dict[str, Any]]:
    """The same for the buttons of a task.

    Args:
        workflow: with its tasks.
        task: one attempt of it; None if it has not been reached.
    """
    actions = {action: _allowed(_command(action, ref=ref).decide(workflow)) for action in (Action.RERUN, Action.SKIP)}
    return actions | {action: _completable(workflow, action, task) for action in (Action.COMPLETE, Action.FAIL)}


def perform(request: Request) -> Flow[tuple[str, bool]]:
    """Do it, and verify the effect: what happened, as one line, and whether anything was changed.

    Raises:
        ActionRefusedError: the state of the workflow does not allow it, or the server refused.
        ConductorRequestError: Conductor is unreachable, or refuses the request.
    """
    lines: list[str] = []
    if request.action in (Action.COMPLETE, Action.FAIL):
        changed = yield from _complete(request, lines.append)
    else:
        command = _command(
            request.action, ref=request.ref, reason=_reason(request, "terminated"), output=request.output or None
        )
        outcome = yield from apply(command, [request.workflow_id], log=lines.append)
        if outcome.refusals:
            raise ActionRefusedError(beside_buttons(outcome.failure))
        changed = bool(outcome.done)
    return beside_buttons(one_line("; ".join(lines), 1_000)), changed


def beside_buttons(text: str) -> str:
    """A reason that was written for DAGs, with the buttons' names in place of the operators'."""
    return _OPERATOR.sub(lambda match: BUTTONS[match[0]], text)


def _complete(request: Request, log: Callable[[str], None]) -> Flow[bool]:
    workflow = yield from ask(endpoints.get_workflow(request.workflow_id))
    task = next((item for item in workflow.tasks if item.task_id == request.task_id), None)
    completable = _completable(workflow, request.action, task)
    if not completable["allowed"]:
        raise ActionRefusedError(completable["why"])
    try:
        done = yield from complete(request.workflow_id, _completion(request), log=log, task_id=request.task_id)
    except CompletionRefusedError as error:
        raise ActionRefusedError(beside_buttons(str(error))) from None
    return done.worker_id == _worker(request.user)


def _completion(request: Request) -> Completion:
    status, reason = TaskStatus.COMPLETED, None
    if request.action is Action.FAIL:
        status = TaskStatus.FAILED_WITH_TERMINAL_ERROR if request.terminal else TaskStatus.FAILED
        reason = _reason(request, "failed")
    return Completion(status=status, output=dict(request.output), reason=reason, by=_worker(request.user))


def _worker(user: str) -> str:
    return f"airflow-ui:{one_line(user, 100)}"


def _reason(request: Request, past: str) -> str:
    """With the name of the user, who is not one for Conductor."""
    given = readable(request.reason.strip(), REASON_LIMIT)
    return f"{past} in Airflow's UI by {one_line(request.user, 100)}" + (f": {given}" if given else "")


def _command(action: Action, *, ref: str = "", reason: str = "", output: Mapping[str, Any] | None = None) -> Command:
    match action:
        case Action.PAUSE:
            return commands.pause()
        case Action.RESUME:
            return commands.resume()
        case Action.TERMINATE:
            return commands.terminate(reason)
        case Action.RETRY:
            return commands.retry()
        case Action.RESTART:
            return commands.restart()
        case Action.RERUN:
            return commands.rerun(from_task_ref=ref)
        case Action.SKIP:
            return commands.skip(ref, output)
    raise ValueError(f"{action} concerns one attempt of a task")


def _completable(workflow: Workflow, action: Action, task: Task | None) -> dict[str, Any]:
    if task is None:
        return _answer("the workflow has not reached this task")
    if task.kind not in COMPLETED_FROM_OUTSIDE and task.task_type not in COMPLETED_FROM_OUTSIDE:
        return _answer("only WAIT and HUMAN tasks are completed by hand; this one is completed by what runs it")
    status = TaskStatus.COMPLETED if action is Action.COMPLETE else TaskStatus.FAILED
    try:
        return _answer(choose(workflow, Completion(status=status), task_id=task.task_id)[1])
    except CompletionRefusedError as error:
        return _answer(str(error))


def _allowed(decision: Decision) -> dict[str, Any]:
    return _answer("" if decision.kind is Kind.DUE else decision.why)


def _answer(why: str) -> dict[str, Any]:
    return {"allowed": not why, "why": one_line(beside_buttons(why), 500) if why else ""}
