"""Waiting for one workflow: on the worker or in the triggerer, with the same results and errors."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout, timezone

from airflow_provider_conductor._airflow import TIMEOUT_FORESTALLS_RESUMPTION, note_deferred, note_resumed
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.exceptions import AirflowTaskKilledError, ConductorTriggerEventError
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.operators.conclusion import ConclusionMixin
from airflow_provider_conductor.operators.termination import terminate_quickly
from airflow_provider_conductor.operators.wait_options import DEFAULT_MAX_OUTPUT_BYTES, OnTimeout, WaitOptions

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState

__all__ = [
    "BACKSTOP",
    "TRIGGER_FAILED",
    "WaitMixin",
    "WaitOperator",
    "check_trigger_arguments",
    "time_left",
    "trigger_terminates",
]

BACKSTOP = timedelta(minutes=5)
"""How long after its own deadline a trigger may answer before Airflow's deferral timeout ends the wait."""

TRIGGER_FAILED = "__fail__"
"""The method Airflow resumes a task in when its trigger failed or ran out of time. Which error it raises then differs
with the version, and a sensor turns it into a timeout or a skip."""


class WaitMixin(ConclusionMixin):
    """One wait: its spec, its poll loop on the worker, its deferral, its conclusion."""

    deferrable: bool
    poll_interval: float | None
    timeout: Any  # seconds or None; on a sensor it is Airflow's own
    stall_timeout: float | None
    cancel_on_kill: bool

    def _wait_limit(self) -> float | None:
        """The operator's own ``timeout`` in seconds."""
        return None if self.timeout is None else float(self.timeout)

    def _wait_spec(self, workflow_id: str) -> WaitSpec:
        """The spec of this try's wait; ``execution_timeout`` and ``timeout`` become one deadline."""
        from airflow_provider_conductor.polling.wait_spec import WaitSpec

        return WaitSpec(
            workflow_id=workflow_id,
            started_at=timezone.utcnow().timestamp(),
            deadline=self._guard.deadline(self._wait_limit()),
            stall_timeout=self.stall_timeout,
            poll_interval=self.poll_interval,
            wait_until_task_ref=self.wait_until_task_ref,
        )

    def _protect(self, workflow_id: str) -> None:
        """From now on a kill, or ``execution_timeout``, concerns this workflow.

        Raises:
            AirflowTaskKilledError: the task was killed before this was known.
        """
        self._lineage_id = workflow_id
        self._guard.protect(partial(self._let_workflow_end, workflow_id))
        if self._guard.killed:
            self.on_kill()
            raise AirflowTaskKilledError(
                f"the task was killed, so it does not wait for workflow {workflow_id}", **self._about(workflow_id)
            )

    def _let_workflow_end(self, workflow_id: str) -> None:
        """After a kill: terminate the workflow, unless ``cancel_on_kill`` (or ``on_timeout``) leaves it running."""
        if self._guard.timed_out:
            done = self._apply_on_timeout(workflow_id)
            self.log.info("The execution_timeout is over. Workflow %s: %s", workflow_id, done)
        elif not self.cancel_on_kill:
            self.log.info("The task was killed. Workflow %s keeps running (cancel_on_kill=False)", workflow_id)
        else:
            done = terminate_quickly(self.hook.settings, workflow_id, self._guard.killed_reason, self.log)
            self.log.info("The task was killed. Workflow %s: %s", workflow_id, done)

    def _wait_here(
        self, spec: WaitSpec, state: WaitState | None = None, *, return_after: float | None = None
    ) -> WaitEvent:
        """Wait on the worker, to the end or for ``return_after`` seconds."""
        from airflow_provider_conductor.polling.wait import wait

        try:
            return self.hook.client.run(
                wait(
                    spec,
                    to_log(self.log.info),
                    state=state,
                    warn=to_log(self.log.warning),
                    return_after=return_after,
                )
            )
        except ConductorError as error:
            self._guard.release()  # the next try goes on with the workflow
            raise self._broken_off(spec.workflow_id, type(error), str(error)) from error
        except AirflowTaskTimeout:
            self._apply_on_timeout(spec.workflow_id)
            raise

    def _defer_wait(self, spec: WaitSpec, state: WaitState | None = None) -> NoReturn:
        """Defer the wait to the triggerer; Airflow's own deferral timeout is only a backstop."""
        from airflow_provider_conductor.triggers.workflow import ConductorWorkflowTrigger

        if self.cancel_on_kill:
            note_deferred(self._run.ti)
        self._guard.release()  # from now on a kill is the trigger's business
        self.defer(
            trigger=ConductorWorkflowTrigger(
                conductor_conn_id=self.conductor_conn_id,
                **spec.to_json(),
                state=None if state is None else state.to_json(),
                kill_reason=self._guard.killed_reason if self.cancel_on_kill else None,
                timeout_reason=(
                    self._guard.timed_out_reason
                    if trigger_terminates(self.execution_timeout, self.on_timeout)
                    else None
                ),
            ),
            method_name="execute_complete",
            kwargs={"deadline": spec.deadline},
            timeout=time_left(spec.deadline),
        )

    def execute_complete(self, context: Context, event: Any = None, deadline: float | None = None) -> Any:
        """Take over from the triggerer.

        Args:
            deadline: when the whole wait is over; a server that is unreachable now is waited for until then.

        Raises:
            ConductorTriggerEventError: an event of an unknown shape.
        """
        from airflow_provider_conductor.polling.wait_event import WaitEvent

        self._begin(context)
        try:
            known = WaitEvent.from_json(event)
        except (ValueError, TypeError) as error:
            raise ConductorTriggerEventError(f"the trigger sent an unknown event, so the task fails: {error}") from None
        self._protect(known.workflow_id)
        self.log.info("The trigger reported: %s", f"{known.status} {known.message}".strip())
        return self._conclude(known, deadline)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral; Airflow's own timeout of it calls neither ``execute_complete`` nor ``on_kill``."""
        run = self._begin(context)
        if self.cancel_on_kill:
            note_resumed(run.ti)
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException:
            if next_method != TRIGGER_FAILED:
                raise
            if "timeout" not in str((next_kwargs or {}).get("error", "")).lower():
                # The trigger itself failed, a connection that could not be looked up perhaps. The workflow is sound,
                # and the next try goes on with it.
                self.log.error("The trigger failed; the workflow is not affected")
                raise
            workflow_id = run.pull(WORKFLOW_ID_KEY)
            if isinstance(workflow_id, str):
                done = self._apply_on_timeout(workflow_id)
                self.log.error("The triggerer did not answer in time. Workflow %s: %s", workflow_id, done)
            raise


class WaitOperator(WaitMixin, ConductorOperator):
    """The arguments of a wait after which the workflow is the task's own."""

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "terminate",
        output_path: str | None = None,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        WaitOptions(
            deferrable=deferrable,
            poll_interval=poll_interval,
            timeout=timeout,
            stall_timeout=stall_timeout,
            on_timeout=on_timeout,
            output_path=output_path,
            max_output_bytes=max_output_bytes,
        ).set_on(self)


def trigger_terminates(execution_timeout: timedelta | None, on_timeout: str) -> bool:
    """Whether the trigger must terminate after a timeout, since no method is resumed that could."""
    return TIMEOUT_FORESTALLS_RESUMPTION and execution_timeout is not None and on_timeout == "terminate"


def time_left(deadline: float | None) -> timedelta | None:
    """Airflow's deferral timeout for a wait with this deadline."""
    if deadline is None:
        return None
    return timedelta(seconds=max(0.0, deadline - timezone.utcnow().timestamp())) + BACKSTOP


def check_trigger_arguments(spec: WaitSpec, conductor_conn_id: str) -> None:
    """Refuse, before anything is started, what Airflow could not send to the triggerer.

    Raises:
        TypeError: something other than a text, number or None (a native template may render anything).
    """
    for name, value in {**spec.to_json(), "conductor_conn_id": conductor_conn_id}.items():
        if value is not None and type(value) not in (str, int, float, bool):
            raise TypeError(f"{name} must be a plain text or number, not {type(value).__name__}; nothing was started")
