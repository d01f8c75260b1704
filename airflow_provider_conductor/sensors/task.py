"""Sensor: wait for a task of a workflow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.statuses import WorkflowStatus
from airflow_provider_conductor.exceptions import ConductorWorkflowTimeoutError
from airflow_provider_conductor.operators.arguments import given, is_template
from airflow_provider_conductor.polling.awaited_task import SUCCESS, joined_statuses
from airflow_provider_conductor.sensors.base import ConductorSensor

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec


class ConductorTaskSensor(ConductorSensor):
    """Wait until a task of somebody else's workflow has a status, in poke, reschedule and deferrable mode alike.

    Takes the arguments of :class:`~airflow_provider_conductor.sensors.workflow.ConductorWorkflowSensor` (but
    ``wait_until_task_ref``), and:

    Args:
        task_reference_name: the task, by its reference name in the workflow; in a loop with the iteration, as in
            ``ship__2``.
        expected_status: the status, or several of them, one of which will do: SCHEDULED, IN_PROGRESS, COMPLETED,
            COMPLETED_WITH_ERRORS, FAILED, FAILED_WITH_TERMINAL_ERROR, TIMED_OUT, CANCELED, SKIPPED. Left out: the task
            has ended well. SCHEDULED and IN_PROGRESS pass by: one that is over before it was seen counts as missed.
        return_output: put the task's output into XCom.
        output_path: a part of the output, to put there instead; implies ``return_output``.

    Raises:
        ConductorTaskUnreachableError: the status cannot be reached any more: the task ended otherwise and is not
            tried again, or the workflow ended.
        ConductorSensorTimeoutError: ``timeout`` ended the wait.
    """

    template_fields: Sequence[str] = (*ConductorSensor.template_fields, "task_reference_name", "expected_status")

    def __init__(
        self, *, task_reference_name: str, expected_status: str | Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.task_reference_name = given(task_reference_name, "task_reference_name")
        self.expected_status = expected_status
        if isinstance(expected_status, (str, list, tuple)) and not is_template(expected_status):
            joined_statuses(expected_status)
        self._begin_in_triggerer(
            task_reference_name=task_reference_name,
            expected_status=list(SUCCESS) if expected_status is None else expected_status,
        )

    @property
    def _expected(self) -> str:
        return joined_statuses(SUCCESS if self.expected_status is None else self.expected_status)

    def _wait_spec(self, workflow_id: str) -> WaitSpec:
        task_ref = given(self.task_reference_name, "task_reference_name")
        spec = super()._wait_spec(workflow_id)
        return replace(spec, wait_until_task_ref=task_ref, wait_until_task_status=self._expected)

    def _outcome(self, event: WaitEvent, deadline: float | None) -> Any:
        from airflow_provider_conductor.polling.wait_event import TASK_ENDED

        self.wait_until_task_ref = self.task_reference_name
        if event.status in WorkflowStatus.__members__:  # from the index, which keeps no tasks
            raise self._unreachable(
                event, f"it ended as {event.status} and was archived: what became of its task cannot be read any more"
            )
        if event.status == TASK_ENDED:
            self.log.info("Task %r of workflow %s has the expected status", self.task_reference_name, event.workflow_id)
        return super()._outcome(event, deadline)

    def _why_unreachable(self, event: WaitEvent) -> str:
        """With the worker's reason, which the triggerer leaves out."""
        from airflow_provider_conductor.client.errors import ConductorError
        from airflow_provider_conductor.polling.awaited_task import awaited_task, task_statuses
        from airflow_provider_conductor.polling.missing_workflow import read_ended

        if event.state is not None:  # it is of this process
            return event.message
        try:
            workflow = self.hook.client.run(read_ended(event.workflow_id, time.time()))
        except ConductorError:
            workflow = None
        if workflow is None:
            return event.message
        seen = awaited_task(workflow, self.task_reference_name, task_statuses(self._expected))
        return seen.unreachable or event.message

    def _task_result(self, workflow: Workflow | None, event: WaitEvent) -> Any:
        result = super()._task_result(workflow, event)
        return result["output"] if result else None

    def _timeout_error(self, message: str, event: WaitEvent) -> ConductorWorkflowTimeoutError:
        missing = f"task {self.task_reference_name!r} is not {self._expected.replace(',', ' or ')}"
        return super()._timeout_error(f"{missing}: {message}", event)
