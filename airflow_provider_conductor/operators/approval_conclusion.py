"""What an answer to an approval means for the Airflow task: it is sent to Conductor, and becomes result or failure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow_provider_conductor._airflow import branch_into, skip_downstream
from airflow_provider_conductor._options import MAX_OUTPUT_BYTES
from airflow_provider_conductor.exceptions import (
    ConductorApprovalRejectedError,
    ConductorInvalidStateError,
    ConductorOperatorError,
    ConductorOutputTooLargeError,
    ConductorTriggerEventError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators.approval_arguments import checked_options
from airflow_provider_conductor.operators.waiting import WaitMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor._required_actions import AirflowAnswer
    from airflow_provider_conductor.client.models import Task, Workflow
    from airflow_provider_conductor.control.approval import Answer, Question
    from airflow_provider_conductor.control.task_choice import Completion
    from airflow_provider_conductor.polling.wait_event import WaitEvent

OnReject = Literal["skip", "fail", "continue"]

ANSWER_FOR = 300.0
"""Seconds for which an answer is sent at least, while Conductor is unreachable."""


class ApprovalConclusionMixin(WaitMixin):
    """The way from an answer, or the end of the wait for one, to the result."""

    workflow_id: str
    task_reference_name: str
    options: Sequence[str]
    reject_options: Sequence[str] | None
    defaults: Sequence[str] | None
    multiple: bool
    form: Any
    on_reject: OnReject
    ignore_downstream_trigger_rules: bool
    options_mapping: Mapping[str, Any]
    rejected_status: str

    if TYPE_CHECKING:
        params: Any

    def _ask(self, workflow: Workflow, task: Task, deadline: float | None) -> NoReturn:
        """Make the task a required action, and wait for the answer from either side."""
        raise NotImplementedError

    def _set_options(self) -> None:
        self.options, self.reject_options, self.defaults = checked_options(
            self.options, self.reject_options, self.defaults, multiple=self.multiple
        )

    def _question(self, form: Mapping[str, Any] | None = None) -> Question:
        from airflow_provider_conductor.control.approval import Question

        return Question(options=self.options, reject_options=self.reject_options or (), params=list(form or {}))

    def _read_task(self, deadline: float | None) -> tuple[Workflow, Task]:
        from airflow_provider_conductor.polling.missing_workflow import read_ended
        from airflow_provider_conductor.polling.wait_event import GONE, GONE_REASON, WaitEvent

        event = WaitEvent(workflow_id=self.workflow_id, status=GONE, message=GONE_REASON)
        workflow = self.hook.client.run(read_ended(self.workflow_id, deadline))
        if workflow is None:
            return self._gone(event)
        self._lineage_of = workflow
        task = workflow.latest_attempt(self.task_reference_name)
        if task is None:
            raise self._unreachable(event, "somebody restarted it, or reran it from an earlier task")
        return workflow, task

    def _gone(self, event: WaitEvent) -> NoReturn:
        super()._outcome(event, None)
        raise self._unreachable(event, event.message)

    def _form(self, task: Task) -> Any:
        """The DAG's own params, or else those of the task's definition."""
        from airflow.providers.common.compat.sdk import Param

        from airflow_provider_conductor.control.question import form_of

        if self.form:
            return self.form
        found = form_of(task)
        return type(self.params)(
            {name: Param(p["value"], description=p["description"], **p["schema"]) for name, p in found.items()}
        )

    def execute_complete(
        self,
        context: Context,
        event: Any = None,
        deadline: float | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take over from the triggerer: ask, or finish with the answer.

        Args:
            asked: once the question has been asked, ``{"workflow_id", "until"}``: of which workflow, and when the whole
                task is over, or None for no limit.

        Raises:
            ConductorTriggerEventError: an event of an unknown shape.
        """
        from airflow_provider_conductor._required_actions import AirflowAnswer

        if asked is None:
            return super().execute_complete(context, event, deadline)
        self._begin(context)
        self._set_options()
        self.workflow_id = asked["workflow_id"]
        self._protect(self.workflow_id)
        try:
            return self._answered(AirflowAnswer.from_event(event), event, asked["until"])
        finally:
            self._guard.release()

    def _answered(self, answer: AirflowAnswer | None, event: Any, until: float | None) -> Any:
        from airflow_provider_conductor._required_actions import AirflowAnswer
        from airflow_provider_conductor.client.statuses import WorkflowStatus
        from airflow_provider_conductor.control.approval import ANSWERED_EVENT
        from airflow_provider_conductor.polling import wait_event as waits

        if answer is not None:  # Airflow 3.3 has resumed the task
            return self._send_answer(answer, until)
        try:
            known = waits.WaitEvent.from_json(event)
            if known.status == ANSWERED_EVENT:
                answer = AirflowAnswer.from_event(json.loads(event["answer"]))
                if answer is None:
                    raise ValueError(f"not an answer: {event['answer']!r}")
        except (ValueError, TypeError, KeyError) as error:
            raise ConductorTriggerEventError(f"the trigger sent an unknown event, so the task fails: {error}") from None
        self.log.info("The trigger reported: %s", f"{known.status} {known.message}".strip())
        if answer is not None:
            return self._send_answer(answer, until)
        if known.status == waits.TIMEOUT and self.defaults is not None:
            self.log.warning("Nobody has answered in time; the answer is %s", ", ".join(self.defaults))
            return self._send_answer(self._default_answer(), until)
        if known.status == waits.TASK_ENDED or known.status in WorkflowStatus.__members__:
            workflow, task = self._read_task(until)  # which shows whether it was answered
            return self._finish(workflow, task)
        self.wait_until_task_ref = self.task_reference_name
        return super()._outcome(known, until)

    def _default_answer(self) -> AirflowAnswer:
        from airflow.providers.common.compat.sdk import timezone

        from airflow_provider_conductor._required_actions import AirflowAnswer

        return AirflowAnswer(
            chosen_options=self.defaults or (),
            params_input={},
            responded_by=None,
            responded_at=timezone.utcnow().isoformat(),
        )

    def _send_answer(self, given_answer: AirflowAnswer, until: float | None) -> Any:
        """Complete or fail the task with an answer given in Airflow, unless somebody in Conductor was faster."""
        from airflow_provider_conductor.client.text import to_log
        from airflow_provider_conductor.control.approval import Answer, settle
        from airflow_provider_conductor.control.task_choice import CompletionRefusedError
        from airflow_provider_conductor.operators.task_results import completion_refused

        workflow, task = self._read_task(until)
        if not task.is_open or workflow.status.ended:
            return self._finish(workflow, task, late=given_answer)
        question = self._question(self._form(task))
        unknown = [option for option in given_answer.chosen_options if option not in self.options]
        if unknown:
            about = self._about(self.workflow_id)
            raise ConductorInvalidStateError(
                f"the answer {', '.join(map(repr, unknown))} is none of the options "
                f"{', '.join(map(repr, self.options))}: Airflow shows the question of an earlier try. The task is "
                "still open: answer it in Conductor, or run the DAG again",
                **about,
            )
        params, wrong = self._checked_params(task, given_answer)
        if wrong:
            self.log.warning("The answer cannot be used, so the question is asked again: %s", wrong)
            self._ask(workflow, task, until)
        answer = Answer(
            approved=not question.is_rejection(given_answer.chosen_options),
            chosen_options=given_answer.chosen_options,
            params_input=params,
            responded_by=given_answer.responded_by,
            responded_at=given_answer.responded_at,
        )
        flow = settle(
            self.workflow_id,
            self.task_reference_name,
            self._completion(answer),
            log=to_log(self.log.info),
            until=math.inf if until is None else max(until, time.time() + ANSWER_FOR),
        )
        try:
            settled = self._send(flow)
        except CompletionRefusedError as error:
            raise completion_refused(error, self.workflow_id, self.hook.workflow_url(self.workflow_id)) from None
        return self._finish(workflow, settled, late=given_answer)

    def _checked_params(self, task: Task, answer: AirflowAnswer) -> tuple[dict[str, Any], str]:
        """What was entered into the form; and what is wrong with it."""
        form = deepcopy(self._form(task))
        unknown = [name for name in answer.params_input if name not in form]
        if unknown:
            return {}, f"the form has no {', '.join(map(repr, unknown))}"
        if answer.responded_by is None:
            return {name: form.get_param(name).value for name in form if form.get_param(name).has_value}, ""
        try:
            for name, value in answer.params_input.items():
                form[name] = value
            form.validate()
        except Exception as error:  # Airflow's own moved between versions
            return {}, str(error)
        return dict(answer.params_input), ""

    def _completion(self, answer: Answer) -> Completion:
        from airflow_provider_conductor.client.statuses import TaskStatus
        from airflow_provider_conductor.control.task_choice import Completion

        who = "nobody in time" if answer.responded_by is None else answer.responded_by["name"]
        status = TaskStatus.COMPLETED if answer.approved else TaskStatus(self.rejected_status)
        chosen = ", ".join(answer.chosen_options)
        return Completion(
            status=status,
            output=answer.to_json(),
            reason=None if status is TaskStatus.COMPLETED else f"rejected in Airflow by {who}: {chosen}",
            by=self._identities()[0],
        )

    def _identities(self) -> list[str]:
        """The worker's ids by which this Airflow task completes tasks; that of the present series first."""
        from airflow_provider_conductor.submission.identity import StartKey

        identity = self._run.identity(self.hook.settings.identity_prefix, retries=self.retries)
        series = [identity.series, *range(1, identity.try_number + 1)]
        return [identity.correlation_id(StartKey(first_try)) for first_try in dict.fromkeys(series)]

    # The result

    def _finish(self, workflow: Workflow, task: Task, late: AirflowAnswer | None = None) -> Any:
        """The result of the answer that ended the task, or what a rejection means."""
        from airflow_provider_conductor.control.approval import answer_in
        from airflow_provider_conductor.operators.task_results import completed

        ours = self._identities()
        answer = answer_in(task, self._question(self._form(task)), is_ours=lambda worker_id: worker_id in ours)
        if answer is None:
            raise self._unanswered(workflow, task)
        if late is not None and answer.answered_in == "conductor":
            self.log.warning(
                "Task %r was ended in Conductor first; the answer %s in Airflow came too late and does not count",
                self.task_reference_name,
                ", ".join(late.chosen_options),
            )
        return self._follow(answer, {**completed(task, self.workflow_id), **answer.to_json()})

    def _unanswered(self, workflow: Workflow, task: Task) -> ConductorOperatorError:
        from airflow_provider_conductor.polling.wait_event import TASK_MISSED, WaitEvent

        status = task.known_status or task.data.get("status")
        why = f"task {self.task_reference_name!r} is {status}"
        if task.reason:
            why += f" ({task.reason})"
        why += f", and the workflow is {workflow.status}: nobody can answer it any more"
        event = WaitEvent(workflow_id=self.workflow_id, status=TASK_MISSED)
        self.wait_until_task_ref = self.task_reference_name
        return self._unreachable(event, why)

    def _timeout_error(self, message: str, event: WaitEvent) -> ConductorWorkflowTimeoutError:
        return super()._timeout_error(f"task {self.task_reference_name!r} was not answered: {message}", event)

    def _follow(self, answer: Answer, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result, or do what the operator says of such an answer.

        =========================================  ==================================================
        the answer, the first case that applies    what follows
        =========================================  ==================================================
        an option with tasks in the mapping        these; what else is downstream is skipped
        a rejection, ``on_reject="fail"``          the task fails, without a retry
        a rejection, ``on_reject="skip"``          what is downstream is skipped
        an approval, but by which option is not    the task fails: the branch is not known
        known, and there is a mapping
        otherwise                                  everything downstream
        =========================================  ==================================================
        """
        from airflow_provider_conductor.operators.output import check_storable, json_size

        about = self._about(self.workflow_id)
        name = f"the answer to task {self.task_reference_name} of workflow {self.workflow_id}"
        if self.do_xcom_push:
            check_storable(result, name, "complete the task with another output", **about)
        if (size := json_size(result)) > (limit := MAX_OUTPUT_BYTES.get()):
            raise ConductorOutputTooLargeError(f"{name} has {size:,} bytes, over {limit:,}", **about)
        who = "" if answer.responded_by is None else f" by {answer.responded_by['name']}"
        word = "approved" if answer.approved else "rejected"
        chosen = ", ".join(answer.chosen_options)
        self.log.info("%s was %s%s in %s: %s", name, word, who, answer.answered_in, chosen or "no option is known")
        branches = _branches(self.options_mapping, answer)
        if branches:
            self._push(result)
            branch_into(self._context, self.task_id, branches)
            return result
        if answer.approved and self.options_mapping:
            raise ConductorInvalidStateError(
                f"{name} was given in Conductor without chosen_options in its output, so it is not known which branch "
                f"to follow. See {about['url']}",
                **about,
            )
        if answer.approved or self.on_reject == "continue":
            return result
        if self.on_reject == "fail":
            raise ConductorApprovalRejectedError(
                f"task {self.task_reference_name!r} of workflow {self.workflow_id} was rejected{who} in "
                f"{answer.answered_in}{f': {chosen}' if chosen else ''}. See {about['url']}",
                answer=result,
                reason=chosen,
                **about,
            )
        self._push(result)
        skip_downstream(self._context, self.task_id, all_of_them=self.ignore_downstream_trigger_rules)
        return result

    def _push(self, result: dict[str, Any]) -> None:
        """Airflow 3 skips by an exception, which takes the result's place."""
        if self.do_xcom_push:
            self._run.push("return_value", result)


def _branches(mapping: Mapping[str, Any], answer: Answer) -> list[str]:
    found: list[str] = []
    for option in answer.chosen_options:
        tasks = mapping.get(option, ())
        found += [tasks] if isinstance(tasks, str) else list(tasks)
    return list(dict.fromkeys(found))
