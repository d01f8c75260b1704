"""Tasks, and the queues that workers poll (``/tasks``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client.endpoints.reading import (
    a_number,
    a_workflow,
    an_object,
    nothing,
    objects,
    poll_data,
    task_or_none,
    task_search_result,
    text,
)
from airflow_provider_conductor.client.endpoints.writing import (
    get,
    given,
    one_of,
    parameters,
    path,
    plain_input,
    several,
)
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import PollData, Task, TaskSearchResult, TaskStatus, Workflow


def poll_task(task_type: str, worker_id: str | None = None, domain: str | None = None) -> Call[Task | None]:
    """Take a task as a worker does. Never sent twice: a lost answer has taken the task.

    Returns:
        The task, or None if the queue is empty.
    """
    return Call(
        "GET",
        path("/tasks/poll/{task_type}", task_type=task_type),
        task_or_none,
        params=parameters(workerid=worker_id, domain=domain),
    )


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
    """Report a task's result as a worker does.

    Args:
        callback_after_seconds: with status IN_PROGRESS, seconds until the task is offered again.
        logs: lines to append to the task's log.

    Returns:
        The task's id.
    """
    body: dict[str, Any] = {
        "workflowInstanceId": given(workflow_id, "workflow_id"),
        "taskId": given(task_id, "task_id"),
        "status": one_of(TaskStatus, status),
        "outputData": plain_input(output, "output"),
    }
    optional = {
        "reasonForIncompletion": reason,
        "workerId": worker_id,
        "callbackAfterSeconds": callback_after_seconds,
        "logs": [{"log": line, "taskId": task_id} for line in logs] or None,
    }
    body |= {key: value for key, value in optional.items() if value is not None}
    return Call("POST", "/tasks", text, body=body, safe_to_repeat=True)


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
    return Call(
        "POST",
        _by_ref_name(workflow_id, task_ref_name, status),
        text,
        params=parameters(workerid=worker_id),
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
    return Call(
        "POST",
        _by_ref_name(workflow_id, task_ref_name, status, "/sync"),
        a_workflow,
        params=parameters(workerid=worker_id),
        body=plain_input(output, "output"),
    )


def _by_ref_name(workflow_id: str, task_ref_name: str, status: TaskStatus | str, further: str = "") -> str:
    return path(
        "/tasks/{workflow_id}/{task_ref_name}/{status}" + further,
        workflow_id=workflow_id,
        task_ref_name=task_ref_name,
        status=one_of(TaskStatus, status),
    )


def signal_workflow_task_async(
    workflow_id: str, status: TaskStatus | str, output: Mapping[str, Any] | None = None
) -> Call[None]:
    """End the first open WAIT task, of the workflow or a running sub-workflow.

    The answer is the same if there is none. Sent twice it ends the next WAIT too. 3.13.8 has no such endpoint.
    """
    return Call(
        "POST",
        path("/tasks/{workflow_id}/{status}/signal", workflow_id=workflow_id, status=one_of(TaskStatus, status)),
        nothing,
        body=plain_input(output, "output"),
    )


def signal_workflow_task_sync(
    workflow_id: str, status: TaskStatus | str, output: Mapping[str, Any] | None = None, hold_seconds: float = 5
) -> Call[Workflow]:
    """The same as ``signal_workflow_task_async``, answered with the workflow.

    Args:
        hold_seconds: seconds until the answer, if the workflow neither ends nor reaches its next WAIT before.

    Raises:
        ConductorNotFoundError: no WAIT is open.
    """
    return Call(
        "POST",
        path("/tasks/{workflow_id}/{status}/signal/sync", workflow_id=workflow_id, status=one_of(TaskStatus, status)),
        a_workflow,
        params=parameters(returnStrategy="TARGET_WORKFLOW", timeoutMillis=round(hold_seconds * 1000)),
        body=plain_input(output, "output"),
        hold=hold_seconds,
    )


def get_task(task_id: str) -> Call[Task | None]:
    """Read a task by its id; None if the server does not know it."""
    return get(path("/tasks/{task_id}", task_id=task_id), task_or_none)


def log_task(task_id: str, line: str) -> Call[None]:
    """Append a line to a task's log."""
    return Call("POST", path("/tasks/{task_id}/log", task_id=task_id), nothing, body=line)


def get_task_logs(task_id: str) -> Call[tuple[str, ...]]:
    """Read the lines that workers logged for a task, oldest first."""
    return get(
        path("/tasks/{task_id}/log", task_id=task_id),
        lambda answer: tuple(str(item.get("log") or "") for item in objects(answer)),
    )


def get_poll_data(task_type: str) -> Call[tuple[PollData, ...]]:
    """Read when this task's queues were last polled and by which worker, one entry for each domain."""
    return get("/tasks/queue/polldata", poll_data, taskType=given(task_type, "task_type"))


def get_queue_sizes(task_types: Sequence[str]) -> Call[dict[str, int]]:
    """Read the number of waiting tasks of these queues."""
    return Call(
        "GET",
        "/tasks/queue/sizes",
        an_object,
        params=tuple(("taskType", task_type) for task_type in several(task_types, "task types")),
        safe_to_repeat=True,
    )


def get_all_poll_data() -> Call[tuple[PollData, ...]]:
    """Read when each queue was last polled and by which worker."""
    return get("/tasks/queue/polldata/all", poll_data)


def get_queue_size(task_type: str, domain: str | None = None) -> Call[int]:
    """Read the number of waiting tasks of one queue, or of its ``domain``."""
    return get("/tasks/queue/size", a_number, taskType=given(task_type, "task_type"), domain=domain)


def get_all_queue_sizes() -> Call[dict[str, int]]:
    """Read the number of waiting tasks of every queue, the server's own (``_deciderQueue`` …) included."""
    return get("/tasks/queue/all", an_object)


def requeue_tasks(task_type: str) -> Call[str]:
    """Put scheduled tasks of this type that are missing from their queue back into it."""
    return Call("POST", path("/tasks/queue/requeue/{task_type}", task_type=task_type), text)


def search_tasks(
    query: str | None = None, free_text: str = "*", start: int = 0, size: int = 100, sort: str | None = None
) -> Call[TaskSearchResult]:
    """Search task summaries in the index, for example ``query="taskDefName IN (a,b) AND status IN (FAILED)"``."""
    return get("/tasks/search", task_search_result, start=start, size=size, sort=sort, freeText=free_text, query=query)
