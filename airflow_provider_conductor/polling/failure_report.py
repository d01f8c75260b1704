"""Read why a workflow failed, and write it as the message of an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.messages import attempt, queue_name
from airflow_provider_conductor.polling.root_cause import Cause, Failure, root_cause

NAME_LIMIT = 80
WORKFLOW_NAME_LIMIT = 120
REASON_LIMIT = 500
LOG_LINES = 10
LOG_LINE_LIMIT = 300
OPEN_TASKS_NAMED = 5

ENDED = {"FAILED": "failed", "TIMED_OUT": "timed out", "TERMINATED": "was terminated"}

HEADLINES = {
    Cause.TASK_FAILED: "{task} failed ({attempt})",
    Cause.TERMINAL_ERROR: "{task} failed with a terminal error ({attempt})",
    Cause.SERVER_ERROR: "{task} failed with a terminal error ({attempt})",
    Cause.TASK_TIMED_OUT: "{task} timed out ({attempt})",
    Cause.NOT_POLLED: "no worker took {task} in time ({attempt})",
    Cause.TOTAL_TIMEOUT: "{task} failed ({attempt}, and no time was left for another)",
    Cause.TERMINATE_TASK: "its TERMINATE task {task} ended it",
}

ADVICE = {
    Cause.TASK_FAILED: "Fix the cause, {again}.",
    Cause.TERMINAL_ERROR: "The worker ruled out another attempt. Fix the input or the worker, {again}.",
    Cause.SERVER_ERROR: "Conductor itself runs this {kind} task and does not retry it. Fix its definition or its "
    "input, {again}.",
    Cause.TASK_TIMED_OUT: "It took longer than its definition allows. Check what it waited for, or raise its timeout, "
    "{again}.",
    Cause.NOT_POLLED: "No worker took it from {queue} within pollTimeoutSeconds of the task definition. Start a worker "
    "that polls this queue, or raise pollTimeoutSeconds, {again}.",
    Cause.TOTAL_TIMEOUT: "All attempts together took longer than totalTimeoutSeconds of the task definition. Fix the "
    "cause, or raise totalTimeoutSeconds, {again}.",
    Cause.WORKFLOW_TIMED_OUT: "It took longer than timeoutSeconds of its definition. Check what was still open, or "
    "raise timeoutSeconds.",
    Cause.TERMINATED: "Somebody terminated it, so it is not started again. Clear this Airflow task to start "
    "another one.",
    Cause.TERMINATE_TASK: "The workflow ended itself, as its definition says. Check why it reached this TERMINATE "
    "task.",
    Cause.NO_TASK: "Conductor could not continue. Check the workflow's definition and input.",
}

ADVICE_BY_WORKER = {
    Cause.SERVER_ERROR: "Conductor itself failed this task and does not retry it. Fix its input or what its worker "
    "returns, {again}.",
    Cause.TASK_TIMED_OUT: "Its worker took too long or died. Check the worker, or raise responseTimeoutSeconds or "
    "timeoutSeconds in the task definition, {again}.",
}

SCHEDULING_FAILED = "Error scheduling tasks"
"""How the reason begins if the server failed the workflow since it could not store the next tasks (seen on 3.32.2)."""

ADVICE_ON_SCHEDULING = (
    "Conductor could not store the next tasks, mostly because its database was busy or away: see Conductor's log. Then "
    "clear this Airflow task."
)

AGAIN = "then clear this Airflow task or retry the workflow in Conductor; it continues from the failed task"


def diagnose(
    workflow: Workflow,
    below: dict[str, Workflow] | None = None,
    *,
    among: Callable[[Task], bool] | None = None,
) -> Flow[Failure | None]:
    """Find the root cause, down through the sub-workflows, and its log lines; what cannot be read is left out.

    Args:
        below: gets the sub-workflows that are read, by id.
        among: whether a task of the workflow counts; None: all do, once the workflow has ended.
    """
    below = {} if below is None else below
    failure = root_cause(workflow, below, among=among)
    try:
        while failure is not None and failure.unread_sub_workflow_id:
            unread = failure.unread_sub_workflow_id
            below[unread] = yield from ask(endpoints.get_workflow(unread))
            failure = root_cause(workflow, below, among=among)
        if failure is not None and failure.task_id:
            failure = replace(failure, log_lines=(yield from ask(endpoints.get_task_logs(failure.task_id))))
    except ConductorRequestError:
        pass
    return failure


def explain(failure: Failure, url: str = "") -> str:
    """The message of a failure. Its first line is enough to act on; the whole is bounded."""
    below = f"{one_line(failure.sub_workflow_name, WORKFLOW_NAME_LIMIT)} ({one_line(failure.sub_workflow_id)})"
    by = f", on worker {one_line(failure.worker_id, NAME_LIMIT)}" if failure.worker_id else ""
    named = ", ".join(one_line(name, NAME_LIMIT) for name in failure.open_tasks[:OPEN_TASKS_NAMED])
    others = len(failure.open_tasks) - OPEN_TASKS_NAMED
    failure_workflow = f"did not start: {one_line(failure.failure_workflow_error)}"
    if failure.failure_workflow_id:
        failure_workflow = f"is {one_line(failure.failure_workflow_id)}."
    kept = failure.log_lines[-LOG_LINES:]
    lines = [
        (True, headline(failure)),
        (failure.sub_workflow_id, f"In sub-workflow {below}, which {_path(*failure.path)} runs."),
        (failure.task_id, f"Task id {one_line(failure.task_id)}{by}."),
        (failure.workflow_reason, f"Reason of the workflow: {one_line(failure.workflow_reason, REASON_LIMIT)}"),
        (named, f"Open at that time: {named}" + (f" and {others} more." if others > 0 else ".")),
        (failure.failure_workflow_id or failure.failure_workflow_error, f"Its failure workflow {failure_workflow}"),
        (kept, f"The worker's last log lines ({len(kept)} of {len(failure.log_lines)}):"),
        *((True, f"    {one_line(line, LOG_LINE_LIMIT)}") for line in kept),
        (True, f"What to do: {_advice(failure)}"),
        (url, f"See {url}"),
    ]
    return "\n".join(line for there, line in lines if there)


def headline(failure: Failure) -> str:
    """The first line of :func:`explain`."""
    ended = ENDED.get(failure.status, failure.status)
    line = f"Workflow {one_line(failure.workflow_name, WORKFLOW_NAME_LIMIT)} ({failure.workflow_id}) {ended}"
    task = _path(*failure.path, failure.task_reference_name)
    if failure.cause in HEADLINES:
        tries = attempt(failure.attempts, failure.max_attempts)
        line += ": " + HEADLINES[failure.cause].format(task=task, attempt=tries)
    elif failure.cause is Cause.TERMINATED and failure.path:
        line += f": the sub-workflow of {task} was terminated"
    reason = one_line(failure.reason, REASON_LIMIT) or ("no reason given" if failure.task_id else "")
    return f"{line}: {reason}" if reason else line


def _advice(failure: Failure) -> str:
    if failure.unread_sub_workflow_id and failure.cause is Cause.TASK_FAILED:
        return f"Find and fix the cause in sub-workflow {one_line(failure.unread_sub_workflow_id)}, {AGAIN}."
    if failure.cause is Cause.NO_TASK and failure.reason.startswith(SCHEDULING_FAILED):
        return ADVICE_ON_SCHEDULING
    advice = ADVICE | (ADVICE_BY_WORKER if failure.by_worker else {})
    return advice[failure.cause or Cause.TASK_FAILED].format(
        again=AGAIN, kind=one_line(failure.task_kind, NAME_LIMIT), queue=queue_name(failure.queue, failure.domain)
    )


def _path(*names: str) -> str:
    return "/".join(one_line(name, NAME_LIMIT) for name in names if name)
