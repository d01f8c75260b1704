"""What the requests of one API server process share: clients, and the last answer to each read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import HTTPException

from airflow_provider_conductor._airflow import masked
from airflow_provider_conductor.client.errors import ConductorError, ConductorNotFoundError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.ui.conductors import Conductors, ConductorUnavailableError
from airflow_provider_conductor.ui.recent_answers import RecentAnswers
from airflow_provider_conductor.view.summary import Standstill
from airflow_provider_conductor.view.workflow import View, read_view

T = TypeVar("T")

FRESH = 0.9
"""A page polls at its pace; an answer that is younger than this share of it is shared."""

LIST_AFTER = 5.0
"""Seconds between two reads of the workflows of a DAG run, or of a batch."""


@dataclass(slots=True)
class SharedReads:
    """Reads of Conductor, each for all requests that want the same at the same time."""

    conductors: Conductors = field(default_factory=Conductors)
    reads: RecentAnswers = field(default_factory=RecentAnswers)

    async def view(self, conn_id: str, workflow_id: str) -> View:
        """A workflow as it is now, or was a moment ago for somebody else.

        Raises:
            HTTPException: Conductor cannot be read.
        """

        async def read() -> View:
            return await self.run(conn_id, read_view(workflow_id, masked))

        # What has ended is polled rarely, but who opens its page has to see that it was revived.
        def max_age(view: View) -> float:
            return FRESH * (LIST_AFTER if view.workflow.status.ended else view.poll_after)

        return await self.reads.get((conn_id, workflow_id), read, max_age)

    async def standstill(self, conn_id: str, workflow_id: str) -> Standstill | None:
        """What a running workflow waits for, for a list, which does not keep its tasks; None if it has ended.

        Raises:
            HTTPException: Conductor cannot be read.
        """

        async def read() -> Standstill | None:
            return Standstill.of(await self.run(conn_id, read_view(workflow_id, masked)))

        return await self.reads.get((conn_id, "standstill", workflow_id), read, lambda _: LIST_AFTER * FRESH)

    async def run(self, conn_id: str, flow: Flow[T], *, changes: bool = False) -> T:
        """What the flow returns.

        Args:
            changes: whether it changes something, and may take longer.

        Raises:
            HTTPException: 404 for what Conductor does not know; 502 where it cannot be read.
        """
        try:
            return await self.conductors.run(conn_id, flow, changes=changes)
        except ConductorNotFoundError as error:
            raise HTTPException(
                404,
                f"Conductor has no such workflow: {masked(str(error))}. It was deleted, or archived some time after it "
                "ended. The last state that Airflow knows is in this task's log",
            ) from None
        except ConductorError as error:
            raise HTTPException(
                502,
                f"Airflow's API server could not reach Conductor (connection {conn_id}): {masked(str(error))}. "
                "The workflow, and the Airflow task that waits for it, are not affected",
            ) from None
        except ConductorUnavailableError as error:
            raise HTTPException(502, masked(str(error))) from None

    async def settings(self, conn_id: str) -> ConductorSettings:
        """The settings of a connection.

        Raises:
            HTTPException: 502, it cannot be used.
        """
        try:
            return (await self.conductors.client(conn_id)).settings
        except ConductorUnavailableError as error:
            raise HTTPException(502, masked(str(error))) from None
