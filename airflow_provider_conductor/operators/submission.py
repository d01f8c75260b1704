"""Starting a workflow from a task, once per series of tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_provider_conductor._airflow import TaskStateStore
from airflow_provider_conductor.client.plain import plain_inside
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.links.conductor import ConductorWorkflowLink
from airflow_provider_conductor.operators.base import UsesConductor, one_of, task_label, whole_number
from airflow_provider_conductor.operators.task_context import check_context_key, task_context
from airflow_provider_conductor.submission.start_arguments import ARGUMENTS, given_later, plain_request, start_arguments
from airflow_provider_conductor.submission.termination_reasons import killed_reason

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_provider_conductor.submission.start_plan import StartPlan
    from airflow_provider_conductor.submission.start_record import StartRecord

__all__ = ["StartsWorkflow"]

RETRY_FROM = ("failed_task", "start", "new")

RECORD_KEY = "conductor_start"
"""Key of the start's record in the task state store, which outlives a clear: the record says of which series it is."""

BY_LABEL_KEY = "conductor_by_label"
"""Key in XCom that says, after a deferral, that the workflow may be another task's."""

OTHER_SERIES = -1
"""Stands for the ``max_tries`` of a record whose own is the present one's by chance."""

MIN_PATIENCE = 30.0
"""Seconds a start of unknown fate is looked for at least: a server may take as long to bring it to light."""


class StartsWorkflow(UsesConductor, BaseOperator):
    """The arguments of a start, and the start itself."""

    template_fields: Sequence[str] = (
        "conductor_conn_id",
        "workflow_name",
        "version",
        "workflow_input",
        "workflow_def",
        "correlation_id",
        "priority",
        "task_to_domain",
        "request",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "workflow_input": "json",
        "workflow_def": "json",
        "request": "json",
    }
    operator_extra_links: Sequence[BaseOperatorLink] = (ConductorWorkflowLink(),)
    ui_color = "#1976d2"
    ui_fgcolor = "#ffffff"

    _starting: StartPlan | None = None
    """The start under way, whose workflow's id is not known yet."""

    _started_id: str | None = None
    """What it has started, until that is known to all."""

    _record: StartRecord | None = None
    """The last that was put down of the start under way; None where nothing has been sent."""

    _clear_number: int | None = None
    """How often tasks of this dag run have been cleared, where Airflow tells that."""

    _named_later: ClassVar[bool] = False
    """True where a subclass learns only when it runs what to start; the arguments are checked then."""

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
        conductor_conn_id: str = "conductor_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conductor_conn_id = conductor_conn_id
        self.workflow_name = workflow_name
        self.version = version
        self.workflow_input = plain_inside(workflow_input)
        self.workflow_def = plain_inside(workflow_def)
        self.correlation_id = correlation_id
        self.priority = priority
        self.task_to_domain = task_to_domain
        self.request = plain_request(request)
        if not self._named_later and not given_later(request):
            self._take_request()
        self.retry_from = one_of(retry_from, RETRY_FROM, "retry_from")
        self.cancel_on_kill = cancel_on_kill
        self.pass_context = pass_context
        if pass_context and not given_later(self.request) and not self._named_later:
            check_context_key(self.workflow_input)

    def _take_request(self, *, rendered: bool = False) -> None:
        """Fill the arguments from ``request``, which keeps what none of them says.

        Args:
            rendered: the task runs, and its templates are rendered.

        Raises:
            ConductorInputError: no name, or a request that cannot be read or contradicts an argument.
        """
        given = {name: getattr(self, name) for name in ARGUMENTS}
        taken, further = start_arguments(self.request, given, rendered=rendered)
        for name, value in taken.items():
            setattr(self, name, value)
        self.request = further or None

    def _start(self, context: Context) -> str:
        """Start the workflow, or find the one this series has started; announce it and return its id."""
        from airflow_provider_conductor.client.errors import ConductorInputError
        from airflow_provider_conductor.submission.errors import (
            StartRefusedError,
            TaskKilledError,
            WorkflowGoneError,
            WorkflowTerminatedError,
        )
        from airflow_provider_conductor.submission.start_once import start_once

        store = TaskStateStore(context)
        try:
            plan = self._start_plan(context, store)
            self._starting = plan
            started = self._run_unless_killed(
                start_once(
                    plan,
                    log=to_log(self.log.info),
                    warn=to_log(self.log.warning),
                    save=lambda record: self._save_record(store, record),
                )
            )
        except (StartRefusedError, ConductorInputError) as error:
            raise ConductorStartRefusedError(
                f"workflow {self.workflow_name or '?'!r} was not started: {error}"
            ) from error
        except (WorkflowTerminatedError, WorkflowGoneError) as error:
            raise AirflowFailException(str(error)) from error
        except TaskKilledError:
            self._end_what_was_sent(context, plan)
            raise AirflowException(f"the task was killed while workflow {plan.name!r} was being started") from None
        if started.by_label:
            self.log.warning(
                "Workflow %s was found by its correlation_id and input alone, so another task may have started it: "
                "this task waits for it, and does not terminate it after a timeout or a kill",
                started.workflow_id,
            )
            self._terminate_nothing()
            context["ti"].xcom_push(key=BY_LABEL_KEY, value=True)
        self._started_id = started.workflow_id
        if self.cancel_on_kill:
            self._stop_if_killed(plan, started.workflow_id)
        self._announce(context, started.workflow_id)
        self._stop_if_killed(plan, started.workflow_id)
        self._starting = None
        return started.workflow_id

    def _terminate_nothing(self) -> None:
        """For a workflow that may be another task's."""
        self.cancel_on_kill = False

    def _stop_if_killed(self, plan: StartPlan, workflow_id: str) -> None:
        """Airflow 3 lets the task go on after ``on_kill`` until it is killed for good."""
        if self._killed:
            if self.cancel_on_kill:
                self._end_start(plan, workflow_id)
            raise AirflowException(f"the task was killed while workflow {workflow_id} was being started")

    def _start_plan(self, context: Context, store: TaskStateStore) -> StartPlan:
        from airflow_provider_conductor.client.endpoints import StartBody, start_body
        from airflow_provider_conductor.client.models import StartWorkflowRequest
        from airflow_provider_conductor.submission.start_plan import StartPlan
        from airflow_provider_conductor.submission.start_record import StartRecord

        self._take_request(rendered=True)
        request = StartWorkflowRequest(
            name=self.workflow_name or "",
            version=whole_number(self.version, "version"),
            input=self.workflow_input if self.workflow_input is not None else {},
            workflow_def=self.workflow_def,
            correlation_id=self.correlation_id or None,
            priority=whole_number(self.priority, "priority"),
            task_to_domain=self.task_to_domain,
        )
        body = StartBody({**start_body(request), **(self.request or {})})
        ti = context["ti"]
        record = StartRecord.from_json(store.get(RECORD_KEY))
        max_tries = ti.max_tries or 0
        self._clear_number = getattr(context["dag_run"], "clear_number", None)  # Airflow 3.3
        if record is not None and not record.of_series(
            max_tries=max_tries, retries=self.retries or 0, clear_number=self._clear_number
        ):
            record = replace(record, max_tries=OTHER_SERIES)
        identity = self._identity(context, record)
        self._task_label = task_label(context)
        run_began, try_began = _seconds(context["dag_run"].start_date), _seconds(ti.start_date)
        if record is not None and record.max_tries == max_tries:
            series_began = record.series_began
        else:
            series_began = try_began if identity.begins_series else run_began
        return StartPlan(
            identity=identity,
            body=body,
            context_input=task_context(context, body) if self.pass_context else {},
            max_tries=max_tries,
            series_began=series_began,
            run_began=run_began,
            record=record,
            keeps_records=bool(store),
            retry_from=self.retry_from,  # type: ignore[arg-type]
            cancel_on_kill=self.cancel_on_kill,
            search_seconds=max(self.hook.settings.read_timeout, MIN_PATIENCE),
            leftover_reason=killed_reason(f"{self._task_label} starts anew"),
        )

    def _end_what_was_sent(self, context: Context, plan: StartPlan) -> None:
        """After a kill: terminate what this start, or that of an earlier try, may have brought about."""
        record = self._record
        if not self.cancel_on_kill:
            if record is not None and record.workflow_id is not None:
                self._announce(context, record.workflow_id)
        elif record is not None and record.workflow_id is not None:
            if not record.by_label:  # it may be another task's
                self._end_start(plan, record.workflow_id)
        elif plan.label is None and (record is not None or plan.record is not None or plan.identity.may_have_started):
            self._end_start(plan)

    def _save_record(self, store: TaskStateStore, record: StartRecord) -> None:
        """For a later try. A start is worth more than its record: without one, the server is asked."""
        self._record = record = replace(record, clear_number=self._clear_number)
        store.set(RECORD_KEY, record.to_json())

    def _forget_start(self, context: Context) -> None:
        """The task has succeeded: what was put down for a later try is not needed any more."""
        TaskStateStore(context).delete(RECORD_KEY)

    def on_kill(self) -> None:
        """Killed while starting: what the server has of this start is terminated, unless told otherwise."""
        super().on_kill()
        plan = self._starting
        if plan is None or not self.cancel_on_kill:
            return
        # Under a label it may be another task's workflow; ours is ended when its id is known.
        if plan.label is None or self._started_id:
            self._end_start(plan, self._started_id)

    def _end_start(self, plan: StartPlan, workflow_id: str | None = None) -> None:
        """Terminate the workflow with this id, or whatever runs of this task's starts."""
        from airflow_provider_conductor.client.errors import ConductorError
        from airflow_provider_conductor.client.sync import ConductorClient
        from airflow_provider_conductor.client.termination import terminate
        from airflow_provider_conductor.submission.start_once import terminate_starts

        reason = killed_reason(self._task_label)
        try:
            # A client of its own: this runs inside a signal handler that interrupted the usual one.
            with ConductorClient(self.hook.settings) as client:
                if workflow_id is None:
                    ended = client.run(terminate_starts(plan, reason, to_log(self.log.info)))
                else:
                    ended = client.run(terminate([workflow_id], reason)).terminated
        except ConductorError as error:
            self.log.error("Killed while starting; it is not known whether a workflow runs: %s", error)
        else:
            self.log.info("Killed while starting; workflows terminated: %s", ", ".join(ended) or "none ran")


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
