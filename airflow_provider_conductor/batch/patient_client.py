"""Requests of a batch that outlast an outage."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, T
from airflow_provider_conductor.polling.missing_workflow import REFUSALS
from airflow_provider_conductor.polling.next_poll import next_poll_after_failure


@dataclass(slots=True, eq=False)
class PatientClient:
    """Drives flows; while Conductor is unreachable, those that may be repeated begin again until the deadline."""

    client: AsyncConductorClient
    deadline: float | None
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    warn: Callable[[str], None]
    killed: Callable[[], bool]
    _unreachable: bool = False

    async def run(self, flow: Flow[T]) -> T:
        result = await self.client.run(flow)
        self._unreachable = False
        return result

    async def run_patiently(self, flow_of: Callable[[], Flow[T]]) -> T:
        """Drive a flow that only reads, or may be repeated, until it succeeds.

        Raises:
            ConductorRequestError: waiting cannot help, or the deadline is over, or the task is killed.
        """
        for failures in itertools.count(1):
            try:
                return await self.run(flow_of())
            except ConductorRequestError as error:
                if self.killed():
                    raise
                await self.pause(failures, error)
        raise AssertionError  # pragma: no cover - the loop has no end

    async def pause(self, failures: int, error: ConductorRequestError) -> None:
        """Wait before the next attempt; ``failures`` have come in a row.

        Raises:
            ConductorRequestError: the given one, where waiting cannot help, or the deadline is over.
        """
        now = self.clock()
        # Without a status it is no answer, or that an accepted restart has had no effect yet.
        may_pass = error.temporary or error.status is None
        out_of_patience = error.refused_by_gateway and failures > REFUSALS
        if not may_pass or out_of_patience or (self.deadline is not None and now >= self.deadline):
            raise error
        if not self._unreachable:
            self._unreachable = True
            self.warn(f"Conductor is unreachable; the batch continues as soon as it answers again: {error}")
        at = next_poll_after_failure(failures, now, jitter=0.5, poll_by=self.deadline, retry_after=error.retry_after)
        await self.sleep(at - now)
