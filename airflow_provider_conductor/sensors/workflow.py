"""Sensor: wait for a workflow that somebody else started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_conductor.sensors.base import ConductorSensor


class ConductorWorkflowSensor(ConductorSensor):
    """Wait for somebody else's workflow, in poke, reschedule and deferrable mode alike.

    It terminates nothing by default. ``timeout``, ``soft_fail``, ``poke_interval`` and the like are Airflow's own.

    Args:
        workflow_id: the workflow.
        wait_until_task_ref: wait only until the task with this reference name has ended; in a loop with the
            iteration, as in ``ship__2``.
        return_output: put the workflow's output into XCom.
        output_path: a part of the output, like ``order.total`` or ``rows[0].id``, to put there instead; implies
            ``return_output``.
        deferrable: wait in the triggerer. Default: Airflow's ``default_deferrable``.
        start_from_trigger: begin there too, without a worker, where Airflow can (3.3 and later); implies
            ``deferrable``. A worker then only concludes.
        poke_interval: seconds between polls; left out, they adapt to the workflow.
        stall_timeout: seconds (or timedelta) without progress.
        on_timeout: ``leave`` the workflow running when a timeout ends the wait, or ``terminate`` it.
        cancel_on_kill: terminate the workflow when Airflow kills the task.
        warn_after: log a warning when the run takes longer than this: seconds (or timedelta), or a percentile like
            ``p95`` of how long the last hundred completed runs of the workflow took.
        on_warning_callback: called with Airflow's context then, on a worker: a function or notifier, or several.
        max_output_bytes: largest output (or part of it) written to XCom.
        conductor_conn_id: connection of type ``conductor``.

    Raises:
        ConductorWorkflowFailedError: the workflow ended, and not as COMPLETED.
        ConductorTaskUnreachableError: the workflow completed without the task that ``wait_until_task_ref`` names.
        ConductorSensorTimeoutError: ``timeout`` ended the wait.
    """

    template_fields: Sequence[str] = (*ConductorSensor.template_fields, "wait_until_task_ref")

    def __init__(self, *, wait_until_task_ref: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_until_task_ref = wait_until_task_ref
        self._begin_in_triggerer(wait_until_task_ref=wait_until_task_ref)
