"""Each verb with its arguments: what is sent, for one or many, and how its effect is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import BulkResult, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.task_types import may_contain
from airflow_provider_conductor.control.eligibility import DUE, Decision, Kind, Verb, decide
from airflow_provider_conductor.control.task_position import rerun_hangs, skip_hangs

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
    "retry_in_vain",
    "skip",
    "terminate",
]


def _nothing_more(workflow: Workflow) -> Decision:
    return DUE


def _never(workflow: Workflow) -> bool:
    return False


def _other_status(before: Workflow, after: Workflow | None) -> bool:
    return after is not None and after.status != before.status


@dataclass(frozen=True, slots=True)
class Command:
    """One verb, ready to be sent.

    Attributes:
        one: the request for one workflow, as it was seen.
        many: the request for up to 1,000 ids, or None where the server has no bulk endpoint for this.
        one_by_one: whether the bulk endpoint would do something else with this workflow.
        has_effect: whether it shows, from the workflow before and after (None: the server knows it no more).
        reads_tasks: the decision or the request needs the tasks.
        reads_tasks_of: where not of all, whether the decision needs those of this workflow, which was read without.
        particulars: what decides beside the status, once that allows it.
    """

    verb: Verb
    one: Callable[[Workflow], Call[Any]]
    many: Callable[[Sequence[str]], Call[BulkResult]] | None
    has_effect: Callable[[Workflow, Workflow | None], bool]
    reads_tasks: bool = False
    reads_tasks_of: Callable[[Workflow], bool] | None = None
    particulars: Callable[[Workflow], Decision] = _nothing_more
    one_by_one: Callable[[Workflow], bool] = _never

    def decide(self, workflow: Workflow | None, *, attempted: bool = False) -> Decision:
        """See :func:`~airflow_provider_conductor.control.eligibility.decide`."""
        if workflow is None:
            return decide(self.verb, None, attempted=attempted)
        found = decide(self.verb, workflow.status, attempted=attempted)
        if found.kind is Kind.ALREADY:
            return found
        more = self.particulars(workflow)
        return more if found.kind is Kind.DUE or more.kind is Kind.ALREADY else found


def pause() -> Command:
    return Command(
        Verb.PAUSE,
        lambda workflow: endpoints.pause_workflow(workflow.workflow_id),
        endpoints.bulk_pause,
        lambda before, after: after is not None and after.status is WorkflowStatus.PAUSED,
    )


def resume() -> Command:
    return Command(
        Verb.RESUME,
        lambda workflow: endpoints.resume_workflow(workflow.workflow_id),
        endpoints.bulk_resume,
        _other_status,
    )


def terminate(reason: str) -> Command:
    return Command(
        Verb.TERMINATE,
        lambda workflow: endpoints.terminate_workflow(workflow.workflow_id, reason),
        lambda ids: endpoints.bulk_terminate(ids, reason),
        lambda before, after: after is not None and after.status is WorkflowStatus.TERMINATED,
    )


def restart(*, use_latest_definition: bool = False) -> Command:
    return Command(
        Verb.RESTART,
        lambda workflow: endpoints.restart_workflow(workflow.workflow_id, use_latest_def=use_latest_definition),
        lambda ids: endpoints.bulk_restart(ids, use_latest_def=use_latest_definition),
        ran_again,
    )


def retry(*, resume_subworkflow_tasks: bool = True) -> Command:
    """The server's bulk retry runs failed sub-workflows from their start, so it serves only where there are none."""

    def particulars(workflow: Workflow) -> Decision:
        why = retry_in_vain(workflow)
        return Decision(Kind.CANNOT, f"{why}; ConductorRestartWorkflowOperator runs it from its start") if why else DUE

    return Command(
        Verb.RETRY,
        lambda workflow: endpoints.retry_workflow(
            workflow.workflow_id, resume_subworkflow_tasks=resume_subworkflow_tasks
        ),
        endpoints.bulk_retry,
        ran_again,
        reads_tasks_of=_may_end_itself,
        particulars=particulars,
        one_by_one=_may_have_sub_workflows if resume_subworkflow_tasks else _never,
    )


def rerun(
    *,
    from_task_ref: str | None = None,
    task_input: Mapping[str, Any] | None = None,
    workflow_input: Mapping[str, Any] | None = None,
) -> Command:
    """From the latest attempt of ``from_task_ref``, or from the start."""

    def call(workflow: Workflow) -> Call[str]:
        task = workflow.latest_attempt(from_task_ref) if from_task_ref else None
        return endpoints.rerun_workflow(
            workflow.workflow_id,
            re_run_from_task_id=task.task_id if task else None,
            task_input=task_input,
            workflow_input=workflow_input,
        )

    def particulars(workflow: Workflow) -> Decision:
        task = workflow.latest_attempt(from_task_ref) if from_task_ref else None
        if from_task_ref and task is None:
            came_to = ", ".join(dict.fromkeys(task.reference_name for task in workflow.tasks)) or "none"
            return Decision(
                Kind.CANNOT,
                f"it never came to a task {from_task_ref!r} (it came to: {came_to}); give one of those, or "
                "leave from_task_ref out to run it again from its start",
            )
        if task is not None and task.known_status is TaskStatus.SKIPPED:
            # Seen on 3.32: a 500 with the rerun half done, the task in no queue and the workflow RUNNING forever.
            return Decision(
                Kind.CANNOT,
                f"its task {from_task_ref!r} was skipped, and servers cannot begin with such a one; begin with a task "
                "before it, or use ConductorRestartWorkflowOperator",
            )
        hangs = rerun_hangs(workflow, task) if task is not None else ""
        if hangs:
            return Decision(
                Kind.CANNOT,
                f"it would never continue from its task {from_task_ref!r}: {hangs}. Begin with an earlier task "
                f"outside of forks and completed loops. ConductorRetryWorkflowOperator continues with the failed "
                f"tasks, and ConductorRestartWorkflowOperator runs all of it again",
            )
        limit = _time_limit_passed(workflow)
        if limit:
            # Seen on 3.13 and 3.32: the rerun is accepted, its tasks are removed, and it is TIMED_OUT at once.
            return Decision(
                Kind.CANNOT,
                f"its timeout of {limit} s is over, and a rerun would not begin it anew; "
                "ConductorRetryWorkflowOperator and ConductorRestartWorkflowOperator do",
            )
        return DUE

    return Command(Verb.RERUN, call, None, ran_again, reads_tasks=True, particulars=particulars)


def skip(task_ref: str, task_output: Mapping[str, Any] | None = None) -> Command:
    """A task that is not yet scheduled."""

    def particulars(workflow: Workflow) -> Decision:
        task = workflow.latest_attempt(task_ref)
        if task is None:
            hangs = skip_hangs(workflow.data.get("workflowDefinition") or {}, task_ref)
            if not hangs:
                return DUE
            return Decision(
                Kind.CANNOT,
                f"it would never continue without its task {task_ref!r}: {hangs}. Wait until it reaches that task, "
                f"and then complete the task with ConductorCompleteTaskOperator",
            )
        if task.known_status is TaskStatus.SKIPPED:
            return Decision(Kind.ALREADY, f"as wanted: its task {task_ref!r} is skipped already")
        return Decision(
            Kind.CANNOT,
            f"its task {task_ref!r} is {task.data.get('status')}, and only one that is yet to come can be skipped; "
            "ConductorHook().client.update_task completes one that waits",
        )

    def has_effect(before: Workflow, after: Workflow | None) -> bool:
        task = after.latest_attempt(task_ref) if after is not None else None
        return task is not None and task.known_status is TaskStatus.SKIPPED

    return Command(
        Verb.SKIP,
        lambda workflow: endpoints.skip_task_from_workflow(workflow.workflow_id, task_ref, task_output=task_output),
        None,
        has_effect,
        reads_tasks=True,
        particulars=particulars,
    )


def delete(*, archive: bool = True) -> Command:
    return Command(
        Verb.DELETE,
        lambda workflow: endpoints.delete_workflow(workflow.workflow_id, archive_workflow=archive),
        lambda ids: endpoints.bulk_delete(ids, archive_workflow=archive),
        # With some index back ends the server reads an archived workflow back out of the index.
        lambda before, after: after is None or archive,
    )


def ran_again(before: Workflow, after: Workflow | None) -> bool:
    """Whether it goes on, or has ended anew since."""
    return after is not None and (not after.status.ended or _mark(after) != _mark(before))


def ended_itself(workflow: Workflow) -> str:
    """The reference name of the TERMINATE task that has ended it, or ""; needs the tasks.

    The task stays completed when the workflow is retried, and ends it again at its next evaluation (seen on 3.13, and
    on 3.32: within 0.1 s).
    """
    for task in workflow.tasks:
        if task.task_type == "TERMINATE" and task.known_status is TaskStatus.COMPLETED:
            return task.reference_name
    return ""


def retry_in_vain(workflow: Workflow) -> str:
    """Why a retry would not run it on, in words that follow "workflow … is FAILED:"; "" where it would.

    ==================================================  =======================================
    a workflow that has not completed                   a retry
    ==================================================  =======================================
    a TERMINATE task of it completed                    does nothing, or ends at once
    none of its tasks failed or was cancelled           is accepted, and does nothing
    the same, and it is TIMED_OUT                       runs on
    its tasks have not been read                        not known
    ==================================================  =======================================
    """
    ended_by = ended_itself(workflow)
    if ended_by:
        return f"its task {ended_by!r} (TERMINATE) has ended it, and would end a retry at once"
    latest = {task.reference_name: task for task in workflow.tasks}
    failed = [task for task in latest.values() if task.known_status is None or not task.known_status.successful]
    if latest and not failed and workflow.status is not WorkflowStatus.TIMED_OUT:
        return "none of its tasks has failed, so there is nothing to retry"
    return ""


def _mark(workflow: Workflow) -> tuple[object, ...]:
    """What a new run changes; on what a bulk search answers too, which has no ``updateTime``."""
    return workflow.status, workflow.create_time, workflow.end_time, workflow.last_retried_time


def _time_limit_passed(workflow: Workflow) -> int | None:
    """The definition's timeout in seconds where that has passed since the start or the last retry, else None."""
    definition = workflow.data.get("workflowDefinition") or {}
    limit = definition.get("timeoutSeconds") or 0
    since = workflow.last_retried_time or workflow.create_time
    if limit <= 0 or definition.get("timeoutPolicy") == "ALERT_ONLY" or not workflow.observed_at or not since:
        return None
    return int(limit) if workflow.observed_at - since >= limit * 1000 else None


def _may_end_itself(workflow: Workflow) -> bool:
    return may_contain(workflow.data.get("workflowDefinition"), "TERMINATE")


def _may_have_sub_workflows(workflow: Workflow) -> bool:
    return may_contain(workflow.data.get("workflowDefinition"), "SUB_WORKFLOW")
