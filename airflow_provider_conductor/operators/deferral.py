"""What operators and sensors that wait have in common: their options, and their way to the triggerer and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, timezone

from airflow_provider_conductor._airflow import (
    DEFERRED_KEY,
    RETRIES_MAY_RESUME,
    TIMEOUT_FORESTALLS_RESUMPTION,
    note_deferred,
    note_resumed,
)
from airflow_provider_conductor._options import DEFAULT_STALL_TIMEOUT, DEFAULT_TIMEOUT, MAX_OUTPUT_BYTES
from airflow_provider_conductor.operators.arguments import default_deferrable, one_of
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.polling.durations import seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    Operator = ConductorOperator
else:
    Operator = object  # a mixin: Airflow's metaclass would give it an __init__, which cuts off those after it

BACKSTOP = timedelta(minutes=5)
"""How long after its own deadline a trigger may answer before Airflow's deferral timeout ends the wait."""

TRIGGER_FAILED = "__fail__"
"""The method Airflow resumes a task in when its trigger failed or ran out of time. Which error it raises then differs
with the version, and a sensor turns it into a timeout or a skip."""

SPAN_KEY = "trace"
"""Among the arguments of a resumption: the W3C trace context of the process that deferred, where that was traced."""

OnTimeout = Literal["terminate", "leave"]


class DeferralMixin(Operator):
    """The options of a wait, and its deferral."""

    deferrable: bool
    poll_interval: float | None
    timeout: Any  # seconds or None; on a sensor it is Airflow's own
    stall_timeout: float | None
    on_timeout: OnTimeout
    max_output_bytes: int
    cancel_on_kill: bool

    _waits_under: Mapping[str, str] | None = None
    """The W3C trace context of the process that began this try's wait, where a deferral has ended that."""

    if TYPE_CHECKING:
        do_xcom_push: bool

    def _set_wait_options(
        self,
        *,
        deferrable: bool | None,
        poll_interval: float | timedelta | None,
        stall_timeout: float | timedelta | None,
        on_timeout: OnTimeout,
        max_output_bytes: int | None,
    ) -> None:
        """Check the options and set them, with durations in seconds and the defaults of Airflow's configuration."""
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.stall_timeout = seconds(stall_timeout, "stall_timeout") or DEFAULT_STALL_TIMEOUT.get()
        one_of(on_timeout, ("terminate", "leave"), "on_timeout")
        self.on_timeout = on_timeout
        self.max_output_bytes = MAX_OUTPUT_BYTES.get() if max_output_bytes is None else max_output_bytes

    def _defer_to(self, trigger: type, arguments: dict[str, Any], **resumed_with: Any) -> NoReturn:
        """Defer the wait to a trigger with these arguments; Airflow's own deferral timeout is only a backstop."""
        deadline = arguments.get("deadline")
        if self.cancel_on_kill or RETRIES_MAY_RESUME:
            note_deferred(self._run.ti)
        self._guard.release()  # from now on a kill is the trigger's business
        span = self._run.span
        if span is not None:
            resumed_with[SPAN_KEY] = dict(self._waits_under or span.carrier)
        # Where Airflow resumes nothing that could, the trigger terminates after a timeout.
        forestalled = TIMEOUT_FORESTALLS_RESUMPTION and self.execution_timeout is not None
        left = None if deadline is None else timedelta(seconds=max(0.0, deadline - timezone.utcnow().timestamp()))
        self.defer(
            trigger=trigger(
                conductor_conn_id=self.conductor_conn_id,
                **arguments,
                kill_reason=self._guard.killed_reason if self.cancel_on_kill else None,
                timeout_reason=self._timeout_reason if forestalled else None,
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline, **resumed_with},
            timeout=None if left is None else left + BACKSTOP,
        )

    @property
    def _timeout_reason(self) -> str | None:
        """Given to what is terminated after a timeout; None leaves it running."""
        return self._guard.timed_out_reason if self.on_timeout == "terminate" else None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral; Airflow's own timeout of it calls neither ``execute_complete`` nor ``on_kill``."""
        run = self._begin(context)
        if RETRIES_MAY_RESUME and run.pull(DEFERRED_KEY) not in (None, run.ti.try_number):
            self.log.info("Airflow resumes this try with the event of the one before it; it is executed instead")
            return self.execute(context)
        if self.cancel_on_kill or RETRIES_MAY_RESUME:
            note_resumed(run.ti)
        next_kwargs = dict(next_kwargs or {})
        self._waits_under = next_kwargs.pop(SPAN_KEY, None)
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException:
            if next_method == TRIGGER_FAILED:
                if "timeout" in str(next_kwargs.get("error", "")).lower():
                    self._end_after_silence()
                else:
                    # A connection that could not be looked up perhaps. The next try goes on with what runs.
                    self.log.error("The trigger failed; what runs in Conductor is not affected")
            raise

    def _end_after_silence(self) -> None:
        """The triggerer did not answer before Airflow's timeout of the deferral: apply ``on_timeout``."""
        raise NotImplementedError


class WaitArguments(DeferralMixin, ConductorOperator):
    """The arguments of a wait after which what was waited for is the task's own."""

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "terminate",
        max_output_bytes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.timeout = seconds(timeout, "timeout") or DEFAULT_TIMEOUT.get()
        self._set_wait_options(
            deferrable=deferrable,
            poll_interval=poll_interval,
            stall_timeout=stall_timeout,
            on_timeout=on_timeout,
            max_output_bytes=max_output_bytes,
        )
