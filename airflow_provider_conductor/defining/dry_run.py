"""The server's dry run of a workflow, with task outputs that somebody made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Flow
from airflow_provider_conductor.client.definitions import to_plain
from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow
from airflow_provider_conductor.client.terminating import terminate_running

__all__ = ["DryRunIncomplete", "dry_run"]

OVER = "its dry run came to no end"


class DryRunIncomplete(Exception):
    """The workflow came to a task for which no output is left; the message names it."""


def dry_run(
    workflow: str | Any,
    *,
    version: int | None = None,
    workflow_input: Mapping[str, Any] | None = None,
    task_outputs: Mapping[str, Any] | None = None,
) -> Flow[Workflow]:
    """Let the server run a workflow whose tasks have been done beforehand; no worker takes part.

    Args:
        workflow: name of a registered definition, or a definition: a dict or an object of the SDK.
        task_outputs: by reference name, what the task puts out, or a list with one item for each attempt. An attempt
            that does not complete is ``{"status": "FAILED", "output": {...}}``.

    Returns the workflow as it ended, with its tasks.

    Raises:
        DryRunIncomplete: a task has no output left; what the server had begun is terminated.
        ConductorInputError: an output that is no mapping.
    """
    mocks = {str(ref): _mocks(ref, given) for ref, given in (task_outputs or {}).items()}
    request: dict[str, Any] = {"input": dict(workflow_input or {}), "taskRefToMockOutput": mocks}
    if isinstance(workflow, str):
        request["name"] = workflow
    else:
        definition = to_plain(workflow)
        request |= {"name": definition.get("name"), "workflowDef": definition}
    if version is not None:
        request["version"] = version
    done: Workflow = yield endpoints.test_workflow(request)
    if done.status.ended:
        return done
    yield from terminate_running(done.workflow_id, OVER)
    opened = [task for task in done.tasks if task.known_status is not None and not task.known_status.ended]
    raise DryRunIncomplete(
        f"the dry run of {done.name} is {done.status} at {', '.join(map(_told, opened)) or 'no task'}: "
        f"task_outputs has nothing (more) for it; it has {', '.join(map(repr, mocks)) or 'nothing'}"
    )


def _told(task: Task) -> str:
    attempt = f", attempt {task.retry_count + 1}" if task.retry_count else ""
    return f"{task.reference_name!r} ({task.task_type}{attempt})"


def _mocks(ref: str, given: Any) -> list[dict[str, Any]]:
    attempts = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    return [_mock(ref, attempt) for attempt in attempts]


def _mock(ref: str, given: Any) -> dict[str, Any]:
    """``{"status": …, "output": …}`` as it is, all else as the output of a completed task."""
    if not isinstance(given, Mapping):
        raise ConductorInputError(f"the output of task {ref!r} must be a mapping, not {given!r:.60}: nothing was sent")
    if given.get("status") in TaskStatus.__members__ and given.keys() <= {"status", "output"}:
        return {"status": str(given["status"]), "output": dict(given.get("output") or {})}
    return {"status": "COMPLETED", "output": dict(given)}
