"""The trigger that waits for one workflow in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from airflow_provider_conductor._airflow import TaskNow
from airflow_provider_conductor.client.endpoints.writing import one_workflow_id
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.control.apply import apply
from airflow_provider_conductor.control.commands import skip
from airflow_provider_conductor.polling.awaited_task import joined_statuses
from airflow_provider_conductor.polling.durations import seconds
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait_event import STALLED, TIMEOUT
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from airflow_provider_conductor.triggers.base import ConductorTrigger, is_kill, start_and_deadline


class SingleWaitTrigger(ConductorTrigger):
    """Runs one wait, whose spec is known when :meth:`run` begins."""

    spec: WaitSpec
    state: WaitState

    async def _wait(self, poller: Poller) -> dict[str, Any]:
        event = await poller.run(self._wait_flow(poller, self.spec, self.state))
        if self.timeout_reason is not None and event.status in (TIMEOUT, STALLED):
            await self._terminate(poller, self.timeout_reason)
        return event.to_json()

    @property
    def _ids_of_event(self) -> dict[str, str]:
        return {"workflow_id": self.spec.workflow_id}

    @property
    def _subject(self) -> str:
        return f"Workflow {self.spec.workflow_id}"

    async def _terminate(self, poller: Poller, reason: str) -> str:
        workflow_id = self.spec.workflow_id
        return (await poller.client.run(terminate([workflow_id], reason))).describe(workflow_id)


class ConductorWorkflowTrigger(SingleWaitTrigger):
    """Fires one event when the workflow has ended, or the wait has.

    All triggers of a connection share one poller. For deferrable operators of your own::

        self.defer(
            trigger=ConductorWorkflowTrigger(workflow_id=workflow_id, timeout=3600),
            method_name="execute_complete",
        )

    The event is ``{"workflow_id": …, "status": …, "message": …}``. The status is the workflow's (``COMPLETED``,
    ``FAILED``, ``TIMED_OUT``, ``TERMINATED``), or ``timeout``, ``stalled``, ``task_ended``, ``task_missed``, ``gone``
    (the server does not know the workflow) or ``error`` (the connection cannot be used; ``error`` has the class).

    Args:
        workflow_id: the workflow.
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        timeout: seconds (or timedelta) for the whole wait, from ``started_at`` on; None for no limit.
        stall_timeout: seconds (or timedelta) without progress after which the wait ends; None for a warning only.
        poll_interval: seconds between polls; None adapts to the workflow.
        wait_until_task_ref: wait only until the task with this reference name has ended.
        wait_until_task_status: wait for this status of the task, or one of several.
        warn_after: seconds (or timedelta) after the run's start at which a warning is logged that it still runs; None
            for no warning.
        reports_slow: fire the event ``slow`` then, which has the ``state`` to continue with. Set by this package's
            operators.
        exponential_backoff, max_wait: increase ``poll_interval`` as Airflow's sensors do, up to so many seconds.
        started_at: when the wait began, in seconds since the epoch; None for now. It is stored with the trigger, so a
            triggerer's restart prolongs nothing.
        deadline: the end of the wait as a moment, in seconds since the epoch; with ``timeout``, the earlier one counts.
        state: what an earlier part of the wait has seen, as JSON. Set by this package's operators.
        kill_reason: terminate the workflow with this reason when Airflow kills the deferred task. Set by this package's
            operators, which note the deferral; None leaves the workflow running.
        timeout_reason: terminate the workflow with this reason after a timeout; None leaves that to the task.

    Raises:
        ValueError: an argument that cannot be used, by name.
    """

    def __init__(
        self,
        *,
        workflow_id: str,
        conductor_conn_id: str = DEFAULT_CONNECTION_ID,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
        wait_until_task_ref: str | None = None,
        wait_until_task_status: str | Sequence[str] = "",
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        warn_after: float | timedelta | None = None,
        reports_slow: bool = False,
        started_at: float | None = None,
        deadline: float | None = None,
        state: Mapping[str, Any] | None = None,
        kill_reason: str | None = None,
        timeout_reason: str | None = None,
    ) -> None:
        super().__init__(conductor_conn_id=conductor_conn_id, kill_reason=kill_reason, timeout_reason=timeout_reason)
        start, end = start_and_deadline(timeout, started_at, deadline)
        self.spec = WaitSpec(
            workflow_id=one_workflow_id(workflow_id),
            started_at=start,
            deadline=end,
            stall_timeout=seconds(stall_timeout, "stall_timeout"),
            poll_interval=seconds(poll_interval, "poll_interval"),
            exponential_backoff=exponential_backoff,
            max_wait=max_wait,
            warn_after=seconds(warn_after, "warn_after"),
            reports_slow=reports_slow,
            wait_until_task_ref=wait_until_task_ref,
            wait_until_task_status="" if wait_until_task_status == "" else joined_statuses(wait_until_task_status),
        )
        self.state = WaitState.from_json(self.spec.workflow_id, state or {})

    def _arguments(self) -> dict[str, Any]:
        state = self.state.to_json()
        return self.spec.to_json() | ({"state": state} if state else {})


class ConductorWorkflowStepTrigger(ConductorWorkflowTrigger):
    """The same for one of several tasks that follow one workflow.

    A kill that lets the others go on leaves the workflow running: a clear, and a mark as success. After the mark, the
    workflow skips the step, where the server can. One of all of them, such as the timeout of the dag run, terminates it
    once.

    Args:
        skip_ref: the step that a mark as success skips; "" for none.
        root_id: the workflow that a kill terminates, where it waits for one of its sub-workflows; "" for its own.
    """

    def __init__(self, *, skip_ref: str = "", root_id: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skip_ref = skip_ref
        self.root_id = one_workflow_id(root_id) if root_id else self.spec.workflow_id

    def _arguments(self) -> dict[str, Any]:
        more = {"skip_ref": self.skip_ref} if self.skip_ref else {}
        if self.root_id != self.spec.workflow_id:
            more["root_id"] = self.root_id
        return super()._arguments() | more

    @property
    def _heeds_kills(self) -> bool:
        return super()._heeds_kills or bool(self.skip_ref)

    def _after_kill(self, task: TaskNow) -> Callable[[Poller], Awaitable[str]] | None:
        if task.state == "success":
            return self._skip if self.skip_ref and is_kill(task) else None
        return None if task.state in (None, "upstream_failed") else super()._after_kill(task)

    async def _skip(self, poller: Poller) -> str:
        flow = apply(skip(self.skip_ref), [self.spec.workflow_id], log=self._log_line, attempted=True)
        try:
            why_not = (await poller.client.run(flow)).failure
        except ConductorError as error:
            why_not = str(error)
        return f"step {self.skip_ref!r} " + (f"is not skipped: {why_not}" if why_not else "is skipped")

    async def _terminate(self, poller: Poller, reason: str) -> str:
        key = (self.conductor_conn_id, self.root_id)
        # One after the other: the second one reads that the workflow has ended.
        async with _terminations_of.setdefault(key, asyncio.Lock()):
            return (await poller.client.run(terminate([self.root_id], reason))).describe(self.root_id)


_terminations_of: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
"""Connection and workflow → held while a trigger terminates the workflow."""
