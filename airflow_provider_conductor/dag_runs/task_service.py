"""One pass over one task of type ``airflow_dag``: start its DAG run or read it, and report."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import (
    ConductorBadRequestError,
    ConductorInputError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.lineage import dag_run_conf
from airflow_provider_conductor.client.models import Task
from airflow_provider_conductor.dag_runs import report
from airflow_provider_conductor.dag_runs.airflow_api import AirflowApi, DagRun
from airflow_provider_conductor.dag_runs.airflow_client import AirflowApiError, AirflowClient, AirflowRefusedError
from airflow_provider_conductor.dag_runs.report import Report
from airflow_provider_conductor.dag_runs.request import DagRunRequest, RequestError

log = logging.getLogger(__name__)

T = TypeVar("T")

AFTER_AN_ERROR = 10
"""Seconds until a task is tried again for which a server could not be reached."""


@dataclass(eq=False)
class TaskService:
    """Serves tasks, each pass from what both servers have stored: nothing is kept between two passes but the count.

    Attributes:
        shortest_pause: seconds until a DAG run that has not ended is read again, at least.
        max_active_runs: DAG runs of such tasks that may be open; further tasks wait.
        open_runs: the ids of those that are, as far as this process has heard.
    """

    conductor: AsyncConductorClient
    airflow: AirflowClient
    api: AirflowApi
    shortest_pause: float
    max_active_runs: int
    open_runs: set[str] = field(default_factory=set)

    async def report_on(self, task: Task) -> Report:
        """What is to be reported about a task now. Starts its DAG run if there is none."""
        try:
            return await self._report_on(task, DagRunRequest.of(task.input))
        except RequestError as error:
            return report.refused(f"wrong input: {error}")
        except AirflowRefusedError as error:
            return report.refused(f"Airflow refused: {error.message}")
        except ConductorRequestError as error:
            log.warning("task %s of workflow %s is postponed: %s", task.task_id, task.workflow_id, error)
            return report.postponed(task, str(error), AFTER_AN_ERROR)

    async def _report_on(self, task: Task, request: DagRunRequest) -> Report:
        known = str(task.output.get("dag_run_id") or "")
        try:
            run = await self._read(request.dag_id, known) if known else await self._first_read(task, request)
        except AirflowRefusedError as error:
            if known and error.status == 404:
                self.open_runs.discard(known)
                return report.deleted(known, request.dag_id)
            raise
        if run is None:
            return report.postponed(task, f"{self.max_active_runs} DAG runs are open already", AFTER_AN_ERROR)
        url = self.airflow.ui_base + self.api.run_path(run.dag_id, run.run_id)
        if run.is_open:
            self.open_runs.add(run.run_id)
            paused = run.state == "queued" and await self._if_allowed(self.api.is_paused(run.dag_id), False)
            age = max(0, task.update_time - task.start_time) / 1000  # both by the server's clock
            return report.open_run(run, url, report.pause(age, self.shortest_pause), dag_is_paused=paused)
        if run.state == "success":
            found = report.succeeded(run, url, await self._xcoms(run, request))
        else:
            tasks = await self._if_allowed(self.api.failed_tasks(run.dag_id, run.run_id), ())
            found = report.failed(run, url, tasks)
        self.open_runs.discard(run.run_id)
        return found

    async def _if_allowed(self, call: Call[T], otherwise: T) -> T:
        """What only explains, and is not worth a failure while the run goes on."""
        try:
            return await self.airflow.send(call)
        except AirflowApiError as error:
            if error.status not in (403, 404):
                raise
            return otherwise

    async def _read(self, dag_id: str, run_id: str) -> DagRun:
        return await self.airflow.send(self.api.dag_run(dag_id, run_id))

    async def _first_read(self, task: Task, request: DagRunRequest) -> DagRun | None:
        """The task's run: that of an attempt that was lost, one that an earlier pass has started, or a new one.

        None: there are too many open runs to start one.
        """
        if inherited := await self._inherited(task, request):
            return inherited
        run_id = report.run_id_of(task.task_id)
        if len(self.open_runs) >= self.max_active_runs and run_id not in self.open_runs:
            return None
        self.open_runs.add(run_id)
        try:
            run = await self.airflow.send(self.api.trigger(self._with_lineage(request, task), run_id))
        except AirflowRefusedError as error:
            if error.status != 409:
                self.open_runs.discard(run_id)
                raise
        else:
            log.info("DAG run %s of %s is started for workflow %s", run_id, request.dag_id, task.workflow_id)
            return run
        try:
            return await self._read(request.dag_id, run_id)
        except AirflowRefusedError as missing:
            if missing.status != 404:
                raise
            self.open_runs.discard(run_id)
            raise RequestError(
                f"logical_date {request.logical_date} is that of another run of {request.dag_id}"
            ) from None

    def _with_lineage(self, request: DagRunRequest, task: Task) -> DagRunRequest:
        """The same, with the workflow as the run's parent in OpenLineage, if the task was given what that takes."""
        lineage = dag_run_conf(
            task.input,
            workflow_id=task.workflow_id,
            workflow_name=str(task.data.get("workflowType") or ""),
            api_url=self.conductor.settings.api_url,
        )
        return replace(request, conf={**lineage, **request.conf})

    async def _inherited(self, task: Task, request: DagRunRequest) -> DagRun | None:
        """The run of an attempt before, if that was lost with its worker, and the run is open or has succeeded."""
        before = task.retried_task_id
        while before:
            try:
                attempt = await self.conductor.get_task(before)
            except ConductorNotFoundError:
                return None
            if attempt is None or not report.was_lost(attempt):
                return None
            try:
                run = await self._read(request.dag_id, report.run_id_of(before))
            except AirflowRefusedError as error:
                if error.status != 404:
                    raise
            else:
                return None if run.state == "failed" else run
            before = attempt.retried_task_id
        return None

    async def _xcoms(self, run: DagRun, request: DagRunRequest) -> dict[str, Any]:
        """The XComs asked for by their names; None for those that the run has not pushed."""
        found: dict[str, Any] = {}
        for wanted in request.xcoms:
            try:
                found[wanted.name] = await self.airflow.send(self.api.xcom(run.dag_id, run.run_id, wanted))
            except AirflowRefusedError as error:
                if error.status != 404:
                    raise
                found[wanted.name] = None
        return found

    async def send(self, task: Task, found: Report) -> None:
        """Report on a task. Whether it has ended meanwhile makes no difference: the server ignores it then.

        Raises:
            ConductorRequestError: it could not be reported.
        """
        try:
            await self._update(task, found)
        except (ConductorInputError, ConductorBadRequestError) as error:
            # An XCom with NaN, or larger than the server takes.
            found = report.refused(f"the output cannot be stored: {error}")
            await self._update(task, found)
        if found.status.ended:
            log.info("task %s of workflow %s: %s %s", task.task_id, task.workflow_id, found.status, found.reason or "")

    async def _update(self, task: Task, found: Report) -> None:
        await self.conductor.update_task(
            task.workflow_id,
            task.task_id,
            found.status,
            found.output,
            found.reason,
            task.worker_id or None,
            found.callback_after,
        )

    async def end_orphans(self, served_lately: set[str]) -> None:
        """End the DAG runs whose tasks have ended otherwise: the workflow was terminated, the task skipped.

        Args:
            served_lately: ids of tasks that were open a moment ago, and need not be read.
        """
        runs = await self._open_runs()
        self.open_runs = {run.run_id for run in runs}
        for run in runs:
            task_id = run.run_id.removeprefix(report.PREFIX)
            if task_id not in served_lately and report.ENDED_BY_WORKER not in run.note:
                await self._end_if_orphan(run, task_id)

    async def _open_runs(self) -> list[DagRun]:
        found: dict[str, DagRun] = {}
        offset = 0
        while True:
            page = await self.airflow.send(self.api.open_runs(offset))
            found |= {run.run_id: run for run in page.runs if run.run_id.startswith(report.PREFIX)}
            offset += len(page.runs)
            if not page.runs or offset >= page.total:
                return list(found.values())

    async def _end_if_orphan(self, run: DagRun, task_id: str) -> None:
        try:
            task = await self.conductor.get_task(task_id)
        except ConductorNotFoundError:
            return  # of another Conductor, perhaps
        if task is None or not report.may_be_orphan(task):
            return
        if report.was_lost(task) and report.has_heir(task, await self.conductor.get_workflow(task.workflow_id)):
            return
        for call in self.api.end_as_failed(run.dag_id, run.run_id, report.ending_note(run.note, task)):
            await self.airflow.send(call)
        self.open_runs.discard(run.run_id)
        log.info("DAG run %s of %s is ended: its task is %s", run.run_id, run.dag_id, task.status)
