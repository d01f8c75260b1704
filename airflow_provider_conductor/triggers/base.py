"""What all triggers of this package share: how Airflow stores them, and what a kill does."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.triggers.base import BaseTrigger

from airflow_provider_conductor._airflow import task_now, triggers_hear_of_kills
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.polling.durations import seconds
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from airflow_provider_conductor.triggers.kill_detection import is_kill
from airflow_provider_conductor.triggers.shared_poller import shared_poller

__all__ = ["ConductorTrigger", "start_and_deadline"]

PACKAGE = "airflow_provider_conductor.triggers"

_terminations: set[asyncio.Task[None]] = set()
"""Terminations under way: a loop holds its tasks but weakly."""


class ConductorTrigger(BaseTrigger):
    """Waits for workflows of one connection.

    Args:
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        kill_reason: given to the workflows that are terminated with a killed task; None leaves them running.
        timeout_reason: given to the workflows that the trigger itself terminates after a timeout; None leaves that to
            the task.
    """

    def __init__(
        self, *, conductor_conn_id: str, kill_reason: str | None = None, timeout_reason: str | None = None
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

    @abstractmethod
    async def _terminate(self, poller: Poller, reason: str) -> str:
        """Terminate what it waits for, unless that has ended; returns what was done."""

    def _wait_flow(self, poller: Poller, spec: WaitSpec, state: WaitState, log: Callable[..., None]) -> Flow[WaitEvent]:
        """A wait that leaves workers' reasons out: a triggerer masks only the secrets that it has seen itself."""
        reasons = poller.client.settings.triggerer_reasons
        return wait(spec, to_log(log), state=state, warn=to_log(self.log.warning), reasons=reasons)

    async def _cancelled(self) -> None:
        """Airflow has cancelled :meth:`run`; before 3.3 nothing else tells a trigger of a kill."""
        if not triggers_hear_of_kills():
            await self.on_kill()

    async def on_kill(self) -> None:
        """The task was marked or cleared: Airflow's call, from 3.3 on.

        What begins here finishes even if Airflow cancels it: it does so again at each heartbeat of a busy triggerer.
        """
        termination = asyncio.create_task(self._terminate_if_killed())
        _terminations.add(termination)
        termination.add_done_callback(_terminations.discard)
        await asyncio.shield(termination)

    async def _terminate_if_killed(self) -> None:
        """Terminate what still runs if the task has certainly been killed, see :func:`is_kill`."""
        if self.kill_reason is None or self.task_instance is None:
            return
        subject = self._subject
        try:
            task = await task_now(self.task_instance)
        except Exception as error:  # whatever the database or supervisor raises
            self.log.warning("%s: left alone, since the task's state cannot be read (%s)", subject, error)
            return
        state = task.state or "cleared"
        if not is_kill(task):
            self.log.info(
                "%s: left running, since the task was not killed while it was deferred (its state is %s)",
                subject,
                state,
            )
            return
        try:
            async with shared_poller(self.conductor_conn_id) as poller:
                done = await self._terminate(poller, self.kill_reason)
        except ConductorError as error:
            self.log.error("%s: could not be terminated and may still run: %s", subject, error)
        else:
            self.log.info("The task was killed (its state is %s). %s: %s", state, subject, done)


def start_and_deadline(
    timeout: float | timedelta | None, started_at: float | None, deadline: float | None
) -> tuple[float, float | None]:
    """When a wait began and when it is over, as moments that stay the same in each triggerer.

    Args:
        timeout: seconds (or timedelta) from the beginning on.
        started_at, deadline: seconds since the epoch, if they are known already; the wait begins now if not.
    """
    start = time.time() if started_at is None else started_at
    limit = seconds(timeout, "timeout")
    ends = [end for end in (deadline, None if limit is None else start + limit) if end is not None]
    return start, min(ends, default=None)
