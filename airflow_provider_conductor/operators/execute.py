"""Operators: start and execute Conductor workflows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.operators.arguments import check_output_path
from airflow_provider_conductor.operators.slow_runs import Callback
from airflow_provider_conductor.operators.submission import BY_LABEL_KEY, StartsWorkflow
from airflow_provider_conductor.operators.waiting import WaitOperator
from airflow_provider_conductor.polling.durations import patience

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.polling.wait_event import WaitEvent


class ConductorStartWorkflowOperator(StartsWorkflow):
    """Start a workflow and do not wait for it.

    Args:
        workflow_name: name of the definition, registered on the server or given as ``workflow_def``; needed unless
            that or ``request`` has one.
        version: version of the definition; None is the latest.
        workflow_input: what the workflow gets as input.
        workflow_def: an inline definition: a dict, or an object of Conductor's Python SDK.
        correlation_id: a label of your own, to find the workflow by. Left out, the task's identity is sent, which
            is what keeps a retried task from starting a second workflow; a label is not unique, and weaker.
        priority: 0 to 99; higher goes first.
        task_to_domain: task reference name → task domain.
        request: a ``StartWorkflowRequest`` of Conductor's Python SDK, or a dict with the server's names, in place of
            the arguments above. What it leaves open they may fill in; one that contradicts it is an error.
        retry_from: what a retry of this task does where its earlier try left a failed workflow: ``failed_task`` runs
            that on from its failed tasks, ``start`` runs it again from its start, ``new`` starts another.
        cancel_on_kill: terminate what is being started when Airflow kills the task, and, after a clear, what
            still runs from before.
        pass_context: put which Airflow task this is, and the address of its log, into the workflow's input under
            ``airflow``, for workers to log; also its W3C trace context and its OpenLineage run, where they are on.
        conductor_conn_id: connection of type ``conductor``.

    Returns the workflow's id, which is also in XCom under ``workflow_id``; its page in Conductor's UI is under
    ``workflow_url``.
    """

    def execute(self, context: Context) -> str:
        self._begin(context)
        workflow_id = self._start()
        self._forget_start()
        return workflow_id


class ConductorExecuteWorkflowOperator(WaitOperator, StartsWorkflow):
    """Start a workflow and wait for it, or for one of its tasks.

    Takes the arguments of :class:`ConductorStartWorkflowOperator`, and:

    Args:
        wait_for_seconds: how long the task waits on the worker before it logs that the workflow is still running, and
            continues to wait (deferred, if ``deferrable``). Any value works.
        wait_for_completion: False: the task ends after ``wait_for_seconds`` with what there is then.
        wait_until_task_ref: wait only until the task with this reference name has ended; in a loop with the
            iteration, as in ``ship__2``.
        deferrable: wait in the triggerer, without a worker slot. Default: Airflow's ``default_deferrable``.
        poll_interval: seconds between polls; None adapts them to the workflow.
        timeout: seconds (or timedelta) for the whole wait of one try; None waits on.
        stall_timeout: seconds (or timedelta) without progress.
        on_timeout: ``terminate`` the workflow when a timeout ends the wait, or ``leave`` it running.
        cancel_on_kill: terminate the workflow when Airflow kills the task.
        warn_after: log a warning when the run takes longer than this: seconds (or timedelta), or a percentile like
            ``p95`` of how long the last hundred completed runs of the workflow took.
        on_warning_callback: called with Airflow's context then, on a worker: a function or notifier, or several.
        output_path: a part of the output, like ``order.total`` or ``rows[0].id``, that is the result in its place.
        max_output_bytes: largest output (or part of it) written to XCom.

    Returns the workflow's output. With ``wait_for_completion=False`` or ``wait_until_task_ref``:
    ``{"workflow_id", "status", "output", "progress"}``.

    Raises:
        ConductorWorkflowFailedError: the workflow ended, and not as COMPLETED.
        ConductorTaskUnreachableError: the workflow completed without the task that ``wait_until_task_ref`` names.
        ConductorWorkflowTimeoutError: a timeout ended the wait.
        ConductorStartRefusedError: no such definition, or the server refused the input; not retried.
    """

    template_fields: Sequence[str] = (*StartsWorkflow.template_fields, "wait_until_task_ref", "output_path")

    def __init__(
        self,
        *,
        wait_for_seconds: float | timedelta = 10,
        wait_for_completion: bool = True,
        wait_until_task_ref: str | None = None,
        warn_after: float | timedelta | str | None = None,
        on_warning_callback: Callback | Sequence[Callback] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_warning(warn_after, on_warning_callback)
        self.wait_for_seconds = patience(wait_for_seconds, "wait_for_seconds")
        self.wait_for_completion = wait_for_completion
        self.wait_until_task_ref = wait_until_task_ref

    def execute(self, context: Context) -> Any:
        from airflow_provider_conductor.polling.wait_event import STILL_RUNNING

        self._begin(context)
        # What Airflow could not send to the triggerer: a native template may render anything.
        for name, value in {**self._wait_spec("").to_json(), "conductor_conn_id": self.conductor_conn_id}.items():
            if value is not None and type(value) not in (str, int, float, bool):
                kind = type(value).__name__
                raise TypeError(f"{name} must be a plain text or number, not {kind}; nothing was started")
        check_output_path(self.output_path)
        workflow_id = self._start()
        self._protect(workflow_id)
        spec = self._wait_spec(workflow_id)
        event = self._wait_here(spec, return_after=self.wait_for_seconds)
        if not self.wait_for_completion and not self.wait_until_task_ref and event.status == "COMPLETED":
            return self._snapshot(event)
        if event.status == STILL_RUNNING:
            self.log.info("Still RUNNING after %g s: %s", self.wait_for_seconds, event.message)
            if not self.wait_for_completion:
                return self._snapshot(event)
            spec = self._with_usual_duration(spec, event)
            if self.deferrable:
                self._defer_wait(spec, event.state)
            event = self._wait_here(spec, event.state)
        return self._conclude(event, spec.deadline)

    def _terminate_nothing(self) -> None:
        super()._terminate_nothing()
        self.on_timeout = "leave"

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        if self._begin(context).pull(BY_LABEL_KEY) is True:
            self._terminate_nothing()
        return super().resume_execution(next_method, next_kwargs, context)

    def _conclude(self, event: WaitEvent, deadline: float | None) -> Any:
        result = super()._conclude(event, deadline)
        self._forget_start()
        return result

    def _snapshot(self, event: WaitEvent) -> dict[str, Any]:
        """What there is after ``wait_for_seconds``; the workflow goes on without this task."""
        status: str = "COMPLETED" if event.status == "COMPLETED" else "RUNNING"
        output: Any = None if self.output_path else {}
        if event.status == "COMPLETED":
            completed = self._read(event, time.time())
            if completed is not None:
                self._show_completed(completed)
            output = None if completed is None else self._result(completed)
        else:
            try:
                workflow = self.hook.client.get_workflow(event.workflow_id, include_tasks=False)
            except ConductorRequestError as error:
                self.log.warning("The output so far of workflow %s cannot be read: %s", event.workflow_id, error)
            else:
                picked_later = self.output_path and not workflow.status.successful
                status, output = str(workflow.status), None if picked_later else self._result(workflow)
        self._guard.release()
        self._forget_start()
        return {"workflow_id": event.workflow_id, "status": status, "output": output, "progress": event.message}
