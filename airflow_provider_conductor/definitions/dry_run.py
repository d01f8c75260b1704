"""The server's dry run of a workflow, with given task outputs."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorDryRunIncompleteError,
    ConductorError,
    ConductorInputError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask, sleep
from airflow_provider_conductor.client.models import TaskStatus, Workflow
from airflow_provider_conductor.client.plain import path_part, to_plain
from airflow_provider_conductor.client.task_types import CHOSEN_AT_RUN_TIME, CONTAINERS
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.definitions.task_tree import defined_tasks

REASON = "its dry run did not end"

DONE_BY_THE_SERVER = (CONTAINERS - {"EXCLUSIVE_JOIN"}) | {
    *("DYNAMIC", "INLINE", "SET_VARIABLE", "SUB_WORKFLOW", "TERMINATE")
}
"""Types whose tasks a dry run does itself; an output given for one is dropped (the server's WorkflowTestService)."""

SEARCH_PAUSES = (0.0, 1.0, 3.0)
"""Seconds before each search for a run whose answer was lost."""

CHILD_PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each read of whether a sub-workflow has been started: one that starts after its parent was terminated
keeps running (seen on 3.32.2)."""

KEEPS_RUNNING = "until it ends"
"""A reference name that no task has: a server works on a run while outputs are left, and without any it is done before
a sub-workflow has begun (its WorkflowTestService)."""


def dry_run(
    workflow: str | Any,
    *,
    version: int | None = None,
    workflow_input: Mapping[str, Any] | None = None,
    task_outputs: Mapping[str, Any] | None = None,
) -> Flow[Workflow]:
    """Let the server run a workflow with given task outputs; see ``ConductorHook.test_workflow``."""
    outputs = task_outputs or {}
    # Sub-workflows inherit the correlation id, and no other workflow has it: it finds what a lost answer leaves behind.
    label = f"dry-run:{uuid.uuid4()}"
    request: dict[str, Any] = {"correlationId": label, "input": dict(workflow_input or {})}
    if isinstance(workflow, str):
        name = path_part(workflow, "the workflow's name")
        definition = yield from ask(endpoints.get_workflow_def(name, version=version))
    else:
        definition = to_plain(workflow)
        name = path_part(str(definition.get("name") or ""), "the workflow's name")
        request["workflowDef"] = definition
    if version is not None:
        request["version"] = version
    request |= {"name": name, **(yield from _mocked(definition, outputs))}
    failure: ConductorRequestError | None = None
    try:
        done = yield from ask(endpoints.test_workflow(request))
    except ConductorRequestError as error:
        # The server keeps trying for minutes if a sub-workflow lacks an output and another task still has one.
        if not error.fate_unknown and (error.status or 0) < 500:
            raise
        found = yield from _left_running(name, label)
        if found is None:
            raise
        done, failure = found, error
    if done.status.ended:
        return done
    for pause in CHILD_PAUSES:
        if all(task.sub_workflow_id for task in done.tasks if task.is_open and task.task_type == "SUB_WORKFLOW"):
            break
        yield from sleep(pause)
        done = yield from ask(endpoints.get_workflow(done.workflow_id))
    missing = yield from _missing(done, request)
    yield from terminate([done.workflow_id], REASON)
    if failure is not None and not missing:
        raise failure
    what = f"the dry run of {done.name} is {done.status}"
    if missing:
        given = ", ".join(map(repr, outputs)) or "no task"
        why = f"{what}: task_outputs has no (further) output for {', '.join(missing)}; it has outputs for {given}"
    else:
        opened = ", ".join(f"{task.reference_name!r} ({task.task_type})" for task in done.tasks if task.is_open)
        why = f"{what} at {opened or 'no task'}, which no entry of task_outputs would end"
    raise ConductorDryRunIncompleteError(why) from failure


def _left_running(name: str, correlation_id: str) -> Flow[Workflow | None]:
    """The run whose answer was lost, with its tasks, if it has not ended."""
    for pause in SEARCH_PAUSES:
        yield from sleep(pause)
        try:
            found = yield from ask(endpoints.get_by_correlation_ids(name, [correlation_id]))
            for workflow in found.get(correlation_id, ()):
                if not workflow.status.ended and not workflow.parent_workflow_id:
                    return (yield from ask(endpoints.get_workflow(workflow.workflow_id)))
        except ConductorError:  # the lost answer is what is raised
            continue
    return None


def _missing(workflow: Workflow, request: Mapping[str, Any], above: str = "") -> Flow[list[str]]:
    """The open tasks that an output would end, those of sub-workflows included."""
    mocks: Mapping[str, Sequence[Any]] = request.get("taskRefToMockOutput") or {}
    missing = []
    for task in filter(lambda task: task.is_open, workflow.tasks):
        ref = task.reference_name
        if task.task_type == "SUB_WORKFLOW" and task.sub_workflow_id:
            for pause in (0.0, *CHILD_PAUSES):  # it exists a moment before its tasks (seen on a busy 3.32.2)
                yield from sleep(pause)
                child = yield from ask(endpoints.get_workflow(task.sub_workflow_id))
                if child.tasks or child.status.ended:
                    break
            children = (request.get("subWorkflowTestRequest") or {}).get(ref) or {}
            missing += yield from _missing(child, children, f"{above}{ref} → ")
        elif task.task_type == "SUB_WORKFLOW":
            missing.append(f"{above + ref!r} (SUB_WORKFLOW)")
        elif task.task_type not in DONE_BY_THE_SERVER:
            ended = sum(1 for other in workflow.tasks if other.reference_name == ref and not other.is_open)
            if ended >= len(mocks.get(ref) or ()):
                attempt = f", attempt {task.retry_count + 1}" if task.retry_count else ""
                missing.append(f"{above + ref!r} ({task.task_type}{attempt})")
    return missing


def _mocked(definition: Any, outputs: Any, above: str = "") -> Flow[dict[str, Any]]:
    """The outputs as the server's test request has them; ``definition`` is None if it is not known."""
    if not isinstance(outputs, Mapping):
        raise ConductorInputError(
            f"task {above!r} is a sub-workflow: give the outputs of its tasks, by their reference names, not "
            f"{outputs!r:.60}; nothing was sent"
        )
    found = [item for item in defined_tasks((definition or {}).get("tasks")) if isinstance(item.task, Mapping)]
    tasks = {item.task["taskReferenceName"]: item for item in found if "taskReferenceName" in item.task}
    types = {item.task.get("type") for item in tasks.values()}
    complete = definition is not None and not types & CHOSEN_AT_RUN_TIME
    mocks: dict[str, list[dict[str, Any]]] = {}
    children: dict[str, Any] = {}
    for given, output in outputs.items():
        ref, where = str(given), f"{above} → {given}" if above else str(given)
        defined = tasks.get(ref) or tasks.get(re.sub(r"(__\d+)+$", "", ref))
        kind = "" if defined is None else defined.task.get("type") or "SIMPLE"
        if defined is None and complete:
            has = ", ".join(map(repr, tasks))
            raise ConductorInputError(
                f"task_outputs has {where!r}, and the definition has no such task (it has {has}); nothing was sent"
            )
        if defined is not None and ref in tasks and defined.innermost("DO_WHILE"):
            raise ConductorInputError(
                f"task {where!r} is in a loop, where each iteration has a name of its own: give the outputs of "
                f"'{ref}__1', '{ref}__2' …; nothing was sent"
            )
        if defined is not None and kind == "SUB_WORKFLOW":
            child = yield from _definition_of_child(defined.task)
            children[ref] = yield from _mocked(child, output, where)
            continue
        if kind in DONE_BY_THE_SERVER:
            raise ConductorInputError(
                f"task {where!r} ({kind}) is done by the server itself and takes no output; nothing was sent"
            )
        attempts = output if isinstance(output, Sequence) and not isinstance(output, str) else [output]
        mocks[ref] = [_mock(where, attempt) for attempt in attempts]
    if children:
        mocks[KEEPS_RUNNING] = []
    return {"taskRefToMockOutput": mocks, "subWorkflowTestRequest": children}


def _definition_of_child(task: Mapping[str, Any]) -> Flow[Mapping[str, Any] | None]:
    """The definition of a sub-workflow, or None if it is chosen at run time or does not exist."""
    child = task.get("subWorkflowParam") or {}
    inline, name, version = child.get("workflowDefinition"), child.get("name"), child.get("version")
    if isinstance(inline, Mapping):
        return inline
    if inline or not isinstance(name, str) or "${" in name:
        return None
    try:
        return (yield from ask(endpoints.get_workflow_def(name, version if isinstance(version, int) else None)))
    except ConductorNotFoundError:
        return None


def _mock(ref: str, given: Any) -> dict[str, Any]:
    """``{"status": …, "output": …}`` as it is; anything else is the output of a completed task."""
    if not isinstance(given, Mapping):
        raise ConductorInputError(f"the output of task {ref!r} must be a mapping, not {given!r:.60}: nothing was sent")
    if given.get("status") in TaskStatus.__members__ and given.keys() <= {"status", "output"}:
        return {"status": str(given["status"]), "output": dict(given.get("output") or {})}
    return {"status": "COMPLETED", "output": dict(given)}
