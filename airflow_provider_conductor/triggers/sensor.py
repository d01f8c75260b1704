"""The trigger of a sensor that begins in the triggerer: no worker has rendered its arguments or started its clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_conductor._airflow import DEFERRED_KEY, TaskInstance, push_xcom
from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY, WORKFLOW_URL_KEY
from airflow_provider_conductor.polling.awaited_task import joined_statuses
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from airflow_provider_conductor.submission.termination_reasons import killed_reason, label_of
from airflow_provider_conductor.triggers.workflow import SingleWaitTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Environment

ANSWER_WITHIN = 180.0
"""Seconds for Airflow to answer: a triggerer's supervisor takes a while for its first answer, and never answers
what it does not understand."""

NOT_RENDERED = (
    "its templates were not rendered: since the task began, the DAG was changed such that it no longer begins in the "
    "triggerer. The next try follows the DAG as it is"
)
WAY_OUT = "Give the sensor deferrable=True instead of start_from_trigger=True, and a worker renders them"


class ConductorSensorTrigger(SingleWaitTrigger):
    """Waits for a sensor that begins in the triggerer; the event is that of ``ConductorWorkflowTrigger``.

    The arguments named like the sensor's templated ones are rendered in each triggerer anew. The clock does not begin
    anew: it follows from Airflow's own deferral timeout, a moment in the metadata database.

    Args:
        workflow_id: the workflow. Templated.
        timeout: seconds from the beginning to the deadline.
        deferral_timeout: seconds from the beginning to Airflow's deferral timeout.
        conductor_conn_id: id of the connection. Templated.
        templated: whether there is something to render.
        cancel_on_kill: terminate the workflow with a killed task.
        stall_timeout, poll_interval, exponential_backoff, max_wait: as in ``ConductorWorkflowTrigger``, in seconds.
        wait_until_task_ref: the task whose end is waited for. Templated.
        task_reference_name, expected_status: the task, and its statuses, that are waited for. Templated.
    """

    def __init__(
        self,
        *,
        workflow_id: str,
        timeout: float,
        deferral_timeout: float,
        conductor_conn_id: str = DEFAULT_CONNECTION_ID,
        templated: bool = True,
        cancel_on_kill: bool = False,
        stall_timeout: float | None = None,
        poll_interval: float | None = None,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        wait_until_task_ref: str | None = None,
        task_reference_name: str | None = None,
        expected_status: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(conductor_conn_id=conductor_conn_id)
        self.workflow_id = workflow_id
        self.timeout = timeout
        self.deferral_timeout = deferral_timeout
        self.templated = templated
        self.cancel_on_kill = cancel_on_kill
        self.wait_until_task_ref = wait_until_task_ref
        self.task_reference_name = task_reference_name
        self.expected_status = expected_status
        self._settings: dict[str, Any] = {
            "stall_timeout": stall_timeout,
            "poll_interval": poll_interval,
            "exponential_backoff": exponential_backoff,
            "max_wait": max_wait,
        }
        self._context: Context | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        arguments.pop("kill_reason", None)  # it follows from cancel_on_kill
        return classpath, arguments

    def _arguments(self) -> dict[str, Any]:
        names = (
            *("workflow_id", "timeout", "deferral_timeout", "templated", "cancel_on_kill"),
            *("wait_until_task_ref", "task_reference_name", "expected_status"),
        )
        return {name: getattr(self, name) for name in names} | self._settings

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Airflow's call before :meth:`run`, which does the rendering: its errors become an event."""
        self._context = context

    async def _prepare(self) -> None:
        try:
            await self._render_arguments()
            self.spec, self.state = self._rendered_spec(), WaitState()
        except ValueError as error:
            raise ConductorConfigError(str(error)) from error
        if self.cancel_on_kill and self.task_instance is not None:
            self.kill_reason = killed_reason(label_of(self.task_instance))

    async def _render_arguments(self) -> None:
        """Render the arguments.

        Raises:
            ValueError: they cannot be; the message says why, and what to do.
        """
        context, self._context = self._context, None
        if not self.templated:
            return
        if context is None or "workflow_id" not in self.template_fields:
            raise ValueError(NOT_RENDERED)
        ti = _SinglePulls(context["ti"])
        try:
            # What Airflow asks its supervisor meanwhile awaits the answer in this very task (greenback).
            async with asyncio.timeout(ANSWER_WITHIN):  # noqa: ASYNC100
                super().render_template_fields(cast("Context", {**context, "ti": ti, "task_instance": ti}))
        except TimeoutError:
            raise ValueError(
                "its templates could not be rendered: they ask for something that Airflow does not answer in a "
                f"triggerer. {WAY_OUT}"
            ) from None
        except Exception as error:  # whatever a template may raise
            raise ValueError(
                f"its templates could not be rendered in the triggerer: {type(error).__name__}: {error}. {WAY_OUT}"
            ) from error

    def _rendered_spec(self) -> WaitSpec:
        """What is waited for, with what is known only now.

        Raises:
            ValueError: an argument was not rendered to anything of use.
        """
        task_ref, statuses = self.wait_until_task_ref, ""
        if self.task_reference_name is not None:
            task_ref = str(self.task_reference_name).strip()
            if task_ref in ("", "None"):  # what a template makes of nothing
                raise ValueError(f"task_reference_name must not be empty, and was rendered to {task_ref!r}")
            statuses = joined_statuses(self.expected_status or "")
        started_at = self._started_at()
        return WaitSpec(
            workflow_id=one_workflow_id(self.workflow_id),
            started_at=started_at,
            deadline=started_at + self.timeout,
            wait_until_task_ref=task_ref,
            wait_until_task_status=statuses,
            **self._settings,
        )

    def _started_at(self) -> float:
        """When this try began, whichever triggerer it is in by now."""
        ends = getattr(self, "timeout_after", None)  # set by the triggerer
        if ends is None:
            return time.time()
        aware = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
        return float(aware.timestamp()) - self.deferral_timeout

    @property
    def _ids_of_event(self) -> dict[str, str]:
        return {"workflow_id": str(self.workflow_id or "").strip() or "(none)"}

    async def _wait(self, poller: Poller) -> dict[str, Any]:
        """Push id and link to XCom, as a worker would; if that fails, the worker that concludes makes up for it."""
        workflow_id = self.spec.workflow_id
        ti = cast("TaskInstance", self.task_instance)  # set by the triggerer
        url = poller.client.settings.workflow_url(workflow_id)
        deadline = datetime.fromtimestamp(self.spec.deadline or 0.0, UTC)
        self.log.info("Conductor workflow %s, until %s: %s", workflow_id, deadline.isoformat(timespec="seconds"), url)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await push_xcom(ti, WORKFLOW_ID_KEY, workflow_id)
                await push_xcom(ti, WORKFLOW_URL_KEY, url)
                if self.cancel_on_kill:
                    await push_xcom(ti, DEFERRED_KEY, ti.try_number)
        except Exception as error:  # whatever Airflow's API, or an XCom backend of somebody's own, may raise
            self.log.warning("Id and link could not be written to XCom before the wait: %r", error)
        return await super()._wait(poller)

    async def on_kill(self) -> None:
        if not hasattr(self, "spec"):
            self.log.warning("The task was killed before it was known which workflow it waits for")
            return
        await super().on_kill()


class _SinglePulls:
    """A task instance whose ``xcom_pull``, by default, asks for the XCom of a task that is not mapped.

    Airflow's own asks for those of all map indexes then, and a triggerer's supervisor (3.3.2) never answers that.
    """

    def __init__(self, ti: TaskInstance) -> None:
        self._ti = ti

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ti, name)

    def xcom_pull(self, *args: Any, **kwargs: Any) -> Any:
        return self._ti.xcom_pull(*args, **{"map_indexes": -1, **kwargs})
