"""One workflow: start, read, control (``/workflow``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client.endpoints.reading import (
    a_workflow,
    an_id,
    correlated,
    nothing,
    objects,
    search_result,
    task_search_result,
)
from airflow_provider_conductor.client.endpoints.writing import (
    get,
    one_of,
    parameters,
    path,
    plain_input,
    several,
    start_body,
    whole,
)
from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.models import (
    SearchResult,
    StartWorkflowRequest,
    TaskSearchResult,
    TaskStatus,
    Workflow,
)

MAX_HOLD_SECONDS = 25
"""Longest hold asked of a server in one request: a stock 3.32 answers 500 past about 30 s (seen), gateways too."""


def start_workflow(request: StartWorkflowRequest | Mapping[str, Any] | Any) -> Call[str]:
    """Start a workflow. Never sent twice: the open-source server enforces no idempotency key.

    Args:
        request: a ``StartWorkflowRequest`` of ours or of the Python SDK, or a dict with the server's names.

    Returns:
        The workflow's id.
    """
    return Call("POST", "/workflow", an_id, body=start_body(request))


def start_workflow_by_name(
    name: str,
    workflow_input: Mapping[str, Any] | None = None,
    version: int | None = None,
    correlation_id: str | None = None,
    priority: int | None = None,
) -> Call[str]:
    """Start the named definition, with ``version=None`` its latest version.

    Returns:
        The workflow's id.
    """
    return Call(
        "POST",
        path("/workflow/{name}", name=name),
        an_id,
        params=parameters(version=version, correlationId=correlation_id, priority=priority),
        body=plain_input(workflow_input),
    )


def execute_workflow(
    request: StartWorkflowRequest | Mapping[str, Any] | Any,
    *,
    request_id: str | None = None,
    wait_until_task_ref: str | None = None,
    hold_seconds: float = 10,
) -> Call[Workflow]:
    """Start a workflow and hold the request for up to ``hold_seconds`` (1 to 25).

    Returns:
        The workflow as it then is, which may be RUNNING.

    Raises:
        ConductorInputError: a hold that the server would answer with a 500 while the workflow runs on.
    """
    if not 1 <= hold_seconds <= MAX_HOLD_SECONDS:
        raise ConductorInputError(f"hold_seconds must be between 1 and {MAX_HOLD_SECONDS}, not {hold_seconds}")
    body = start_body(request)
    hold = int(hold_seconds)
    return Call(
        "POST",
        path(
            "/workflow/execute/{name}/{version}", name=body["name"], version=whole(body.get("version") or 0, "version")
        ),
        a_workflow,
        params=parameters(requestId=request_id, waitUntilTaskRef=wait_until_task_ref, waitForSeconds=hold),
        body=body,
        hold=hold,
    )


def get_workflow(workflow_id: str, include_tasks: bool = True) -> Call[Workflow]:
    """Read an execution, with or without its tasks."""
    return get(path("/workflow/{workflow_id}", workflow_id=workflow_id), a_workflow, includeTasks=include_tasks)


def get_workflow_status(
    workflow_id: str, include_output: bool = False, include_variables: bool = False
) -> Call[Workflow]:
    """Read the status alone (74 bytes without output); ``ConductorMissingRouteError`` up to server 3.31.0."""
    return get(
        path("/workflow/{workflow_id}/status", workflow_id=workflow_id),
        a_workflow,
        includeOutput=include_output,
        includeVariables=include_variables,
    )


def get_workflow_tasks(
    workflow_id: str, statuses: Sequence[TaskStatus | str] = (), start: int = 0, count: int = 100
) -> Call[TaskSearchResult]:
    """Read a page of the workflow's tasks, oldest first.

    Args:
        statuses: only tasks with one of these; empty for all.

    Raises:
        ConductorMissingRouteError: the server is too old.
    """
    wanted = tuple(("status", one_of(TaskStatus, status)) for status in statuses)
    return Call(
        "GET",
        path("/workflow/{workflow_id}/tasks", workflow_id=workflow_id),
        task_search_result,
        params=parameters(start=start, count=count) + wanted,
        safe_to_repeat=True,
    )


def decide_workflow(workflow_id: str) -> Call[None]:
    """Let the server evaluate the workflow now, as it regularly does by itself."""
    return Call("PUT", path("/workflow/decide/{workflow_id}", workflow_id=workflow_id), nothing, safe_to_repeat=True)


def reset_workflow_callbacks(workflow_id: str) -> Call[None]:
    """Make its SIMPLE tasks due now that their worker, or a retry delay, has postponed."""
    return Call("POST", path("/workflow/{workflow_id}/resetcallbacks", workflow_id=workflow_id), nothing)


def pause_workflow(workflow_id: str) -> Call[None]:
    """Schedule no further tasks; tasks that a worker already has go on."""
    return Call("PUT", path("/workflow/{workflow_id}/pause", workflow_id=workflow_id), nothing, safe_to_repeat=True)


def resume_workflow(workflow_id: str) -> Call[None]:
    """End a pause; a ``ConductorServerError`` (500) if the workflow is not paused."""
    return Call("PUT", path("/workflow/{workflow_id}/resume", workflow_id=workflow_id), nothing)


def terminate_workflow(workflow_id: str, reason: str | None = None) -> Call[None]:
    """End the workflow as TERMINATED, whatever it was: the server overwrites FAILED and TIMED_OUT too."""
    return Call(
        "DELETE",
        path("/workflow/{workflow_id}", workflow_id=workflow_id),
        nothing,
        params=parameters(reason=reason or None),
    )


def restart_workflow(workflow_id: str, use_latest_def: bool = False) -> Call[None]:
    """Run an ended workflow again from its start, under the same id; ``ConductorConflictError`` before it has ended."""
    return Call(
        "POST",
        path("/workflow/{workflow_id}/restart", workflow_id=workflow_id),
        nothing,
        params=parameters(useLatestDefinitions=use_latest_def),
    )


def retry_workflow(workflow_id: str, resume_subworkflow_tasks: bool = False) -> Call[None]:
    """Continue from the failed tasks, under the same id.

    Args:
        resume_subworkflow_tasks: continue a failed sub-workflow from its failed task; else it is run again.
    """
    return Call(
        "POST",
        path("/workflow/{workflow_id}/retry", workflow_id=workflow_id),
        nothing,
        params=parameters(resumeSubworkflowTasks=resume_subworkflow_tasks),
    )


def rerun_workflow(
    workflow_id: str,
    re_run_from_task_id: str | None = None,
    task_input: Mapping[str, Any] | None = None,
    workflow_input: Mapping[str, Any] | None = None,
    correlation_id: str | None = None,
) -> Call[str]:
    """Run again from a task (by its id), or from the start, with new inputs.

    Returns:
        The workflow's id, which stays the same.
    """
    body: dict[str, Any] = {"reRunFromWorkflowId": workflow_id}
    if re_run_from_task_id is not None:
        body["reRunFromTaskId"] = re_run_from_task_id
    if task_input is not None:
        body["taskInput"] = plain_input(task_input, "task_input")
    if workflow_input is not None:
        body["workflowInput"] = plain_input(workflow_input)
    if correlation_id is not None:
        body["correlationId"] = correlation_id
    return Call("POST", path("/workflow/{workflow_id}/rerun", workflow_id=workflow_id), an_id, body=body)


def skip_task_from_workflow(
    workflow_id: str,
    task_reference_name: str,
    task_input: Mapping[str, Any] | None = None,
    task_output: Mapping[str, Any] | None = None,
) -> Call[None]:
    """Mark a task that is not yet scheduled as SKIPPED, with this output.

    The server reads both maps from the query only (``taskOutput[a]=1``), as text, and ignores a JSON body.

    Raises:
        ConductorInputError: a value that is not text, a number or boolean, since the query cannot carry it.
    """
    params: list[tuple[str, str]] = []
    for wire, values in (("taskInput", task_input), ("taskOutput", task_output)):
        for key, value in (values or {}).items():
            if not isinstance(value, (str, int, float, bool)):
                raise ConductorInputError(
                    f"{wire}[{key}] is a {type(value).__name__}; the server takes text, numbers and booleans here"
                )
            params += parameters(**{f"{wire}[{key}]": value})
    return Call(
        "PUT",
        path(
            "/workflow/{workflow_id}/skiptask/{task_reference_name}",
            workflow_id=workflow_id,
            task_reference_name=task_reference_name,
        ),
        nothing,
        params=tuple(params),
    )


def delete_workflow(workflow_id: str, archive_workflow: bool = True) -> Call[None]:
    """Remove the workflow from the database; archived, it stays in the search index."""
    return Call(
        "DELETE",
        path("/workflow/{workflow_id}/remove", workflow_id=workflow_id),
        nothing,
        params=parameters(archiveWorkflow=archive_workflow),
    )


def terminate_and_delete_workflow(
    workflow_id: str, reason: str | None = None, archive_workflow: bool = True
) -> Call[None]:
    """End the workflow if it runs, and remove it; ``ConductorMissingRouteError`` on old servers."""
    return Call(
        "DELETE",
        path("/workflow/{workflow_id}/terminate-remove", workflow_id=workflow_id),
        nothing,
        params=parameters(reason=reason or None, archiveWorkflow=archive_workflow),
    )


def search_workflows(
    query: str | None = None, free_text: str = "*", start: int = 0, size: int = 100, sort: str | None = None
) -> Call[SearchResult]:
    """Search summaries in the index, for example ``query="workflowType IN (a,b) AND status IN (RUNNING)"``."""
    return get("/workflow/search", search_result, start=start, size=size, sort=sort, freeText=free_text, query=query)


def search_workflows_by_tasks(
    query: str | None = None, free_text: str = "*", start: int = 0, size: int = 100, sort: str | None = None
) -> Call[SearchResult]:
    """Search workflows by their tasks in the index, for example ``query="taskDefName IN (ship)"``."""
    return get(
        "/workflow/search-by-tasks", search_result, start=start, size=size, sort=sort, freeText=free_text, query=query
    )


def get_by_correlation_ids(
    name: str, correlation_ids: Sequence[str], include_closed: bool = True, include_tasks: bool = False
) -> Call[dict[str, tuple[Workflow, ...]]]:
    """Read the workflows of this name by correlation id, ended ones included by default.

    Workflows of other names or ids that the server answers are left out.

    Returns:
        Correlation id → workflows.
    """
    ids = several(correlation_ids, "correlation ids")
    return Call(
        "POST",
        path("/workflow/{name}/correlated", name=name),
        correlated(name, frozenset(ids)),
        params=parameters(includeClosed=include_closed, includeTasks=include_tasks),
        body=ids,
        safe_to_repeat=True,
    )


def get_running_workflows(name: str, version: int = 1) -> Call[list[str]]:
    """Read the ids of the running workflows of this name and version; with SQLite of all its versions."""
    return get(
        path("/workflow/running/{name}", name=name),
        lambda answer: [str(item) for item in objects(answer)],
        version=version,
    )


def test_workflow(request: Mapping[str, Any] | Any) -> Call[Workflow]:
    """Let the server run a workflow with mocked task outputs, and return it when it has ended.

    Each request starts a workflow, which runs on where one of its tasks lacks an output.

    Args:
        request: a start request with ``taskRefToMockOutput``: reference name → ``[{"status", "output"}]``.
    """
    return Call("POST", "/workflow/test", a_workflow, body=start_body(request))


def event_stream(workflow_id: str) -> Call[None]:
    """Events of the workflow as server-sent events; from server 3.32 on, where it is undocumented."""
    return get(path("/agent/stream/{workflow_id}", workflow_id=workflow_id), _no_stream)


def _no_stream(answer: Answer) -> None:
    raise ValueError("an event stream was expected")
