"""What a try does with the failed workflow of an earlier try: retry it from its failed tasks, or restart it."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorConflictError, ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask, sleep
from airflow_provider_conductor.client.models import TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.control.commands import ended_itself, ran_again
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.lookup import LOOKUP_PAUSES

__all__ = ["run_again"]


def run_again(workflow: Workflow, action: Action, log: Callable[[str], None]) -> Flow[Action]:
    """Retry from the failed tasks, or restart. Where a retry has no lasting effect, restart and log why.

    Raises:
        ConductorConflictError: the server accepted a restart, and nothing has changed.
    """
    if action is Action.RETRY:
        done = yield from _retry(workflow, log)
        if done is not None:
            return done
        workflow = yield from ask(endpoints.get_workflow(workflow.workflow_id, include_tasks=False))
    workflow_id = workflow.workflow_id
    try:
        yield from ask(endpoints.restart_workflow(workflow_id))
    except ConductorRequestError as error:
        if not (error.fate_unknown or isinstance(error, ConductorConflictError)):
            raise
        if not _is_alive((yield from _status(workflow_id))):
            raise
    else:
        if (yield from _changed(workflow, log)) is None:
            raise ConductorConflictError(
                f"the server accepted the restart of workflow {workflow_id}, but it is still {workflow.status}"
            )
    log(f"workflow {workflow_id} was {workflow.status} and runs again from its start")
    return Action.RESTART


def _retry(workflow: Workflow, log: Callable[[str], None]) -> Flow[Action | None]:
    """Retry from the failed tasks; None where that has no lasting effect, which is logged.

    An accepted retry may have no effect, so the workflow is read afterwards (seen on 3.32):

    =====================================  ===================  ===================================
    the workflow has ended                 retry, resuming      retry, sub-workflows anew
                                           sub-workflows
    =====================================  ===================  ===================================
    by a failed task                       continues            continues
    by a TERMINATE task, no task failed    204, does nothing    409
    the same, beside an open branch        ends again at once   ends again at once
    by a sub-workflow that ended like      ends again at once   continues, with a new sub-workflow
    the line above
    =====================================  ===================  ===================================
    """
    workflow_id = workflow.workflow_id
    before = workflow
    for resume in (True, False):
        try:
            yield from ask(endpoints.retry_workflow(workflow_id, resume_subworkflow_tasks=resume))
        except ConductorRequestError as error:
            if not (error.fate_unknown or isinstance(error, ConductorConflictError)):
                raise
            now = yield from _status(workflow_id)
            if _is_alive(now):
                log(f"workflow {workflow_id} was {workflow.status} and is {now}")
                return Action.RETRY if error.fate_unknown else Action.ATTACH
            if error.fate_unknown:
                raise
            log(f"workflow {workflow_id} has no task to retry ({error.message}); it is restarted instead")
            return None
        after = yield from _changed(before, log)
        if after is None:
            continue
        ended_by = ended_itself(after)
        again = workflow_id if ended_by else (yield from _sub_workflow_that_ends_again(after))
        if again and not after.status.ended:
            after = yield from _until_ended(after, again)
        if not again or not after.status.ended:
            how = "from its failed tasks" if resume else "from its failed tasks, with new sub-workflows"
            log(f"workflow {workflow_id} was {workflow.status} and continues {how}")
            return Action.RETRY
        if ended_by:
            log(
                f"workflow {workflow_id} was ended by its task {ended_by!r} (TERMINATE), which ends a retry at once; "
                "it is restarted instead"
            )
            return None
        before = after
    log(f"workflow {workflow_id} is {before.status}, and a retry had no effect; it is restarted instead")
    return None


def _changed(before: Workflow, log: Callable[[str], None]) -> Flow[Workflow | None]:
    """The workflow, with its tasks, once it has run again; None where nothing has changed.

    Where it cannot be read just then, the server's answer is trusted: the wait will read it.
    """
    for pause in LOOKUP_PAUSES[:2]:
        yield from sleep(pause)
        try:
            after = yield from ask(endpoints.get_workflow(before.workflow_id))
        except ConductorRequestError as error:
            log(f"could not read workflow {before.workflow_id} after the request to run it again: {error}")
            return before
        if ran_again(before, after):
            return after
    return None


def _until_ended(workflow: Workflow, by: str) -> Flow[Workflow]:
    """The workflow once it has ended, or a moment later; ``by`` is the workflow whose end ends it.

    Old servers (3.13) notice that only at their next evaluation, so one is requested.
    """
    for pause in LOOKUP_PAUSES:
        yield from sleep(pause)
        try:
            for workflow_id in dict.fromkeys((by, workflow.workflow_id)):
                yield from ask(endpoints.decide_workflow(workflow_id))
            workflow = yield from ask(endpoints.get_workflow(workflow.workflow_id, include_tasks=False))
        except ConductorRequestError:
            continue
        if workflow.status.ended:
            break
    return workflow


def _sub_workflow_that_ends_again(workflow: Workflow) -> Flow[str]:
    """The id of a sub-workflow, at whatever depth, that was retried and has been ended by a TERMINATE task, or ""."""
    for task in workflow.tasks:
        if not task.sub_workflow_id or task.retried or task.known_status is TaskStatus.COMPLETED:
            continue
        try:
            child = yield from ask(endpoints.get_workflow(task.sub_workflow_id))
        except ConductorRequestError:
            continue
        if child.last_retried_time:  # else it is a new one
            found = child.workflow_id if ended_itself(child) else (yield from _sub_workflow_that_ends_again(child))
            if found:
                return found
    return ""


def _is_alive(status: WorkflowStatus) -> bool:
    return not status.ended or status.successful


def _status(workflow_id: str) -> Flow[WorkflowStatus]:
    workflow = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False))
    return workflow.status
