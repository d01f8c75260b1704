"""The trigger that waits for the running workflows of a batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow_provider_conductor.batch.driver import waiting_for
from airflow_provider_conductor.batch.handover import FREE_FOR, worth_a_worker
from airflow_provider_conductor.client.flow import steady
from airflow_provider_conductor.client.models import WorkflowStatus
from airflow_provider_conductor.client.termination import terminate_concurrently
from airflow_provider_conductor.client.text import LINE_LIMIT, one_line
from airflow_provider_conductor.connection_form import DEFAULT_CONNECTION_ID
from airflow_provider_conductor.polling.durations import seconds
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait_event import TIMEOUT
from airflow_provider_conductor.triggers.base import ConductorTrigger, start_and_deadline

GO_ON = "go_on"
"""The event's status if there is something for a worker to do."""


class ConductorWorkflowsTrigger(ConductorTrigger):
    """Waits for many running workflows; fires one event when all have ended, or a worker has enough to do again.

    The event is ``{"status": "go_on" | "timeout" | "error", "message": …, "completed": […]}``. Of the ended workflows
    it names only those that completed, which the server may remove before the worker reads them.

    Args:
        workflow_ids: the workflows.
        more: whether the worker has further ones to start; then the event also comes when enough of them have ended.
        max_active: how many may run at a time; None for as many as ``workflow_ids``.
        timeout, poll_interval, started_at, deadline: as in ``ConductorWorkflowTrigger``.
        stall_timeout: seconds (or timedelta) without progress after which a workflow counts as ended.
        conductor_conn_id, kill_reason, timeout_reason: as there.

    Raises:
        ValueError: an argument that cannot be used, by name.
    """

    def __init__(
        self,
        *,
        workflow_ids: Sequence[str],
        conductor_conn_id: str = DEFAULT_CONNECTION_ID,
        more: bool = False,
        max_active: int | None = None,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
        started_at: float | None = None,
        deadline: float | None = None,
        kill_reason: str | None = None,
        timeout_reason: str | None = None,
    ) -> None:
        super().__init__(conductor_conn_id=conductor_conn_id, kill_reason=kill_reason, timeout_reason=timeout_reason)
        self.workflow_ids = list(workflow_ids)
        self.more = more
        self.max_active = len(self.workflow_ids) if max_active is None else max_active
        self.started_at, self.deadline = start_and_deadline(timeout, started_at, deadline)
        self.stall_timeout = seconds(stall_timeout, "stall_timeout")
        self.poll_interval = seconds(poll_interval, "poll_interval")

    def _arguments(self) -> dict[str, Any]:
        names = ("workflow_ids", "more", "max_active", "started_at", "deadline", "stall_timeout", "poll_interval")
        return {name: getattr(self, name) for name in names}

    async def _wait(self, poller: Poller) -> dict[str, Any]:
        ended, in_time = await self._wait_for_work(poller)
        if not in_time and self.timeout_reason is not None:
            await self._terminate(poller, self.timeout_reason)
        return {
            "status": GO_ON if in_time else TIMEOUT,
            "message": f"{len(ended):,} of {len(self.workflow_ids):,} running workflows have ended",
            "completed": [workflow_id for workflow_id in ended if workflow_id is not None],
        }

    async def _wait_for_work(self, poller: Poller) -> tuple[list[str | None], bool]:
        """Until there is enough for a worker to do.

        Returns:
            For each wait that ended the id of the workflow that it saw complete, or None; and whether that was before
            the deadline.
        """
        clock = steady(time.time, time.monotonic)
        began = clock()
        waits = {asyncio.create_task(self._one(poller, workflow_id, began)) for workflow_id in self.workflow_ids}
        ended: list[str | None] = []
        free_since: float | None = None
        try:
            while True:
                now = clock()
                free_since = free_since or (now if ended else None)
                if worth_a_worker(
                    ended=len(ended),
                    active=len(waits),
                    more=self.more,
                    max_active=self.max_active,
                    free_since=free_since,
                    now=now,
                ):
                    return ended, True
                if self.deadline is not None and now >= self.deadline:
                    return ended, False
                moments = [self.deadline, free_since + FREE_FOR if free_since and self.more else None]
                pauses = [max(0.0, moment - now) for moment in moments if moment is not None]
                done, waits = await asyncio.wait(
                    waits, timeout=min(pauses, default=None), return_when=asyncio.FIRST_COMPLETED
                )
                ended += [task.result() for task in done]
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _one(self, poller: Poller, workflow_id: str, now: float) -> str | None:
        """Wait for one; its id if it completed. Its event may hold the whole workflow, so it is not kept."""
        limits = {"stall_timeout": self.stall_timeout, "poll_interval": self.poll_interval}
        spec, state = waiting_for(workflow_id, now, began=self.started_at, **limits)
        event = await poller.run(self._wait_flow(poller, spec, state))
        return workflow_id if event.status == WorkflowStatus.COMPLETED else None

    def _log_line(self, line: str) -> None:
        self.log.debug("%s", one_line(line, LINE_LIMIT))

    @property
    def _subject(self) -> str:
        return f"{len(self.workflow_ids):,} workflows of the batch"

    async def _terminate(self, poller: Poller, reason: str) -> str:
        done = await terminate_concurrently(poller.client.run, self.workflow_ids, reason)
        return f"{len(done.terminated):,} terminated, {len(done.ended):,} had ended"
