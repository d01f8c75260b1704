"""Starting a workflow from a task, once per try series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_conductor.client.lineage import CONTEXT_KEY
from airflow_provider_conductor.client.plain import plain_inside
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.exceptions import AirflowTaskKilledError, ConductorStartRefusedError
from airflow_provider_conductor.operators.arguments import one_of, whole_number
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.submission.start_arguments import ARGUMENTS, given_later, plain_request, start_arguments
from airflow_provider_conductor.submission.termination_reasons import killed_reason

if TYPE_CHECKING:
    from airflow_provider_conductor.submission.start_plan import StartPlan
    from airflow_provider_conductor.submission.start_record import StartRecord

RECORD_KEY = "conductor_start"
"""Key of the start's record in the task state store. It survives a clear, so the record names its try series."""

BY_LABEL_KEY = "conductor_by_label"
"""Key in XCom that notes, across a deferral, that the workflow may be another task's."""

OTHER_SERIES = -1
"""The ``max_tries`` given to a record of another series whose own is by chance the present one's."""

MIN_SEARCH_SECONDS = 30.0
"""Seconds of the search for a start of unknown fate, at least: a server may take that long to show its workflow."""


def check_context_key(workflow_input: Any) -> None:
    """Refuse, with a ValueError, an input that already has the key."""
    if isinstance(workflow_input, Mapping) and CONTEXT_KEY in workflow_input:
        raise ValueError(
            f"workflow_input has a key {CONTEXT_KEY!r} of its own, which pass_context=True uses for the Airflow "
            "task: rename it, or leave pass_context out"
        )


class StartsWorkflow(ConductorOperator):
    """The arguments of a start, and the start itself."""

    template_fields: Sequence[str] = (
        *("conductor_conn_id", "workflow_name", "version", "workflow_input", "workflow_def", "correlation_id"),
        *("priority", "task_to_domain", "request"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("workflow_input", "workflow_def", "request"), "json"
    )

    _started_id: str | None = None
    """The workflow it has started, until the start is over."""

    _record: StartRecord | None = None
    """The last saved record of the start under way; None where nothing has been sent."""

    _named_later: ClassVar[bool] = False
    """True where a subclass knows only when it runs what to start; the arguments are checked then."""

    def __init__(
        self,
        *,
        workflow_name: str | None = None,
        version: int | str | None = None,
        workflow_input: Mapping[str, Any] | None = None,
        workflow_def: Any = None,
        correlation_id: str | None = None,
        priority: int | str = 0,
        task_to_domain: Mapping[str, str] | None = None,
        request: Any = None,
        retry_from: Literal["failed_task", "start", "new"] = "failed_task",
        cancel_on_kill: bool = True,
        pass_context: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_name = workflow_name
        self.version = version
        self.workflow_input = plain_inside(workflow_input)
        self.workflow_def = plain_inside(workflow_def)
        self.correlation_id = correlation_id
        self.priority = priority
        self.task_to_domain = task_to_domain
        self.request = plain_request(request)
        one_of(retry_from, ("failed_task", "start", "new"), "retry_from")
        self.retry_from = retry_from
        self.cancel_on_kill = cancel_on_kill
        self.pass_context = pass_context
        if not self._named_later and not given_later(self.request):
            self._take_request()
            if pass_context:
                check_context_key(self.workflow_input)

    def _take_request(self, *, rendered: bool = False) -> None:
        """Fill the arguments from ``request``, which keeps what is no argument; ``rendered`` when the task runs."""
        given = {name: getattr(self, name) for name in ARGUMENTS}
        taken, further = start_arguments(self.request, given, rendered=rendered)
        for name, value in taken.items():
            setattr(self, name, value)
        self.request = further or None

    def _start(self) -> str:
        """Start the workflow, or find the one this series has started; announce it and return its id."""
        from airflow_provider_conductor.client.errors import ConductorInputError
        from airflow_provider_conductor.submission.errors import (
            StartRefusedError,
            TaskKilledError,
            WorkflowGoneError,
            WorkflowTerminatedError,
        )
        from airflow_provider_conductor.submission.start_once import start_once

        plan = self._start_plan()
        self._guard.protect(partial(self._terminate_start, plan))
        start = start_once(plan, log=to_log(self.log.info), warn=to_log(self.log.warning), save=self._save_record)
        try:
            started = self.hook.client.run(self._guard.unless_killed(start))
        except (StartRefusedError, ConductorInputError) as error:
            raise self._refused(error) from error
        except (WorkflowTerminatedError, WorkflowGoneError) as error:
            from airflow_provider_conductor.operators.failures import failure_of_earlier_try

            url = self.hook.workflow_url(error.workflow_id)
            raise failure_of_earlier_try(error, url, client=self.hook.client, log=self.log) from error
        except TaskKilledError:
            record = self._record
            if not self.cancel_on_kill and record is not None and record.workflow_id is not None:
                self._announce(record.workflow_id)
            self._terminate_start(plan)
            raise AirflowTaskKilledError(
                f"the task was killed while workflow {plan.name!r} was being started"
            ) from None
        if started.by_label:
            self.log.warning(
                "Workflow %s was found only by its correlation_id and input, so another task may have started it. "
                "This task waits for it, and does not terminate it after a timeout or a kill",
                started.workflow_id,
            )
            self._terminate_nothing()
            self._run.push(BY_LABEL_KEY, True)
        workflow_id = self._started_id = started.workflow_id
        if not (self._guard.killed and self.cancel_on_kill):
            self._announce(workflow_id)
        if self._guard.killed:  # Airflow 3 lets the task continue after on_kill for some seconds
            self._terminate_start(plan)
            raise AirflowTaskKilledError(
                f"the task was killed while workflow {workflow_id} was being started", **self._about(workflow_id)
            )
        self._guard.release()
        return workflow_id

    def _terminate_nothing(self) -> None:
        """For a workflow that may be another task's."""
        self.cancel_on_kill = False

    def _refused(self, error: Exception) -> ConductorStartRefusedError:
        return ConductorStartRefusedError(f"workflow {self.workflow_name or '?'!r} was not started: {error}")

    def _start_plan(self) -> StartPlan:
        """What to start."""
        from airflow_provider_conductor.client.errors import ConductorInputError
        from airflow_provider_conductor.submission.start_plan import StartPlan, make_start_body
        from airflow_provider_conductor.submission.start_record import StartRecord

        run = self._run
        try:
            self._take_request(rendered=True)
            arguments = {name: getattr(self, name) for name in ARGUMENTS}
            numbers = {name: whole_number(arguments[name], name) for name in ("version", "priority")}
            body = make_start_body({**arguments, **numbers}, self.request or {})
            context_input = self._task_context(body) if self.pass_context else {}
        except ConductorInputError as error:
            raise self._refused(error) from error
        record = StartRecord.from_json(run.state_store.get(RECORD_KEY))
        if record is not None and not record.of_series(
            max_tries=run.max_tries, retries=self.retries or 0, clear_number=run.clear_number
        ):
            record = replace(record, max_tries=OTHER_SERIES)
        identity = run.identity(self.hook.settings.identity_prefix, retries=self.retries, record=record)
        run_began = run.dag_run_started_at or 0.0
        if record is not None and record.max_tries == run.max_tries:
            series_began = record.series_began
        else:
            series_began = (run.started_at or 0.0) if identity.begins_series else run_began
        return StartPlan(
            identity=identity,
            body=body,
            context_input=context_input,
            max_tries=run.max_tries,
            series_began=series_began,
            run_began=run_began,
            record=record,
            keeps_records=bool(run.state_store),
            retry_from=self.retry_from,
            cancel_on_kill=self.cancel_on_kill,
            search_seconds=max(self.hook.settings.read_timeout, MIN_SEARCH_SECONDS),
            leftover_reason=killed_reason(f"{run.label} starts anew"),
        )

    def _task_context(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Which task this is, as plain JSON; ``url`` is of the task instance's log, None where Airflow has none.

        With its W3C trace context where it is traced, and its run of OpenLineage where that is on.
        """
        from airflow_provider_conductor.client.errors import ConductorInputError

        try:
            check_context_key(body.get("input"))
        except ValueError as error:
            raise ConductorInputError(f"{error}; nothing was sent") from None
        if body.get("externalInputPayloadStoragePath"):
            raise ConductorInputError(
                "pass_context=True cannot add to an input in external payload storage: leave one of them out; "
                "nothing was sent"
            )
        run, date = self._run, self._run.logical_date
        ids = {name: getattr(run.ti, name) for name in ("dag_id", "run_id", "task_id", "try_number")}
        more = {"map_index": run.map_index, "logical_date": date and date.isoformat(), "url": run.log_url}
        span, lineage = run.span, self._lineage_context(run.ti)
        return {CONTEXT_KEY: {**ids, **more, **(span.carrier if span else {}), **lineage}}

    def _save_record(self, record: StartRecord) -> None:
        """Save it for a later try. Where it cannot be saved, the start goes ahead, and a later try asks the server."""
        self._record = record = replace(record, clear_number=self._run.clear_number)
        self._run.state_store.set(RECORD_KEY, record.to_json())

    def _forget_start(self) -> None:
        """The task has succeeded, so no later try needs the record."""
        self._run.state_store.delete(RECORD_KEY)

    def _terminate_start(self, plan: StartPlan) -> None:
        """What a kill during the start does: terminate what this task's starts have left running.

        ===========================================  =====================================================
        known of the start                           terminated, unless ``cancel_on_kill`` is off
        ===========================================  =====================================================
        what it has led to                           that workflow
        a workflow found by the user's label alone   nothing: it may be another task's
        it, or one of an earlier try, may be sent    its workflow, if known, and what is found under the task's
                                                     identity; nothing is searched under the user's label
        nothing was sent                             nothing
        ===========================================  =====================================================
        """
        from airflow_provider_conductor.client.errors import ConductorError
        from airflow_provider_conductor.client.sync import ConductorClient
        from airflow_provider_conductor.client.termination import terminate
        from airflow_provider_conductor.submission.start_once import terminate_starts

        record, reason = self._record, self._guard.killed_reason
        workflow_id = self._started_id
        if workflow_id is None and record is not None and not record.by_label:
            workflow_id = record.workflow_id
        sent = record is not None or plan.record is not None or plan.identity.may_have_started
        searched = sent and plan.label is None and self._started_id is None
        if not self.cancel_on_kill or not (workflow_id or searched):
            return
        try:
            # A client of its own: this runs inside a signal handler that interrupted the usual one.
            with ConductorClient(self.hook.settings) as client:
                terminated = client.run(terminate([workflow_id], reason)).terminated if workflow_id else []
                if searched:
                    terminated += client.run(terminate_starts(plan, reason, to_log(self.log.info)))
        except ConductorError as error:
            self.log.error(
                "The task was killed while it started a workflow, and it is not known whether one runs: %s", error
            )
        else:
            self.log.info(
                "The task was killed while it started a workflow. Terminated: %s", ", ".join(terminated) or "none"
            )
