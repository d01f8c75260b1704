"""The worker of DAG runs, which kills itself at a named point. Arguments: the point, then those of the worker."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from airflow_provider_conductor.cli import main
from airflow_provider_conductor.dag_runs.airflow_client import AirflowClient
from airflow_provider_conductor.dag_runs.report import Report
from airflow_provider_conductor.dag_runs.task_service import TaskService

POINTS = ("polled", "started", "ended")
"""Before the DAG run is started; after that, before the task is updated; before the update with the end."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    report_on, send, ask = TaskService.report_on, TaskService.send, AirflowClient.send

    async def polled(self: TaskService, task: Any) -> Report:
        die()
        return await report_on(self, task)

    async def started(self: AirflowClient, call: Any) -> Any:
        answer = await ask(self, call)
        if call.route.startswith("POST ") and call.route.endswith("/dagRuns"):
            die()
        return answer

    async def ended(self: TaskService, task: Any, found: Report) -> None:
        if found.status.ended:
            die()
        await send(self, task, found)

    match point:
        case "polled":
            TaskService.report_on = polled  # type: ignore[method-assign]
        case "started":
            AirflowClient.send = started  # type: ignore[method-assign]
        case "ended":
            TaskService.send = ended  # type: ignore[method-assign]


if __name__ == "__main__":
    arm(sys.argv[1])
    main(sys.argv[2:])
