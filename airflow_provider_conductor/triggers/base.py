"""What all triggers of this package share: how Airflow stores them, how they run, and what a kill does."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_conductor._airflow import DELETED, TaskNow, task_now, triggers_hear_of_kills
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.text import LINE_LIMIT, one_line
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.polling.durations import seconds
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import ERROR, MESSAGE_LIMIT, WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from airflow_provider_conductor.triggers.shared_poller import shared_poller

PACKAGE = "airflow_provider_conductor.triggers"

MARKED = frozenset({"failed", "skipped", "success", "upstream_failed"})
"""Where a user, or Airflow for a timeout of the dag run, may have put a deferred task. None: it is cleared."""

_terminations: set[asyncio.Task[None]] = set()
"""Terminations under way: a loop holds its tasks but weakly."""


class ConductorTrigger(BaseTrigger):
    """Waits for workflows of one connection, and fires one event.

    Args:
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        kill_reason: given to the workflows that are terminated with a killed task; None leaves them running.
        timeout_reason: given to the workflows that the trigger itself terminates after a timeout; None leaves that to
            the task.
    """

    def __init__(
        self,
        *,
        conductor_conn_id: str = DEFAULT_CONNECTION_ID,
        kill_reason: str | None = None,
        timeout_reason: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conductor_conn_id = conductor_conn_id
        self.kill_reason = kill_reason
        self.timeout_reason = timeout_reason

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's public path, and the arguments that make the same wait in another triggerer."""
        kind = type(self)
        module = PACKAGE if kind.__module__.startswith(f"{PACKAGE}.") else kind.__module__
        shared = {name: getattr(self, name) for name in ("conductor_conn_id", "kill_reason", "timeout_reason")}
        arguments = {name: value for name, value in shared.items() if value is not None}
        return f"{module}.{kind.__qualname__}", arguments | self._arguments()

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """The arguments of the class's own, as JSON."""

    @property
    @abstractmethod
    def _subject(self) -> str:
        """What this trigger waits for, as log lines name it."""

    @property
    def _ids_of_event(self) -> dict[str, str]:
        """What each of its events has, whatever happened."""
        return {}

    async def _prepare(self) -> None:
        """Done before the connection is looked up; a ConductorError becomes the event."""

    @abstractmethod
    async def _wait(self, poller: Poller) -> dict[str, Any]:
        """Wait to the end; returns the event."""

    @abstractmethod
    async def _terminate(self, poller: Poller, reason: str) -> str:
        """Terminate what it waits for, unless that has ended; returns what was done."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            await self._prepare()
            async with shared_poller(self.conductor_conn_id) as poller:
                event = await self._wait(poller)
        except ConductorError as error:
            message = one_line(error, MESSAGE_LIMIT)
            event = {**self._ids_of_event, "status": ERROR, "message": message, "error": type(error).__name__}
        except asyncio.CancelledError:
            if not triggers_hear_of_kills():  # a kill is only a cancellation then
                await self.on_kill()
            raise
        yield TriggerEvent(event)

    @property
    def log(self) -> Any:
        """The class's own: one for each trigger, as Airflow makes it, takes several of the objects in :meth:`run`."""
        return self.logger() if self._log is None else self._log

    def _wait_flow(self, poller: Poller, spec: WaitSpec, state: WaitState) -> Flow[WaitEvent]:
        """A wait that leaves workers' reasons out: a triggerer masks only the secrets that it has seen itself."""
        reasons = poller.client.settings.triggerer_reasons
        return wait(spec, self._log_line, state=state, warn=self._log_warning, reasons=reasons)

    def _log_line(self, line: str) -> None:
        self.log.info("%s", one_line(line, LINE_LIMIT))

    def _log_warning(self, line: str) -> None:
        self.log.warning("%s", one_line(line, LINE_LIMIT))

    def _after_kill(self, task: TaskNow) -> Callable[[Poller], Awaitable[str]] | None:
        """What is done in Conductor for what has become of the task, and says so; None: nothing."""
        if self.kill_reason is None or not is_kill(task):
            return None
        return partial(self._terminate, reason=self.kill_reason)

    async def on_kill(self) -> None:
        """The task was marked or cleared: Airflow's call, from 3.3 on.

        What begins here finishes even if Airflow cancels it: it does so again at each heartbeat of a busy triggerer.
        """
        termination = asyncio.create_task(self._act_if_killed())
        _terminations.add(termination)
        termination.add_done_callback(_terminations.discard)
        await asyncio.shield(termination)

    @property
    def _heeds_kills(self) -> bool:
        """Whether a kill of the task matters to what it waits for."""
        return self.kill_reason is not None

    async def _act_if_killed(self) -> None:
        if not self._heeds_kills or self.task_instance is None:
            return
        subject = self._subject
        try:
            task = await task_now(self.task_instance)
        except Exception as error:  # whatever the database or supervisor raises
            self.log.warning("%s: left alone, since the task's state cannot be read (%s)", subject, error)
            return
        state = task.state or "cleared"
        act = self._after_kill(task)
        if act is None:
            why = "other tasks follow it" if is_kill(task) else "the task was not killed while it was deferred"
            why += f" (its state is {state})"
            self.log.info("%s: left running, since %s", subject, why)
            return
        try:
            async with shared_poller(self.conductor_conn_id) as poller:
                done = await act(poller)
        except ConductorError as error:
            self.log.error("%s: could not be terminated and may still run: %s", subject, error)
        else:
            self.log.info("The task was killed (its state is %s). %s: %s", state, subject, done)


def is_kill(task: TaskNow) -> bool:
    """Whether the task of a cancelled trigger has certainly been killed while it was deferred.

    Airflow cancels a trigger, and 3.3 calls its ``on_kill``, also when it moves the trigger to another triggerer. One
    that has stood still for a while (a paused machine, an unreachable database) notices that late: the other
    triggerer may have delivered the event, and the task may have gone on, and ended, since. Its workflow may run on
    rightfully then: after ``wait_until_task_ref``, in a batch, with ``on_timeout="leave"``, until a retry.

    ================================================ ============= ===== =============================================
    state                                            deferred last kill? why
    ================================================ ============= ===== =============================================
    deferred                                         any           no    the trigger moves, or the triggerer stops
    None                                             yes           yes   cleared
    success, failed, skipped, upstream_failed        yes           yes   marked; ``dagrun_timeout``; ``fail_fast``
    None, success, failed, skipped, upstream_failed  no            no    a worker has taken over from the triggerer
    deleted                                          any           yes   with its dag run: no worker comes any more
    scheduled, queued                                any           no    the event is delivered; or it was cleared, and
                                                                         the next try ends what runs from before
    running, restarting                              any           no    a worker has it, and its ``on_kill`` is called
    up_for_retry, up_for_reschedule                  any           no    a worker has had it, and the next try goes on
    removed, and whatever else Airflow may add       any           no    nothing is certain
    ================================================ ============= ===== =============================================
    """
    if task.state == DELETED:
        return True
    return (task.state is None or task.state in MARKED) and task.deferred_last


def start_and_deadline(
    timeout: float | timedelta | None, started_at: float | None, deadline: float | None
) -> tuple[float, float | None]:
    """When a wait began (now, if that is not known) and when it is over: moments, the same in each triggerer."""
    start = time.time() if started_at is None else started_at
    limit = seconds(timeout, "timeout")
    ends = [end for end in (deadline, None if limit is None else start + limit) if end is not None]
    return start, min(ends, default=None)
