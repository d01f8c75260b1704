"""A triggerer's waits and what they report, in a process of its own: Airflow sets its metrics up once a process.

Two waits of one connection; the server fails one of their polls, then both workflows end.
"""

from __future__ import annotations

import asyncio
import os

import airflow.jobs.triggerer_job_runner  # noqa: F401 - what a triggerer's process has imported
from airflow.models.trigger import Trigger

from airflow_provider_conductor.testing import ConductorStandIn, Request
from airflow_provider_conductor.triggers import ConductorWorkflowTrigger, shared_poller

POLL = "/workflow/bulk/search"
ENOUGH = 3
"""Polls after which the workflows end; the second one fails."""


async def main() -> None:
    with ConductorStandIn() as conductor:
        os.environ["AIRFLOW_CONN_CONDUCTOR_DEFAULT"] = conductor.connection_uri()
        ids = [conductor.add(), conductor.add()]
        polls = 0

        def instead(request: Request) -> tuple[int, str, bytes] | None:
            nonlocal polls
            polls += request.path == POLL
            if polls == ENOUGH:
                for workflow_id in ids:
                    conductor.end(workflow_id, "COMPLETED")
            if request.path == POLL and polls == 2:
                return 500, "application/json", b'{"message": "the database is away", "status": 500}'
            return None

        conductor.instead = instead
        await asyncio.gather(*map(ended, ids))


async def ended(workflow_id: str) -> None:
    trigger = ConductorWorkflowTrigger(
        workflow_id=workflow_id, conductor_conn_id="conductor_default", poll_interval=0.2
    )
    # A triggerer makes it from what is stored. To read that sets up the metrics on Airflow 3.2.
    stored = ConductorWorkflowTrigger(**Trigger.from_object(trigger).kwargs)
    async for event in stored.run():
        assert event.payload["status"] == "COMPLETED"


if __name__ == "__main__":
    shared_poller.gethostname = lambda: "triggerer-1"
    asyncio.run(main())
    if os.environ.get("AIRFLOW__METRICS__OTEL_ON"):
        from opentelemetry import metrics

        metrics.get_meter_provider().force_flush()
