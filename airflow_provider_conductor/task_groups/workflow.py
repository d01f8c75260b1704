"""A workflow's steps as Airflow tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, TaskGroup

from airflow_provider_conductor._options import DEFAULT_STALL_TIMEOUT, MAX_OUTPUT_BYTES
from airflow_provider_conductor.definitions.definition import Definition, DefinitionError, check, definitions_in
from airflow_provider_conductor.mirrors.names import FINISH, START, to_task_id
from airflow_provider_conductor.mirrors.plan import Definitions, Plan, Selection, Step, make_plan
from airflow_provider_conductor.polling.durations import seconds
from airflow_provider_conductor.task_groups.start import ConductorStartStepsOperator
from airflow_provider_conductor.task_groups.step import ConductorFinishOperator, ConductorStepOperator, FollowOptions

AFTER_SKIPPED = "none_failed"
"""The trigger rule of what follows a step: a branch that was not taken is skipped, and what comes after it is not."""

AFTER_ALL = "all_done"
"""That of the last task of an optional sub-workflow, whose failed steps are no failure of the workflow."""

FOLLOW_RETRIES: Mapping[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=30)}
"""A further try only follows the step, or the workflow, again, so it costs nothing where Airflow has lost a task: on a
busy machine, the scheduler fails one that goes on before its worker has reported the deferral (seen on 3.3.2)."""

TASK_ID_LIMIT, GROUP_ID_LIMIT = 250, 200
"""Airflow's, in characters: of a task's id with those of the groups around it, and of a group's own id."""


class ConductorWorkflowTaskGroup(TaskGroup):
    """A workflow as a task group: a task that starts it, one for each of its steps, and one that has its output.

    Args:
        definition: the workflow's definition: a dict, an object of Conductor's Python SDK, or the path of a JSON or
            YAML file, relative to the DAG file. It is read when the DAG is parsed; the server is not asked.
        workflow_name: which of the definitions of a file it is, where there are several.
        group_id: the id of the group; None makes one of the workflow's name.
        workflow_input: what the workflow gets as input. Templated.
        correlation_id, priority, task_to_domain, pass_context: as in
            :class:`~airflow_provider_conductor.operators.execute.ConductorStartWorkflowOperator`.
        sub_workflows: definitions of sub-workflows, in the same forms: each becomes a group in the group, where the
            others are one task.
        select: the steps that become tasks, by patterns of their reference names as in a shell; None: all.
        exclude: those that do not.
        depth: how many SWITCH, fork and sub-workflow tasks a step may be in and become a task; None: any number.
        deferrable: wait in the triggerer, without a worker slot.
        timeout: seconds (or timedelta) for the wait of each task; None waits on.
        stall_timeout: seconds (or timedelta) without progress.
        poll_interval: seconds between polls; None adapts them to the workflow.
        cancel_on_kill: terminate the workflow when one of the tasks is marked as failed while it is deferred, or the
            dag run ends.
        output_path: a part of the output, like ``order.total``, that is the result in its place.
        max_output_bytes: largest output (or part of it) written to XCom.
        conductor_conn_id: connection of type ``conductor``; None: that of the ``default_args``, or
            ``conductor_default``.
        step_args: arguments of Airflow's operators for the tasks of the steps, such as ``pool`` or
            ``on_failure_callback``. Their ``retries`` are 2, with a ``retry_delay`` of 30 s, unless given here: they
            are for Airflow's own failures, since a step that has failed is not retried by Airflow. Those of ``finish``
            are the same.
        kwargs: arguments of Airflow's ``TaskGroup``.

    Raises:
        ValueError: the definition cannot be used; the message says what is wrong.
    """

    def __init__(
        self,
        definition: Any,
        *,
        workflow_name: str | None = None,
        group_id: str | None = None,
        workflow_input: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        priority: int | str = 0,
        task_to_domain: Mapping[str, str] | None = None,
        pass_context: bool = False,
        sub_workflows: Sequence[Any] = (),
        select: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        depth: int | None = None,
        deferrable: bool = True,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
        cancel_on_kill: bool = True,
        output_path: str | None = None,
        max_output_bytes: int | None = None,
        conductor_conn_id: str | None = None,
        step_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        folders = _folders(kwargs.get("dag"))
        try:
            workflow = _chosen(_read(definition, folders), workflow_name)
            below = [item for given in _several(sub_workflows) for item in _read(given, folders)]
            check([workflow, *(item for item in below if item.label != workflow.label)])
        except DefinitionError as error:
            raise ValueError("\n- ".join(["a task group cannot be made of this:", *error.problems])) from None
        definitions: Definitions = {item.name: item.data for item in below if item.kind == "workflow"}
        selection = Selection(_patterns(select), _patterns(exclude), depth)
        plan = make_plan(workflow.data, selection, definitions)
        group_id = group_id or to_task_id(workflow.name)
        if len(group_id) > GROUP_ID_LIMIT:
            raise ValueError(
                f"the id of the task group of workflow {workflow.name[:80]!r} has {len(group_id)} characters, and "
                f"Airflow allows {GROUP_ID_LIMIT}: give the group a shorter group_id"
            )
        super().__init__(group_id=group_id, **kwargs)
        shared: dict[str, Any] = {} if conductor_conn_id is None else {"conductor_conn_id": conductor_conn_id}
        with self:
            self.start = ConductorStartStepsOperator(
                task_id=START,
                workflow_name=workflow.name,
                version=workflow.version,
                workflow_input=workflow_input,
                correlation_id=correlation_id,
                priority=priority,
                task_to_domain=task_to_domain,
                pass_context=pass_context,
                definitions=list(_compared(workflow, plan, definitions)),
                cancel_on_kill=cancel_on_kill,
                **shared,
            )
            options = FollowOptions(
                start_task_id=self.start.task_id,
                deferrable=deferrable,
                poll_interval=seconds(poll_interval, "poll_interval"),
                timeout=seconds(timeout, "timeout"),
                stall_timeout=seconds(stall_timeout, "stall_timeout") or DEFAULT_STALL_TIMEOUT.get(),
                cancel_on_kill=cancel_on_kill,
                max_output_bytes=MAX_OUTPUT_BYTES.get() if max_output_bytes is None else max_output_bytes,
            )
            shared |= {"options": options, "trigger_rule": AFTER_SKIPPED}
            self.steps = _add_steps(self, plan, (), [self.start], {**FOLLOW_RETRIES, **shared, **(step_args or {})})
            self.finish = ConductorFinishOperator(task_id=FINISH, output_path=output_path, **FOLLOW_RETRIES, **shared)
            leaves = [task for task in self.steps.values() if not task.downstream_task_ids]
            # After an optional sub-workflow a start that failed is forgotten, so it stops the end by itself.
            self.finish.set_upstream([*leaves, self.start] if not leaves or plan.has_optional_groups else leaves)

    @property
    def output(self) -> Any:
        """The workflow's output, for other tasks."""
        return self.finish.output


class _StepGroup(TaskGroup):
    """The group of a sub-workflow. Its id is unique in the group around it, which Airflow checks by itself."""

    def _check_for_group_id_collisions(self, add_suffix_on_collision: bool) -> None:
        """Airflow 2.11 would compare the id without its prefix with all others of the DAG."""


def _add_steps(
    group: TaskGroup, plan: Plan, above: tuple[Step, ...], entry: Sequence[BaseOperator], arguments: Mapping[str, Any]
) -> dict[str, ConductorStepOperator]:
    """Add the tasks of a plan to the present group; returns the last task of each step, by reference name."""
    added: dict[str, ConductorStepOperator] = {}
    for step in plan.steps:
        before: list[BaseOperator] = [added[ref] for ref in step.upstream] or list(entry)
        steps = (*above, step)
        if step.sub_workflow is None:
            task = ConductorStepOperator(task_id=_task_id(step.ref, group), steps=steps, **arguments)
        else:
            with _StepGroup(group_id=_task_id(step.ref, group, last=f".{FINISH}")) as inner_group:
                inner = _add_steps(inner_group, step.sub_workflow, steps, before, arguments)
                before = [task for task in inner.values() if not task.downstream_task_ids]
                rule = {"trigger_rule": AFTER_ALL} if step.optional else {}
                task = ConductorStepOperator(task_id=FINISH, steps=steps, **{**arguments, **rule})
        task.set_upstream(before)
        added[step.ref] = task
    return added


def _task_id(ref: str, group: TaskGroup, *, last: str = "") -> str:
    """The id of a step's task in this group; with ``last``, of its group, whose last task has this name.

    Raises:
        ValueError: it is too long for Airflow.
    """
    task_id = to_task_id(ref)
    length, limit = len(group.child_id(task_id)) + len(last), TASK_ID_LIMIT
    if last and len(task_id) > GROUP_ID_LIMIT:
        length, limit = len(task_id), GROUP_ID_LIMIT
    if length > limit:
        raise ValueError(
            f"task group {group.group_id!r}: the id of step {ref[:80]!r} would have {length} characters, and Airflow "
            f"allows {limit}: give the step a shorter taskReferenceName or the task group a shorter group_id, or leave "
            "the step out with exclude or depth"
        )
    return task_id


def _compared(
    workflow: Definition, plan: Plan, below: Definitions
) -> Iterator[tuple[str, int | None, Mapping[str, Any]]]:
    """The definitions that the server must have, too."""
    yield workflow.name, workflow.version, workflow.data
    unread = [plan]
    seen: set[str] = set()
    while unread:
        for step in unread.pop().steps:
            if step.sub_workflow is not None:
                unread.append(step.sub_workflow)
                name = step.sub_workflow.workflow_name
                if name in below and name not in seen:
                    seen.add(name)
                    yield name, step.sub_workflow.version, below[name]


def _read(given: Any, folders: Sequence[Path]) -> list[Definition]:
    """The definitions that are given, or that a file has."""
    if isinstance(given, (str, Path)):
        from airflow_provider_conductor.definitions.files import find, read

        return [item for path in find(str(given), folders) for item in read(path)]
    return definitions_in(given)


def _chosen(found: Sequence[Definition], workflow_name: str | None) -> Definition:
    """The workflow's definition; of several versions of it the newest."""
    workflows = [item for item in found if item.kind == "workflow" and workflow_name in (None, item.name)]
    names = list(dict.fromkeys(item.name for item in workflows))
    if len(names) == 1:
        return max(workflows, key=lambda item: item.version)
    known = ", ".join(repr(item.name) for item in found if item.kind == "workflow") or "none"
    wanted = f"no workflow definition {workflow_name!r}" if workflow_name else "not exactly one workflow definition"
    raise ValueError(f"there is {wanted} in what was given (it has: {known}); name one with workflow_name")


def _folders(dag: Any) -> list[Path]:
    """Where paths begin: the DAG file's folder, then the DAG's ``template_searchpath``."""
    if dag is None:
        from airflow_provider_conductor._airflow import current_dag

        dag = current_dag()
    if dag is None:
        return [Path.cwd()]
    more = dag.template_searchpath or ()
    return [Path(dag.fileloc).parent, *(Path(path) for path in ([more] if isinstance(more, str) else more))]


def _several(given: Any) -> Sequence[Any]:
    return given if isinstance(given, (list, tuple)) else [given]


def _patterns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)
