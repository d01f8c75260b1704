"""Operator: have a task of a workflow approved in Airflow or in Conductor, whoever is first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_conductor._airflow import masked
from airflow_provider_conductor._required_actions import required_actions_exist
from airflow_provider_conductor.exceptions import (
    ConductorArgumentRefusedError,
    ConductorPermanentError,
)
from airflow_provider_conductor.operators.approval_arguments import (
    APPROVE,
    REJECT,
    REJECTED_STATUSES,
    checked_branches,
    own_params,
    users,
)
from airflow_provider_conductor.operators.approval_conclusion import ApprovalConclusionMixin, OnReject
from airflow_provider_conductor.operators.arguments import given, is_template, one_of
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.operators.deferral import OnTimeout
from airflow_provider_conductor.polling.awaited_task import SUCCESS, joined_statuses
from airflow_provider_conductor.polling.durations import seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.client.models import Task, Workflow
    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec

TOO_OLD = (
    "ConductorApprovalOperator needs Airflow 3.1 or later, which has required actions. On this Airflow, wait for the "
    "task with ConductorTaskSensor(expected_status='IN_PROGRESS'), and complete it with ConductorCompleteTaskOperator"
)


class ConductorApprovalOperator(ApprovalConclusionMixin, ConductorOperator):
    """Have a HUMAN or untimed WAIT task of a workflow answered, in Airflow or in Conductor, whoever is first.

    Waits in the triggerer until the workflow has reached the task, which then becomes one of Airflow's required
    actions. An answer in Airflow completes or fails the task; an end of the task in Conductor is the answer, and closes
    the required action. Needs Airflow 3.1 or later; on older ones a DAG with it can be read, and the task fails.

    Args:
        workflow_id: the workflow; for a task of a sub-workflow, the sub-workflow.
        task_reference_name: the task, by its reference name in the workflow; in a loop with the iteration, as in
            ``approve__2``.
        options: what can be chosen.
        reject_options: which of the options are a rejection; None for "Reject", where it is an option.
        subject: the headline; None for the names of task and workflow.
        body: Markdown.
        show_input: show the task's input below ``body``, as a code block; secrets are masked as in logs.
        params: a form, as params of a DAG; none for what the task definition's output schema has, if there is one.
        multiple: whether several options can be chosen.
        assigned_users: who alone may answer in Airflow: an id, ``{"id", "name"}``, or a list of these.
        notifiers: called with Airflow's context when the question has been asked.
        defaults: the option, or options, that are the answer if nobody has answered in time.
        response_timeout: seconds (or timedelta) for the answer, from when the workflow has reached the task.
        timeout: seconds (or timedelta) for the whole task.
        on_reject: after a rejection, ``"skip"`` what is downstream, ``"fail"``, or ``"continue"``.
        ignore_downstream_trigger_rules: with ``"skip"``, skip all that is downstream, not only what follows directly.
        options_mapping: option → task id, or list of those, to follow, as a branch operator does.
        rejected_status: the task's status in Conductor after a rejection in Airflow: FAILED_WITH_TERMINAL_ERROR, FAILED
            (asked again, if its definition has retries) or COMPLETED (for a workflow that has a branch for it).
        on_timeout: what to do with the workflow when nobody has answered in time: ``"leave"`` or ``"terminate"``.
        cancel_on_kill: terminate the workflow when Airflow kills the task.
        poll_interval: seconds (or timedelta) between polls; None adapts to the workflow.
        conductor_conn_id: connection of type ``conductor``.

    Returns ``{"workflow_id", "task_id", "task_reference_name", "status", "approved", "chosen_options", "params_input",
    "responded_by", "responded_at", "answered_in"}``.

    Raises:
        ConductorApprovalRejectedError: it was rejected, with ``on_reject="fail"``.
        ConductorTaskUnreachableError: nobody can answer any more: the task timed out or was canceled, or the workflow
            has ended.
        ConductorWorkflowTimeoutError: nobody has answered in time, and there are no ``defaults``.
        ConductorInvalidStateError: the task is none that can be approved.
    """

    template_fields: Sequence[str] = (
        *("conductor_conn_id", "workflow_id", "task_reference_name", "subject", "body"),
        *("options", "reject_options", "defaults", "assigned_users"),
    )
    template_fields_renderers = {"body": "md"}  # noqa: RUF012 - as Airflow has it

    inherits_from_skipmixin = True
    """Airflow then skips again what a rejection has skipped, when that is cleared."""

    def __init__(
        self,
        *,
        workflow_id: str,
        task_reference_name: str,
        options: Sequence[str] = (APPROVE, REJECT),
        reject_options: Sequence[str] | None = None,
        subject: str | None = None,
        body: str | None = None,
        show_input: bool = True,
        params: Mapping[str, Any] | None = None,
        multiple: bool = False,
        assigned_users: Any = None,
        notifiers: Callable[[Any], Any] | Sequence[Callable[[Any], Any]] = (),
        defaults: str | Sequence[str] | None = None,
        response_timeout: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        on_reject: OnReject = "skip",
        ignore_downstream_trigger_rules: bool = False,
        options_mapping: Mapping[str, str | Sequence[str]] | None = None,
        rejected_status: str = "FAILED_WITH_TERMINAL_ERROR",
        on_timeout: OnTimeout = "leave",
        cancel_on_kill: bool = False,
        poll_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = given(workflow_id, "workflow_id")
        self.task_reference_name = given(task_reference_name, "task_reference_name")
        self.options, self.reject_options, self.defaults = options, reject_options, defaults
        self.multiple = multiple
        self.options_mapping = dict(options_mapping or {})
        if not any(map(is_template, (options, reject_options, defaults))):
            self._set_options()
            checked_branches(self.options_mapping, self.options, self.reject_options or ())
        self.subject, self.body, self.show_input = subject, body, show_input
        self.form = own_params(params, type(self.params), self.get_dag())
        self.assigned_users = assigned_users
        self.notifiers = [notifiers] if callable(notifiers) else list(notifiers)
        self.response_timeout = seconds(response_timeout, "response_timeout")
        self.timeout = seconds(timeout, "timeout")
        self.on_reject = one_of(on_reject, ("skip", "fail", "continue"), "on_reject")
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules
        self.rejected_status = one_of(rejected_status, REJECTED_STATUSES, "rejected_status")
        self.cancel_on_kill = cancel_on_kill
        self._set_wait_options(
            deferrable=True,
            poll_interval=seconds(poll_interval, "poll_interval"),
            stall_timeout=None,
            on_timeout=on_timeout,
            max_output_bytes=None,
        )
        self.stall_timeout = None  # nor as configured: a person takes the time that it takes
        self._set_warning(None, None)

    # Until the workflow has reached the task

    def execute(self, context: Context) -> Any:
        from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
        from airflow_provider_conductor.polling.wait_event import STILL_RUNNING

        if not required_actions_exist():
            raise ConductorPermanentError(TOO_OLD)
        self._begin(context)
        try:
            self.workflow_id = one_workflow_id(self.workflow_id)
            self.task_reference_name = str(given(self.task_reference_name, "task_reference_name"))
            self._check_rendered()
        except ValueError as error:
            raise ConductorArgumentRefusedError(str(error), reason=str(error)) from error
        self._announce(self.workflow_id)
        self._protect(self.workflow_id)
        spec = self._wait_spec(self.workflow_id)
        event = self._wait_here(spec, return_after=0)
        if event.status == STILL_RUNNING:
            self._defer_wait(spec, event.state)
        return self._conclude(event, spec.deadline)

    def _check_rendered(self) -> None:
        self._set_options()
        checked_branches(self.options_mapping, self.options, self.reject_options or ())
        users(self.assigned_users)

    def _wait_spec(self, workflow_id: str) -> WaitSpec:
        """The wait until the task is open, or has ended by then."""
        spec = super()._wait_spec(workflow_id)
        statuses = joined_statuses(
            [*OPEN, *SUCCESS, *("FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT", "CANCELED")]
        )
        return replace(spec, wait_until_task_ref=self.task_reference_name, wait_until_task_status=statuses)

    def _outcome(self, event: WaitEvent, deadline: float | None) -> Any:
        from airflow_provider_conductor.polling.wait_event import TASK_ENDED

        self.wait_until_task_ref = self.task_reference_name
        if event.status == TASK_ENDED or self._answered_before_its_end(event, deadline):
            return self._ask_or_finish(deadline)
        return super()._outcome(event, deadline)

    def _answered_before_its_end(self, event: WaitEvent, deadline: float | None) -> bool:
        """Whether the workflow has ended already, and somebody has answered the task before that."""
        from airflow_provider_conductor.client.statuses import WorkflowStatus
        from airflow_provider_conductor.control.approval import ANSWERED
        from airflow_provider_conductor.polling.missing_workflow import read_ended

        if event.status not in WorkflowStatus.__members__:
            return False
        workflow = event.workflow or self.hook.client.run(read_ended(self.workflow_id, deadline))
        task = workflow.latest_attempt(self.task_reference_name) if workflow is not None else None
        return task is not None and task.known_status in ANSWERED

    def _ask_or_finish(self, deadline: float | None) -> Any:
        workflow, task = self._read_task(deadline)
        if task.is_open and not workflow.status.ended:
            self._ask(workflow, task, deadline)
        self.log.info("Task %r was answered before it was asked here", self.task_reference_name)
        return self._finish(workflow, task)

    # The question

    def _ask(self, workflow: Workflow, task: Task, deadline: float | None) -> NoReturn:
        """Make the task a required action, and wait for the answer from either side."""
        from airflow_provider_conductor import _required_actions
        from airflow_provider_conductor.control import question
        from airflow_provider_conductor.control.task_choice import CompletionRefusedError
        from airflow_provider_conductor.operators.task_results import completion_refused
        from airflow_provider_conductor.triggers.approval import ConductorApprovalTrigger

        try:
            question.refuse_unanswerable(task)
        except CompletionRefusedError as error:
            raise completion_refused(error, self.workflow_id, self.hook.workflow_url(self.workflow_id)) from None
        form = self._form(task)
        shown: Any = masked(dict(task.input)) if self.show_input else {}
        body = question.question_body(self.body, shown, url=self.hook.workflow_url(workflow.workflow_id))
        _required_actions.ask(
            self._run.ti,
            _required_actions.RequiredAction(
                options=self.options,
                subject=str(self.subject or question.default_subject(workflow, task)),
                body=body or None,
                defaults=self.defaults,
                multiple=self.multiple,
                params={name: form.get_param(name).serialize() for name in form},
                assigned_users=users(self.assigned_users),
            ),
        )
        self.log.info("Waiting for an answer, in Airflow's required actions or in Conductor")
        for notifier in self.notifiers:
            try:
                notifier(self._context)
            except Exception:
                self.log.exception("A notifier failed; the question has been asked nevertheless")
        limits = [end for end in (deadline, self._answer_by()) if end is not None]
        spec = replace(
            super()._wait_spec(workflow.workflow_id),
            deadline=min(limits, default=None),
            wait_until_task_ref=self.task_reference_name,
        )
        self._defer_to(
            ConductorApprovalTrigger,
            {
                **spec.to_json(),
                "ti_id": _required_actions.task_instance_id(self._run.ti),
                "options": list(self.options),
                "reject_options": list(self.reject_options or ()),
                "params": list(form),
                "defaults": None if self.defaults is None else list(self.defaults),
            },
            asked={"workflow_id": workflow.workflow_id, "until": deadline},
        )

    def _answer_by(self) -> float | None:
        return None if self.response_timeout is None else time.time() + self.response_timeout


OPEN = ("SCHEDULED", "IN_PROGRESS")
