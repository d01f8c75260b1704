"""Each verb with its arguments: what is sent, for one or many, and how its effect is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Call
from airflow_provider_conductor.client.models import BulkResult, TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.steering.decision import DUE, Decision, Kind, Verb, decide

__all__ = ["Command", "delete", "pause", "rerun", "restart", "resume", "retry", "skip", "terminate"]


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
        particulars: what decides beside the status, once that allows it.
    """

    verb: Verb
    one: Callable[[Workflow], Call[Any]]
    many: Callable[[Sequence[str]], Call[BulkResult]] | None
    has_effect: Callable[[Workflow, Workflow | None], bool]
    reads_tasks: bool = False
    particulars: Callable[[Workflow], Decision] = _nothing_more
    one_by_one: Callable[[Workflow], bool] = _never

    def decide(self, workflow: Workflow | None, *, attempted: bool = False) -> Decision:
        """See :func:`~airflow_provider_conductor.steering.decision.decide`."""
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
        _ran_again,
    )


def retry(*, resume_subworkflow_tasks: bool = True) -> Command:
    """The server's bulk retry runs failed sub-workflows from their start, so it serves only where there are none."""
    return Command(
        Verb.RETRY,
        lambda workflow: endpoints.retry_workflow(
            workflow.workflow_id, resume_subworkflow_tasks=resume_subworkflow_tasks
        ),
        endpoints.bulk_retry,
        _ran_again,
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
            # Seen on 3.32: a 500 with the rerun half done, the task in no queue and the workflow RUNNING for ever.
            return Decision(
                Kind.CANNOT,
                f"its task {from_task_ref!r} was skipped, and servers cannot begin with such a one; begin with a task "
                "before it, or use ConductorRestartWorkflowOperator",
            )
        limit = _time_limit_passed(workflow)
        if limit:
            # Seen on 3.13 and 3.32: the rerun is accepted, its tasks are removed, and it is TIMED_OUT at once.
            return Decision(
                Kind.CANNOT,
                f"its time-out of {limit} s is over, and a rerun would not begin it anew; "
                "ConductorRetryWorkflowOperator and ConductorRestartWorkflowOperator do",
            )
        return DUE

    return Command(Verb.RERUN, call, None, _ran_again, reads_tasks=True, particulars=particulars)


def skip(task_ref: str, task_output: Mapping[str, Any] | None = None) -> Command:
    """A task that is not yet scheduled."""

    def particulars(workflow: Workflow) -> Decision:
        task = workflow.latest_attempt(task_ref)
        if task is None:
            return DUE
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


def _ran_again(before: Workflow, after: Workflow | None) -> bool:
    """Whether it goes on, or has ended anew since."""
    return after is not None and (not after.status.ended or _mark(after) != _mark(before))


def _mark(workflow: Workflow) -> tuple[object, ...]:
    """What a new run changes; on what a bulk search answers too, which has no ``updateTime``."""
    return workflow.status, workflow.create_time, workflow.end_time, workflow.last_retried_time


def _time_limit_passed(workflow: Workflow) -> int | None:
    """The definition's time-out in seconds where that has passed since the start or the last retry, else None."""
    definition = workflow.data.get("workflowDefinition") or {}
    limit = definition.get("timeoutSeconds") or 0
    since = workflow.last_retried_time or workflow.create_time
    if limit <= 0 or definition.get("timeoutPolicy") == "ALERT_ONLY" or not workflow.observed_at or not since:
        return None
    return int(limit) if workflow.observed_at - since >= limit * 1000 else None


def _may_have_sub_workflows(workflow: Workflow) -> bool:
    """Whether the definition has a sub-workflow, at whatever depth, or a task whose kind is chosen as it runs."""
    definition = workflow.data.get("workflowDefinition")
    return not definition or any(kind in json.dumps(definition) for kind in ('"SUB_WORKFLOW"', "DYNAMIC"))
