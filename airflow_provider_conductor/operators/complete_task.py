"""Operators that complete an open task of a workflow, as a worker, a person or a signal would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_conductor.client.plain import plain_inside
from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.client.text import readable, to_log
from airflow_provider_conductor.control.task_choice import COMPLETION_STATUSES, Completion, CompletionRefusedError
from airflow_provider_conductor.exceptions import (
    ConductorArgumentRefusedError,
)
from airflow_provider_conductor.operators.arguments import given, is_template, one_of, rendered_mapping
from airflow_provider_conductor.operators.base import ConductorOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.client.flow import Flow
    from airflow_provider_conductor.client.models import Task
    from airflow_provider_conductor.submission.identity import TaskIdentity

STATUSES = tuple(str(status) for status in COMPLETION_STATUSES)


class TaskCompletionOperator(ConductorOperator):
    """The arguments with which a task is completed, and the try that completes it."""

    template_fields: Sequence[str] = ("conductor_conn_id", "workflow_id", "status", "task_output", "reason")
    template_fields_renderers: ClassVar[dict[str, str]] = {"task_output": "json"}

    def __init__(
        self,
        *,
        workflow_id: str,
        status: str = "COMPLETED",
        task_output: Mapping[str, Any] | None = None,
        reason: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = given(workflow_id, "workflow_id")
        self.status = status if is_template(status) else one_of(status, STATUSES, "status")
        if isinstance(task_output, (list, tuple, set, int, float)):
            raise ValueError(f"task_output must be a mapping of names to values, not {task_output!r}")
        self.task_output = plain_inside(task_output)
        self.reason = reason

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
        from airflow_provider_conductor.operators.task_results import completed, completion_refused
        from airflow_provider_conductor.submission.identity import StartKey

        identity = self._begin(context).identity(self.hook.settings.identity_prefix, retries=self.retries)
        try:
            self.workflow_id = one_workflow_id(self.workflow_id)
            completion = Completion(
                status=TaskStatus(one_of(self.status, STATUSES, "status")),
                output=rendered_mapping(self.task_output, "task_output"),
                reason=readable(self.reason) if self.reason else None,
                by=identity.correlation_id(StartKey(identity.series)),
            )
            flow = self._flow(completion, identity)
        except ValueError as error:
            raise ConductorArgumentRefusedError(str(error), reason=str(error)) from error
        self._announce(self.workflow_id)
        try:
            task = self._send(flow)
        except CompletionRefusedError as error:
            raise completion_refused(error, self.workflow_id, self.hook.workflow_url(self.workflow_id)) from None
        return completed(task, self.workflow_id)

    def _flow(self, completion: Completion, identity: TaskIdentity) -> Flow[Task]:
        """The flow that completes the task; a ValueError where a template rendered to something unusable."""
        raise NotImplementedError


class ConductorCompleteTaskOperator(TaskCompletionOperator):
    """Complete or fail an open task of a workflow: approve a HUMAN task, end a WAIT, do a worker's task.

    Args:
        workflow_id: the workflow; for a task of a sub-workflow, the sub-workflow.
        task_reference_name: the task, by its reference name in the workflow.
        conductor_task_id: the task, by its id in Conductor, instead of ``task_reference_name``.
        status: COMPLETED, FAILED (retried if its definition has retries) or FAILED_WITH_TERMINAL_ERROR.
        task_output: the task's output.
        reason: why it did not complete; the server stores it.
        conductor_conn_id: connection of type ``conductor``.

    Returns ``{"workflow_id", "task_id", "task_reference_name", "status"}``. A task that has already ended so is a
    success with a log line.

    Raises:
        ConductorTaskNotReadyError: the workflow has not reached the task yet.
        ConductorInvalidStateError: the task has ended otherwise, or the workflow has ended.
    """

    template_fields: Sequence[str] = (
        *TaskCompletionOperator.template_fields,
        "task_reference_name",
        "conductor_task_id",
    )

    def __init__(
        self, *, task_reference_name: str | None = None, conductor_task_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (task_reference_name is None) == (conductor_task_id is None):
            raise ValueError("name the task by either task_reference_name or conductor_task_id")
        if conductor_task_id is None:
            given(task_reference_name, "task_reference_name")
        else:
            given(conductor_task_id, "conductor_task_id")
        self.task_reference_name = task_reference_name
        self.conductor_task_id = conductor_task_id

    def _flow(self, completion: Completion, identity: TaskIdentity) -> Flow[Task]:
        from airflow_provider_conductor.control.task_completion import complete

        task_ref, task_id = self.task_reference_name or "", self.conductor_task_id or ""
        given(task_ref or task_id, "task_reference_name or conductor_task_id")
        return complete(self.workflow_id, completion, log=to_log(self.log.info), task_ref=task_ref, task_id=task_id)


class ConductorSignalWorkflowOperator(TaskCompletionOperator):
    """Complete the WAIT task at which a workflow waits: the first open one, in it or in its sub-workflows.

    It is the task that a signal of the server would reach (Conductor 3.32 and Orkes have signals), on any server, and
    it is completed once: a retry of this Airflow task does not signal the next WAIT.

    Args:
        workflow_id: the workflow.
        status: COMPLETED, FAILED or FAILED_WITH_TERMINAL_ERROR.
        task_output: the output of the WAIT task.
        reason: why it did not complete; the server stores it.
        conductor_conn_id: connection of type ``conductor``.

    Returns ``{"workflow_id", "task_id", "task_reference_name", "status"}`` of the task that was signalled;
    ``workflow_id`` may be a sub-workflow's.

    Raises:
        ConductorTaskNotReadyError: no WAIT task is open now.
        ConductorInvalidStateError: the workflow has ended.
    """

    def _flow(self, completion: Completion, identity: TaskIdentity) -> Flow[Task]:
        from airflow_provider_conductor.control.task_completion import signal

        return signal(self.workflow_id, completion, log=to_log(self.log.info), again=not identity.begins_series)
