"""What the end of a wait means for the task: its result, or its error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client import errors
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.exceptions import (
    ConductorOutputMissingError,
    ConductorTaskUnreachableError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators.deferral import DeferralMixin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.operators.output import Output
    from airflow_provider_conductor.polling.wait_event import WaitEvent


class ConclusionMixin(DeferralMixin):
    """Makes a result or an error of the event that ends a wait: the same on a worker and after a deferral."""

    output_path: str | None = None
    wait_until_task_ref: str | None = None
    _timeline_rows: int | None = None
    """How many tasks the timeline in the log has at most; None: its own limit."""

    def _conclude(self, event: WaitEvent, deadline: float | None) -> Any:
        """The result of an ended wait, or the error it means. After it, a kill has nothing to terminate any more.

        Airflow 3 may call ``on_kill`` then as well: it ends the process of a task that has succeeded by SIGTERM where
        that takes long. After an error it is the next try that goes on with the workflow.
        """
        try:
            result = self._outcome(event, deadline)
        except Exception:  # not Airflow's own timeout, which is no Exception, and after which it calls on_kill
            self._guard.release()
            raise
        self._guard.release()
        return result

    def _outcome(self, event: WaitEvent, deadline: float | None) -> Any:
        """What :meth:`_conclude` returns or raises."""
        from airflow_provider_conductor.polling import wait_event as waits
        from airflow_provider_conductor.polling.root_cause import Failure

        workflow_id = event.workflow_id
        url = self.hook.workflow_url(workflow_id)
        match event.status:
            case "COMPLETED" | waits.TASK_ENDED:
                workflow = self._read(event, deadline)
                if workflow is not None and event.status == "COMPLETED":
                    self._show_completed(workflow)
                if self.wait_until_task_ref:
                    return self._task_result(workflow, event)
                return None if workflow is None else self._result(workflow)
            case "FAILED" | "TIMED_OUT" | "TERMINATED":
                from airflow_provider_conductor.operators.failures import failure_of

                error, self._lineage_of = failure_of(
                    event,
                    deadline,
                    url,
                    client=self.hook.client,
                    log=self.log,
                    traced=self._trace,
                    rows=self._timeline_rows,
                )
                raise error
            case waits.GONE:
                raise ConductorWorkflowFailedError(
                    f"Conductor workflow {workflow_id} is gone: {event.message}. It was deleted, or archived where "
                    f"this server cannot read it. Check the id and connection {self.conductor_conn_id!r}. "
                    f"See {url}",
                    Failure(workflow_id=workflow_id, status=event.status, reason=event.message),
                    url=url,
                )
            case waits.TASK_MISSED:
                raise self._unreachable(event, self._why_unreachable(event))
            case waits.TIMEOUT | waits.STALLED:
                raise self._timed_out(event)
        raise self._broken_off(workflow_id, client_error(event.error), event.message)

    def _show_completed(self, workflow: Workflow) -> None:
        """Its timeline, in the log and as spans."""
        from airflow_provider_conductor.polling.timeline import timeline

        self.log.info("Workflow %s completed\n%s", workflow.workflow_id, timeline(workflow, self._timeline_rows))
        self._trace(workflow)

    def _trace(self, workflow: Workflow, below: Mapping[str, Workflow] | None = None) -> None:
        """Make spans of the workflow's timeline under the span in which the task began to wait, if that is traced."""
        span = self._run.span
        if span is not None:
            from airflow_provider_conductor.operators.tracing import emit_spans

            emit_spans(span, self._waits_under or span.carrier, workflow, below or {}, log=self.log)

    @property
    def _output_wanted(self) -> bool:
        """Whether the task's result is stored."""
        return self.do_xcom_push

    def _read(self, event: WaitEvent, deadline: float | None) -> Workflow | None:
        """The workflow that has done what was waited for; None where it is gone and its output is not wanted."""
        from airflow_provider_conductor.polling.missing_workflow import read_ended

        workflow = event.workflow or self.hook.client.run(read_ended(event.workflow_id, deadline))
        self._lineage_of = workflow
        if workflow is not None:
            return workflow
        gone = (
            f"Conductor workflow {event.workflow_id} has done what was waited for, but the server has archived or "
            "deleted it since, so its output cannot be read any more"
        )
        if self._output_wanted:
            # Not retried: a retry would run the workflow again, or find as little.
            raise ConductorOutputMissingError(
                f"{gone}. Keep ended workflows on the server for longer (its archive listener, its retention, "
                f"clean-up jobs), or set do_xcom_push=False if the output does not matter. Run the workflow "
                f"again to get an output. See {self.hook.workflow_url(event.workflow_id)}",
                **self._about(event.workflow_id),
            )
        self.log.warning("%s", gone)
        return None

    def _timed_out(self, event: WaitEvent) -> ConductorWorkflowTimeoutError:
        """Apply ``on_timeout``; returns the error."""
        from airflow_provider_conductor.polling.wait_event import STALLED

        event = self._with_reasons(event)
        workflow_id = event.workflow_id
        done = self._apply_on_timeout(workflow_id)
        return self._timeout_error(
            f"{'stall_timeout' if event.status == STALLED else 'timeout'}: {self._what_is_waited_for(workflow_id)} did "
            f"not end in time; {done}. Last state: {event.message}. See {self.hook.workflow_url(workflow_id)}",
            event,
        )

    def _what_is_waited_for(self, workflow_id: str) -> str:
        return f"Conductor workflow {workflow_id}"

    def _apply_on_timeout(self, workflow_id: str) -> str:
        """After a timeout: terminate or leave the workflow. Returns what was done, for the message."""
        done = "it was left running (on_timeout='leave')"
        if self.on_timeout == "terminate":
            done = self._terminate(workflow_id, self._guard.timed_out_reason)
        # Only now: Airflow's own timeout or a kill may interrupt the line above, and then it is on_kill's turn.
        self._guard.release()
        return done

    def _terminate(self, workflow_id: str, reason: str, *, in_haste: bool = False) -> str:
        """Terminate the workflow unless it has ended: a FAILED one must not become TERMINATED. Returns what was done.

        With a client of its own, since this may run in a signal handler that has interrupted the usual one. Airflow 3
        kills a process in five seconds: ``in_haste``, a slow server is left to another one.
        """
        from airflow_provider_conductor.client.detached_termination import HELPED_AFTER, terminate_detached
        from airflow_provider_conductor.client.sync import ConductorClient
        from airflow_provider_conductor.client.termination import terminate

        settings = hasty = self.hook.settings
        if in_haste:
            limits = {n: min(getattr(settings, n), HELPED_AFTER / 2) for n in ("connect_timeout", "read_timeout")}
            hasty = replace(settings, **limits, max_attempts=1)
        try:
            with ConductorClient(hasty) as client:
                done = client.run(terminate([workflow_id], reason))
        except ConductorError as error:
            self.log.error("Workflow %s could not be terminated and may still run: %s", workflow_id, error)
            description, unknown = "it could not be terminated and may still run", True
        else:
            description, unknown = done.describe(workflow_id), bool(done.unknown)  # perhaps a proxy's 404
        if in_haste and unknown:
            terminate_detached(settings, [workflow_id], reason, self.log)
        return description

    def _broken_off(self, workflow_id: str, kind: type[ConductorError], why: str) -> ConductorError:
        """The error where waiting cannot help: the same from the triggerer as on the worker.

        Not an AirflowException: with ``soft_fail`` Airflow would skip on those after a deferral, but not in poke mode.
        """
        url = self.hook.workflow_url(workflow_id)
        error = kind(f"the wait for Conductor workflow {workflow_id} failed: {why} ({url})")
        error.workflow_id, error.url, error.reason = workflow_id, url, why
        return error

    def _with_reasons(self, event: WaitEvent) -> WaitEvent:
        """With the workers' reasons, which the triggerer has left out: here Airflow masks the secrets in them."""
        from airflow_provider_conductor.polling.messages import with_reasons
        from airflow_provider_conductor.polling.observation import observe
        from airflow_provider_conductor.polling.server_clock import ServerClock

        if event.state is not None:  # it is of this process
            return event
        try:
            seen = self.hook.client.run(observe(event.workflow_id, ServerClock()))
        except ConductorError:
            return event
        return event if seen.progress is None else replace(event, message=with_reasons(event.message, seen.progress))

    def _why_unreachable(self, event: WaitEvent) -> str:
        return event.message

    def _unreachable(self, event: WaitEvent, why: str) -> ConductorTaskUnreachableError:
        """The error of a wait for a task that cannot reach the status that is waited for any more."""
        about = self._about(event.workflow_id)
        return ConductorTaskUnreachableError(
            f"Conductor workflow {event.workflow_id}: {why}. See {about['url']}",
            task_reference_name=self.wait_until_task_ref or "",
            reason=why,
            **about,
        )

    def _timeout_error(self, message: str, event: WaitEvent) -> ConductorWorkflowTimeoutError:
        return ConductorWorkflowTimeoutError(
            message, reason=event.message, waits_for=event.waits_for, **self._about(event.workflow_id)
        )

    def _result(self, workflow: Workflow) -> Any:
        """The workflow's output, or the part ``output_path`` picks, within ``max_output_bytes``."""
        from airflow_provider_conductor.operators.output import Output

        return self._for_xcom(Output.of_workflow(workflow))

    def _task_result(self, workflow: Workflow | None, event: WaitEvent) -> dict[str, Any] | None:
        """The result where ``wait_until_task_ref`` was reached: the task's output, and the workflow's status.

        Of a workflow that cannot be read any more, what the event has: no output, perhaps no status.
        """
        from airflow_provider_conductor.operators.output import Output

        if workflow is None:
            return {
                "workflow_id": event.workflow_id,
                "status": "COMPLETED" if event.status == "COMPLETED" else None,
                "output": None,
                "progress": f"task {self.wait_until_task_ref} cannot be read: the workflow was archived or deleted",
            }
        task = workflow.latest_attempt(self.wait_until_task_ref or "")
        if task is None:
            raise self._unreachable(
                event, "somebody restarted it, or reran it from an earlier task, after its task had ended"
            )
        return {
            "workflow_id": workflow.workflow_id,
            "status": str(workflow.status),
            "output": self._for_xcom(Output.of_task(task, workflow.workflow_id)),
            "progress": one_line(f"task {self.wait_until_task_ref} is {task.status}"),
        }

    def _for_xcom(self, output: Output) -> Any:
        return output.for_xcom(
            self.hook, output_path=self.output_path, limit=self.max_output_bytes, stored=self.do_xcom_push
        )


def client_error(name: object) -> type[ConductorError]:
    """The client's error with this name, as an event has it; ``ConductorError`` for an unknown one."""
    kind = getattr(errors, name, None) if isinstance(name, str) and name in errors.__all__ else None
    return kind if isinstance(kind, type) else ConductorError
