"""Waiting for one workflow: on the worker or in the triggerer, with the same results and errors."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, timezone

from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.exceptions import AirflowTaskKilledError, ConductorTriggerEventError
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY
from airflow_provider_conductor.operators.arguments import check_output_path
from airflow_provider_conductor.operators.conclusion import ConclusionMixin
from airflow_provider_conductor.operators.deferral import WaitArguments
from airflow_provider_conductor.operators.slow_runs import SlowRunMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState


class WaitMixin(SlowRunMixin, ConclusionMixin):
    """One wait: its spec, its poll loop on the worker, its deferral, its conclusion."""

    def _wait_spec(self, workflow_id: str) -> WaitSpec:
        """The spec of this try's wait; ``execution_timeout`` and ``timeout`` become one deadline."""
        from airflow_provider_conductor.polling.wait_spec import WaitSpec

        return WaitSpec(
            workflow_id=workflow_id,
            started_at=timezone.utcnow().timestamp(),
            deadline=self._guard.deadline(self.timeout),
            stall_timeout=self.stall_timeout,
            poll_interval=self.poll_interval,
            wait_until_task_ref=self.wait_until_task_ref,
            **self._known_warning(),
        )

    def _protect(self, workflow_id: str) -> None:
        """From now on a kill, or ``execution_timeout``, concerns this workflow."""
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
            done = self._terminate(workflow_id, self._guard.killed_reason, in_haste=True)
            self.log.info("The task was killed. Workflow %s: %s", workflow_id, done)

    def _wait_here(
        self, spec: WaitSpec, state: WaitState | None = None, *, return_after: float | None = None
    ) -> WaitEvent:
        """Wait on the worker, to the end or for ``return_after`` seconds."""
        from airflow_provider_conductor.polling.wait import wait
        from airflow_provider_conductor.polling.wait_event import SLOW

        until = None if return_after is None else time.monotonic() + return_after
        try:
            while True:
                left = None if until is None else max(0.0, until - time.monotonic())
                event = self.hook.client.run(
                    wait(spec, to_log(self.log.info), state=state, warn=to_log(self.log.warning), return_after=left)
                )
                if event.status != SLOW:
                    return event
                self._call_back(event)
                state = event.state
        except ConductorError as error:
            self._guard.release()  # the next try goes on with the workflow
            raise self._broken_off(spec.workflow_id, type(error), str(error)) from error
        except AirflowTaskTimeout:
            self._apply_on_timeout(spec.workflow_id)
            raise

    def _defer_wait(self, spec: WaitSpec, state: WaitState | None = None) -> NoReturn:
        """Defer the wait to the triggerer."""
        from airflow_provider_conductor.triggers.workflow import ConductorWorkflowTrigger

        observed = None if state is None else state.to_json()
        self._defer_to(ConductorWorkflowTrigger, {**spec.to_json(), "state": observed})

    def execute_complete(self, context: Context, event: Any = None, deadline: float | None = None) -> Any:
        """Take over from the triggerer, or give back to it a wait that continues.

        Args:
            deadline: when the whole wait is over; a server that is unreachable now is waited for until then.

        Raises:
            ConductorTriggerEventError: an event of an unknown shape.
        """
        from airflow_provider_conductor.polling.wait_event import SLOW, WaitEvent

        self._begin(context)
        try:
            known = WaitEvent.from_json(event)
        except (ValueError, TypeError) as error:
            raise ConductorTriggerEventError(f"the trigger sent an unknown event, so the task fails: {error}") from None
        self._protect(known.workflow_id)
        self.log.info("The trigger reported: %s", f"{known.status} {known.message}".strip())
        if known.status == SLOW:
            self._call_back(known)
            spec = replace(self._wait_spec(known.workflow_id), deadline=deadline)
            began = self._run.started_at
            self._defer_wait(spec if began is None else replace(spec, started_at=began), known.state)
        return self._conclude(known, deadline)

    def _end_after_silence(self) -> None:
        workflow_id = self._run.pull(WORKFLOW_ID_KEY)
        if isinstance(workflow_id, str):
            done = self._apply_on_timeout(workflow_id)
            self.log.error("The triggerer did not answer in time. Workflow %s: %s", workflow_id, done)


class WaitOperator(WaitMixin, WaitArguments):
    """The arguments of a wait for one workflow."""

    def __init__(self, *, output_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_path = check_output_path(output_path)
