"""What every Conductor operator and sensor shares: the connection, the ids and link in XCom, and the wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout, conf, timezone

from airflow_provider_conductor._airflow import TIMEOUT_FORESTALLS_RESUMPTION, note_deferred, note_resumed
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.plain import is_sdk_configuration
from airflow_provider_conductor.client.text import one_line, to_log
from airflow_provider_conductor.exceptions import (
    ConductorOutputMissingError,
    ConductorTaskUnreachableError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY, WORKFLOW_URL_KEY
from airflow_provider_conductor.operators.arguments import check_output_path
from airflow_provider_conductor.operators.lineage import TellsLineage
from airflow_provider_conductor.operators.rendering import RendersTexts
from airflow_provider_conductor.polling.durations import LONGEST, seconds
from airflow_provider_conductor.submission.termination_reasons import killed_reason, label_of, timed_out_reason

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.client.flow import Flow, T
    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.hooks.conductor import ConductorHook
    from airflow_provider_conductor.operators.output import Output
    from airflow_provider_conductor.polling.wait import WaitEvent, WaitPlan
    from airflow_provider_conductor.submission.identity import TaskIdentity
    from airflow_provider_conductor.submission.start_record import StartRecord

DEFAULT_IDENTITY_PREFIX = "airflow"

DEFAULT_MAX_OUTPUT_BYTES = 1_048_576
"""1 MiB of JSON: far over what a DAG passes between tasks, far under what hurts the metadata database."""

ALARM_MARGIN = 2.0
"""Seconds (at most a twentieth of it) that our deadline lies before Airflow's ``execution_timeout``: time for the last
look, so that a workflow that has just completed is not a timeout on the worker either."""

BACKSTOP = timedelta(minutes=5)
"""How long after its own deadline a trigger may answer before Airflow's deferral timeout ends the wait."""

KILLED = "the task was killed before it had sent all of its requests"
"""What a task fails with that is killed while it controls a workflow or completes a task."""

OnTimeout = Literal["terminate", "leave"]
ON_TIMEOUT = ("terminate", "leave")

TRIGGER_FAILED = "__fail__"
"""The method Airflow resumes a task in when its trigger failed or ran out of time. Which error it raises then differs
with the version, and a sensor turns it into a timeout or a skip."""


class UsesConductor(RendersTexts, TellsLineage):
    """The connection, lazily, and what is written to XCom right after a start."""

    _task_label: str = "an Airflow task"

    _killed: bool = False
    """Airflow 3 lets the task go on for some seconds after ``on_kill``; it must not start anything in them."""

    if TYPE_CHECKING:
        log: logging.Logger
        retries: int | None

    @property
    def conductor_conn_id(self) -> str:
        """Id of the connection. Never the key itself, which would end up in the DAG and in a trigger's arguments."""
        return self.__dict__["conductor_conn_id"]  # type: ignore[no-any-return]

    @conductor_conn_id.setter
    def conductor_conn_id(self, value: str) -> None:
        if is_sdk_configuration(value):
            raise ValueError(
                "conductor_conn_id must be the id of a connection: a Configuration holds the key itself, which would "
                "be stored with the DAG. Put its host and key into a connection of type conductor, or use "
                "ConductorHook(configuration) in a task of your own"
            )
        self.__dict__["conductor_conn_id"] = value

    @cached_property
    def hook(self) -> ConductorHook:
        """The hook; imported where it is used, so that parsing a DAG imports no HTTP library."""
        from airflow_provider_conductor.hooks.conductor import ConductorHook

        return ConductorHook(self.conductor_conn_id)

    def on_kill(self) -> None:
        """Airflow kills the task: what it has not sent yet is not sent any more."""
        self._killed = True
        super().on_kill()  # type: ignore[misc]

    def _run_unless_killed(self, flow: Flow[T]) -> T:
        """Drive a flow that starts something, step by step for as long as the task lives.

        Raises:
            TaskKilledError: it has been killed.
        """
        from airflow_provider_conductor.submission.kill_check import unless_killed

        return self.hook.client.run(unless_killed(flow, lambda: self._killed))

    def _announce(self, context: Context, workflow_id: str) -> None:
        """Write the id and the UI link to XCom and log, before anything waits."""
        self._lineage_id = workflow_id
        url = self.hook.workflow_url(workflow_id)
        self.log.info("Conductor workflow %s: %s", workflow_id, url)
        context["ti"].xcom_push(key=WORKFLOW_ID_KEY, value=workflow_id)
        context["ti"].xcom_push(key=WORKFLOW_URL_KEY, value=url)

    def _identity(self, context: Context, record: StartRecord | None = None) -> TaskIdentity:
        """This try of a series; computed on the worker only, since in a triggerer ``max_tries`` is just ``retries``.

        Args:
            record: what an earlier try has put down, where it was a start.
        """
        from airflow_provider_conductor.submission.identity import TaskIdentity
        from airflow_provider_conductor.submission.start_record import first_try_of_series

        ti = context["ti"]
        return TaskIdentity(
            prefix=self.hook.settings.identity_prefix or DEFAULT_IDENTITY_PREFIX,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
            try_number=ti.try_number,
            first_try=first_try_of_series(record, max_tries=ti.max_tries or 0, retries=self.retries or 0),
        )


class WaitsForWorkflow(UsesConductor):
    """Waiting for one workflow: on the worker or in the triggerer, with the same results and errors."""

    deferrable: bool
    poll_interval: float | None
    timeout: Any  # seconds or None; on a sensor it is Airflow's own
    stall_timeout: float | None
    on_timeout: str
    cancel_on_kill: bool
    max_output_bytes: int
    wait_until_task_ref: str | None = None
    output_path: str | None = None

    _workflow_id: str | None = None
    """What this process would have to terminate when it is killed."""

    _deadline: float | None = None
    """When the whole wait is over, seconds since the epoch."""

    _alarm_at: float | None = None
    """When Airflow's ``execution_timeout`` interrupts this process, seconds since the epoch."""

    if TYPE_CHECKING:
        do_xcom_push: bool
        execution_timeout: timedelta | None

        def defer(self, *, trigger: Any, method_name: str, kwargs: Any = None, timeout: Any = None) -> NoReturn: ...

    def _take_wait_arguments(
        self,
        *,
        deferrable: bool | None,
        poll_interval: float | None,
        timeout: float | timedelta | None,
        stall_timeout: float | timedelta | None,
        on_timeout: str,
        output_path: str | None,
        max_output_bytes: int,
    ) -> None:
        """Check and keep the arguments of a wait.

        Raises:
            ValueError: one that cannot be, by name.
        """
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.stall_timeout = seconds(stall_timeout, "stall_timeout")
        self.on_timeout = one_of(on_timeout, ON_TIMEOUT, "on_timeout")
        self.output_path = check_output_path(output_path)
        self.max_output_bytes = max_output_bytes

    def _wait_limit(self) -> float | None:
        """The operator's own ``timeout`` in seconds."""
        return None if self.timeout is None else float(self.timeout)

    def _make_plan(self, context: Context, workflow_id: str) -> WaitPlan:
        """The plan of this try's wait; ``execution_timeout`` and ``timeout`` become one deadline."""
        from airflow_provider_conductor.polling.wait import WaitPlan

        now = timezone.utcnow().timestamp()
        ends = []
        limit = self._wait_limit()
        if limit is not None:
            ends.append(now + limit)
        if self.execution_timeout is not None:
            self._set_alarm(context)
        if self.execution_timeout is not None and self._alarm_at is not None:
            ends.append(self._alarm_at - alarm_margin(self.execution_timeout))
        return WaitPlan(
            workflow_id=workflow_id,
            started_at=now,
            deadline=min(ends, default=None),
            stall_timeout=self.stall_timeout,
            poll_interval=self.poll_interval,
            wait_until_task_ref=self.wait_until_task_ref,
        )

    def _wait_here(self, plan: WaitPlan, patience: float | None = None) -> WaitEvent:
        """Wait on the worker, to the end or for ``patience`` seconds."""
        from airflow_provider_conductor.polling.wait import wait

        self._deadline = plan.deadline
        try:
            return self.hook.client.run(
                wait(plan, to_log(self.log.info), warn=to_log(self.log.warning), patience=patience)
            )
        except ConductorError as error:
            self._workflow_id = None  # the next try goes on with it
            raise self._broken_off(plan.workflow_id, type(error), str(error)) from error
        except AirflowTaskTimeout:
            self._let_go(plan.workflow_id, timed_out_reason(self._task_label))
            raise

    def _defer_wait(self, context: Context, plan: WaitPlan) -> NoReturn:
        """Hand the wait to the triggerer; Airflow's own deferral timeout is only a backstop."""
        from airflow_provider_conductor.triggers.workflow import ConductorWorkflowTrigger

        if self.cancel_on_kill:
            note_deferred(context["ti"])
        self._workflow_id = None  # from now on a kill is the trigger's business
        left = None
        if plan.deadline is not None:
            left = timedelta(seconds=max(0.0, plan.deadline - timezone.utcnow().timestamp())) + BACKSTOP
        self.defer(
            trigger=ConductorWorkflowTrigger(
                conductor_conn_id=self.conductor_conn_id,
                plan=plan.to_json(),
                kill_reason=killed_reason(self._task_label) if self.cancel_on_kill else None,
                timeout_reason=timed_out_reason(self._task_label) if self._trigger_ends_it else None,
            ),
            method_name="execute_complete",
            kwargs={"deadline": plan.deadline},
            timeout=left,
        )

    @property
    def _trigger_ends_it(self) -> bool:
        """Whether the trigger must terminate after a timeout, since nothing may be resumed that could."""
        return TIMEOUT_FORESTALLS_RESUMPTION and self.execution_timeout is not None and self.on_timeout == "terminate"

    def execute_complete(self, context: Context, event: Any = None, deadline: float | None = None) -> Any:
        """Take over from the triggerer.

        Args:
            deadline: when the whole wait is over; a server that is away now is waited for until then.

        Raises:
            AirflowException: an event of an unknown shape, or the trigger's own error.
        """
        from airflow_provider_conductor.polling.wait import WaitEvent

        try:
            known = WaitEvent.from_json(event)
        except (ValueError, TypeError) as error:
            raise AirflowException(f"the trigger sent something unknown, so the task fails: {error}") from None
        self._remember(context, known.workflow_id)
        self._deadline = deadline
        self.log.info("The trigger reported: %s", f"{known.status} {known.message}".strip())
        return self._conclude(context, known)

    def _remember(self, context: Context, workflow_id: str) -> None:
        """What ``on_kill`` and reasons need to know.

        Raises:
            AirflowException: the task was killed before this was known.
        """
        self._task_label = task_label(context)
        self._workflow_id = self._lineage_id = workflow_id
        self._set_alarm(context)
        if self._killed:
            self.on_kill()
            raise AirflowException(f"the task was killed, so it does not wait for workflow {workflow_id}")

    def _set_alarm(self, context: Context) -> None:
        # timedelta.max is how some say "no limit", and no moment is as far off as that.
        if self.execution_timeout is not None and self.execution_timeout.total_seconds() <= LONGEST:
            begun = context["ti"].start_date or timezone.utcnow()
            self._alarm_at = begun.timestamp() + self.execution_timeout.total_seconds()

    @property
    def _execution_timeout_is_over(self) -> bool:
        """Whether it is Airflow's ``execution_timeout`` that has ended the wait; a deadline lies a little before."""
        return self._alarm_at is not None and timezone.utcnow().timestamp() >= self._alarm_at - ALARM_MARGIN

    def _conclude(self, context: Context, event: WaitEvent) -> Any:
        """The result of an ended wait, or the error it means. After it, a kill has nothing to end any more.

        Airflow 3 may call ``on_kill`` then as well: it ends the process of a task that has succeeded by SIGTERM where
        that takes long. After an error it is the next try that goes on with the workflow.
        """
        try:
            result = self._outcome(context, event)
        except Exception:  # not Airflow's own timeout, which is no Exception, and after which it calls on_kill
            self._workflow_id = None
            raise
        self._workflow_id = None
        return result

    def _outcome(self, context: Context, event: WaitEvent) -> Any:
        """What :meth:`_conclude` returns or raises."""
        from airflow_provider_conductor.polling import wait as waits
        from airflow_provider_conductor.polling.timeline import timeline

        workflow_id = event.workflow_id
        where = self.hook.workflow_url(workflow_id)
        match event.status:
            case "COMPLETED" | waits.TASK_ENDED:
                workflow = self._read(event, self._deadline)
                if workflow is not None and event.status == "COMPLETED":
                    self.log.info("Workflow %s completed\n%s", workflow_id, timeline(workflow))
                if self.wait_until_task_ref:
                    return self._task_result(workflow, event)
                return None if workflow is None else self._result(workflow)
            case "FAILED" | "TIMED_OUT" | "TERMINATED":
                raise self._failure(event)
            case waits.GONE:
                raise ConductorWorkflowFailedError(
                    f"Conductor workflow {workflow_id} is gone: {event.message}. It was deleted, or archived where "
                    f"this server cannot read it. Check the id and connection {self.conductor_conn_id!r}. "
                    f"See {where}",
                    workflow_id=workflow_id,
                    status=event.status,
                    reason=event.message,
                    url=where,
                )
            case waits.TASK_MISSED:
                raise self._missed(event, self._why_missed(event))
            case waits.TIMEOUT | waits.STALLED:
                raise self._timed_out(event)
        from airflow_provider_conductor.client import errors

        kind = getattr(errors, event.error, None) if event.error in errors.__all__ else None
        raise self._broken_off(workflow_id, kind if isinstance(kind, type) else ConductorError, event.message)

    @property
    def _output_wanted(self) -> bool:
        """Whether anybody gets the task's result."""
        return self.do_xcom_push

    def _read(self, event: WaitEvent, until: float | None) -> Workflow | None:
        """The workflow that has done what was waited for; None where it is gone and nobody wants its output.

        Raises:
            ConductorOutputMissingError: it is gone. Not retried: a retry would run the workflow again, or find
                as little.
        """
        from airflow_provider_conductor.polling.observation import read_ended

        workflow = event.workflow or self.hook.client.run(read_ended(event.workflow_id, until))
        self._lineage_of = workflow
        if workflow is not None:
            return workflow
        gone = (
            f"Conductor workflow {event.workflow_id} has done what was waited for, but the server has archived or "
            "deleted it since, so its output cannot be read any more"
        )
        if self._output_wanted:
            raise ConductorOutputMissingError(
                f"{gone}. Keep ended workflows on the server for longer (its archive listener, its retention, "
                f"clean-up jobs), or set do_xcom_push=False if the output does not matter. Run the workflow "
                f"again to get an output. See {self.hook.workflow_url(event.workflow_id)}"
            )
        self.log.warning("%s", gone)
        return None

    def _timed_out(self, event: WaitEvent) -> AirflowException:
        """End or leave the workflow, as ``on_timeout`` says; the error that tells."""
        from airflow_provider_conductor.polling.wait import STALLED

        event = self._with_reasons(event)
        workflow_id = event.workflow_id
        done = self._let_go(workflow_id, timed_out_reason(self._task_label))
        return self._timeout_error(
            f"{'stall_timeout' if event.status == STALLED else 'timeout'}: Conductor workflow {workflow_id} did not "
            f"end in time; {done}. Last state: {event.message}. See {self.hook.workflow_url(workflow_id)}",
            workflow_id,
        )

    def _broken_off(self, workflow_id: str, kind: type[ConductorError], why: str) -> ConductorError:
        """The error where waiting cannot help: the same from the triggerer as on the worker.

        Not an AirflowException: with ``soft_fail`` Airflow would skip on those after a deferral, but not in poke mode.
        """
        where = self.hook.workflow_url(workflow_id)
        return kind(f"the wait for Conductor workflow {workflow_id} failed: {why} ({where})")

    def _failure(self, event: WaitEvent) -> ConductorWorkflowFailedError:
        """The error of a workflow that ended badly: root cause, attempts, reason, log lines, what to do."""
        from airflow_provider_conductor.operators.failures import failure_of, unread_failure
        from airflow_provider_conductor.polling.observation import read_ended

        url = self.hook.workflow_url(event.workflow_id)
        workflow, unread = event.workflow, "the server has archived or deleted it since"
        try:
            workflow = workflow or self.hook.client.run(read_ended(event.workflow_id, self._deadline))
            self._lineage_of = workflow
        except ConductorError as error:
            unread = str(error)
        if workflow is None:
            return unread_failure(self._with_indexed_reason(event), unread, url)
        return failure_of(workflow, event, url, client=self.hook.client, log=self.log)

    def _with_indexed_reason(self, event: WaitEvent) -> WaitEvent:
        """With the reason that the search index keeps, where the event has none."""
        from airflow_provider_conductor.polling.observation import search_index

        if event.message:
            return event
        try:
            summary = self.hook.client.run(search_index(event.workflow_id))
        except ConductorError:
            return event
        return event if summary is None else replace(event, message=summary.reason)

    def _with_reasons(self, event: WaitEvent) -> WaitEvent:
        """With the workers' reasons, which the triggerer has left out: here Airflow masks the secrets in them."""
        from airflow_provider_conductor.polling.messages import with_reasons
        from airflow_provider_conductor.polling.observation import observe
        from airflow_provider_conductor.polling.server_clock import ServerClock

        if event.plan is not None:  # it is of this process
            return event
        try:
            seen = self.hook.client.run(observe(event.workflow_id, ServerClock()))
        except ConductorError:
            return event
        return event if seen.progress is None else replace(event, message=with_reasons(event.message, seen.progress))

    def _why_missed(self, event: WaitEvent) -> str:
        return event.message

    def _missed(self, event: WaitEvent, why: str) -> ConductorTaskUnreachableError:
        """The error of a wait for a task that cannot come any more, or not to the status that is waited for."""
        url = self.hook.workflow_url(event.workflow_id)
        return ConductorTaskUnreachableError(
            f"Conductor workflow {event.workflow_id}: {why}. See {url}",
            workflow_id=event.workflow_id,
            task_reference_name=self.wait_until_task_ref or "",
            url=url,
        )

    def _timeout_error(self, message: str, workflow_id: str) -> AirflowException:
        return ConductorWorkflowTimeoutError(message, workflow_id=workflow_id)

    def _result(self, workflow: Workflow) -> Any:
        """The workflow's output, or the part ``output_path`` picks, within ``max_output_bytes``."""
        from airflow_provider_conductor.operators.output import Output

        return self._for_xcom(Output.of_workflow(workflow))

    def _task_result(self, workflow: Workflow | None, event: WaitEvent) -> Any:
        """The result where ``wait_until_task_ref`` was reached: the task's output, and how the workflow stands.

        Of a workflow that cannot be read any more, what the event has said: no output, perhaps no status.

        Raises:
            ConductorTaskUnreachableError: since the wait ended, the workflow has lost the task.
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
            raise self._missed(
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

    def _let_go(self, workflow_id: str, reason: str) -> str:
        """After a timeout: terminate, or leave, as ``on_timeout`` says. Returns what was done, for the message."""
        done = "it was left running (on_timeout='leave')"
        if self.on_timeout == "terminate":
            done = self._end(workflow_id, reason)
        # Only now: Airflow's own timeout or a kill may interrupt the line above, and then it is on_kill's turn.
        self._workflow_id = None
        return done

    def _end(self, workflow_id: str, reason: str) -> str:
        """Terminate unless it has ended; a FAILED workflow must not become TERMINATED."""
        from airflow_provider_conductor.client.sync import ConductorClient
        from airflow_provider_conductor.client.termination import terminate

        # A client of its own: this may run inside a signal handler that interrupted the usual one.
        try:
            with ConductorClient(self.hook.settings) as client:
                done = client.run(terminate([workflow_id], reason))
        except ConductorError as error:
            self.log.error("Workflow %s could not be terminated and may still run: %s", workflow_id, error)
            return "it could not be terminated and may still run"
        return done.describe(workflow_id)

    def _end_in_a_hurry(self, workflow_id: str, reason: str) -> str:
        """As :meth:`_end`, for a process that Airflow 3 kills in five seconds: a slow server is left to another one."""
        from airflow_provider_conductor.client.detached_termination import HELPED_AFTER, terminate_detached
        from airflow_provider_conductor.client.sync import ConductorClient
        from airflow_provider_conductor.client.termination import terminate

        settings = self.hook.settings
        limits = {name: min(getattr(settings, name), HELPED_AFTER / 2) for name in ("connect_timeout", "read_timeout")}
        try:
            with ConductorClient(replace(settings, **limits, max_attempts=1)) as client:
                done = client.run(terminate([workflow_id], reason))
        except ConductorError as error:
            self.log.error("Workflow %s could not be terminated: %s", workflow_id, error)
            terminate_detached(settings, [workflow_id], reason, self.log)
            return "it may still run"
        if done.unknown:  # perhaps a proxy's 404
            terminate_detached(settings, [workflow_id], reason, self.log)
        return done.describe(workflow_id)

    def _take_over_from_trigger(self, context: Context) -> None:
        """What a resumed task does first."""
        self._task_label = task_label(context)
        if self.cancel_on_kill:
            note_resumed(context["ti"])

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral; Airflow's own timeout of it calls neither ``execute_complete`` nor ``on_kill``."""
        self._take_over_from_trigger(context)
        try:
            return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]
        except AirflowException:
            if next_method != TRIGGER_FAILED:
                raise
            if "timeout" not in str((next_kwargs or {}).get("error", "")).lower():
                # The trigger itself failed, a connection that could not be looked up perhaps. The workflow is sound,
                # and the next try goes on with it.
                self.log.error("The trigger failed; the workflow is not affected")
                raise
            ti = context["ti"]
            workflow_id = ti.xcom_pull(task_ids=ti.task_id, key=WORKFLOW_ID_KEY, map_indexes=ti.map_index)
            if isinstance(workflow_id, str):
                done = self._let_go(workflow_id, timed_out_reason(self._task_label))
                self.log.error("The triggerer did not answer in time. Workflow %s: %s", workflow_id, done)
            raise

    def on_kill(self) -> None:
        """Airflow kills the task: its workflow is terminated, unless ``cancel_on_kill`` is False."""
        super().on_kill()
        if self._workflow_id is None:
            return
        if self._execution_timeout_is_over:
            # Airflow's execution_timeout calls on_kill too; it is a timeout, and on_timeout decides.
            workflow_id = self._workflow_id
            done = self._let_go(workflow_id, timed_out_reason(self._task_label))
            self.log.info("The execution_timeout is over. Workflow %s: %s", workflow_id, done)
            return
        if not self.cancel_on_kill:
            self.log.info("The task was killed. Workflow %s keeps running (cancel_on_kill=False)", self._workflow_id)
            return
        done = self._end_in_a_hurry(self._workflow_id, killed_reason(self._task_label))
        self.log.info("The task was killed. Workflow %s: %s", self._workflow_id, done)


def alarm_margin(execution_timeout: timedelta) -> float:
    """Seconds that our deadline lies before Airflow's."""
    return min(ALARM_MARGIN, execution_timeout.total_seconds() / 20)


def check_trigger_arguments(plan: WaitPlan, conductor_conn_id: str) -> None:
    """Refuse, before anything is started, what Airflow could not hand to the triggerer.

    Raises:
        TypeError: something other than a text, number or None (a native template may render anything).
    """
    for name, value in {**plan.to_json(), "conductor_conn_id": conductor_conn_id}.items():
        if value is not None and type(value) not in (str, int, float, bool):
            raise TypeError(f"{name} must be a plain text or number, not {type(value).__name__}; nothing was started")


def task_label(context: Context) -> str:
    """The Airflow task as reasons and messages name it."""
    return label_of(context["ti"])


def whole_number(value: int | str | None, name: str) -> int | None:
    """A whole number that may have come out of a template as text.

    Raises:
        ValueError: text that is no whole number.
    """
    if value is None or value == "" or value == "None":
        return None
    try:
        return int(value)
    except (ValueError, TypeError):
        raise ValueError(f"{name} must be a whole number, not {value!r}") from None


def default_deferrable() -> bool:
    return conf.getboolean("operators", "default_deferrable", fallback=False)


def one_of(value: str, allowed: Mapping[str, object] | tuple[str, ...], name: str) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value
