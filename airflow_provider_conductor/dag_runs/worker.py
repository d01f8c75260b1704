"""The worker's loops: polling the queue, ending orphaned DAG runs, returning lost tasks to the queue.

A task that was polled is handled in one short pass and returned to the queue by ``callbackAfterSeconds`` until its DAG
run has ended, so that no process holds it: any worker handles the next pass. Conductor 3.32.2 gives a task whose poll
or update was lost to nobody before ``responseTimeoutSeconds``; the worker returns those to the queue
(``/tasks/queue/requeue``) when it begins, after a request that failed, and from time to time for workers that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import ConductorNotFoundError, ConductorRequestError
from airflow_provider_conductor.client.models import Task
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.dag_runs.airflow_client import AirflowClient, AirflowSettings
from airflow_provider_conductor.dag_runs.request import TASK_TYPE
from airflow_provider_conductor.dag_runs.task_service import TaskService
from airflow_provider_conductor.dag_runs.worker_spec import WorkerSpec

log = logging.getLogger(__name__)

T = TypeVar("T")

TASK_DEFINITION = {
    "name": TASK_TYPE,
    "description": "A run of an Airflow DAG, served by `airflow conductor worker`",
    "ownerEmail": "airflow@example.com",
    "retryCount": 0,
    "timeoutSeconds": 0,
    "timeoutPolicy": "TIME_OUT_WF",
    "responseTimeoutSeconds": 86_400,
    "inputKeys": ["dag_id", "conf", "logical_date", "note", "xcoms"],
    "outputKeys": ["dag_id", "dag_run_id", "state", "logical_date", "start_date", "end_date", "url", "xcoms"],
}
"""Registered if there is none. Workers return what was lost to the queue long before the response timeout."""

REQUEUE_EVERY = 300.0
"""Seconds after which tasks of workers that died are returned to the queue."""

REQUEUE_TAKES = 60.0
"""Seconds that the server may take for that."""

AFTER_AN_ERROR = 5.0
"""Seconds after a poll that failed."""

TIME_TO_FINISH = 25.0
"""Seconds for the passes under way when the worker is stopped."""


class Worker:
    """Serves the tasks of type ``airflow_dag`` until it is stopped.

    Args:
        conductor: settings of the connection to Conductor.
        airflow: where Airflow's API is.
        spec: how it works.
    """

    def __init__(self, conductor: ConductorSettings, airflow: AirflowSettings, spec: WorkerSpec) -> None:
        self._settings = (conductor, airflow)
        self._spec = spec
        self._id = f"{socket.gethostname()}:{os.getpid()}"
        self._stopped = asyncio.Event()
        self._handling: dict[str, asyncio.Task[None]] = {}
        self._served: dict[str, float] = {}
        self._something_lost = True

    def stop(self) -> None:
        """Poll no more; :meth:`run` returns as soon as the passes under way are over."""
        if not self._stopped.is_set():
            log.info("stopping: %d tasks are being handled", len(self._handling))
        self._stopped.set()

    async def run(self) -> None:
        """Serve tasks until :meth:`stop`. An outage of a server is waited for."""
        conductor_settings, airflow_settings = self._settings
        async with AsyncConductorClient(conductor_settings) as conductor, AirflowClient(airflow_settings) as airflow:
            conductor.pool = self._spec.concurrency + 4
            api = await self._patiently("Airflow", airflow.find_api)
            if api is None:
                return
            log.info("Airflow at %s: version %d of its API", airflow_settings.base, api.version)
            await self._patiently("Conductor", lambda: self._define(conductor))
            service = TaskService(conductor, airflow, api, self._spec.status_interval, self._spec.max_active_runs)
            await self._patiently("the DAG runs under way", lambda: self._reconcile(service))
            log.info("serving %s at %s as %s", TASK_TYPE, conductor_settings.api_url, self._id)
            others = [
                asyncio.create_task(loop(service)) for loop in (self._keep_reconciling, self._keep_returning_lost_tasks)
            ]
            try:
                await self._keep_polling(service)
            finally:
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                if self._handling:
                    await asyncio.wait(self._handling.values(), timeout=TIME_TO_FINISH)
        log.info("stopped")

    async def _patiently(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """The attempt's result, made again until it succeeds; None if the worker is stopped before."""
        while not self._stopped.is_set():
            try:
                return await attempt()
            except ConductorRequestError as error:
                log.warning("%s: %s; tried again in %g s", what, error, AFTER_AN_ERROR)
                await self._pause(AFTER_AN_ERROR)
        return None

    async def _define(self, conductor: AsyncConductorClient) -> None:
        try:
            await conductor.get_task_def(TASK_TYPE)
        except ConductorNotFoundError:
            await conductor.register_task_defs(TASK_DEFINITION)
            log.info("task definition %s is registered", TASK_TYPE)

    async def _keep_polling(self, service: TaskService) -> None:
        while not self._stopped.is_set():
            free = self._spec.concurrency - len(self._handling)
            if free <= 0:
                await asyncio.wait(self._handling.values(), return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                call = endpoints.poll_tasks(TASK_TYPE, free, self._id, self._spec.domain)
                tasks = await service.conductor.send(call)
            except ConductorRequestError as error:
                self._something_lost |= error.fate_unknown
                log.warning("the queue could not be polled: %s", error)
                await self._pause(AFTER_AN_ERROR)
                continue
            for task in tasks:
                if task.task_id not in self._handling:
                    self._begin(service, task)
            if len(tasks) < free:
                await self._pause(self._spec.poll_interval)

    def _begin(self, service: TaskService, task: Task) -> None:
        handling = asyncio.create_task(self._handle(service, task))
        self._handling[task.task_id] = handling
        handling.add_done_callback(lambda _: self._handling.pop(task.task_id, None))

    async def _handle(self, service: TaskService, task: Task) -> None:
        try:
            await service.send(task, await service.report_on(task))
            self._served[task.task_id] = time.monotonic()
        except ConductorRequestError as error:
            self._something_lost = True
            log.warning("task %s of workflow %s could not be updated: %s", task.task_id, task.workflow_id, error)
        except Exception:
            self._something_lost = True
            log.exception("task %s of workflow %s", task.task_id, task.workflow_id)

    async def _keep_reconciling(self, service: TaskService) -> None:
        while not self._stopped.is_set():
            await self._pause(self._spec.reconcile_interval)
            try:
                await self._reconcile(service)
            except ConductorRequestError as error:
                log.warning("DAG runs of terminated workflows could not be searched for: %s", error)
            except Exception:
                log.exception("DAG runs of terminated workflows could not be searched for")

    async def _reconcile(self, service: TaskService) -> None:
        now = time.monotonic()
        self._served = {key: at for key, at in self._served.items() if now - at < self._spec.reconcile_interval}
        await service.end_orphans(set(self._served))

    async def _keep_returning_lost_tasks(self, service: TaskService) -> None:
        call = replace(endpoints.requeue_tasks(TASK_TYPE), hold=REQUEUE_TAKES)
        requeued_at = 0.0
        while not self._stopped.is_set():
            began = time.monotonic()
            if self._something_lost or began - requeued_at > REQUEUE_EVERY:
                self._something_lost, requeued_at = False, began
                try:
                    await service.conductor.send(call)
                except ConductorRequestError as error:
                    self._something_lost = True
                    log.warning("lost tasks could not be returned to the queue: %s", error)
            # The server goes through all tasks that are open, which takes a few milliseconds each.
            await self._pause(max(self._spec.reconcile_interval, 5 * (time.monotonic() - began)))

    async def _pause(self, seconds: float) -> None:
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
