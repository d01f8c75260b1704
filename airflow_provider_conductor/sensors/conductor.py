"""Sensor: wait for a workflow that somebody else started."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_conductor.exceptions import ConductorWorkflowFailed
from airflow_provider_conductor.links.conductor import ConductorWorkflowLink
from airflow_provider_conductor.operators.base import DEFAULT_MAX_OUTPUT_BYTES, WaitsForWorkflow, one_of, seconds
from airflow_provider_conductor.operators.conductor import ON_TIMEOUT, OnTimeout, default_deferrable
from airflow_provider_conductor.waiting.wait import STILL_RUNNING

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

__all__ = ["ConductorWorkflowSensor"]


class ConductorWorkflowSensor(WaitsForWorkflow, BaseSensorOperator):
    """Wait for somebody else's workflow, in poke, reschedule and deferrable mode alike.

    It terminates nothing unless told. ``timeout``, ``soft_fail``, ``poke_interval`` and the like are Airflow's own.

    Args:
        workflow_id: the workflow.
        wait_until_task_ref: wait only until the task with this reference name has ended.
        return_output: put the workflow's output into XCom.
        deferrable: wait in the triggerer. Default: Airflow's ``default_deferrable``.
        poke_interval: seconds between looks; left out, they adapt to the workflow.
        stall_timeout: seconds (or timedelta) without progress.
        on_timeout: ``leave`` the workflow running when a time-out ends the wait, or ``terminate`` it.
        cancel_on_kill: terminate the workflow when Airflow kills the task.
        max_output_bytes: largest output written to XCom.
        conductor_conn_id: connection of type ``conductor``.

    Raises:
        ConductorWorkflowFailed: the workflow ended, and not as COMPLETED.
        AirflowSensorTimeout: ``timeout`` ended the wait.
    """

    template_fields: Sequence[str] = ("conductor_conn_id", "workflow_id", "wait_until_task_ref")
    operator_extra_links: Sequence[BaseOperatorLink] = (ConductorWorkflowLink(),)
    ui_color = "#1976d2"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        workflow_id: str,
        wait_until_task_ref: str | None = None,
        return_output: bool = False,
        deferrable: bool | None = None,
        poke_interval: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "leave",
        cancel_on_kill: bool = False,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
        conductor_conn_id: str = "conductor_default",
        **kwargs: Any,
    ) -> None:
        if poke_interval is not None:
            kwargs["poke_interval"] = poke_interval
        super().__init__(**kwargs)
        self.conductor_conn_id = conductor_conn_id
        self.workflow_id = workflow_id
        self.wait_until_task_ref = wait_until_task_ref
        self.return_output = return_output
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poke_interval, "poke_interval")
        self.stall_timeout = seconds(stall_timeout, "stall_timeout")
        self.on_timeout = one_of(on_timeout, ON_TIMEOUT, "on_timeout")
        self.cancel_on_kill = cancel_on_kill
        self.max_output_bytes = max_output_bytes

    def _wait_limit(self) -> float | None:
        return float(self.timeout)

    def execute(self, context: Context) -> Any:
        self._announce(context, self.workflow_id)
        self._remember(context, self.workflow_id)
        if not self.deferrable:
            return super().execute(context)
        plan = self._make_plan(context, self.workflow_id)
        event = self._wait_here(context, plan, patience=0)
        if event.status == STILL_RUNNING:
            self._defer_wait(plan)
        return self._conclude(context, event)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        plan = self._make_plan(context, self.workflow_id)
        event = self._wait_here(context, plan, patience=0)
        if event.status == STILL_RUNNING:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(context, event))

    def _conclude(self, context: Context, event: Any) -> Any:
        try:
            return super()._conclude(context, event)
        except ConductorWorkflowFailed as error:
            if self.soft_fail:
                raise AirflowSkipException(f"skipped (soft_fail): {error}") from error
            raise

    def _result(self, workflow: Any) -> Any:
        return super()._result(workflow) if self.return_output else None

    def _task_result(self, workflow: Any) -> Any:
        return super()._task_result(workflow) if self.return_output else None

    def _timeout_error(self, message: str, workflow_id: str) -> AirflowException:
        return AirflowSensorTimeout(message)
