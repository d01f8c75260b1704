"""The tasks that follow one workflow: one for each of its steps, and one for its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_conductor._airflow import write_xcom
from airflow_provider_conductor.exceptions import (
    ConductorControlFailedError,
    ConductorInvalidStateError,
    ConductorWorkflowFailedError,
    ConductorWorkflowFailedPermanentlyError,
)
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY, WORKFLOW_URL_KEY
from airflow_provider_conductor.operators.arguments import check_output_path
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.operators.waiting import WaitMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.control.commands import Command
    from airflow_provider_conductor.mirrors.plan import Step
    from airflow_provider_conductor.mirrors.step_state import Action, StepState
    from airflow_provider_conductor.polling.root_cause import Failure
    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState

SEEN_KEY = "conductor_seen_{}"
"""Key, in the XCom of the task that started the workflow, of the run of a step with which its task has ended. It lives
as long as that workflow counts: a clear of the start removes it, and a clear of the step's own task does not."""

BEGINS = "IN_PROGRESS,COMPLETED,COMPLETED_WITH_ERRORS,SKIPPED"
"""A SUB_WORKFLOW task with one of these statuses has a sub-workflow, or needs none. Not those of a failed attempt: a
wait takes each attempt for the task, and the one that replaces it may be delayed for minutes."""

SHOWN = ("start_task_id",)
"""Fields that Airflow stores with the task, since templates may be in them: the page in its UI wants to know whose
workflow a task follows."""

SETTLING = 3
"""Reads of a workflow that has just failed until it has ended with all its tasks, and its failure workflow runs."""

SETTLING_PAUSE = 1.0
"""Seconds between two of these reads."""


@dataclass(frozen=True)
class FollowOptions:
    """The options that all tasks of a group share.

    Attributes:
        start_task_id: the task that starts the workflow.
        deferrable: wait in the triggerer, without a worker slot.
        poll_interval: seconds between polls; None adapts them to the workflow.
        timeout: seconds for the whole wait of a task; None waits on.
        stall_timeout: seconds without progress.
        cancel_on_kill: terminate the workflow when a task is marked as failed while it is deferred, or its dag run
            ends; a clear, and a mark as success, leave it running.
        max_output_bytes: largest output written to XCom.
        on_timeout: what happens to the workflow when a timeout ends the wait.
    """

    start_task_id: str
    deferrable: bool
    poll_interval: float | None
    timeout: float | None
    stall_timeout: float | None
    cancel_on_kill: bool
    max_output_bytes: int
    on_timeout: Literal["leave"] = "leave"

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """A task's attributes, to be set past Airflow's ``__setattr__``: that takes longer than all else of ours."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class FollowsWorkflow(WaitMixin):
    """A task that follows a workflow that another task of the group has started."""

    start_task_id: str

    def _execute(self, context: Context) -> Any:
        self._begin(context)
        workflow_id = self._started_workflow()
        self._announce(workflow_id)
        self._protect(workflow_id)
        return self._follow(workflow_id, self._guard.deadline(self.timeout), first=True)

    def _follow(self, workflow_id: str, deadline: float | None, *, first: bool = False) -> Any:
        """Act, wait, and conclude; ``first`` at the beginning of a try."""
        raise NotImplementedError

    def _started_workflow(self) -> str:
        found = self._pull_from_start(WORKFLOW_ID_KEY)
        if not isinstance(found, str):
            raise AirflowSkipException(f"{self.start_task_id} has started no workflow")
        return found

    def _pull_from_start(self, key: str) -> Any:
        run = self._run
        return run.ti.xcom_pull(task_ids=self.start_task_id, key=key, map_indexes=run.map_index)

    def _read_workflow(self, workflow_id: str, deadline: float | None) -> Workflow:
        """The workflow with its tasks. While Conductor is unreachable, the read is repeated until the deadline.

        Raises:
            ConductorWorkflowFailedError: the server has no such workflow.
        """
        from airflow_provider_conductor.polling.missing_workflow import read_ended
        from airflow_provider_conductor.polling.wait_event import GONE, GONE_REASON, WaitEvent

        workflow = self.hook.client.run(read_ended(workflow_id, deadline))
        if workflow is None:
            super()._outcome(WaitEvent(workflow_id=workflow_id, status=GONE, message=GONE_REASON), deadline)
        assert workflow is not None  # the line above has raised
        return workflow

    @property
    def _seen(self) -> Any:
        """What a try before the last clear has left when it ended; None if none has.

        Every try of the present series gets it, so that one whose first try breaks off does what the clear asked for.
        """
        identity = self._run.identity(None, retries=self.retries)
        if identity.series == 1:  # never cleared, and Airflow logs an error where it has no such XCom
            return None
        left = self._pull_from_start(SEEN_KEY.format(self.task_id))
        if not isinstance(left, Mapping) or left.get("series") == identity.series:
            return None
        return left.get("seen")

    def _remember(self, seen: object) -> None:
        """Leave this to a try after a clear. Where it cannot be written, a clear only follows the workflow."""
        left = {"seen": seen, "series": self._run.identity(None, retries=self.retries).series}
        try:
            write_xcom(self._run.ti, SEEN_KEY.format(self.task_id), left, task_id=self.start_task_id)
        except Exception as error:  # whatever Airflow's API, or an XCom backend of somebody's own, may raise
            self.log.warning("A clear of this task will not run its step again: XCom could not be written: %s", error)

    def _let_workflow_end(self, workflow_id: str) -> None:
        """On a worker a kill may be a clear, so other tasks may go on with the workflow."""
        self.log.info("The task was killed. Workflow %s keeps running", workflow_id)

    def _defer_wait(
        self, spec: WaitSpec, state: WaitState | None = None, *, skip_ref: str = "", root_id: str = ""
    ) -> NoReturn:
        from airflow_provider_conductor.triggers.workflow import ConductorWorkflowStepTrigger

        observed = None if state is None else state.to_json()
        more = {"state": observed, "skip_ref": skip_ref, "root_id": root_id}
        self._defer_to(ConductorWorkflowStepTrigger, spec.to_json() | more)

    def _retry_lost(self, workflow_id: str, *levels: Workflow) -> bool:
        """Retry the workflow once more where the server has undone a retry; whether it did."""
        from airflow_provider_conductor.control import commands
        from airflow_provider_conductor.control.lost_retry import is_lost

        if not any(map(is_lost, levels)):
            return False
        for _ in range(SETTLING):  # what is open here is about to be canceled, and a retry before that is lost, too
            if not any(task.is_open for level in levels for task in level.tasks):
                break
            time.sleep(SETTLING_PAUSE)
            levels = tuple(self.hook.client.get_workflow(level.workflow_id) for level in levels)
        self.log.info(
            "Conductor has undone a retry: the workflow failed for attempts that it had replaced. Retry again"
        )
        self._run_again(workflow_id, commands.retry(), self._start_anew)
        return True

    @property
    def _start_anew(self) -> str:
        return f"To run the whole workflow again, clear the task group {self.start_task_id.rpartition('.')[0]!r}"

    def _run_again(self, workflow_id: str, command: Command, what_else: str) -> None:
        """Let the workflow run again, unless another task has done so meanwhile."""
        from airflow_provider_conductor.client.text import to_log
        from airflow_provider_conductor.control.apply import apply
        from airflow_provider_conductor.control.eligibility import Kind

        outcome = self._send(apply(command, [workflow_id], log=to_log(self.log.info), attempted=True))
        for refusal in outcome.refusals.values():
            kind = ConductorControlFailedError if refusal.kind is Kind.DUE else ConductorInvalidStateError
            raise kind(f"{outcome.failure}. {what_else}", reason=refusal.why, **self._about(workflow_id))


class ConductorStepOperator(FollowsWorkflow, ConductorOperator):
    """Follow one step of a workflow that another task has started: its task ends as the step does.

    Args:
        steps: the step, after the SUB_WORKFLOW steps that it is in, the outermost first.
        options: what the tasks of the group share.
    """

    template_fields: Sequence[str] = (*ConductorOperator.template_fields, *SHOWN)
    ui_color = "#e3f2fd"
    ui_fgcolor = "#000000"

    steps: tuple[Step, ...]

    def __init__(self, *, steps: Sequence[Step], options: FollowOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        vars(self).update(options.attributes, steps=tuple(steps))

    def execute(self, context: Context) -> Any:
        return self._execute(context)  # Airflow 2 wants the class itself to have this method

    @property
    def step(self) -> Step:
        return self.steps[-1]

    def _page_of(self, workflow_id: str) -> str:
        return self.hook.workflow_url(workflow_id, self.steps[0].ref)

    def _follow(self, workflow_id: str, deadline: float | None, *, first: bool = False) -> Any:
        from airflow_provider_conductor.mirrors.step_state import Kind

        settling = SETTLING
        while True:
            levels, state = self._locate(workflow_id, deadline)
            workflow, depth = levels[-1], len(levels) - 1
            if first and depth == len(self.steps) - 1 and self._act(levels, state):
                first = False
                continue
            first = False
            if self._retry_lost(workflow_id, *levels):
                continue
            if state.kind is Kind.FAILED and settling and self._has_more_to_end(levels):
                settling -= 1
                time.sleep(SETTLING_PAUSE)
                continue
            if state.kind is not Kind.OPEN:
                return self._end(workflow, state, began=depth == len(self.steps) - 1)
            begins = depth < len(self.steps) - 1 and state.wait_for == self.steps[depth].awaits
            spec = self._spec(workflow.workflow_id, state.wait_for, BEGINS if begins else "", deadline)
            if self.deferrable:
                unscheduled = depth == len(self.steps) - 1 and state.task is None
                self._defer_wait(spec, skip_ref=self.step.ref if unscheduled else "", root_id=workflow_id)
            event = self._wait_here(spec)
            if not _is_end_of_step(event):
                return super()._outcome(event, deadline)

    def _locate(self, workflow_id: str, deadline: float | None) -> tuple[list[Workflow], StepState]:
        """Read the workflow, and down to the sub-workflow that has the step, as far as there is one."""
        from airflow_provider_conductor.mirrors.step_state import below, step_state

        levels: list[Workflow] = []
        for step in self.steps:
            levels.append(self._read_workflow(workflow_id, deadline))
            state = step_state(step, levels[-1])
            workflow_id = state.task.sub_workflow_id if state.task is not None else ""
            if not workflow_id:
                break
        return levels, below(levels, state, began=len(levels) == len(self.steps))

    def _has_more_to_end(self, levels: Sequence[Workflow]) -> bool:
        """Whether the server has yet to end what ends with a failed step: its workflow, and what is above that.

        It does so a moment later, from level to level, and a clear before that finds the workflow still running.
        """
        if not levels[-1].status.ended:
            return True
        for step, level in reversed(list(zip(self.steps, levels[:-1], strict=False))):
            above = level.latest_attempt(step.ref)
            if above is None or above.is_open:
                return True
            if above.workflow_task.get("optional") is True:  # after which its workflow goes on
                return False
            if not level.status.ended:
                return True
        return False

    def _spec(self, workflow_id: str, task_ref: str, statuses: str, deadline: float | None) -> WaitSpec:
        from dataclasses import replace

        spec = self._wait_spec(workflow_id)
        return replace(spec, deadline=deadline, wait_until_task_ref=task_ref, wait_until_task_status=statuses)

    def _outcome(self, event: WaitEvent, deadline: float | None) -> Any:
        if _is_end_of_step(event):
            return self._follow(self._started_workflow(), deadline)
        return super()._outcome(event, deadline)

    def _what_is_waited_for(self, workflow_id: str) -> str:
        return f"step {self.step.ref!r} of Conductor workflow {workflow_id}"

    def _act(self, levels: Sequence[Workflow], state: StepState) -> bool:
        """What a cleared task does about its step; whether it did anything."""
        from airflow_provider_conductor.control import commands
        from airflow_provider_conductor.mirrors.step_state import Action, action

        root, root_id = levels[0], levels[0].workflow_id
        todo: Action = action(state, workflow_ended=root.status.ended, seen=self._seen)
        ref, start_anew = self.step.ref, self._start_anew
        if todo is Action.FOLLOW:
            return False
        if todo is Action.REFUSE:
            raise ConductorInvalidStateError(
                f"step {ref!r} has ended, and workflow {root_id} is still {root.status}: Conductor "
                "runs a step again only in a workflow that has ended. Wait until it has, or terminate it, and clear "
                f"this task then. {start_anew}. See {self.hook.workflow_url(root_id)}",
                **self._about(root_id),
            )
        if todo is Action.RETRY:
            self._run_again(root_id, commands.retry(), start_anew)
        elif len(self.steps) > 1:
            raise ConductorInvalidStateError(
                f"step {ref!r} has ended well in a sub-workflow, where Conductor does not run it again: clear the task "
                f"of a step before the sub-workflow. {start_anew}",
                **self._about(root_id),
            )
        else:
            self._run_again(
                root_id, commands.rerun(from_task_ref=ref), f"Clear the task of an earlier step. {start_anew}"
            )
        return True

    def _end(self, workflow: Workflow, state: StepState, *, began: bool) -> None:
        """End as the step has ended; ``began`` is False where the sub-workflow that it is in has not begun."""
        from airflow_provider_conductor.mirrors.report import report
        from airflow_provider_conductor.mirrors.step_state import Kind, attempts, mark

        self._guard.release()
        step = self.step
        tasks = attempts(step, workflow) if began else []
        if tasks:
            self.log.info("Step %r\n%s", step.ref, report(step.ref, tasks))
            self._log_lines(tasks[-1].task_id)
        if len(self.steps) > 1:
            self._run.push(WORKFLOW_URL_KEY, self.hook.workflow_url(workflow.workflow_id, step.ref))
        self._remember(mark(state))
        match state.kind:
            case Kind.SUCCEEDED:
                return
            case Kind.WARNED:
                reason = state.task.reason if state.task is not None else ""
                self.log.warning("Step %r failed, and is optional, so the workflow went on: %s", step.ref, reason)
                return
            case Kind.SKIPPED:
                raise AirflowSkipException(f"step {step.ref!r} did not run: {state.why}")
        raise self._failed(workflow, state)

    def _log_lines(self, task_id: str) -> None:
        from airflow_provider_conductor.client.errors import ConductorError
        from airflow_provider_conductor.client.text import readable

        try:
            lines = self.hook.client.get_task_logs(task_id)
        except ConductorError as error:
            self.log.warning("The worker's log lines cannot be read: %s", error)
            return
        for line in lines:
            self.log.info("worker: %s", readable(line))

    def _failed(self, workflow: Workflow, state: StepState) -> ConductorWorkflowFailedPermanentlyError:
        """The error of a step; Airflow's own retry cannot help, since Conductor has no attempt left."""
        from airflow_provider_conductor.mirrors.step_state import Kind, is_one_of, tasks_of
        from airflow_provider_conductor.polling.failure_report import diagnose, explain, headline

        url, client = self.hook.workflow_url(workflow.workflow_id), self.hook.client
        for _ in range(SETTLING):
            if not _starts_failure_workflow(workflow):
                break
            time.sleep(SETTLING_PAUSE)
            workflow = client.get_workflow(workflow.workflow_id)
        refs = tasks_of(self.step, workflow)
        if state.kind is Kind.FAILED:
            failure = client.run(diagnose(workflow, among=lambda task: is_one_of(task, refs)))
            if failure is not None:
                return ConductorWorkflowFailedPermanentlyError(explain(failure, url), failure, url=url)
        failure = client.run(diagnose(workflow))
        culprit = None if failure is None else workflow.latest_attempt((*failure.path, failure.task_reference_name)[0])
        if failure is not None and culprit is not None and is_one_of(culprit, refs):
            # A task inside it failed, and Conductor canceled the loop or the JOIN for that.
            return ConductorWorkflowFailedPermanentlyError(explain(failure, url), failure, url=url)
        what = "did not run" if state.kind is Kind.NOT_REACHED else "was canceled"
        why = f"workflow {workflow.workflow_id} is {workflow.status}" if failure is None else headline(failure)
        to_clear = self._what_to_clear(failure, state)
        return ConductorWorkflowFailedPermanentlyError(
            f"step {self.step.ref!r} {what}: {why}\nWhat to do: fix the cause, then {to_clear}.\nSee {url}",
            failure,
            url=url,
        )

    def _what_to_clear(self, failure: Failure | None, state: StepState) -> str:
        from airflow_provider_conductor.mirrors.plan import NO_WORK

        if failure is not None and failure.task_reference_name and failure.task_kind not in NO_WORK:
            return "clear the task of the step that failed, and this one with it"
        if state.task is not None:
            return "clear this Airflow task"
        group = self.start_task_id.rpartition(".")[0]
        return (
            "clear the task of an earlier step, since what failed has no task in Airflow, or the whole task group "
            f"{group!r} to start a new workflow"
        )


class ConductorFinishOperator(FollowsWorkflow, ConductorOperator):
    """Follow the workflow to its end, and return its output.

    Args:
        options: what the tasks of the group share.
        output_path: a part of the output that is the result in its place.

    Cleared, it lets a workflow that ended badly run on from its failed tasks, and reads the output of another again.
    """

    template_fields: Sequence[str] = (*ConductorOperator.template_fields, *SHOWN, "output_path")
    _timeline_rows = 1000  # it is the only log of the tasks that have none in the group

    def __init__(self, *, options: FollowOptions, output_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        vars(self).update(options.attributes)
        self.output_path = check_output_path(output_path)

    def execute(self, context: Context) -> Any:
        return self._execute(context)

    def _follow(self, workflow_id: str, deadline: float | None, *, first: bool = False) -> Any:
        from dataclasses import replace

        from airflow_provider_conductor.control import commands
        from airflow_provider_conductor.polling.wait_event import STILL_RUNNING

        if first and (seen := self._seen):
            workflow = self._read_workflow(workflow_id, deadline)
            status = workflow.status
            if status.ended and not status.successful and seen == workflow.end_time:
                self._run_again(workflow_id, commands.retry(), self._start_anew)
        spec = replace(self._wait_spec(workflow_id), deadline=deadline)
        event = self._wait_here(spec, return_after=0)  # as a rule the workflow has ended with its last step
        if event.status == STILL_RUNNING:
            if self.deferrable:
                self._defer_wait(spec, event.state)
            event = self._wait_here(spec, event.state)
        return self._conclude(event, deadline)

    def _outcome(self, event: WaitEvent, deadline: float | None) -> Any:
        try:
            return super()._outcome(event, deadline)
        except Exception as error:
            ended = self._lineage_of
            if ended is None:
                raise
            if not self._retry_lost(ended.workflow_id, ended):
                if ended.end_time:
                    self._remember(ended.end_time)
                if type(error) is ConductorWorkflowFailedError and ended.status.ended:
                    # Airflow's own retry would only read the same end again.
                    raise ConductorWorkflowFailedPermanentlyError(str(error), error.failure, url=error.url) from None
                raise
        return self._follow(ended.workflow_id, deadline)


def _is_end_of_step(event: WaitEvent) -> bool:
    """Whether the step, the SWITCH around it, or the workflow has ended."""
    from airflow_provider_conductor.client.statuses import WorkflowStatus
    from airflow_provider_conductor.polling.wait_event import TASK_ENDED, TASK_MISSED

    return event.status in (TASK_ENDED, TASK_MISSED) or event.status in WorkflowStatus.__members__


def _starts_failure_workflow(workflow: Workflow) -> bool:
    """Whether the server, which does so a moment after the failure, has yet to start the failure workflow."""
    named = (workflow.data.get("workflowDefinition") or {}).get("failureWorkflow")
    return bool(named) and not workflow.failure_workflow_id and not workflow.failure_workflow_error
