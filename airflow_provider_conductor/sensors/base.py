"""What the sensors share: three ways to wait for somebody else's workflow, with one outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    timezone,
)

from airflow_provider_conductor._airflow import first_poke, tasks_have_state_store, triggers_render_templates
from airflow_provider_conductor.exceptions import (
    ConductorArgumentRefusedError,
    ConductorSensorTimeoutError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.links.conductor import WORKFLOW_URL_KEY
from airflow_provider_conductor.operators.arguments import check_output_path, given, is_template
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.operators.deferral import (
    BACKSTOP,
    TRIGGER_FAILED,
    OnTimeout,
)
from airflow_provider_conductor.operators.kill_guard import alarm_margin
from airflow_provider_conductor.operators.slow_runs import Callback
from airflow_provider_conductor.operators.waiting import WaitMixin
from airflow_provider_conductor.polling.durations import patience, seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState

CLOCK_SET = 1.0
"""Seconds between the two clocks from which the wall clock has been set; less is how exactly they are read."""

AIRFLOWS_POKE_INTERVAL = 60
"""Seconds between the pokes of a sensor that is given none; ours adapt then."""

POKES_KEY = "conductor_pokes"
"""Where a rescheduled sensor keeps, if Airflow has a task state store, what its earlier pokes have logged."""


class ConductorSensor(WaitMixin, ConductorOperator, BaseSensorOperator):
    """The wait for somebody else's workflow, or for a part of it, in poke, reschedule and deferrable mode alike.

    The wait finds out what ended it; a subclass draws the conclusion.
    """

    template_fields: Sequence[str] = ("conductor_conn_id", "workflow_id", "output_path")

    _spec: WaitSpec | None = None  # of the pokes
    _state: WaitState | None = None  # what the pokes have observed and logged so far
    _last: WaitEvent | None = None  # what the last poke saw
    _ahead: float | None = None  # how far the wall clock was ahead of the monotonic one at the last poke
    _on_worker_because = ""  # why it begins there though ``start_from_trigger`` was asked for

    def __init__(
        self,
        *,
        workflow_id: str,
        return_output: bool = False,
        output_path: str | None = None,
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        poke_interval: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "leave",
        cancel_on_kill: bool = False,
        max_output_bytes: int | None = None,
        warn_after: float | timedelta | str | None = None,
        on_warning_callback: Callback | Sequence[Callback] | None = None,
        **kwargs: Any,
    ) -> None:
        if poke_interval is not None:
            kwargs["poke_interval"] = seconds(poke_interval, "poke_interval")
        for name in ("timeout", "max_wait"):
            if kwargs.get(name) is not None:
                patience(kwargs[name], name)
        if start_from_trigger and deferrable is False:
            raise ValueError("start_from_trigger=True begins in the triggerer: it needs deferrable=True, or none given")
        super().__init__(**kwargs)
        self.workflow_id = given(workflow_id, "workflow_id")
        self.return_output = return_output
        self.start_from_trigger = False
        self._wants_trigger = start_from_trigger
        if poke_interval is None and self.poke_interval != AIRFLOWS_POKE_INTERVAL:
            poke_interval = self.poke_interval  # of the DAG's default_args
        patience(self.timeout, "timeout")  # which may be of these as well
        self._set_wait_options(
            deferrable=start_from_trigger or deferrable,
            poll_interval=seconds(poke_interval, "poke_interval"),
            stall_timeout=stall_timeout,
            on_timeout=on_timeout,
            max_output_bytes=max_output_bytes,
        )
        self.output_path = check_output_path(output_path)
        self.cancel_on_kill = cancel_on_kill
        self._set_warning(warn_after, on_warning_callback)
        if self.on_warning_callback and self.reschedule and not self.deferrable and not tasks_have_state_store():
            raise ValueError(
                "on_warning_callback with mode='reschedule' needs Airflow 3.3 or later: before, nothing remembers "
                "between two pokes that it was called. Use deferrable=True or mode='poke'"
            )

    def _begin_in_triggerer(self, **awaited: Any) -> None:
        """Let Airflow begin there if that was asked for and can be; ``awaited`` are further templated arguments."""
        if not self._wants_trigger:
            return
        from airflow.triggers.base import StartTriggerArgs

        given_to_it = {"conductor_conn_id": self.conductor_conn_id, "workflow_id": self.workflow_id, **awaited}
        self._on_worker_because = _why_not_in_triggerer(self, given_to_it)
        if self._on_worker_because:
            return
        lasts, backstop = float(self.timeout), timedelta(seconds=float(self.timeout)) + BACKSTOP
        airflows = backstop.total_seconds()
        if self.execution_timeout is not None:
            limit = self.execution_timeout.total_seconds()
            lasts, airflows = min(lasts, limit - alarm_margin(self.execution_timeout)), min(airflows, limit)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="airflow_provider_conductor.triggers.ConductorSensorTrigger",
            trigger_kwargs={
                **{name: _as_template(value) for name, value in given_to_it.items()},
                **self._spec_settings(),
                "timeout": lasts,
                "deferral_timeout": airflows,
                "templated": any(map(is_template, given_to_it.values())),
                "cancel_on_kill": self.cancel_on_kill,
            },
            next_method="take_over",
            timeout=backstop,  # Airflow keeps the lesser of this and execution_timeout
        )
        self.start_from_trigger = True

    def _wait_spec(self, workflow_id: str) -> WaitSpec:
        return replace(super()._wait_spec(workflow_id), **self._spec_settings())

    def _spec_settings(self) -> dict[str, Any]:
        """What of the spec is known when the DAG is parsed."""
        return {
            "stall_timeout": self.stall_timeout,
            "poll_interval": self.poll_interval,
            "exponential_backoff": self.exponential_backoff,
            "max_wait": self.max_wait.total_seconds() if self.max_wait else None,
        }

    def execute(self, context: Context) -> Any:
        from airflow_provider_conductor.polling.wait_event import STILL_RUNNING, TIMEOUT

        check_output_path(self.output_path)
        self._begin(context)
        self._take_id()
        self._protect(self.workflow_id)
        if self._on_worker_because:
            self.log.info("This task begins on a worker in spite of start_from_trigger: %s", self._on_worker_because)
        if self.deferrable:
            spec = self._wait_spec(self.workflow_id)
            event = self._wait_here(spec, return_after=0)
            if event.status == STILL_RUNNING:
                self._defer_wait(self._with_usual_duration(spec, event), event.state)
            return self._conclude(event, spec.deadline)
        self._spec, self._state = self._wait_of_pokes(context)
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            if not self._guard.protects or self._last is None:
                raise
            # Airflow's own count of the time came before the poll that would have found it over.
            timed_out = self._timed_out(replace(self._last, status=TIMEOUT))
            raise self._leniently(timed_out) from error

    def _take_id(self) -> None:
        """Check the rendered id, and publish it."""
        from airflow_provider_conductor.client.endpoints.writing import one_workflow_id

        try:
            self.workflow_id = one_workflow_id(self.workflow_id)
        except ValueError as error:
            raise self._leniently(ConductorArgumentRefusedError(str(error), reason=str(error))) from error
        self._announce(self.workflow_id)

    def _wait_of_pokes(self, context: Context) -> tuple[WaitSpec, WaitState]:
        """One wait, whose polls are the pokes; rescheduled ones are counted from the first of the series."""
        from airflow_provider_conductor.polling.wait_spec import WaitState

        spec, state = self._wait_spec(self.workflow_id), WaitState()
        first = first_poke(self, context) if self.reschedule else None
        if first is None:
            return spec, state
        began = first.timestamp()
        stored = self._run.state_store.get(POKES_KEY)
        if stored and stored["started_at"] >= began - 1:  # else it is of an earlier try
            state = WaitState.from_json(self.workflow_id, stored.get("state"))
            spec = replace(spec, warn_after=stored.get("warn_after", spec.warn_after))
            self._compared = "warn_after" in stored
        return replace(spec, started_at=began, deadline=began + self.timeout), state

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """One poll; Airflow's sensor lets the time between two polls pass."""
        from airflow_provider_conductor.polling.wait_event import STILL_RUNNING

        self._begin(context)
        if self._spec is None or self._state is None:
            self._spec, self._state = self._wait_of_pokes(context)
        self._spec = spec = self._moved_with_clock(self._spec)
        self._last = self._wait_here(spec, self._state, return_after=0)
        compared = self._with_usual_duration(spec, self._last) if self._last.status == STILL_RUNNING else spec
        if compared is not spec:  # perhaps it is slow already
            self._spec = spec = compared
            self._last = self._wait_here(spec, self._state, return_after=0)
        if self._last.status == STILL_RUNNING:
            if self.reschedule:
                stored = {"started_at": spec.started_at, "state": self._state.to_json(), "warn_after": spec.warn_after}
                self._run.state_store.set(POKES_KEY, stored)
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(self._last, spec.deadline))

    def _moved_with_clock(self, spec: WaitSpec) -> WaitSpec:
        """The spec of the pokes in this process, moved along with the wall clock if that was set meanwhile."""
        ahead = timezone.utcnow().timestamp() - time.monotonic()
        set_by, self._ahead = ahead - (self._ahead or ahead), ahead
        if spec.deadline is None or abs(set_by) < CLOCK_SET:
            return spec
        return replace(spec, started_at=spec.started_at + set_by, deadline=spec.deadline + set_by)

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """Airflow's interval; where none was given, that of every other wait, which goes by the workflow's age.

        The last poke falls on the deadline, not past it.
        """
        now = timezone.utcnow().timestamp()
        if self.poll_interval is None and self._last is not None and self._last.next_poll is not None:
            interval = self._last.next_poll - now
        else:
            interval = float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        if self._spec is not None and self._spec.deadline is not None:
            interval = min(interval, self._spec.deadline - now)
        return max(0.0, interval)

    def _conclude(self, event: WaitEvent, deadline: float | None) -> Any:
        if self.reschedule:
            self._run.state_store.delete(POKES_KEY)
        try:
            return super()._conclude(event, deadline)
        except AirflowException as error:
            lenient = self._leniently(error)
            if lenient is error:
                raise
            raise lenient from error

    def _leniently(self, error: AirflowException) -> AirflowException:
        """The error, or a skip where ``soft_fail`` or ``never_fail`` asks for that."""
        if not self.soft_fail and not self.never_fail:
            return error
        return AirflowSkipException(f"skipped ({'soft_fail' if self.soft_fail else 'never_fail'}): {error}")

    def take_over(self, context: Context, event: Any = None) -> Any:
        """Conclude on the worker a wait that began in the triggerer."""
        run = self._begin(context)
        self._take_id()
        began = timezone.utcnow().timestamp() if run.started_at is None else run.started_at
        return self.execute_complete(context, event, deadline=began + self.timeout)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As it is, but Airflow's own skip does not hide the reason that ours gives."""
        if next_method == TRIGGER_FAILED and self.start_from_trigger and self.workflow_id:
            # Perhaps nobody has written it yet, and it is read from there.
            self._begin(context)
            self._announce(self.workflow_id)
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except ConductorSensorTimeoutError:
            raise
        except AirflowSensorTimeout as error:  # Airflow's own, of the deferral
            in_time = not (self.start_from_trigger and self._guard.execution_timeout_is_over)
            kind = ConductorSensorTimeoutError if in_time else ConductorWorkflowTimeoutError
            url = str(self._run.pull(WORKFLOW_URL_KEY) or "")
            raise kind(str(error), workflow_id=self.workflow_id, url=url) from error
        except AirflowSkipException as error:
            ours = error.__cause__
            raise (ours if isinstance(ours, AirflowSkipException) else error) from None

    @property
    def _output_wanted(self) -> bool:
        return super()._output_wanted and bool(self.return_output or self.output_path)

    def _result(self, workflow: Workflow) -> Any:
        return super()._result(workflow) if self.return_output or self.output_path else None

    def _task_result(self, workflow: Workflow | None, event: WaitEvent) -> Any:
        return super()._task_result(workflow, event) if self.return_output or self.output_path else None

    def _timeout_error(self, message: str, event: WaitEvent) -> ConductorWorkflowTimeoutError:
        # The execution_timeout is retried, as Airflow's own error for it is; a sensor's timeout is not.
        if self._guard.execution_timeout_is_over:
            return super()._timeout_error(message, event)
        return ConductorSensorTimeoutError(
            message, reason=event.message, waits_for=event.waits_for, **self._about(event.workflow_id)
        )


def _why_not_in_triggerer(sensor: BaseOperator, arguments: Mapping[str, Any]) -> str:
    """Why Airflow would have to begin this sensor on a worker; empty where it need not.

    ========================================================  ==================================================
    the case                                                  why
    ========================================================  ==================================================
    Airflow before 3.3                                        its triggerer renders no templates
    a mapped sensor, or one in a mapped task group            its map index is known on the worker only
    ``warn_after``                                            the last runs are looked up, and callbacks called, there
    an argument that is neither text nor a task's output      its triggerer gets plain values only
    a template, in a DAG with macros or filters of its own    they are functions, which never leave the DAG's file
    ========================================================  ==================================================
    """
    if not triggers_render_templates():
        return "it needs Airflow 3.3 or later"
    if getattr(sensor, "_BaseOperator__from_mapped", False) or _is_mapped(sensor):
        return "it is mapped"
    if getattr(sensor, "warn_after", None) is not None:
        return "it has warn_after"
    for name, value in arguments.items():
        if not _plain(_as_template(value)):
            return f"{name} is neither a text nor a task's output"
    dag = sensor.get_dag()
    if dag is not None and any(map(is_template, arguments.values())):
        for what in ("user_defined_macros", "user_defined_filters"):
            if getattr(dag, what, None):
                return f"its DAG has {what}, which the triggerer cannot see"
    return ""


def _as_template(value: Any) -> Any:
    """A task's output as the template that reads it; anything else as it is."""
    operator, key = getattr(value, "operator", None), getattr(value, "key", None)
    if key is None or operator is None or _is_mapped(operator):
        return value
    return str(value)


def _is_mapped(operator: BaseOperator) -> bool:
    return operator.is_mapped or operator.get_closest_mapped_task_group() is not None


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, str)
