"""What a try does with the failed workflow of an earlier try: retry it from its failed tasks, or restart it."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorConflictError, ConductorRequestError
from airflow_provider_conductor.client.flow import Call, Flow, ask, sleep
from airflow_provider_conductor.client.flows import LOOKUP_PAUSES
from airflow_provider_conductor.client.models import TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.control.commands import (
    can_resume_sub_workflows,
    cancel_left_open,
    ended_itself,
    ran_again,
)
from airflow_provider_conductor.control.lost_retry import UNDONE_WITHIN, broken_by_a_retry, is_lost, may_be_undone
from airflow_provider_conductor.submission.earlier_workflows import Action


def run_again(workflow: Workflow, action: Action, log: Callable[[str], None]) -> Flow[tuple[Action, WorkflowStatus]]:
    """Retry from the failed tasks, or restart. Where a retry would have no lasting effect, restart and log why.

    Returns what was done, ATTACH where somebody else has run or completed the workflow meanwhile, and its status then.

    Seen on 3.32; 3.13 ends a workflow again only at its next evaluation:

    =====================================  ===================  ===================================
    the workflow has ended                 retry, resuming      retry, sub-workflows anew
                                           sub-workflows
    =====================================  ===================  ===================================
    by a failed task                       continues            continues
    by a TERMINATE task, no task failed    204, does nothing    409
    the same, beside an open branch        ends again at once   ends again at once
    by a sub-workflow that ended like      ends again at once   continues, with a new sub-workflow
    the line above
    by a sub-workflow and another task     ends again at once   continues, with a new sub-workflow
    by a retry that the server undid       ends again at once   ends again at once
    between its writes
    =====================================  ===================  ===================================

    Raises:
        ConductorConflictError: the server refused a restart, or accepted it and nothing has changed.
    """
    workflow_id = workflow.workflow_id
    if action is Action.RETRY:
        workflow = yield from ask(endpoints.get_workflow(workflow_id))
        if _is_alive(workflow.status):
            return Action.ATTACH, workflow.status
        ended_by = ended_itself(workflow)
        why = f"its task {ended_by!r} (TERMINATE) has ended it, and would end a retry at once"
        if broken := broken_by_a_retry(workflow):
            why = _why_broken(broken)
        if not ended_by and not broken:
            resume = can_resume_sub_workflows(workflow)
            resume = resume and not (yield from _has_one_that_ended_itself(workflow))
            retry = endpoints.retry_workflow(workflow_id, resume_subworkflow_tasks=resume)
            try:
                status = yield from _send_until_it_stays(retry, workflow, log)
            except ConductorConflictError as error:
                why = error.message
            else:
                if status is not None:
                    return Action.ATTACH, status
                how = "from its failed tasks" if resume else "from its failed tasks, with new sub-workflows"
                log(f"workflow {workflow_id} was {workflow.status} and continues {how}")
                return Action.RETRY, WorkflowStatus.RUNNING
        log(f"workflow {workflow_id} is {workflow.status}: {why}; it is restarted instead")
    status = yield from _send(endpoints.restart_workflow(workflow_id), workflow, log)
    if status is not None:
        return Action.ATTACH, status
    log(f"workflow {workflow_id} was {workflow.status} and runs again from its start")
    return Action.RESTART, WorkflowStatus.RUNNING


def _why_broken(task_ref: str) -> str:
    return f"the server has undone a retry, and left a canceled attempt of {task_ref!r} that ends each further one"


def _send_until_it_stays(
    retry: Call[None], before: Workflow, log: Callable[[str], None]
) -> Flow[WorkflowStatus | None]:
    """Send a retry, and send it again where the server itself has undone it; returns what :func:`_send` does.

    Raises:
        ConductorConflictError: what is left after that cannot be retried any more.
    """
    if (first := cancel_left_open(before)) is not None:
        yield from ask(first)
    status = yield from _send(retry, before, log)
    if status is None and may_be_undone(before):
        yield from sleep(UNDONE_WITHIN)
        try:
            after = yield from ask(endpoints.get_workflow(before.workflow_id))
        except ConductorRequestError:
            return status  # the wait will read it
        if broken := broken_by_a_retry(after):
            raise ConductorConflictError(_why_broken(broken))
        if not is_lost(after):
            return status
        log(f"the server has undone the retry of workflow {before.workflow_id}, which is sent again")
        return (yield from _send_until_it_stays(retry, after, log))
    return status


def _send(call: Call[None], before: Workflow, log: Callable[[str], None]) -> Flow[WorkflowStatus | None]:
    """Make the workflow run again. Returns None; or its status where somebody else has run or completed it before.

    Where its effect cannot be read, the server's answer is trusted: the wait will read it.

    Raises:
        ConductorConflictError: the workflow has not run again.
    """
    read = endpoints.get_workflow(before.workflow_id, include_tasks=False)
    try:
        yield from ask(call)
    except ConductorRequestError as error:
        if not (error.fate_unknown or isinstance(error, ConductorConflictError)):
            raise
        status = (yield from ask(read)).status
        if not _is_alive(status):
            raise
        return None if error.fate_unknown else status
    for pause in LOOKUP_PAUSES[:2]:
        yield from sleep(pause)
        try:
            after = yield from ask(read)
        except ConductorRequestError as error:
            log(f"could not read workflow {before.workflow_id} after the request to run it again: {error}")
            return None
        if ran_again(before, after):
            return None
    raise ConductorConflictError(
        f"the server accepted the request to run workflow {before.workflow_id} again, but it is still {before.status}"
    )


def _has_one_that_ended_itself(workflow: Workflow) -> Flow[bool]:
    """Whether a TERMINATE task has ended one of its sub-workflows, at whatever depth."""
    for task in workflow.tasks:
        if not task.sub_workflow_id or task.retried or task.known_status is TaskStatus.COMPLETED:
            continue
        try:
            child = yield from ask(endpoints.get_workflow(task.sub_workflow_id))
        except ConductorRequestError:
            continue
        if ended_itself(child) or (yield from _has_one_that_ended_itself(child)):
            return True
    return False


def _is_alive(status: WorkflowStatus) -> bool:
    return not status.ended or status.successful
