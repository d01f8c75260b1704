"""What Airflow's ``on_kill`` does for a task, whatever the task is doing when it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import timezone

from airflow_provider_conductor.polling.durations import LONGEST
from airflow_provider_conductor.submission.kill_check import unless_killed
from airflow_provider_conductor.submission.termination_reasons import killed_reason, timed_out_reason

if TYPE_CHECKING:
    from airflow_provider_conductor.client.flow import Flow, T
    from airflow_provider_conductor.operators.task_run import TaskRun

ALARM_MARGIN = 2.0
"""Seconds (at most a twentieth of it) that our deadline lies before Airflow's ``execution_timeout``: time for the last
poll, so that a workflow that has just completed is not a timeout on the worker either."""


@dataclass(slots=True)
class KillGuard:
    """Whether the task has been killed, and what then has to be terminated.

    Airflow 3 calls ``on_kill`` in a signal handler and lets the task go on for some seconds, in which it must not start
    anything. Airflow calls it for its ``execution_timeout``, too; that is a timeout, and ``on_timeout`` decides.
    """

    killed: bool = False
    timed_out: bool = False
    """Whether ``execution_timeout`` was over by the time of the kill."""
    alarm_at: float | None = None
    """When ``execution_timeout`` interrupts this process, seconds since the epoch; None for never."""
    label: str = "an Airflow task"
    _wait_until: float | None = None
    _on_kill: Callable[[], None] | None = None

    def begin(self, run: TaskRun, execution_timeout: timedelta | None) -> None:
        """Take note of whose task this is, and of its ``execution_timeout``."""
        self.label = run.label
        # timedelta.max stands for "no limit", and no moment is as far off as that.
        if execution_timeout is not None and execution_timeout.total_seconds() <= LONGEST:
            began = timezone.utcnow().timestamp() if run.started_at is None else run.started_at
            self.alarm_at = began + execution_timeout.total_seconds()
            self._wait_until = self.alarm_at - alarm_margin(execution_timeout)

    def protect(self, on_kill: Callable[[], None]) -> None:
        """From now on a kill does this. It runs in a signal handler, which may interrupt any line of the task."""
        self._on_kill = on_kill

    def release(self) -> None:
        """From now on there is nothing to do after a kill."""
        self._on_kill = None

    @property
    def protects(self) -> bool:
        return self._on_kill is not None

    def kill(self) -> None:
        """What ``on_kill`` is."""
        self.killed, self.timed_out = True, self.execution_timeout_is_over
        if self._on_kill is not None:
            self._on_kill()

    @property
    def execution_timeout_is_over(self) -> bool:
        return self.alarm_at is not None and timezone.utcnow().timestamp() >= self.alarm_at - ALARM_MARGIN

    def deadline(self, timeout: float | None) -> float | None:
        """When a wait that begins now must be over: after ``timeout``, and before ``execution_timeout``."""
        ends = None if timeout is None else timezone.utcnow().timestamp() + timeout
        return min((end for end in (ends, self._wait_until) if end is not None), default=None)

    def unless_killed(self, flow: Flow[T]) -> Flow[T]:
        """The flow, whose next step raises a TaskKilledError once the task has been killed."""
        return unless_killed(flow, lambda: self.killed)

    @property
    def killed_reason(self) -> str:
        return killed_reason(self.label)

    @property
    def timed_out_reason(self) -> str:
        return timed_out_reason(self.label)


def alarm_margin(execution_timeout: timedelta) -> float:
    """Seconds that our deadline lies before Airflow's."""
    return min(ALARM_MARGIN, execution_timeout.total_seconds() / 20)
