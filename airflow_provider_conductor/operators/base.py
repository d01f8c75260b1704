"""What every Conductor operator and sensor shares: the connection, the ids and link in XCom, and the kill guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.plain import is_sdk_configuration
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.exceptions import AirflowTaskKilledError, ConductorArgumentRefusedError
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY, WORKFLOW_URL_KEY, ConductorWorkflowLink
from airflow_provider_conductor.operators.kill_guard import KillGuard
from airflow_provider_conductor.operators.lineage import LineageMixin
from airflow_provider_conductor.operators.rendering import TextRenderingMixin
from airflow_provider_conductor.operators.task_run import TaskRun

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_provider_conductor.client.flow import Flow, T
    from airflow_provider_conductor.exceptions import AboutWorkflow
    from airflow_provider_conductor.hooks.conductor import ConductorHook

KILLED = "the task was killed before it had sent all of its requests"
"""The error of a task that is killed while it controls workflows, completes a task or registers definitions."""


class ConductorOperator(TextRenderingMixin, LineageMixin, BaseOperator):
    """A task that talks to Conductor.

    Args:
        conductor_conn_id: connection of type ``conductor``.
    """

    template_fields: Sequence[str] = ("conductor_conn_id",)
    operator_extra_links: Sequence[BaseOperatorLink] = (ConductorWorkflowLink(),)
    ui_color = "#1976d2"
    ui_fgcolor = "#ffffff"

    _run: TaskRun
    """The try that this process executes."""
    _context: Context
    """Airflow's, of this try."""

    def __init__(self, *, conductor_conn_id: str = DEFAULT_CONNECTION_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conductor_conn_id = conductor_conn_id

    @property
    def conductor_conn_id(self) -> str:
        """Id of the connection. Never the key itself, which would end up in the DAG and in a trigger's arguments."""
        conn_id: str = self.__dict__["conductor_conn_id"]
        return conn_id

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

    @cached_property
    def _guard(self) -> KillGuard:
        """Made in the process that executes the task: Airflow copies operators."""
        return KillGuard()

    def on_kill(self) -> None:
        """Airflow kills the task: nothing more is sent for it, and what it has running is terminated or left."""
        super().on_kill()
        self._guard.kill()

    def _begin(self, context: Context) -> TaskRun:
        """What each of Airflow's ways into this operator does first: note which try this is."""
        self._context, self._run = context, TaskRun.of(context)
        self._guard.begin(self._run, self.execution_timeout)
        return self._run

    def _checked(self, call: Callable[[], T]) -> T:
        """What the call returns; an argument that it refuses is an error that is not retried."""
        try:
            return call()
        except ConductorInputError as error:
            raise ConductorArgumentRefusedError(str(error), reason=str(error)) from error

    def _send(self, flow: Flow[T]) -> T:
        """Drive a flow that changes something, step by step, for as long as the task lives."""
        from airflow_provider_conductor.submission.errors import TaskKilledError

        try:
            return self._checked(lambda: self.hook.client.run(self._guard.unless_killed(flow)))
        except TaskKilledError:
            raise AirflowTaskKilledError(KILLED) from None

    def _about(self, workflow_id: str) -> AboutWorkflow:
        """The attributes of an error that name its workflow."""
        return {"workflow_id": workflow_id, "url": self.hook.workflow_url(workflow_id)}

    def _announce(self, workflow_id: str) -> None:
        """Write the id and the UI link to XCom and log, before anything waits."""
        self._lineage_id = workflow_id
        url = self._page_of(workflow_id)
        self.log.info("Conductor workflow %s: %s", workflow_id, url)
        self._run.push(WORKFLOW_ID_KEY, workflow_id)
        self._run.push(WORKFLOW_URL_KEY, url)

    def _page_of(self, workflow_id: str) -> str:
        """Where the link of the task leads."""
        return self.hook.workflow_url(workflow_id)
