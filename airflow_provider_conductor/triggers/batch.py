"""The trigger that waits for the running workflows of a batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow_provider_conductor.batch.driver import waiting_for
from airflow_provider_conductor.batch.handover import FREE_FOR, worth_a_worker
from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.flow import steady
from airflow_provider_conductor.client.termination import terminate_concurrently
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import ERROR, MESSAGE_LIMIT, TIMEOUT
from airflow_provider_conductor.triggers.shared_poller import shared_poller
from airflow_provider_conductor.triggers.version_compat import TRIGGERS_HEAR_OF_KILLS, TriggerEvent
from airflow_provider_conductor.triggers.workflow import ConductorWorkflowTrigger

__all__ = ["GO_ON", "ConductorWorkflowsTrigger"]

GO_ON = "go_on"
"""The event's status where there is something for a worker to do."""


class ConductorWorkflowsTrigger(ConductorWorkflowTrigger):
    """Waits for a batch's running workflows; fires one event when a worker has enough to do again.

    The event is ``{"status": "go_on" | "timeout" | "error", "message": …}``. It does not say how the workflows ended:
    the worker asks the server, which knows better.

    Args:
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        workflow_ids: those that run; at most ``max_active``, and nothing but their ids.
        more: whether there are further ones to be started.
        max_active: how many of the batch may run at a time.
        began: when the batch was begun, seconds since the epoch.
        deadline: when the wait is over, seconds since the epoch; None for never.
        stall_timeout, poll_interval: seconds, as the operator has them.
        kill_reason: given to the workflows when a killed task takes them along; None leaves them running.
        timeout_reason: given to those that the trigger itself terminates after a timeout; None leaves that to the
            task.
    """

    def __init__(
        self,
        *,
        conductor_conn_id: str,
        workflow_ids: Sequence[str],
        more: bool,
        max_active: int,
        began: float,
        deadline: float | None = None,
        stall_timeout: float | None = None,
        poll_interval: float | None = None,
        kill_reason: str | None = None,
        timeout_reason: str | None = None,
    ) -> None:
        super().__init__(
            conductor_conn_id=conductor_conn_id, plan={}, kill_reason=kill_reason, timeout_reason=timeout_reason
        )
        self.workflow_ids = list(workflow_ids)
        self.more = more
        self.max_active = max_active
        self.began = began
        self.deadline = deadline
        self.stall_timeout = stall_timeout
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "conductor_conn_id": self.conductor_conn_id,
                "workflow_ids": self.workflow_ids,
                "more": self.more,
                "max_active": self.max_active,
                "began": self.began,
                "deadline": self.deadline,
                "stall_timeout": self.stall_timeout,
                "poll_interval": self.poll_interval,
                "kill_reason": self.kill_reason,
                "timeout_reason": self.timeout_reason,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        event = {"status": GO_ON, "message": ""}
        try:
            async with shared_poller(self.conductor_conn_id) as poller:
                event["message"], in_time = await self._wait(poller)
                if not in_time:
                    event["status"] = TIMEOUT
                    if self.timeout_reason is not None:
                        await terminate_concurrently(poller.client.run, self.workflow_ids, self.timeout_reason)
        except ConductorError as error:
            event = {"status": ERROR, "message": one_line(error, MESSAGE_LIMIT), "error": type(error).__name__}
        except asyncio.CancelledError:
            if not TRIGGERS_HEAR_OF_KILLS:
                await self._end_whatever_comes()
            raise
        yield TriggerEvent(event)

    async def _wait(self, poller: Poller) -> tuple[str, bool]:
        """Until a worker is worth it: what there is to say, and whether that was before the deadline."""
        clock = steady(time.time, time.monotonic)
        began = clock()
        waits = {asyncio.create_task(self._one(poller, workflow_id, began)) for workflow_id in self.workflow_ids}
        ended: set[asyncio.Task[None]] = set()
        free_since: float | None = None
        try:
            while True:
                now = clock()
                free_since = free_since or (now if ended else None)
                told = f"{len(ended):,} of {len(self.workflow_ids):,} running workflows have ended"
                if worth_a_worker(
                    ended=len(ended),
                    active=len(waits),
                    more=self.more,
                    max_active=self.max_active,
                    free_since=free_since,
                    now=now,
                ):
                    return told, True
                if self.deadline is not None and now >= self.deadline:
                    return told, False
                moments = [self.deadline, free_since + FREE_FOR if free_since and self.more else None]
                until = min((moment for moment in moments if moment is not None), default=None)
                done, waits = await asyncio.wait(
                    waits,
                    timeout=None if until is None else max(0.0, until - now),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                ended |= done
                for task in done:
                    task.result()
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _one(self, poller: Poller, workflow_id: str, now: float) -> None:
        plan = waiting_for(
            workflow_id, now, began=self.began, stall_timeout=self.stall_timeout, poll_interval=self.poll_interval
        )
        await poller.run(self._wait_flow(plan, poller, self.log.debug))

    @property
    def _what(self) -> str:
        return f"{len(self.workflow_ids):,} workflows of the batch"

    async def _terminate(self, poller: Poller, reason: str) -> str:
        done = await terminate_concurrently(poller.client.run, self.workflow_ids, reason)
        return f"{len(done.terminated):,} terminated, {len(done.ended):,} had ended"
