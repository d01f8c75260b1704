"""Each verb with its arguments: the requests for one or many workflows, and how to verify the effect. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import BulkResult, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.task_types import may_contain
from airflow_provider_conductor.control.eligibility import DUE, Decision, Kind, Verb, cannot, decide
from airflow_provider_conductor.control.hanging import hangs_after_rerun, hangs_after_skip

__all__ = [
    "Command",
    "delete",
    "ended_itself",
    "pause",
    "ran_again",
    "rerun",
    "restart",
    "resume",
    "retry",
    "skip",
    "terminate",
    "why_retry_is_useless",
]


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
    """

    verb: Verb
    one: Callable[[Workflow], Call[Any]]
    many: Callable[[Sequence[str]], Call[BulkResult]] | None = None
    has_effect: Callable[[Workflow, Workflow | None], bool]
    needs_tasks: Callable[[Workflow], bool] | bool = False
    details: Callable[[Workflow], Decision] = lambda workflow: DUE
    one_by_one: Callable[[Workflow], bool] = lambda workflow: False

    def decide(self, workflow: Workflow | None, *, attempted: bool = False) -> Decision:
        """See :func:`~airflow_provider_conductor.control.eligibility.decide`."""
        if workflow is None:
            return decide(self.verb, None, attempted=attempted)
        by_status = decide(self.verb, workflow.status, attempted=attempted)
        if by_status.kind is Kind.ALREADY:
            return by_status
        details = self.details(workflow)
        return details if by_status.kind is Kind.DUE or details.kind is Kind.ALREADY else by_status


def pause() -> Command:
    """Schedule nothing new."""
    return Command(
        verb=Verb.PAUSE,
        one=lambda workflow: endpoints.pause_workflow(workflow.workflow_id),
        many=endpoints.bulk_pause,
        has_effect=lambda before, after: after is not None and after.status is WorkflowStatus.PAUSED,
    )


def resume() -> Command:
    """Continue after a pause."""
    return Command(
        verb=Verb.RESUME,
        one=lambda workflow: endpoints.resume_workflow(workflow.workflow_id),
        many=endpoints.bulk_resume,
        has_effect=lambda before, after: after is not None and after.status != before.status,
    )


def terminate(reason: str) -> Command:
    """End what has not ended."""
    return Command(
        verb=Verb.TERMINATE,
        one=lambda workflow: endpoints.terminate_workflow(workflow.workflow_id, reason),
        many=lambda ids: endpoints.bulk_terminate(ids, reason),
        has_effect=lambda before, after: after is not None and after.status is WorkflowStatus.TERMINATED,
    )


def restart(*, use_latest_definition: bool = False) -> Command:
    """Run an ended workflow again from its start."""
    return Command(
        verb=Verb.RESTART,
        one=lambda workflow: endpoints.restart_workflow(workflow.workflow_id, use_latest_def=use_latest_definition),
        many=lambda ids: endpoints.bulk_restart(ids, use_latest_def=use_latest_definition),
        has_effect=ran_again,
    )


def retry(*, resume_subworkflow_tasks: bool = True) -> Command:
    """Continue a workflow with its failed tasks.

    The server's bulk retry runs failed sub-workflows from their start, so it is used only where there are none.
    """

    def details(workflow: Workflow) -> Decision:
        why = why_retry_is_useless(workflow)
        return cannot(f"{why}; ConductorRestartWorkflowOperator runs it from its start") if why else DUE

    return Command(
        verb=Verb.RETRY,
        one=lambda workflow: endpoints.retry_workflow(
            workflow.workflow_id, resume_subworkflow_tasks=resume_subworkflow_tasks
        ),
        many=endpoints.bulk_retry,
        has_effect=ran_again,
        needs_tasks=lambda workflow: may_contain(workflow.data.get("workflowDefinition"), "TERMINATE"),
        details=details,
        one_by_one=lambda workflow: (
            resume_subworkflow_tasks and may_contain(workflow.data.get("workflowDefinition"), "SUB_WORKFLOW")
        ),
    )


def rerun(
    *,
    from_task_ref: str | None = None,
    task_input: Mapping[str, Any] | None = None,
    workflow_input: Mapping[str, Any] | None = None,
) -> Command:
    """Run an ended workflow again from the latest attempt of ``from_task_ref``, or from its start."""

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
                f"outside of forks and completed loops. ConductorRetryWorkflowOperator continues with the failed "
                f"tasks, and ConductorRestartWorkflowOperator runs all of it again"
            )
        limit = _time_limit_passed(workflow)
        if limit:
            # Seen on 3.13 and 3.32: the rerun is accepted, its tasks are removed, and it is TIMED_OUT at once.
            return cannot(
                f"its timeout of {limit} s has passed, and a rerun would not reset it; "
                "ConductorRetryWorkflowOperator and ConductorRestartWorkflowOperator do"
            )
        return DUE

    return Command(verb=Verb.RERUN, one=one, has_effect=ran_again, needs_tasks=True, details=details)


def skip(task_ref: str, task_output: Mapping[str, Any] | None = None) -> Command:
    """Skip a task that has not been scheduled yet."""

    def details(workflow: Workflow) -> Decision:
        task = workflow.latest_attempt(task_ref)
        if task is None:
            why = hangs_after_skip(workflow.data.get("workflowDefinition") or {}, task_ref)
            if not why:
                return DUE
            return cannot(
                f"it would never continue without its task {task_ref!r}: {why}. Wait until it reaches that task, "
                f"and then complete the task with ConductorCompleteTaskOperator"
            )
        if task.known_status is TaskStatus.SKIPPED:
            return Decision(Kind.ALREADY, f"its task {task_ref!r} is already skipped")
        return cannot(
            f"its task {task_ref!r} is {task.data.get('status')}, and only a task that has not been scheduled can be "
            "skipped; ConductorCompleteTaskOperator completes an open task"
        )

    def has_effect(before: Workflow, after: Workflow | None) -> bool:
        task = after.latest_attempt(task_ref) if after is not None else None
        return task is not None and task.known_status is TaskStatus.SKIPPED

    return Command(
        verb=Verb.SKIP,
        one=lambda workflow: endpoints.skip_task_from_workflow(workflow.workflow_id, task_ref, task_output=task_output),
        has_effect=has_effect,
        needs_tasks=True,
        details=details,
    )


def delete(*, archive: bool = True) -> Command:
    """Remove an ended workflow from the server's database."""
    return Command(
        verb=Verb.DELETE,
        one=lambda workflow: endpoints.delete_workflow(workflow.workflow_id, archive_workflow=archive),
        many=lambda ids: endpoints.bulk_delete(ids, archive_workflow=archive),
        # With some index back ends the server still answers an archived workflow, from the index.
        has_effect=lambda before, after: after is None or archive,
    )


def ran_again(before: Workflow, after: Workflow | None) -> bool:
    """Whether it is running, or has ended again since."""
    if after is None or not after.status.ended:
        return after is not None
    fields = ("status", "create_time", "end_time", "last_retried_time")  # a bulk read answers no updateTime
    return any(getattr(after, name) != getattr(before, name) for name in fields)


def ended_itself(workflow: Workflow) -> str:
    """The reference name of the TERMINATE task that has ended the workflow, or ""; needs the tasks.

    The task stays completed when the workflow is retried, and ends it again at its next evaluation (seen on 3.13, and
    on 3.32: within 0.1 s).
    """
    for task in workflow.tasks:
        if task.task_type == "TERMINATE" and task.known_status is TaskStatus.COMPLETED:
            return task.reference_name
    return ""


def why_retry_is_useless(workflow: Workflow) -> str:
    """Why a retry would not continue it, in words that follow "workflow … is FAILED: "; "" if it would.

    ==================================================  =======================================
    a workflow that has not completed                   a retry
    ==================================================  =======================================
    a TERMINATE task of it completed                    does nothing, or ends at once
    none of its tasks failed or was cancelled           is accepted, and does nothing
    the same, and it is TIMED_OUT                       continues
    its tasks have not been read                        not known
    ==================================================  =======================================
    """
    task_ref = ended_itself(workflow)
    if task_ref:
        return f"its task {task_ref!r} (TERMINATE) has ended it, and would end a retry at once"
    latest = {task.reference_name: task for task in workflow.tasks}
    failed = [task for task in latest.values() if task.known_status is None or not task.known_status.successful]
    if latest and not failed and workflow.status is not WorkflowStatus.TIMED_OUT:
        return "none of its tasks has failed, so there is nothing to retry"
    return ""


def _time_limit_passed(workflow: Workflow) -> int | None:
    """The definition's timeout in seconds if it has passed since the start or the last retry, else None."""
    definition = workflow.data.get("workflowDefinition") or {}
    limit = definition.get("timeoutSeconds") or 0
    since = workflow.last_retried_time or workflow.create_time
    if limit <= 0 or definition.get("timeoutPolicy") == "ALERT_ONLY" or not workflow.observed_at or not since:
        return None
    return int(limit) if workflow.observed_at - since >= limit * 1000 else None
