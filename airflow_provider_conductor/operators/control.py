"""Operators that control workflows: pause, resume, terminate, restart, retry, rerun, skip a task, delete.

All of them select workflows in the same way: by ``workflow_id`` (one id, a list, or an XCom or template of either), by
conditions (``workflow_name``, ``correlation_id``, ``status``, ``started_before`` …), or by the same as a ``query``; the
latter two are limited by ``max_workflows``. Each reads the workflows first, acts only where that is due, and verifies
the effect. A workflow that is already in the wanted state is a success with a log line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.plain import plain_inside
from airflow_provider_conductor.client.text import readable, to_log
from airflow_provider_conductor.operators.arguments import rendered_mapping
from airflow_provider_conductor.operators.control_base import WaitingControlOperator, WorkflowControlOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.control.commands import Command

__all__ = [
    "ConductorDeleteWorkflowOperator",
    "ConductorPauseWorkflowOperator",
    "ConductorRerunWorkflowOperator",
    "ConductorRestartWorkflowOperator",
    "ConductorResumeWorkflowOperator",
    "ConductorRetryWorkflowOperator",
    "ConductorSkipTaskOperator",
    "ConductorTerminateWorkflowOperator",
]


class ConductorPauseWorkflowOperator(WorkflowControlOperator):
    """Pause running workflows: a task that a worker has continues, and nothing is scheduled after it.

    Args:
        workflow_id: one id or a list of them.
        workflow_name, correlation_id, status: conditions, instead of ids: a text, or a list of which one has to match.
        started_after, started_before, ended_after, ended_before: further conditions: a datetime, an ISO text (UTC if
            it has no time zone), or a timedelta back from now. A workflow must match all conditions; a name or a
            correlation id alone is not enough.
        query: the conditions as text, instead, such as ``workflowType IN (orders) AND status IN (RUNNING)``.
        max_workflows: if conditions or a query find more, no workflow is changed and the task fails.
        conductor_conn_id: connection of type ``conductor``.

    Returns the ids that were paused.

    Raises:
        ConductorInvalidStateError: a workflow has ended; the message names each, its status, and the operator to
            use instead.
        ConductorNotFoundError: the server does not know a workflow.
    """

    _verb = "pause"


class ConductorResumeWorkflowOperator(WaitingControlOperator):
    """Resume paused workflows.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        wait_for_completion: wait for the end, as ``ConductorExecuteWorkflowOperator`` does, with the same arguments;
            of one workflow, given by its id.

    Returns the ids that were resumed; the workflow's output with ``wait_for_completion``.

    Raises:
        ConductorInvalidStateError: a workflow is not paused.
    """

    _verb = "resume"


class ConductorTerminateWorkflowOperator(WorkflowControlOperator):
    """Terminate what has not ended; leave ended workflows unchanged.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        reason: the server stores it with the workflow.

    Returns the ids that were terminated. A workflow that has already ended is a success with a log line, and keeps
    its status; one that does not exist fails the task.
    """

    template_fields: Sequence[str] = (*WorkflowControlOperator.template_fields, "reason")

    def __init__(
        self, *, reason: str = "terminated by Airflow task {{ ti.dag_id }}.{{ ti.task_id }}", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def _command(self) -> Command:
        from airflow_provider_conductor.control.commands import terminate

        return terminate(readable(self.reason))


class ConductorRestartWorkflowOperator(WaitingControlOperator):
    """Run ended workflows again from their start, under the same ids and with the same input.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        use_latest_definition: with the newest version of the definition, not the one it was started with.
        wait_for_completion: as :class:`ConductorResumeWorkflowOperator` has it.

    Returns the ids that were restarted; the workflow's output with ``wait_for_completion``.

    Raises:
        ConductorInvalidStateError: a workflow has not ended.
    """

    _verb, _verb_arguments = "restart", ("use_latest_definition",)

    def __init__(self, *, use_latest_definition: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_latest_definition = use_latest_definition


class ConductorRetryWorkflowOperator(WaitingControlOperator):
    """Continue failed, timed-out or terminated workflows with their failed tasks, under the same ids.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        resume_subworkflow_tasks: continue a failed sub-workflow with its failed task, not from its start, unless
            another task has failed beside it.
        wait_for_completion: as :class:`ConductorResumeWorkflowOperator` has it.

    Returns the id if one was given, else the ids that were retried; the workflow's output with
    ``wait_for_completion``. One that is already running is a success with a log line.

    Raises:
        ConductorInvalidStateError: a workflow completed, is paused, or has no failed task and would not run; the
            message names the operator to use instead.
    """

    _verb, _verb_arguments = "retry", ("resume_subworkflow_tasks",)

    def __init__(self, *, resume_subworkflow_tasks: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resume_subworkflow_tasks = resume_subworkflow_tasks

    def execute(self, context: Context) -> Any:
        result = super().execute(context)
        one = isinstance(self.workflow_id, str) and not self.workflow_id.lstrip().startswith("[")
        return self.workflow_id if one and not self.wait_for_completion else result


class ConductorRerunWorkflowOperator(WaitingControlOperator):
    """Run ended workflows again from one of their tasks, or from the start, with other inputs, under the same ids.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        from_task_ref: reference name of the task to begin with, whose latest attempt is run again; earlier tasks
            keep their results. None: from the start.
        task_input: that task's whole new input; None keeps it.
        workflow_input: the workflow's whole new input; None keeps it.
        wait_for_completion: as :class:`ConductorResumeWorkflowOperator` has it.

    Returns the ids that were rerun; the workflow's output with ``wait_for_completion``.

    Raises:
        ConductorInvalidStateError: a workflow has not ended, never reached that task, or its timeout has passed.
    """

    _inputs = ("task_input", "workflow_input")
    template_fields: Sequence[str] = (*WaitingControlOperator.template_fields, "from_task_ref", *_inputs)
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(_inputs, "json")

    def __init__(
        self,
        *,
        from_task_ref: str | None = None,
        task_input: Mapping[str, Any] | None = None,
        workflow_input: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.from_task_ref = from_task_ref
        self.task_input = plain_inside(task_input)
        self.workflow_input = plain_inside(workflow_input)
        self._check_task()

    def _check_task(self) -> None:
        """Also when the task runs: with an empty template, the whole workflow would be run again."""
        if self.task_input is not None and self.from_task_ref is None:
            raise ConductorInputError("task_input is the input of a task: name it with from_task_ref")
        if self.from_task_ref is not None and not str(self.from_task_ref).strip():
            raise ConductorInputError("from_task_ref must not be empty; None runs the workflow from its start")

    def _command(self) -> Command:
        from airflow_provider_conductor.control.commands import rerun

        self._check_task()
        given = {name: value for name in self._inputs if (value := getattr(self, name)) is not None}
        inputs = {name: rendered_mapping(value, name) for name, value in given.items()}
        return rerun(from_task_ref=self.from_task_ref, **inputs)


class ConductorSkipTaskOperator(WorkflowControlOperator):
    """Skip a task of running workflows that has not been scheduled yet.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        task_ref: reference name of the task.
        task_output: the skipped task's output: texts, numbers and booleans, which the server stores as text.

    Returns the ids whose task was skipped. One whose task is already skipped is a success with a log line.

    Raises:
        ConductorInvalidStateError: a workflow is not running, or its task has already been scheduled.
    """

    template_fields: Sequence[str] = (*WorkflowControlOperator.template_fields, "task_ref", "task_output")
    template_fields_renderers: ClassVar[dict[str, str]] = {"task_output": "json"}

    def __init__(self, *, task_ref: str, task_output: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task_ref = task_ref
        self.task_output = task_output
        if task_ref == "":
            raise ValueError("task_ref must not be empty")
        if isinstance(task_output, Mapping):
            for key, value in task_output.items():
                if value is None or isinstance(value, (Mapping, list, tuple)):
                    raise ValueError(
                        f"task_output[{key!r}] is a {type(value).__name__}; the server takes texts, numbers and "
                        "booleans here"
                    )

    def _command(self) -> Command:
        from airflow_provider_conductor.control.commands import skip

        return skip(self.task_ref, rendered_mapping(self.task_output, "task_output"))


class ConductorDeleteWorkflowOperator(WorkflowControlOperator):
    """Remove ended workflows from the server's database.

    Takes the selection of :class:`ConductorPauseWorkflowOperator`, and:

    Args:
        archive: keep it in the search index, marked as archived. False removes it from there too.
        terminate_running: first terminate what has not ended; otherwise that fails the task.

    Returns the ids that were deleted. One that the server does not know (any more) is a success with a log line.

    Raises:
        ConductorInvalidStateError: a workflow has not ended.
    """

    _verb, _verb_arguments = "delete", ("archive",)

    def __init__(self, *, archive: bool = True, terminate_running: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.archive = archive
        self.terminate_running = terminate_running

    def _apply(self, workflow_ids: list[str]) -> Any:
        if self.terminate_running:
            from airflow_provider_conductor.control.apply import apply
            from airflow_provider_conductor.control.commands import terminate

            # 3.13 answers the archival of a running workflow with a 400, and removes it all the same; so it is
            # terminated first. What could not be terminated is refused below.
            command = terminate(f"terminated to be deleted by {self._run.label}")
            self._send(apply(command, workflow_ids, log=to_log(self.log.info)))
        return super()._apply(workflow_ids)
