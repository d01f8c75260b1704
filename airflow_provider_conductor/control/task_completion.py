"""Complete a task from outside, exactly once, and verify that it took effect."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Flow, ask, sleep
from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.control.task_choice import Completion, CompletionRefusedError, choose, open_tasks

PAUSES = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each read of the effect; the server answers 200 to an update that it ignores."""

MAX_DEPTH = 10
"""Levels of sub-workflows that are searched for a WAIT task."""


def complete(
    workflow_id: str, completion: Completion, *, log: Callable[[str], None], task_ref: str = "", task_id: str = ""
) -> Flow[Task]:
    """Complete the task, or find that it has already ended so; returns it as it is afterwards."""
    workflow = yield from ask(endpoints.get_workflow(workflow_id))
    task, already = choose(workflow, completion, task_ref=task_ref, task_id=task_id)
    if already:
        log(already)
        return task
    return (yield from _update(workflow, task, completion, log))


def signal(workflow_id: str, completion: Completion, *, log: Callable[[str], None], again: bool = False) -> Flow[Task]:
    """Complete the first open WAIT task of the workflow, or else of its running sub-workflows.

    It is the task that the server's own signal would reach, but completed by its id: a signal that is sent twice would
    reach the next WAIT as well. With ``again``, an earlier try may have completed a task, which is looked for first.
    """
    top = yield from ask(endpoints.get_workflow(workflow_id))
    if again:
        found = yield from _first(top, completion.was_sent_to, lambda task: True)
        if found is not None:
            log(f"an earlier try has signalled task {found[1].reference_name!r} of workflow {found[0].workflow_id}")
            return found[1]
    if top.status.ended:
        raise CompletionRefusedError(f"workflow {workflow_id} is {top.status}: there is nothing left to signal")
    found = yield from _first(top, lambda task: task.task_type == "WAIT" and task.is_open, lambda task: task.is_open)
    if found is None:
        opened = open_tasks(top)
        raise CompletionRefusedError(
            f"workflow {workflow_id} is {top.status} and no WAIT task is open, in it or in its sub-workflows"
            f"{f'; open tasks are {opened}' if opened else ''}. "
            "Wait for one with ConductorTaskSensor(expected_status='IN_PROGRESS'); a HUMAN task takes no signal: "
            "ConductorCompleteTaskOperator completes it",
            passing=True,
        )
    workflow, task = found
    log(f"signalling task {task.reference_name!r} of workflow {workflow.workflow_id}")
    return (yield from _update(workflow, task, completion, log))


def _first(
    workflow: Workflow, wanted: Callable[[Task], bool], descend: Callable[[Task], bool], depth: int = 0
) -> Flow[tuple[Workflow, Task] | None]:
    """The first task that is wanted, with its workflow; in the server's order, sub-workflows last."""
    for task in filter(wanted, workflow.tasks):
        return workflow, task
    for task in workflow.tasks:
        if task.task_type == "SUB_WORKFLOW" and task.sub_workflow_id and descend(task) and depth < MAX_DEPTH:
            child = yield from ask(endpoints.get_workflow(task.sub_workflow_id))
            found = yield from _first(child, wanted, descend, depth + 1)
            if found is not None:
                return found
    return None


def _update(workflow: Workflow, task: Task, completion: Completion, log: Callable[[str], None]) -> Flow[Task]:
    """Send the completion, and read the workflow until it shows."""
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
    what = f"task {task.reference_name!r} of workflow {workflow.workflow_id}"
    for pause in PAUSES:
        yield from sleep(pause)
        workflow = yield from ask(endpoints.get_workflow(workflow.workflow_id))
        task, already = choose(workflow, completion, task_id=task.task_id)
        if not already:
            continue
        faster = completion.by and not completion.was_sent_to(task)
        log(f"somebody else was faster: {already}" if faster else f"{what} is {task.known_status}")
        if workflow.status == "PAUSED":
            log(f"workflow {workflow.workflow_id} is PAUSED: it continues when it is resumed")
        return task
    raise CompletionRefusedError(
        f"the server accepted the update of {what}, but the task is still {task.known_status}", passing=True
    )
