"""Tasks and their queues, definitions, stored payloads, and the token: all that is not ``/workflow``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_conductor.client.endpoints import reading
from airflow_provider_conductor.client.endpoints.writing import (
    call,
    definition_list,
    given,
    one_of,
    plain_input,
    search,
    several,
    without_none,
)
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.models import (
    BulkResult,
    PayloadType,
    PollData,
    Task,
    TaskSearchResult,
    TaskStatus,
    Workflow,
)


def poll_task(task_type: str, worker_id: str | None = None, domain: str | None = None) -> Call[Task | None]:
    """Take a task as a worker does; None if the queue is empty. Never sent twice: a lost answer has taken the task."""
    query = {"workerid": worker_id, "domain": domain}
    return call("GET /tasks/poll/{task_type}", reading.task_or_none, task_type, query=query, safe_to_repeat=False)


def poll_tasks(
    task_type: str, count: int, worker_id: str | None = None, domain: str | None = None
) -> Call[tuple[Task, ...]]:
    """Take up to ``count`` tasks as a worker does. Never sent twice: a lost answer has taken tasks."""
    query = {"workerid": worker_id, "domain": domain, "count": count}
    return call("GET /tasks/poll/batch/{task_type}", reading.tasks, task_type, query=query, safe_to_repeat=False)


def update_task(
    workflow_id: str,
    task_id: str,
    status: TaskStatus | str,
    output: Mapping[str, Any] | None = None,
    reason: str | None = None,
    worker_id: str | None = None,
    callback_after_seconds: int | None = None,
    logs: Sequence[str] = (),
) -> Call[str]:
    """Report a task's result as a worker does, and return the task's id.

    Args:
        callback_after_seconds: with status IN_PROGRESS, seconds until the task is offered again.
        logs: lines to append to the task's log.
    """
    body = {
        "workflowInstanceId": given(workflow_id, "workflow_id"),
        "taskId": given(task_id, "task_id"),
        "status": one_of(TaskStatus, status),
        "outputData": plain_input(output, "output"),
        "reasonForIncompletion": reason,
        "workerId": worker_id,
        "callbackAfterSeconds": callback_after_seconds,
        "logs": [{"log": line, "taskId": task_id} for line in logs] or None,
    }
    return call("POST /tasks", reading.text, body=without_none(body), safe_to_repeat=True)


def update_task_by_ref_name(
    workflow_id: str,
    task_ref_name: str,
    status: TaskStatus | str,
    output: Mapping[str, Any] | None = None,
    worker_id: str | None = None,
) -> Call[str]:
    """Report the result of the open task with this reference name.

    Never sent twice: a task that has failed may be open again. 3.13.8 has no such endpoint.

    Returns:
        The task's id, or "" if no such task is open.
    """
    return call(
        "POST /tasks/{workflow_id}/{task_ref_name}/{status}",
        reading.text,
        *(workflow_id, task_ref_name, one_of(TaskStatus, status)),
        query={"workerid": worker_id},
        body=plain_input(output, "output"),
    )


def update_task_sync(
    workflow_id: str,
    task_ref_name: str,
    status: TaskStatus | str,
    output: Mapping[str, Any] | None = None,
    worker_id: str | None = None,
) -> Call[Workflow]:
    """The same as ``update_task_by_ref_name``, answered with the workflow.

    Raises:
        ConductorNotFoundError: no such task is open.
    """
    return call(
        "POST /tasks/{workflow_id}/{task_ref_name}/{status}/sync",
        reading.a_workflow,
        *(workflow_id, task_ref_name, one_of(TaskStatus, status)),
        query={"workerid": worker_id},
        body=plain_input(output, "output"),
    )


def signal_workflow_task_async(
    workflow_id: str, status: TaskStatus | str, output: Mapping[str, Any] | None = None
) -> Call[None]:
    """End the first open WAIT task, of the workflow or a running sub-workflow.

    The answer is the same if there is none. Sent twice it ends the next WAIT too. 3.13.8 has no such endpoint.
    """
    kind, body = one_of(TaskStatus, status), plain_input(output, "output")
    return call("POST /tasks/{workflow_id}/{status}/signal", reading.nothing, workflow_id, kind, body=body)


def signal_workflow_task_sync(
    workflow_id: str, status: TaskStatus | str, output: Mapping[str, Any] | None = None, hold_seconds: float = 5
) -> Call[Workflow]:
    """The same as ``signal_workflow_task_async``, answered with the workflow.

    Args:
        hold_seconds: seconds until the answer, if the workflow neither ends nor reaches its next WAIT before.

    Raises:
        ConductorNotFoundError: no WAIT is open.
    """
    return call(
        "POST /tasks/{workflow_id}/{status}/signal/sync",
        reading.a_workflow,
        *(workflow_id, one_of(TaskStatus, status)),
        query={"returnStrategy": "TARGET_WORKFLOW", "timeoutMillis": round(hold_seconds * 1000)},
        body=plain_input(output, "output"),
        hold=hold_seconds,
    )


def get_task(task_id: str) -> Call[Task | None]:
    """Read a task by its id; None if the server does not know it."""
    return call("GET /tasks/{task_id}", reading.task_or_none, task_id)


def log_task(task_id: str, line: str) -> Call[None]:
    """Append a line to a task's log."""
    return call("POST /tasks/{task_id}/log", reading.nothing, task_id, body=line)


def get_task_logs(task_id: str) -> Call[tuple[str, ...]]:
    """Read the lines that workers logged for a task, oldest first."""

    def lines(answer: Answer) -> tuple[str, ...]:
        return tuple(str(item.get("log") or "") for item in reading.objects(answer))

    return call("GET /tasks/{task_id}/log", lines, task_id)


def search_tasks(
    query: str | None = None, free_text: str = "*", start: int = 0, size: int = 100, sort: str | None = None
) -> Call[TaskSearchResult]:
    """Search task summaries in the index, for example ``query="taskDefName IN (a,b) AND status IN (FAILED)"``."""
    return search("GET /tasks/search", reading.task_search_result, query, free_text, start, size, sort)


def get_poll_data(task_type: str) -> Call[tuple[PollData, ...]]:
    """Read when this task's queues were last polled and by which worker, one entry for each domain."""
    return call("GET /tasks/queue/polldata", reading.poll_data, query={"taskType": given(task_type, "task_type")})


def get_all_poll_data() -> Call[tuple[PollData, ...]]:
    """Read when each queue was last polled and by which worker."""
    return call("GET /tasks/queue/polldata/all", reading.poll_data)


def get_queue_size(task_type: str, domain: str | None = None) -> Call[int]:
    """Read the number of waiting tasks of one queue, or of its ``domain``."""
    query = {"taskType": given(task_type, "task_type"), "domain": domain}
    return call("GET /tasks/queue/size", reading.a_number, query=query)


def get_queue_sizes(task_types: Sequence[str]) -> Call[dict[str, int]]:
    """Read the number of waiting tasks of these queues."""
    return call("GET /tasks/queue/sizes", reading.an_object, query={"taskType": several(task_types, "task types")})


def get_all_queue_sizes() -> Call[dict[str, int]]:
    """Read the number of waiting tasks of every queue, the server's own (``_deciderQueue`` …) included."""
    return call("GET /tasks/queue/all", reading.an_object)


def requeue_tasks(task_type: str) -> Call[str]:
    """Put scheduled tasks of this type that are missing from their queue back into it."""
    return call("POST /tasks/queue/requeue/{task_type}", reading.text, task_type)


def register_workflow_defs(definitions: Sequence[Any] | Any) -> Call[BulkResult | None]:
    """Create or replace workflow definitions: one or several, dicts or SDK objects."""

    def result(answer: Answer) -> BulkResult | None:
        return reading.bulk_result(answer) if answer.content.strip() else None

    body = definition_list(definitions, "workflow definition")
    return call("PUT /metadata/workflow", result, body=body, safe_to_repeat=True)


def validate_workflow_def(definition: Mapping[str, Any] | Any) -> Call[None]:
    """Let the server check a workflow definition without keeping it.

    Raises:
        ConductorBadRequestError: it is not valid; the message names the fields.
    """
    (body,) = definition_list(definition, "workflow definition")
    return call("POST /metadata/workflow/validate", reading.nothing, body=body, safe_to_repeat=True)


def get_workflow_def(name: str, version: int | None = None) -> Call[dict[str, Any]]:
    """Read a workflow definition, with ``version=None`` its latest version."""
    return call("GET /metadata/workflow/{name}", reading.an_object, name, query={"version": version})


def get_workflow_defs() -> Call[list[dict[str, Any]]]:
    """Read all workflow definitions in all their versions."""
    return call("GET /metadata/workflow", reading.objects)


def get_workflow_names_and_versions() -> Call[dict[str, list[int]]]:
    """Read the versions of each workflow, lowest first, without the definitions."""
    return call("GET /metadata/workflow/names-and-versions", reading.versions)


def unregister_workflow_def(name: str, version: int) -> Call[None]:
    """Remove one version of a workflow definition."""
    return call("DELETE /metadata/workflow/{name}/{version}", reading.nothing, name, version)


def register_task_defs(definitions: Sequence[Any] | Any) -> Call[None]:
    """Create or replace task definitions: one or several, dicts or SDK objects."""
    body = definition_list(definitions, "task definition")
    return call("POST /metadata/taskdefs", reading.nothing, body=body, safe_to_repeat=True)


def get_task_def(name: str) -> Call[dict[str, Any]]:
    """Read a task definition."""
    return call("GET /metadata/taskdefs/{name}", reading.an_object, name)


def get_task_defs() -> Call[list[dict[str, Any]]]:
    """Read all task definitions: the cheapest authenticated request that every server version has."""
    return call("GET /metadata/taskdefs", reading.objects)


def unregister_task_def(name: str) -> Call[None]:
    """Remove a task definition."""
    return call("DELETE /metadata/taskdefs/{name}", reading.nothing, name)


def get_external_storage_location(storage_path: str, payload_type: PayloadType | str) -> Call[str]:
    """The address a payload can be read from for a moment (seconds), or "" where the server's storage has none.

    A stock server (storage ``dummy``) answers no ``uri``, and an old one nothing at all (seen on 3.32 and 3.13).
    """

    def uri(answer: Answer) -> str:
        return str(reading.an_object(answer).get("uri") or "") if answer.content.strip() else ""

    kind = one_of(PayloadType, payload_type)
    query = {"path": given(storage_path, "the payload's path"), "operation": "READ", "payloadType": kind}
    resource = "tasks" if kind.startswith("TASK") else "workflow"
    return replace(call(f"GET /{resource}/externalstoragelocation", uri, query=query), once=True)


def fetch_token(key_id: str, key_secret: str) -> Call[reading.Token]:
    """Get a token for a key (servers with authentication)."""
    body = {"keyId": key_id, "keySecret": key_secret}
    return replace(call("POST /token", reading.a_token, body=body, safe_to_repeat=True), authenticated=False)
