"""Complete a task from outside, once, and verify that it took effect."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Flow, ask, sleep
from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.control.task_choice import (
    Choice,
    Completion,
    CompletionRefusedError,
    choose,
    open_waits,
)

__all__ = ["complete", "signal"]

CHECKS = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look at whether it took effect; the server answers 200 to an update that it ignores."""

DEEPEST = 10
"""Sub-workflows below each other that a signal goes down to."""


def complete(
    workflow_id: str,
    completion: Completion,
    *,
    log: Callable[[str], None],
    task_ref: str = "",
    task_id: str = "",
) -> Flow[Task]:
    """End the task, or find that it has ended so; returns it as it then is.

    Raises:
        CompletionRefusedError: it cannot be ended so, or the server took the update and did not act on it.
    """
    workflow = yield from ask(endpoints.get_workflow(workflow_id))
    choice = choose(workflow, completion, task_ref=task_ref, task_id=task_id)
    return (yield from _carry_out(workflow, choice, completion, log))


def signal(workflow_id: str, completion: Completion, *, log: Callable[[str], None], again: bool = False) -> Flow[Task]:
    """End the first open WAIT task of the workflow, or else of its running sub-workflows.

    It is the task that the server's own signal would take, but ended by its id: a signal that is sent twice would
    reach the next WAIT as well.

    Args:
        again: an earlier try may have signalled; look for a task that it has ended.

    Raises:
        CompletionRefusedError: no WAIT task is open.
    """
    top = yield from ask(endpoints.get_workflow(workflow_id))
    if again:
        found = yield from _first(top, completion, made=True)
        if found is not None:
            log(f"task {found[1].reference_name!r} of workflow {found[0].workflow_id} was signalled by an earlier try")
            return found[1]
    found = None if top.status.ended else (yield from _first(top, completion, made=False))
    if found is None:
        state = f"workflow {workflow_id} is {top.status}"
        if top.status.ended:
            raise CompletionRefusedError(f"{state}: there is nothing left to signal")
        doing = ", ".join(f"{task.reference_name!r} ({task.task_type})" for task in top.tasks if task.is_open)
        raise CompletionRefusedError(
            f"{state} and no WAIT task is open, in it or in its sub-workflows{f'; open are {doing}' if doing else ''}. "
            "Wait for one with ConductorTaskSensor(expected_status='IN_PROGRESS'); a HUMAN task takes no signal: "
            "ConductorCompleteTaskOperator completes it",
            passing=True,
        )
    workflow, task = found
    log(f"signalling task {task.reference_name!r} of workflow {workflow.workflow_id}")
    return (yield from _carry_out(workflow, Choice(task), completion, log))


def _first(
    workflow: Workflow, completion: Completion, *, made: bool, depth: int = 0
) -> Flow[tuple[Workflow, Task] | None]:
    """The first open WAIT here, else below; with ``made`` the one that this completion was sent to before."""
    for task in filter(completion.made, workflow.tasks) if made else open_waits(workflow):
        return workflow, task
    for task in workflow.tasks:
        if task.task_type == "SUB_WORKFLOW" and task.sub_workflow_id and (made or task.is_open) and depth < DEEPEST:
            below = yield from ask(endpoints.get_workflow(task.sub_workflow_id))
            found: tuple[Workflow, Task] | None = yield from _first(below, completion, made=made, depth=depth + 1)
            if found is not None:
                return found
    return None


def _carry_out(workflow: Workflow, choice: Choice, completion: Completion, log: Callable[[str], None]) -> Flow[Task]:
    if choice.already:
        log(choice.already)
        return choice.task
    task = choice.task
    yield from ask(
        endpoints.update_task(
            workflow.workflow_id,
            task.task_id,
            completion.status,
            output={**task.output, **completion.output},
            reason=completion.reason,
            worker_id=completion.by or None,
        )
    )
    for pause in CHECKS:
        if pause:
            yield from sleep(pause)
        workflow = yield from ask(endpoints.get_workflow(workflow.workflow_id))
        checked = choose(workflow, completion, task_id=task.task_id)
        if checked.already:
            if completion.by and not completion.made(checked.task):
                log(f"somebody was faster: {checked.already}")
            else:
                log(f"task {task.reference_name!r} of workflow {workflow.workflow_id} is {checked.task.known_status}")
            if workflow.status == "PAUSED":
                log(f"workflow {workflow.workflow_id} is PAUSED: it goes on when it is resumed")
            return checked.task
    raise CompletionRefusedError(
        f"the server took the update of task {task.reference_name!r} of workflow {workflow.workflow_id}, but the task "
        f"is still {checked.task.known_status}",
        passing=True,
    )
