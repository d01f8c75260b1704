"""A notifier that acts in Conductor: in callbacks of tasks and DAG runs, and when a deadline is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from copy import copy
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import uuid4

from airflow.providers.common.compat.notifier import BaseNotifier

from airflow_provider_conductor.client.text import readable, to_log
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.control.task_choice import COMPLETION_STATUSES, Completion
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY
from airflow_provider_conductor.operators.arguments import given, is_template, one_of, rendered_mapping, whole_number

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.client.flow import Flow
    from airflow_provider_conductor.client.settings import ConductorSettings
    from airflow_provider_conductor.hooks.conductor import ConductorHook

Action = Literal["start", "complete_task", "signal", "terminate"]

ARGUMENTS_OF: Mapping[Action, frozenset[str]] = {
    "start": frozenset({"workflow_name", "version", "workflow_input", "correlation_id", "priority"}),
    "complete_task": frozenset({"workflow_id", "task_reference_name", "status", "task_output", "reason"}),
    "signal": frozenset({"workflow_id", "status", "task_output", "reason"}),
    "terminate": frozenset({"workflow_id", "reason"}),
}
"""What each action takes, besides the connection."""

WORKFLOW_OF_TASK = f"{{{{ ti.xcom_pull(task_ids=ti.task_id, key='{WORKFLOW_ID_KEY}', map_indexes=ti.map_index) }}}}"
"""The workflow that the Airflow task of the callback has started or waited for."""

STATUSES = tuple(str(status) for status in COMPLETION_STATUSES)

SEARCH_SECONDS = 30.0
"""Seconds of the search for a start whose answer was lost, before it is sent again."""


class ConductorNotifier(BaseNotifier):
    """Act in Conductor when an Airflow task or DAG run has ended, is retried, or misses a deadline.

    For every ``on_…_callback`` of a task or DAG, and for deadline alerts: with ``SyncCallback``, or ``AsyncCallback``,
    which runs in the triggerer. All arguments but ``action`` are templates::

        on_failure_callback=ConductorNotifier(
            action="start", workflow_name="refund", workflow_input={"order": "{{ params.order }}"}
        )

    Args:
        action: ``start`` a workflow; ``complete_task`` by its reference name; ``signal`` a workflow, which completes
            the WAIT task at which it waits; or ``terminate`` a workflow, if it runs.
        conductor_conn_id: connection of type ``conductor``.
        workflow_name: of the workflow to start; with it ``version``, ``workflow_input``, ``correlation_id`` and
            ``priority`` (0 to 99), as ``ConductorStartWorkflowOperator`` has them. An answer that is lost on the way
            does not start it twice.
        workflow_id: of the workflow to act on. Default: the one that the task of the callback has started or waited
            for. A callback of a DAG has no such task, nor has a deadline.
        task_reference_name: of the open task to complete.
        status: COMPLETED (default), FAILED (retried if its definition has retries) or FAILED_WITH_TERMINAL_ERROR.
        task_output: the output of that task.
        reason: why the task failed, or why the workflow is terminated; the server stores it.
        context: given by Airflow where it awaits the notifier.

    Raises:
        ValueError: an argument that is missing, unusable, or not one of this action's.
    """

    template_fields: Sequence[str] = ("conductor_conn_id", *sorted(frozenset().union(*ARGUMENTS_OF.values())))

    def __init__(
        self,
        *,
        action: Action,
        conductor_conn_id: str = DEFAULT_CONNECTION_ID,
        workflow_name: str | None = None,
        version: int | str | None = None,
        workflow_input: Mapping[str, Any] | str | None = None,
        correlation_id: str | None = None,
        priority: int | str | None = None,
        workflow_id: str | None = None,
        task_reference_name: str | None = None,
        status: str | None = None,
        task_output: Mapping[str, Any] | str | None = None,
        reason: str | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__()
        self.action = one_of(action, get_args(Action), "action")
        self.conductor_conn_id = conductor_conn_id
        self.workflow_name = workflow_name
        self.version = version
        self.workflow_input = workflow_input
        self.correlation_id = correlation_id
        self.priority = priority
        self.workflow_id = workflow_id
        self.task_reference_name = task_reference_name
        self.status = status
        self.task_output = task_output
        self.reason = reason
        self.context: Any = context or {}
        self._may_be_repeated = False
        own = ("conductor_conn_id", *ARGUMENTS_OF[action])
        if foreign := [name for name in self.template_fields if name not in own and getattr(self, name) is not None]:
            raise ValueError(
                f"action={action!r} takes no {', '.join(foreign)}; it takes {', '.join(sorted(ARGUMENTS_OF[action]))}"
            )
        if action == "start":
            given(workflow_name, "workflow_name")
        elif workflow_id is None:
            self.workflow_id = WORKFLOW_OF_TASK
        if action == "complete_task":
            given(task_reference_name, "task_reference_name")
        if status is not None and not is_template(status):
            one_of(status, STATUSES, "status")

    def __call__(self, *args: Any) -> None:
        """Act, with a copy: Airflow renders the templates in place, and may call the same object for other tasks.

        A DAG's templates raise for what the context lacks. Airflow 3 has no exception for a task whose worker was lost
        (seen on 3.3.2), so ``{{ exception }}`` is empty there.
        """
        call = copy(self)
        if len(args) == 1:  # 2.11 has a way to call it without a context
            # A notifier's fields are added to the context, which another callback may get after this one.
            context: Any = dict(args[0]) if isinstance(args[0], dict) else args[0]
            call._may_be_repeated = _is_of_lost_worker(context)
            context.setdefault("exception", "")
            args = (context,)
        super(ConductorNotifier, call).__call__(*args)

    def notify(self, context: Context) -> None:
        """Act, blocking: in a worker or the DAG processor. Templates are rendered already."""
        hook = self._hook()
        self.log.info("%s", hook.client.run(self._flow(context, hook.settings)))

    async def async_notify(self, context: Context) -> None:
        """Act in the triggerer's event loop. Templates are rendered already."""
        async with await self._hook().async_client() as client:
            self.log.info("%s", await client.run(self._flow(context, client.settings)))

    def _hook(self) -> ConductorHook:
        from airflow_provider_conductor.hooks.conductor import ConductorHook

        return ConductorHook(self.conductor_conn_id)

    def _flow(self, context: Context, settings: ConductorSettings) -> Flow[str]:
        """Do it; returns what was done, for the log.

        Raises:
            ValueError: a template was rendered to something that cannot be used; nothing was sent.
            CompletionRefusedError: no such task is open.
            ConductorError: Conductor is unreachable, or refuses.
        """
        from airflow_provider_conductor.client.endpoints.writing import one_workflow_id

        if self.action == "start":
            return self._start(context, settings)
        if self.workflow_id in (None, "", "None"):
            raise ValueError(
                f"{self.action}: the Airflow task of this callback has no Conductor workflow in its XCom "
                f"{WORKFLOW_ID_KEY!r}; name one by workflow_id"
            )
        workflow_id = one_workflow_id(self.workflow_id)
        if self.action == "terminate":
            return self._terminate(workflow_id, context)
        return self._complete(workflow_id, settings)

    def _start(self, context: Context, settings: ConductorSettings) -> Flow[str]:
        from airflow_provider_conductor.client.plain import read_json
        from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
        from airflow_provider_conductor.submission.lookup import search_for_start
        from airflow_provider_conductor.submission.start_once import start_once
        from airflow_provider_conductor.submission.start_plan import StartPlan, make_start_body

        arguments = {
            "workflow_name": given(self.workflow_name, "workflow_name"),
            "version": whole_number(self.version, "version"),
            "workflow_input": read_json(self.workflow_input, "workflow_input"),
            "correlation_id": self.correlation_id,
            "priority": whole_number(self.priority, "priority"),
        }
        ti: Any = context.get("ti")
        dag_run: Any = context.get("dag_run")
        of = ti or dag_run
        body = make_start_body({**dict.fromkeys(("workflow_def", "task_to_domain")), **arguments}, {})
        call = uuid4().hex
        if self._may_be_repeated:
            call = sha256(json.dumps([ti.try_number, body], sort_keys=True).encode()).hexdigest()
        identity = TaskIdentity(
            prefix=settings.identity_prefix or "airflow",
            dag_id=_attribute(of, "dag_id"),
            run_id=_run_id(of),
            task_id=_attribute(ti, "task_id"),
            map_index=-1 if ti is None or ti.map_index is None else ti.map_index,
            try_number=1,
            first_try=1,
            item=f"callback-{call[:12]}",  # each call starts one workflow
        )
        now = time.time()
        began = dag_run.start_date.timestamp() if self._may_be_repeated and dag_run.start_date else now
        plan = StartPlan(
            identity=identity,
            body=body,
            series_began=began,
            run_began=began,
            search_seconds=max(settings.read_timeout, SEARCH_SECONDS),
        )
        log = to_log(self.log.info)
        if self._may_be_repeated and plan.label is None:
            found = yield from search_for_start(plan, StartKey(identity.series), deadline=now)
            if found is not None:
                workflow_id = found.workflow.workflow_id
                return f"Airflow repeats this callback, which has started {settings.workflow_url(workflow_id)}"
        started = yield from start_once(
            plan, log=log, warn=to_log(self.log.warning), save=lambda record: None, check_duplicates=False
        )
        return f"Conductor workflow {started.workflow_id} was started: {settings.workflow_url(started.workflow_id)}"

    def _complete(self, workflow_id: str, settings: ConductorSettings) -> Flow[str]:
        from airflow_provider_conductor.client.statuses import TaskStatus
        from airflow_provider_conductor.control.task_completion import complete, signal

        completion = Completion(
            status=TaskStatus(one_of(self.status or "COMPLETED", STATUSES, "status")),
            output=rendered_mapping(self.task_output, "task_output"),
            reason=readable(self.reason) if self.reason else None,
        )
        log = to_log(self.log.info)
        if self.action == "signal":
            task = yield from signal(workflow_id, completion, log=log)
        else:
            task_ref = given(self.task_reference_name, "task_reference_name")
            task = yield from complete(workflow_id, completion, log=log, task_ref=task_ref)
        return f"Task {task.reference_name} is {task.status}: {settings.workflow_url(workflow_id)}"

    def _terminate(self, workflow_id: str, context: Context) -> Flow[str]:
        from airflow_provider_conductor.client.termination import terminate
        from airflow_provider_conductor.submission.termination_reasons import killed_reason, label_of

        reason = self.reason
        if not reason:
            ti: Any = context.get("ti")
            of: Any = ti or context.get("dag_run")
            label = label_of(ti) if ti is not None else f"{_attribute(of, 'dag_id')} run {_run_id(of)}"
            reason = killed_reason(f"{label} called back")
        done = yield from terminate([workflow_id], readable(reason))
        return f"Conductor workflow {workflow_id}: {done.describe(workflow_id)}"


def _is_of_lost_worker(context: Mapping[str, Any]) -> bool:
    """Whether Airflow 3 calls back in the DAG processor, for a task whose worker was lost.

    It may do that twice: for the heartbeat that did not come, and for the executor's event (seen on 3.3.2;
    apache/airflow#68008). The task instance has no ``start_date`` there, and a DAG's callback has a reason.
    """
    ti = context.get("ti")
    return ti is not None and not hasattr(ti, "start_date") and "reason" not in context


def _run_id(of: Any) -> str:
    """A deadline's dag run has it under the name that it has in Airflow's REST API (seen on 3.3.2)."""
    return _attribute(of, "run_id") or _attribute(of, "dag_run_id")


def _attribute(of: Any, name: str) -> str:
    """A field of what a callback's context has: an object, or (of a deadline) a dict; "" where it has none."""
    value = of.get(name) if isinstance(of, Mapping) else getattr(of, name, None)
    return str(value or "")
