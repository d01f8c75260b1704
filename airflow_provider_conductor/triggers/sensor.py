"""The trigger of a sensor that begins in the triggerer: no worker has been there to make its plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_conductor._airflow import DEFERRED_KEY, push_xcom
from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY, WORKFLOW_URL_KEY
from airflow_provider_conductor.polling.awaited_task import joined_statuses
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import ERROR, WaitEvent, WaitPlan
from airflow_provider_conductor.submission.termination_reasons import killed_reason, label_of
from airflow_provider_conductor.triggers.version_compat import TriggerEvent
from airflow_provider_conductor.triggers.workflow import ConductorWorkflowTrigger

__all__ = ["ConductorSensorTrigger"]

PATIENCE = 180.0
"""Seconds for Airflow to answer: a triggerer's supervisor takes a while for its first answer, and gives none at all to
what it does not understand."""

WAY_OUT = "Give the sensor deferrable=True instead of start_from_trigger=True, and a worker renders them"


class ConductorSensorTrigger(ConductorWorkflowTrigger):
    """Makes the plan that a worker would have made, and waits by it.

    The arguments that are named as the sensor's templated ones are rendered in each triggerer anew. What must not begin
    anew is the clock: it follows from Airflow's own deferral timeout, a moment kept in the metadata database.

    Args:
        conductor_conn_id: id of the connection. Templated.
        workflow_id: the workflow. Templated.
        plan: a :class:`~airflow_provider_conductor.polling.wait.WaitPlan` as JSON, without id and moments.
        lasts: seconds from the beginning to the deadline.
        times_out_after: seconds from the beginning to Airflow's deferral timeout.
        templated: there is something to render.
        cancel_on_kill: terminate the workflow with a killed task.
        wait_until_task_ref: as in the plan. Templated.
        task_reference_name, expected_status: the task and its statuses, where a task is waited for. Templated.
    """

    def __init__(
        self,
        *,
        conductor_conn_id: str,
        workflow_id: str,
        plan: dict[str, Any],
        lasts: float,
        times_out_after: float,
        templated: bool = True,
        cancel_on_kill: bool = False,
        wait_until_task_ref: str | None = None,
        task_reference_name: str | None = None,
        expected_status: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(conductor_conn_id=conductor_conn_id, plan=plan)
        self.workflow_id = workflow_id
        self.lasts = lasts
        self.times_out_after = times_out_after
        self.templated = templated
        self.cancel_on_kill = cancel_on_kill
        self.wait_until_task_ref = wait_until_task_ref
        self.task_reference_name = task_reference_name
        self.expected_status = expected_status
        self._context: Any = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, _ = super().serialize()
        names = (
            *("conductor_conn_id", "workflow_id", "plan", "lasts", "times_out_after", "templated", "cancel_on_kill"),
            *("wait_until_task_ref", "task_reference_name", "expected_status"),
        )
        return classpath, {name: getattr(self, name) for name in names}

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Airflow's call, before :meth:`run`: rendered is there, where what goes wrong can be told."""
        self._context = context

    async def _render_arguments(self) -> None:
        """Render the arguments.

        Raises:
            ValueError: they cannot be; the message says why, and what to do.
        """
        context, self._context = self._context, None
        if not self.templated:
            return
        if context is None or "workflow_id" not in self.template_fields:
            raise ValueError(
                "its templates were not rendered: since the task began, the DAG was changed such that it no longer "
                "begins in the triggerer. The next try follows the DAG as it is"
            )
        ti = _SinglePulls(context["ti"])
        try:
            # What Airflow asks its supervisor meanwhile awaits the answer in this very task (greenback).
            async with asyncio.timeout(PATIENCE):  # noqa: ASYNC100
                super().render_template_fields({**context, "ti": ti, "task_instance": ti})  # type: ignore[misc]
        except TimeoutError:
            raise ValueError(
                "its templates could not be rendered: they ask for something that Airflow does not answer in a "
                f"triggerer. {WAY_OUT}"
            ) from None
        except Exception as error:  # whatever a template may raise
            raise ValueError(
                f"its templates could not be rendered in the triggerer: {type(error).__name__}: {error}. {WAY_OUT}"
            ) from error

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            await self._render_arguments()
            self.plan = self._whole_plan().to_json()
        except ValueError as error:
            yield TriggerEvent(
                WaitEvent(
                    workflow_id=str(self.workflow_id or "").strip() or "(none)",
                    status=ERROR,
                    message=str(error),
                    error=ConductorConfigError.__name__,
                ).to_json()
            )
            return
        if self.cancel_on_kill and self.task_instance is not None:
            self.kill_reason = killed_reason(label_of(self.task_instance))
        async for event in super().run():
            yield event

    def _whole_plan(self) -> WaitPlan:
        """The plan with what is known only now.

        Raises:
            ValueError: an argument was not rendered to anything of use.
        """
        plan = replace(
            WaitPlan.from_json({**self.plan, "workflow_id": one_workflow_id(self.workflow_id), "started_at": 0.0}),
            started_at=(began := self._began()),
            deadline=began + self.lasts,
            wait_until_task_ref=self.wait_until_task_ref,
        )
        if self.task_reference_name is None:
            return plan
        return replace(
            plan,
            wait_until_task_ref=_text(self.task_reference_name, "task_reference_name"),
            wait_until_task_status=joined_statuses(self.expected_status or ""),
        )

    def _began(self) -> float:
        """When this try began, whichever triggerer it is in by now."""
        ends = getattr(self, "timeout_after", None)  # set by the triggerer
        if ends is None:
            return time.time()
        aware = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
        return float(aware.timestamp()) - self.times_out_after

    async def _announce(self, poller: Poller) -> None:
        """Id and link to XCom, as a worker would; one that fails is made up for by the worker that concludes."""
        workflow_id = self.plan["workflow_id"]
        url = poller.client.settings.workflow_url(workflow_id)
        deadline = datetime.fromtimestamp(self.plan["deadline"], UTC)
        self.log.info("Conductor workflow %s, until %s: %s", workflow_id, deadline.isoformat(timespec="seconds"), url)
        try:
            async with asyncio.timeout(PATIENCE):
                await push_xcom(self.task_instance, WORKFLOW_ID_KEY, workflow_id)
                await push_xcom(self.task_instance, WORKFLOW_URL_KEY, url)
                if self.cancel_on_kill:
                    await push_xcom(self.task_instance, DEFERRED_KEY, self.task_instance.try_number)
        except Exception as error:  # whatever Airflow's API, or an XCom backend of somebody's own, may raise
            self.log.warning("Id and link could not be written to XCom before the wait: %r", error)

    async def on_kill(self) -> None:
        if "workflow_id" not in self.plan:
            self.log.warning("The task was killed before it was known which workflow it waits for")
            return
        await super().on_kill()


class _SinglePulls:
    """A task instance whose ``xcom_pull`` asks for the XCom of a task that is not mapped, unless told otherwise.

    Airflow's own asks for those of all map indexes then, and a triggerer's supervisor (3.3.2) never answers that.
    """

    def __init__(self, ti: Any) -> None:
        self._ti = ti

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ti, name)

    def xcom_pull(self, *args: Any, **kwargs: Any) -> Any:
        return self._ti.xcom_pull(*args, **{"map_indexes": -1, **kwargs})


def _text(value: Any, name: str) -> str:
    text = str(value).strip()
    if text in ("", "None"):  # what a template makes of nothing
        raise ValueError(f"{name} must not be empty, and was rendered to {text!r}")
    return text
