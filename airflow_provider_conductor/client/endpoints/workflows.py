"""Workflows: start, read, search, control, one or up to 1,000 (``/workflow``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_conductor.client.endpoints import reading
from airflow_provider_conductor.client.endpoints.writing import (
    MAX_BULK_IDS,
    call,
    one_of,
    plain_input,
    search,
    several,
    start_body,
    whole,
    without_none,
)
from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.models import (
    BulkResult,
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
    return call("POST /workflow", reading.an_id, body=start_body(request))


def start_workflow_by_name(
    name: str,
    workflow_input: Mapping[str, Any] | None = None,
    version: int | None = None,
    correlation_id: str | None = None,
    priority: int | None = None,
) -> Call[str]:
    """Start the named definition, with ``version=None`` its latest version, and return the workflow's id."""
    query = {"version": version, "correlationId": correlation_id, "priority": priority}
    return call("POST /workflow/{name}", reading.an_id, name, query=query, body=plain_input(workflow_input))


def execute_workflow(
    request: StartWorkflowRequest | Mapping[str, Any] | Any,
    *,
    request_id: str | None = None,
    wait_until_task_ref: str | None = None,
    hold_seconds: float = 10,
) -> Call[Workflow]:
    """Start a workflow, hold the request for up to ``hold_seconds`` (1 to 25), and return it, perhaps RUNNING.

    Raises:
        ConductorInputError: a hold that the server would answer with a 500 while the workflow runs on.
    """
    if not 1 <= hold_seconds <= MAX_HOLD_SECONDS:
        raise ConductorInputError(f"hold_seconds must be between 1 and {MAX_HOLD_SECONDS}, not {hold_seconds}")
    body, hold = start_body(request), int(hold_seconds)
    return call(
        "POST /workflow/execute/{name}/{version}",
        reading.a_workflow,
        body["name"],
        whole(body.get("version") or 0, "version"),
        query={"requestId": request_id, "waitUntilTaskRef": wait_until_task_ref, "waitForSeconds": hold},
        body=body,
        hold=hold,
    )


def test_workflow(request: Mapping[str, Any] | Any) -> Call[Workflow]:
    """Let the server run a workflow with mocked task outputs, and return it when it has ended.

    Each request starts a workflow, which runs on where one of its tasks lacks an output.

    Args:
        request: a start request with ``taskRefToMockOutput``: reference name → ``[{"status", "output"}]``.
    """
    return call("POST /workflow/test", reading.a_workflow, body=start_body(request))


def get_workflow(workflow_id: str, include_tasks: bool = True) -> Call[Workflow]:
    """Read an execution, with or without its tasks."""
    query = {"includeTasks": include_tasks}
    return call("GET /workflow/{workflow_id}", reading.a_workflow, workflow_id, query=query)


def get_workflow_status(
    workflow_id: str, include_output: bool = False, include_variables: bool = False
) -> Call[Workflow]:
    """Read the status alone (74 bytes without output); ``ConductorMissingRouteError`` up to server 3.31.0."""
    query = {"includeOutput": include_output, "includeVariables": include_variables}
    return call("GET /workflow/{workflow_id}/status", reading.a_workflow, workflow_id, query=query)


def get_workflow_tasks(
    workflow_id: str, statuses: Sequence[TaskStatus | str] = (), start: int = 0, count: int = 100
) -> Call[TaskSearchResult]:
    """Read a page of the workflow's tasks, oldest first; ``ConductorMissingRouteError`` on old servers.

    Args:
        statuses: only tasks with one of these; empty for all.
    """
    query = {"start": start, "count": count, "status": [one_of(TaskStatus, status) for status in statuses]}
    return call("GET /workflow/{workflow_id}/tasks", reading.task_search_result, workflow_id, query=query)


def get_running_workflows(name: str, version: int = 1) -> Call[list[str]]:
    """Read the ids of the running workflows of this name and version; with SQLite of all its versions."""

    def ids(answer: Answer) -> list[str]:
        return [str(item) for item in reading.objects(answer)]

    return call("GET /workflow/running/{name}", ids, name, query={"version": version})


def get_by_correlation_ids(
    name: str, correlation_ids: Sequence[str], include_closed: bool = True, include_tasks: bool = False
) -> Call[dict[str, tuple[Workflow, ...]]]:
    """Read the workflows of this name by correlation id, ended ones included by default.

    Workflows of other names or ids that the server answers are left out.

    Returns:
        Correlation id → workflows.
    """
    ids = several(correlation_ids, "correlation ids")
    return call(
        "POST /workflow/{name}/correlated",
        reading.correlated(name, frozenset(ids)),
        name,
        query={"includeClosed": include_closed, "includeTasks": include_tasks},
        body=ids,
        safe_to_repeat=True,
    )


def search_workflows(
    query: str | None = None, free_text: str = "*", start: int = 0, size: int = 100, sort: str | None = None
) -> Call[SearchResult]:
    """Search summaries in the index, for example ``query="workflowType IN (a,b) AND status IN (RUNNING)"``."""
    return search("GET /workflow/search", reading.search_result, query, free_text, start, size, sort)


def search_workflows_by_tasks(
    query: str | None = None, free_text: str = "*", start: int = 0, size: int = 100, sort: str | None = None
) -> Call[SearchResult]:
    """Search workflows by their tasks in the index, for example ``query="taskDefName IN (ship)"``."""
    return search("GET /workflow/search-by-tasks", reading.search_result, query, free_text, start, size, sort)


def decide_workflow(workflow_id: str) -> Call[None]:
    """Let the server evaluate the workflow now, as it regularly does by itself."""
    return call("PUT /workflow/decide/{workflow_id}", reading.nothing, workflow_id, safe_to_repeat=True)


def reset_workflow_callbacks(workflow_id: str) -> Call[None]:
    """Make its SIMPLE tasks due now that their worker, or a retry delay, has postponed."""
    return call("POST /workflow/{workflow_id}/resetcallbacks", reading.nothing, workflow_id)


def pause_workflow(workflow_id: str) -> Call[None]:
    """Schedule no further tasks; tasks that a worker already has go on."""
    return call("PUT /workflow/{workflow_id}/pause", reading.nothing, workflow_id, safe_to_repeat=True)


def resume_workflow(workflow_id: str) -> Call[None]:
    """End a pause; a ``ConductorServerError`` (500) if the workflow is not paused."""
    return call("PUT /workflow/{workflow_id}/resume", reading.nothing, workflow_id)


def terminate_workflow(workflow_id: str, reason: str | None = None) -> Call[None]:
    """End the workflow as TERMINATED, whatever it was: the server overwrites FAILED and TIMED_OUT too."""
    return call("DELETE /workflow/{workflow_id}", reading.nothing, workflow_id, query={"reason": reason or None})


def restart_workflow(workflow_id: str, use_latest_def: bool = False) -> Call[None]:
    """Run an ended workflow again from its start, under the same id; ``ConductorConflictError`` before it has ended."""
    query = {"useLatestDefinitions": use_latest_def}
    return call("POST /workflow/{workflow_id}/restart", reading.nothing, workflow_id, query=query)


def retry_workflow(workflow_id: str, resume_subworkflow_tasks: bool = False) -> Call[None]:
    """Continue from the failed tasks, under the same id.

    Args:
        resume_subworkflow_tasks: continue a failed sub-workflow from its failed task; else it is run again.
    """
    query = {"resumeSubworkflowTasks": resume_subworkflow_tasks}
    return call("POST /workflow/{workflow_id}/retry", reading.nothing, workflow_id, query=query)


def rerun_workflow(
    workflow_id: str,
    re_run_from_task_id: str | None = None,
    task_input: Mapping[str, Any] | None = None,
    workflow_input: Mapping[str, Any] | None = None,
    correlation_id: str | None = None,
) -> Call[str]:
    """Run again from a task (by its id), or from the start, with new inputs; the workflow's id stays the same."""
    body = {
        "reRunFromWorkflowId": workflow_id,
        "reRunFromTaskId": re_run_from_task_id,
        "taskInput": None if task_input is None else plain_input(task_input, "task_input"),
        "workflowInput": None if workflow_input is None else plain_input(workflow_input),
        "correlationId": correlation_id,
    }
    return call("POST /workflow/{workflow_id}/rerun", reading.an_id, workflow_id, body=without_none(body))


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
    query: dict[str, object] = {}
    for wire, values in (("taskInput", task_input), ("taskOutput", task_output)):
        for key, value in (values or {}).items():
            if not isinstance(value, (str, int, float, bool)):
                raise ConductorInputError(
                    f"{wire}[{key}] is a {type(value).__name__}; the server takes text, numbers and booleans here"
                )
            query[f"{wire}[{key}]"] = value
    route = "PUT /workflow/{workflow_id}/skiptask/{task_reference_name}"
    return call(route, reading.nothing, workflow_id, task_reference_name, query=query)


def delete_workflow(workflow_id: str, archive_workflow: bool = True) -> Call[None]:
    """Remove the workflow from the database; archived, it stays in the search index."""
    query = {"archiveWorkflow": archive_workflow}
    return call("DELETE /workflow/{workflow_id}/remove", reading.nothing, workflow_id, query=query)


def terminate_and_delete_workflow(
    workflow_id: str, reason: str | None = None, archive_workflow: bool = True
) -> Call[None]:
    """End the workflow if it runs, and remove it; ``ConductorMissingRouteError`` on old servers."""
    query = {"reason": reason or None, "archiveWorkflow": archive_workflow}
    return call("DELETE /workflow/{workflow_id}/terminate-remove", reading.nothing, workflow_id, query=query)


def event_stream(workflow_id: str) -> Call[None]:
    """Events of the workflow as server-sent events; from server 3.32 on, where it is undocumented."""

    def refuse(answer: Answer) -> None:
        raise ValueError("an event stream was expected")

    return call("GET /agent/stream/{workflow_id}", refuse, workflow_id)


def _bulk(route: str, workflow_ids: Iterable[str], query: Mapping[str, object] | None = None) -> Call[BulkResult]:
    ids = several(workflow_ids, "workflow ids")
    if len(ids) > MAX_BULK_IDS:
        raise ConductorInputError(f"{len(ids)} workflow ids in one bulk request; the server takes {MAX_BULK_IDS}")
    return call(route, reading.bulk_result, query=query, body=ids)


def bulk_pause(workflow_ids: Iterable[str]) -> Call[BulkResult]:
    """Pause up to 1,000 workflows."""
    return replace(_bulk("PUT /workflow/bulk/pause", workflow_ids), safe_to_repeat=True)


def bulk_resume(workflow_ids: Iterable[str]) -> Call[BulkResult]:
    """End the pause of up to 1,000 workflows."""
    return _bulk("PUT /workflow/bulk/resume", workflow_ids)


def bulk_restart(workflow_ids: Iterable[str], use_latest_def: bool = False) -> Call[BulkResult]:
    """Run up to 1,000 ended workflows again from their start."""
    return _bulk("POST /workflow/bulk/restart", workflow_ids, {"useLatestDefinitions": use_latest_def})


def bulk_retry(workflow_ids: Iterable[str]) -> Call[BulkResult]:
    """Continue up to 1,000 workflows from their failed tasks."""
    return _bulk("POST /workflow/bulk/retry", workflow_ids)


def bulk_terminate(workflow_ids: Iterable[str], reason: str | None = None) -> Call[BulkResult]:
    """End up to 1,000 workflows as TERMINATED."""
    return _bulk("POST /workflow/bulk/terminate", workflow_ids, {"reason": reason or None})


def bulk_terminate_and_delete(
    workflow_ids: Iterable[str], reason: str | None = None, archive_workflow: bool = True
) -> Call[BulkResult]:
    """End those of up to 1,000 workflows that run, and remove all; ``ConductorMissingRouteError`` on old servers."""
    query = {"archiveWorkflow": archive_workflow, "reason": reason or None}
    return _bulk("DELETE /workflow/bulk/terminate-remove", workflow_ids, query)


def bulk_delete(workflow_ids: Iterable[str], archive_workflow: bool = True) -> Call[BulkResult]:
    """Remove up to 1,000 workflows from the database; archived, they stay in the search index."""
    return _bulk("DELETE /workflow/bulk/remove", workflow_ids, {"archiveWorkflow": archive_workflow})


def bulk_search(workflow_ids: Iterable[str], *, include_tasks: bool = False) -> Call[BulkResult]:
    """Read up to 1,000 whole workflows in one answer; ``ConductorMissingRouteError`` on old servers.

    Workflows with other ids that the server answers are left out.
    """
    found = _bulk("POST /workflow/bulk/search", workflow_ids, {"includeTasks": include_tasks})
    return replace(found, parse=reading.bulk_workflows(frozenset(found.body)), safe_to_repeat=True)
