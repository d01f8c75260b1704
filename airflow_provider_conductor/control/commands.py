"""Each verb with its arguments: the requests for one or many workflows, and how to verify the effect. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import BulkResult, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.task_types import CONTAINERS, may_contain
from airflow_provider_conductor.control.eligibility import DUE, Decision, Kind, Verb, cannot, decide
from airflow_provider_conductor.control.hanging import hangs_after_rerun, hangs_after_skip
from airflow_provider_conductor.control.lost_retry import (
    QUEUED_BY_A_RETRY,
    UNDO_REASON,
    UNDONE_WITHIN,
    broken_by_a_retry,
    is_lost,
    leaves_open,
    may_be_undone,
)


def ran_again(before: Workflow, after: Workflow | None) -> bool:
    """Whether it has left its status, or has ended again since."""
    fields = ("status", "create_time", "end_time", "last_retried_time")  # a bulk read answers no updateTime
    return after is not None and any(getattr(after, name) != getattr(before, name) for name in fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One verb with its arguments, ready to be sent.

    Attributes:
        one: the request for one workflow, as it was read.
        many: the request for up to 1,000 ids; None if the server has no bulk endpoint for the verb.
        one_by_one: whether the bulk endpoint would do something else with this workflow.
        has_effect: whether the effect shows, from the workflow before and after (None: unknown to the server).
        needs_tasks: whether the decision or the request needs the tasks of this workflow, which was read without.
        details: the decision on everything but the status; it counts where the status allows the verb.
        first: a request that has to come before, for this workflow; None: none.
        undone: whether the server itself has undone it since, so that it is decided and sent again.
        undone_within: seconds after which that shows, for this workflow.
    """

    verb: Verb
    one: Callable[[Workflow], Call[Any]]
    many: Callable[[Sequence[str]], Call[BulkResult]] | None = None
    has_effect: Callable[[Workflow, Workflow | None], bool] = ran_again
    needs_tasks: Callable[[Workflow], bool] | bool = False
    details: Callable[[Workflow], Decision] = lambda workflow: DUE
    one_by_one: Callable[[Workflow], bool] = lambda workflow: False
    first: Callable[[Workflow], Call[Any] | None] = lambda workflow: None
    undone: Callable[[Workflow], bool] = lambda workflow: False
    undone_within: Callable[[Workflow], float] = lambda workflow: 0.0

    def decide(self, workflow: Workflow | None, *, attempted: bool = False) -> Decision:
        by_status = decide(self.verb, None if workflow is None else workflow.status, attempted=attempted)
        if workflow is None or by_status.kind is Kind.ALREADY:
            return by_status
        details = self.details(workflow)
        return details if by_status.kind is Kind.DUE or details.kind is Kind.ALREADY else by_status


def _now(status: WorkflowStatus) -> Callable[[Workflow, Workflow | None], bool]:
    return lambda before, after: after is not None and after.status is status


def _command(
    verb: Verb,
    one: Callable[..., Call[Any]],
    many: Callable[..., Call[BulkResult]],
    has_effect: Callable[[Workflow, Workflow | None], bool] = ran_again,
    **arguments: Any,
) -> Command:
    """A verb that the server takes for one workflow and for many, with the same arguments."""
    return Command(
        verb=verb,
        one=lambda workflow: one(workflow.workflow_id, **arguments),
        many=lambda ids: many(ids, **arguments),
        has_effect=has_effect,
    )


def pause() -> Command:
    return _command(Verb.PAUSE, endpoints.pause_workflow, endpoints.bulk_pause, _now(WorkflowStatus.PAUSED))


def resume() -> Command:
    return _command(Verb.RESUME, endpoints.resume_workflow, endpoints.bulk_resume)


def terminate(reason: str) -> Command:
    effect = _now(WorkflowStatus.TERMINATED)
    return _command(Verb.TERMINATE, endpoints.terminate_workflow, endpoints.bulk_terminate, effect, reason=reason)


def restart(*, use_latest_definition: bool = False) -> Command:
    one, many = endpoints.restart_workflow, endpoints.bulk_restart
    return _command(Verb.RESTART, one, many, use_latest_def=use_latest_definition)


def delete(*, archive: bool = True) -> Command:
    def has_effect(before: Workflow, after: Workflow | None) -> bool:
        return after is None or archive  # some index back ends still answer an archived workflow, from the index

    one, many = endpoints.delete_workflow, endpoints.bulk_delete
    return _command(Verb.DELETE, one, many, has_effect, archive_workflow=archive)


def retry(*, resume_subworkflow_tasks: bool = True) -> Command:
    """The server's bulk retry runs failed sub-workflows from their start, so it is used only where there are none."""

    def resumes(workflow: Workflow) -> bool:
        return resume_subworkflow_tasks and can_resume_sub_workflows(workflow)

    def has(workflow: Workflow, *task_types: str) -> bool:
        return may_contain(workflow.data.get("workflowDefinition"), *task_types)

    def details(workflow: Workflow) -> Decision:
        # After a TERMINATE task a retry does nothing, or ends at once. If no task has failed, it is accepted and does
        # nothing, except after a timeout. Without the tasks nothing is known.
        latest = {task.reference_name: task for task in workflow.tasks}
        failed = [task for task in latest.values() if task.known_status is None or not task.known_status.successful]
        if task_ref := ended_itself(workflow):
            why = f"its task {task_ref!r} (TERMINATE) has ended it, and would end a retry at once"
        elif task_ref := broken_by_a_retry(workflow):
            why = (
                f"an earlier retry was undone by the server itself, which left a canceled attempt of {task_ref!r} that "
                "would end each retry at once"
            )
        elif latest and not failed and workflow.status is not WorkflowStatus.TIMED_OUT:
            why = "none of its tasks has failed, so there is nothing to retry"
        else:
            return DUE
        return cannot(f"{why}; ConductorRestartWorkflowOperator runs it from its start")

    return Command(
        verb=Verb.RETRY,
        one=lambda workflow: endpoints.retry_workflow(workflow.workflow_id, resume_subworkflow_tasks=resumes(workflow)),
        many=endpoints.bulk_retry,
        needs_tasks=lambda workflow: (
            has(workflow, "TERMINATE", *QUEUED_BY_A_RETRY)
            or (resume_subworkflow_tasks and has(workflow, "SUB_WORKFLOW"))
        ),
        details=details,
        first=cancel_left_open,
        undone=lambda workflow: is_lost(workflow) or bool(broken_by_a_retry(workflow)),
        undone_within=lambda workflow: UNDONE_WITHIN if may_be_undone(workflow) else 0.0,
        one_by_one=lambda workflow: resume_subworkflow_tasks and has(workflow, "SUB_WORKFLOW"),
    )


def can_resume_sub_workflows(workflow: Workflow) -> bool:
    """Whether a retry can continue a failed sub-workflow; else it has to run from its start. Needs the tasks.

    A retry that continues one retries nothing else: with another failed task beside it, the workflow would fail again
    at once (seen on 3.32.2).
    """
    latest = {task.reference_name: task for task in workflow.tasks if task.kind not in CONTAINERS}
    bad = [task for task in latest.values() if task.known_status is not None and not task.known_status.successful]
    ended = [task.kind for task in bad if not task.is_open]
    return not ("SUB_WORKFLOW" in ended and len(ended) > 1)


def cancel_left_open(workflow: Workflow) -> Call[None] | None:
    """The request without which the server refuses a retry, where an undone one has left attempts open; or None."""
    return endpoints.terminate_workflow(workflow.workflow_id, UNDO_REASON) if leaves_open(workflow) else None


def rerun(
    *,
    from_task_ref: str | None = None,
    task_input: Mapping[str, Any] | None = None,
    workflow_input: Mapping[str, Any] | None = None,
) -> Command:
    """From the latest attempt of ``from_task_ref``, or from the start."""

    def one(workflow: Workflow) -> Call[str]:
        task = workflow.latest_attempt(from_task_ref) if from_task_ref else None
        return endpoints.rerun_workflow(
            workflow.workflow_id,
            re_run_from_task_id=task.task_id if task else None,
            task_input=task_input,
            workflow_input=workflow_input,
        )

    def details(workflow: Workflow) -> Decision:
        task = workflow.latest_attempt(from_task_ref) if from_task_ref else None
        if from_task_ref and task is None:
            reached = ", ".join(dict.fromkeys(task.reference_name for task in workflow.tasks)) or "none"
            return cannot(
                f"it never reached a task {from_task_ref!r} (it reached: {reached}); give one of those, or omit "
                "from_task_ref to run it again from its start"
            )
        if task is not None and task.known_status is TaskStatus.SKIPPED:
            # Seen on 3.32: a 500 with the rerun half done, the task in no queue and the workflow RUNNING forever.
            return cannot(
                f"its task {from_task_ref!r} was skipped, and servers cannot begin with a skipped task; begin with an "
                "earlier task, or use ConductorRestartWorkflowOperator"
            )
        if task is not None and (why := hangs_after_rerun(workflow, task)):
            return cannot(
                f"it would never continue from its task {from_task_ref!r}: {why}. Begin with an earlier task "
                "outside of forks and completed loops. ConductorRetryWorkflowOperator continues with the failed "
                "tasks, and ConductorRestartWorkflowOperator runs all of it again"
            )
        if task is not None and task.sub_workflow_id:
            # Seen on 3.32: the task ends at once, as its sub-workflow has; on 3.13, it stays IN_PROGRESS.
            return cannot(
                f"its task {from_task_ref!r} would keep the sub-workflow {task.sub_workflow_id}, which would not run "
                "again; begin with an earlier task. ConductorRetryWorkflowOperator continues with what has failed in "
                "it, and ConductorRestartWorkflowOperator runs all of it again"
            )
        if limit := _time_limit_passed(workflow):
            # Seen on 3.13 and 3.32: the rerun is accepted, its tasks are removed, and it is TIMED_OUT at once.
            return cannot(
                f"its timeout of {limit} s has passed, and a rerun would not reset it; "
                "ConductorRetryWorkflowOperator and ConductorRestartWorkflowOperator do"
            )
        return DUE

    return Command(verb=Verb.RERUN, one=one, needs_tasks=True, details=details)


def skip(task_ref: str, task_output: Mapping[str, Any] | None = None) -> Command:
    def is_skipped(workflow: Workflow | None) -> bool:
        task = workflow.latest_attempt(task_ref) if workflow is not None else None
        return task is not None and task.known_status is TaskStatus.SKIPPED

    def details(workflow: Workflow) -> Decision:
        if is_skipped(workflow):
            return Decision(Kind.ALREADY, f"its task {task_ref!r} is already skipped")
        if task := workflow.latest_attempt(task_ref):
            return cannot(
                f"its task {task_ref!r} is {task.data.get('status')}, and only a task that has not been scheduled can "
                "be skipped; ConductorCompleteTaskOperator completes an open task"
            )
        why = hangs_after_skip(workflow.data.get("workflowDefinition") or {}, task_ref)
        if not why:
            return DUE
        return cannot(
            f"it would never continue without its task {task_ref!r}: {why}. Wait until it reaches that task, "
            "and then complete the task with ConductorCompleteTaskOperator"
        )

    return Command(
        verb=Verb.SKIP,
        one=lambda workflow: endpoints.skip_task_from_workflow(workflow.workflow_id, task_ref, task_output=task_output),
        has_effect=lambda before, after: is_skipped(after),
        needs_tasks=True,
        details=details,
    )


def ended_itself(workflow: Workflow) -> str:
    """The reference name of the TERMINATE task that has ended the workflow, or ""; needs the tasks.

    It stays completed in a retry, and ends it again at the next evaluation (seen on 3.13; on 3.32: within 0.1 s).
    """
    ends = (task for task in workflow.tasks if task.task_type == "TERMINATE")
    return next((task.reference_name for task in ends if task.known_status is TaskStatus.COMPLETED), "")


def _time_limit_passed(workflow: Workflow) -> int | None:
    """The definition's timeout in seconds if it has passed since the start or the last retry, else None."""
    definition = workflow.data.get("workflowDefinition") or {}
    limit = definition.get("timeoutSeconds") or 0
    since = workflow.last_retried_time or workflow.create_time
    if limit <= 0 or definition.get("timeoutPolicy") == "ALERT_ONLY" or not workflow.observed_at or not since:
        return None
    return int(limit) if workflow.observed_at - since >= limit * 1000 else None
