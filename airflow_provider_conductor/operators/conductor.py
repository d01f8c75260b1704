"""Operators: start, execute, terminate and retry Conductor workflows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.exceptions import ConductorStateError
from airflow_provider_conductor.links.conductor import ConductorWorkflowLink
from airflow_provider_conductor.operators.base import (
    DEFAULT_MAX_OUTPUT_BYTES,
    UsesConductor,
    WaitsForWorkflow,
    check_trigger_arguments,
    one_of,
)
from airflow_provider_conductor.operators.output import check_output_path
from airflow_provider_conductor.operators.starting import StartsWorkflow
from airflow_provider_conductor.waiting.durations import patience, seconds
from airflow_provider_conductor.waiting.wait import STILL_RUNNING, WaitEvent, with_told

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

__all__ = [
    "ConductorExecuteWorkflowOperator",
    "ConductorRetryWorkflowOperator",
    "ConductorStartWorkflowOperator",
    "ConductorTerminateWorkflowOperator",
]

OnTimeout = Literal["terminate", "leave"]
ON_TIMEOUT = ("terminate", "leave")


def default_deferrable() -> bool:
    return conf.getboolean("operators", "default_deferrable", fallback=False)


class ConductorStartWorkflowOperator(StartsWorkflow):
    """Start a workflow and do not wait for it.

    Args:
        workflow_name: name of the definition, registered on the server or given as ``workflow_def``.
        version: version of the definition; None is the latest.
        workflow_input: what the workflow gets as input.
        workflow_def: an inline definition: a dict, or an object of Conductor's Python SDK.
        correlation_id: a label of your own, to find the workflow by. Left out, the task's identity is sent, which
            is what keeps a retried task from starting a second workflow; a label is not unique, and weaker.
        priority: 0 to 99; higher goes first.
        task_to_domain: task reference name → task domain.
        retry_from: what a retry of this task does where its earlier try left a failed workflow: ``failed_task`` runs
            that on from its failed tasks, ``start`` runs it again from its start, ``new`` starts another.
        cancel_on_kill: terminate what is being started when Airflow kills the task, and, after a clear, what
            still runs from before.
        pass_context: put which Airflow task this is, and the address of its log, into the workflow's input under
            ``airflow``, for workers to log.
        conductor_conn_id: connection of type ``conductor``.

    Returns the workflow's id, which is also in XCom under ``workflow_id``; its page in Conductor's UI is under
    ``workflow_url``.
    """

    def execute(self, context: Context) -> str:
        workflow_id = self._start(context)
        self._forget_start(context)
        return workflow_id


class ConductorExecuteWorkflowOperator(WaitsForWorkflow, StartsWorkflow):
    """Start a workflow and wait for it, or for one of its tasks.

    Takes the arguments of :class:`ConductorStartWorkflowOperator`, and:

    Args:
        wait_for_seconds: how long the task waits on the worker before it says that the workflow still runs and
            goes on waiting (deferred, if ``deferrable``). Any value works.
        wait_for_completion: False: the task ends after ``wait_for_seconds`` with what there is then.
        wait_until_task_ref: wait only until the task with this reference name has ended.
        deferrable: wait in the triggerer, without a worker slot. Default: Airflow's ``default_deferrable``.
        poll_interval: seconds between looks; None adapts them to the workflow.
        timeout: seconds (or timedelta) for the whole wait of one try; None waits on.
        stall_timeout: seconds (or timedelta) without progress.
        on_timeout: ``terminate`` the workflow when a time-out ends the wait, or ``leave`` it running.
        cancel_on_kill: terminate the workflow when Airflow kills the task.
        output_path: a part of the output, like ``order.total`` or ``rows[0].id``, that is the result in its place.
        max_output_bytes: largest output (or part of it) written to XCom.

    Returns the workflow's output. With ``wait_for_completion=False`` or ``wait_until_task_ref``:
    ``{"workflow_id", "status", "output", "progress"}``.

    Raises:
        ConductorWorkflowFailed: the workflow ended, and not as COMPLETED.
        ConductorWorkflowTimeout: a time-out ended the wait.
        ConductorStartRefused: no such definition, or the server refused the input; not retried.
    """

    template_fields: Sequence[str] = (*StartsWorkflow.template_fields, "wait_until_task_ref", "output_path")

    def __init__(
        self,
        *,
        wait_for_seconds: float | timedelta = 10,
        wait_for_completion: bool = True,
        wait_until_task_ref: str | None = None,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "terminate",
        output_path: str | None = None,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_seconds = patience(wait_for_seconds, "wait_for_seconds")
        self.wait_for_completion = wait_for_completion
        self.wait_until_task_ref = wait_until_task_ref
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.stall_timeout = seconds(stall_timeout, "stall_timeout")
        self.on_timeout = one_of(on_timeout, ON_TIMEOUT, "on_timeout")
        self.output_path = check_output_path(output_path)
        self.max_output_bytes = max_output_bytes

    def _wait_limit(self) -> float | None:
        return self.timeout

    def execute(self, context: Context) -> Any:
        check_trigger_arguments(self._make_plan(context, "not started"), self.conductor_conn_id)
        check_output_path(self.output_path)
        workflow_id = self._start(context)
        self._remember(context, workflow_id)
        plan = self._make_plan(context, workflow_id)
        event = self._wait_here(plan, patience=self.wait_for_seconds)
        if not self.wait_for_completion and not self.wait_until_task_ref and event.status == "COMPLETED":
            return self._snapshot(context, event)
        if event.status == STILL_RUNNING:
            self.log.info("Still RUNNING after %g s: %s", self.wait_for_seconds, event.message)
            if not self.wait_for_completion:
                return self._snapshot(context, event)
            plan = with_told(plan, event)
            if self.deferrable:
                self._defer_wait(plan)
            event = self._wait_here(plan)
        return self._conclude(context, event)

    def _conclude(self, context: Context, event: WaitEvent) -> Any:
        result = super()._conclude(context, event)
        self._forget_start(context)
        return result

    def _snapshot(self, context: Context, event: WaitEvent) -> dict[str, Any]:
        """What there is after ``wait_for_seconds``; the workflow goes on without this task."""
        status: str = "COMPLETED" if event.status == "COMPLETED" else "RUNNING"
        output: Any = None if self.output_path else {}
        try:
            workflow = self.hook.client.get_workflow(event.workflow_id, include_tasks=False)
        except ConductorRequestError as error:
            self.log.warning("What workflow %s has put out so far cannot be read: %s", event.workflow_id, error)
        else:
            picked_later = self.output_path and not workflow.status.successful
            status, output = str(workflow.status), None if picked_later else self._result(workflow)
        self._workflow_id = None
        self._forget_start(context)
        return {"workflow_id": event.workflow_id, "status": status, "output": output, "progress": event.message}


class ConductorTerminateWorkflowOperator(UsesConductor, BaseOperator):
    """Terminate what still runs; leave what has ended as it is.

    Args:
        workflow_id: one id or a list of them.
        reason: kept by the server as the workflow's reason.
        conductor_conn_id: connection of type ``conductor``.

    Returns the ids that were terminated. A workflow that had ended already is a success with a log line, and keeps
    its status; one that does not exist fails the task.
    """

    template_fields: Sequence[str] = ("conductor_conn_id", "workflow_id", "reason")
    operator_extra_links: Sequence[BaseOperatorLink] = (ConductorWorkflowLink(),)
    ui_color = "#1976d2"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        workflow_id: str | Sequence[str],
        reason: str = "terminated by Airflow task {{ ti.dag_id }}.{{ ti.task_id }}",
        conductor_conn_id: str = "conductor_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conductor_conn_id = conductor_conn_id
        self.workflow_id = workflow_id
        self.reason = reason

    def execute(self, context: Context) -> list[str]:
        from airflow_provider_conductor.client.terminating import terminate_running

        workflow_ids = [self.workflow_id] if isinstance(self.workflow_id, str) else list(self.workflow_id)
        if workflow_ids:
            self._announce(context, workflow_ids[0])
        terminated = []
        for workflow_id in workflow_ids:
            ended = self.hook.client.run(terminate_running(workflow_id, self.reason))
            if ended is None:
                self.log.info("Terminated workflow %s", workflow_id)
                terminated.append(workflow_id)
            else:
                self.log.info("Workflow %s has ended already, as %s", workflow_id, ended)
        return terminated


class ConductorRetryWorkflowOperator(WaitsForWorkflow, BaseOperator):
    """Run a failed, timed-out or terminated workflow on from its failed tasks, under the same id.

    Args:
        workflow_id: the workflow.
        resume_subworkflow_tasks: of a failed sub-workflow, run on from its failed task, not from its start.
        wait_for_completion: wait for the end, as :class:`ConductorExecuteWorkflowOperator` does, with the same
            arguments.
        conductor_conn_id: connection of type ``conductor``.

    Returns the workflow's output, or its id without ``wait_for_completion``. One that runs already is a success
    with a log line.

    Raises:
        ConductorStateError: the workflow completed or is paused; the message names the operator that would do.
    """

    template_fields: Sequence[str] = ("conductor_conn_id", "workflow_id", "output_path")
    operator_extra_links: Sequence[BaseOperatorLink] = (ConductorWorkflowLink(),)
    ui_color = "#1976d2"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        workflow_id: str,
        resume_subworkflow_tasks: bool = True,
        wait_for_completion: bool = False,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "terminate",
        cancel_on_kill: bool = True,
        output_path: str | None = None,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
        conductor_conn_id: str = "conductor_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conductor_conn_id = conductor_conn_id
        self.workflow_id = workflow_id
        self.resume_subworkflow_tasks = resume_subworkflow_tasks
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.stall_timeout = seconds(stall_timeout, "stall_timeout")
        self.on_timeout = one_of(on_timeout, ON_TIMEOUT, "on_timeout")
        self.cancel_on_kill = cancel_on_kill
        self.output_path = check_output_path(output_path)
        self.max_output_bytes = max_output_bytes

    def _wait_limit(self) -> float | None:
        return self.timeout

    def execute(self, context: Context) -> Any:
        workflow_id = self.workflow_id
        check_output_path(self.output_path)
        if self.wait_for_completion:
            self._remember(context, workflow_id)
        self._retry(context, workflow_id)
        self._announce(context, workflow_id)
        if not self.wait_for_completion:
            return workflow_id
        plan = self._make_plan(context, workflow_id)
        if self.deferrable:
            self._defer_wait(plan)
        return self._conclude(context, self._wait_here(plan))

    def _is_automatic_retry(self, context: Context) -> bool:
        """Whether an earlier try of this series may have sent the retry already."""
        ti = context["ti"]
        return ti.try_number > (ti.max_tries or 0) - (self.retries or 0) + 1

    def _retry(self, context: Context, workflow_id: str) -> None:
        status = self.hook.client.get_workflow_status(workflow_id).status
        match status.value:
            case "RUNNING":
                self.log.info("Workflow %s runs already", workflow_id)
            case "PAUSED":
                raise ConductorStateError(
                    f"workflow {workflow_id} is PAUSED: there is nothing to retry; resume it instead"
                )
            case "COMPLETED" if self._is_automatic_retry(context):
                self.log.info("Workflow %s has completed meanwhile", workflow_id)
            case "COMPLETED":
                raise ConductorStateError(
                    f"workflow {workflow_id} is COMPLETED: there is nothing to retry; restart it to run it again"
                )
            case _:
                self.hook.client.retry_workflow(workflow_id, self.resume_subworkflow_tasks)
                self.log.info("Workflow %s was %s and runs on from its failed tasks", workflow_id, status)
