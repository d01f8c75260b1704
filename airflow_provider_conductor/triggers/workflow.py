"""The trigger that waits for a workflow in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from airflow_provider_conductor._airflow import task_now
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import ERROR, STALLED, TIMEOUT, WaitEvent, WaitPlan, wait
from airflow_provider_conductor.triggers.kill_detection import is_kill
from airflow_provider_conductor.triggers.shared_poller import shared_poller
from airflow_provider_conductor.triggers.version_compat import TRIGGERS_HEAR_OF_KILLS, BaseTrigger, TriggerEvent

__all__ = ["ConductorWorkflowTrigger"]

_endings: set[asyncio.Task[None]] = set()
"""Terminations under way: a loop holds its tasks but weakly."""


class ConductorWorkflowTrigger(BaseTrigger):
    """Fires one event when the workflow has ended, or the wait has.

    The event is ``{"workflow_id": …, "status": …, "message": …}``; for ``status`` see
    :class:`~airflow_provider_conductor.polling.wait.WaitEvent`.

    Args:
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        plan: a :class:`~airflow_provider_conductor.polling.wait.WaitPlan` as JSON: ids and numbers only.
        kill_reason: given to the workflow when a killed task takes it along; None leaves it running.
        timeout_reason: given to the workflow that the trigger itself terminates after a timeout; None leaves that to
            the task.
    """

    def __init__(
        self,
        *,
        conductor_conn_id: str,
        plan: dict[str, Any],
        kill_reason: str | None = None,
        timeout_reason: str | None = None,
    ) -> None:
        super().__init__()
        self.conductor_conn_id = conductor_conn_id
        self.plan = plan
        self.kill_reason = kill_reason
        self.timeout_reason = timeout_reason

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "conductor_conn_id": self.conductor_conn_id,
                "plan": self.plan,
                "kill_reason": self.kill_reason,
                "timeout_reason": self.timeout_reason,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        plan = WaitPlan.from_json(self.plan)
        try:
            async with shared_poller(self.conductor_conn_id) as poller:
                await self._announce(poller)
                event = await poller.run(self._wait_flow(plan, poller, self.log.info))
                if self.timeout_reason is not None and event.status in (TIMEOUT, STALLED):
                    await poller.client.run(terminate([plan.workflow_id], self.timeout_reason))
        except ConductorError as error:
            event = WaitEvent(
                workflow_id=plan.workflow_id, status=ERROR, message=str(error), error=type(error).__name__
            )
        except asyncio.CancelledError:
            if not TRIGGERS_HEAR_OF_KILLS:
                await self._end_whatever_comes()
            raise
        yield TriggerEvent(event.to_json())

    def _wait_flow(self, plan: WaitPlan, poller: Poller, log: Callable[..., None]) -> Flow[WaitEvent]:
        """A wait that leaves workers' reasons out: a triggerer masks only the secrets that it has seen itself."""
        reasons = poller.client.settings.triggerer_reasons
        return wait(plan, to_log(log), warn=to_log(self.log.warning), reasons=reasons)

    async def _announce(self, poller: Poller) -> None:
        """What is to be told before the wait; here the worker has told it."""

    async def on_kill(self) -> None:
        """The task was marked or cleared (Airflow 3.3 and later)."""
        await self._end_whatever_comes()

    async def _end_whatever_comes(self) -> None:
        """Finish even if this is cancelled again: a busy triggerer asks twice, and Airflow drops what then remains."""
        ending = asyncio.create_task(self._end_with_its_task())
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)
        await asyncio.shield(ending)

    async def _end_with_its_task(self) -> None:
        """Terminate the workflow if the task has certainly been killed; see :func:`is_kill`."""
        if self.kill_reason is None or self.task_instance is None:
            return
        what = self._what
        try:
            task = await task_now(self.task_instance)
        except Exception as error:  # whatever the database or supervisor raises: nothing is known, nothing is ended
            self.log.warning("%s: left alone, since the task's state cannot be read (%s)", what, error)
            return
        state = task.state or "cleared"
        if not is_kill(task):
            self.log.info(
                "%s: left running, since the task was not killed while it was deferred (its state is %s)", what, state
            )
            return
        try:
            async with shared_poller(self.conductor_conn_id) as poller:
                done = await self._terminate(poller, self.kill_reason)
        except ConductorError as error:
            self.log.error("%s: could not be terminated and may still run: %s", what, error)
        else:
            self.log.info("The task was killed (its state is %s). %s: %s", state, what, done)

    @property
    def _what(self) -> str:
        """What this trigger waits for, as log lines name it."""
        return f"Workflow {self.plan['workflow_id']}"

    async def _terminate(self, poller: Poller, reason: str) -> str:
        """Terminate what it waits for, unless that has ended; returns what was done."""
        workflow_id = self.plan["workflow_id"]
        return (await poller.client.run(terminate([workflow_id], reason))).describe(workflow_id)
