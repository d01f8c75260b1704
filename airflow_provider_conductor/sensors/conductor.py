"""Sensor: wait for a workflow that somebody else started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    timezone,
)

from airflow_provider_conductor.exceptions import ConductorWorkflowFailed
from airflow_provider_conductor.links.conductor import ConductorWorkflowLink
from airflow_provider_conductor.operators.base import DEFAULT_MAX_OUTPUT_BYTES, WaitsForWorkflow, one_of
from airflow_provider_conductor.operators.conductor import ON_TIMEOUT, OnTimeout, default_deferrable
from airflow_provider_conductor.starting.reasons import timed_out_reason
from airflow_provider_conductor.version_compat import first_poke
from airflow_provider_conductor.waiting.durations import seconds
from airflow_provider_conductor.waiting.schedule import LONGEST, SHARE_OF_AGE, SHORTEST
from airflow_provider_conductor.waiting.wait import STILL_RUNNING, WaitPlan, with_told

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

    _told: str = ""
    _began: float = 0.0

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

    def _make_plan(self, context: Context, workflow_id: str) -> WaitPlan:
        plan = super()._make_plan(context, workflow_id)
        return replace(
            plan,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait.total_seconds() if self.max_wait else None,
            told=self._told,
        )

    def execute(self, context: Context) -> Any:
        self._announce(context, self.workflow_id)
        self._remember(context, self.workflow_id)
        if self.deferrable:
            plan = self._make_plan(context, self.workflow_id)
            event = self._wait_here(plan, patience=0)
            if event.status == STILL_RUNNING:
                self._defer_wait(with_told(plan, event))
            return self._conclude(context, event)
        began = first_poke(self, context) if self.reschedule else None
        self._began = (began or timezone.utcnow()).timestamp()
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            # Airflow has counted the time itself; what has ended is left as it is.
            done = self._let_go(self.workflow_id, timed_out_reason(self._task_label))
            self.log.info("%s; workflow %s: %s", error, self.workflow_id, done)
            raise

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """One look; Airflow's sensor counts the time between looks and in all."""
        plan = replace(self._make_plan(context, self.workflow_id), started_at=self._began, deadline=None)
        event = self._wait_here(plan, patience=0)
        self._told = event.told
        if event.status == STILL_RUNNING:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(context, event))

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        if self.poll_interval is not None:
            return float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        return float(min(max(SHORTEST, run_duration() * SHARE_OF_AGE), LONGEST))

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
