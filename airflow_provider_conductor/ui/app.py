"""The routes of Conductor's pages in Airflow's UI.

Each depends on Airflow's own access checks (:mod:`~airflow_provider_conductor.ui.access`), and shows a workflow only
through a task instance that names it. What Conductor gives is sent as JSON and shown as text, never as markup.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Path as PathParameter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_provider_conductor._airflow import masked
from airflow_provider_conductor.ui import access
from airflow_provider_conductor.ui.lists import ROWS, describe_connection, list_batch, list_run, list_waits
from airflow_provider_conductor.ui.ownership import BatchTask, NamedWorkflow, TaskInstanceId
from airflow_provider_conductor.ui.shared_reads import FRESH, LIST_AFTER, SharedReads
from airflow_provider_conductor.ui.task_instances import (
    NO_LONGER_KNOWN,
    NoWorkflowError,
    conductor_task,
    connection_ids,
    waiting_workflows,
    workflows_of_run,
)
from airflow_provider_conductor.view import actions
from airflow_provider_conductor.view.actions import Action, ActionRefusedError
from airflow_provider_conductor.view.task import NoSuchTaskError, read_details
from airflow_provider_conductor.view.workflow import NotBelowError, View, check_below

RUN, WAITS, QUEUES = object(), object(), object()
"""What keys of shared reads begin with that are no connection's."""

HEALTH_AFTER = 10.0
"""Seconds between two reads of what the page in the menu shows."""

NOT_ITS_OWN = (
    "The XCom of this task names a workflow, but neither that workflow nor the task's arguments show that the task has "
    "started it or waits for it. Since users can write XComs, it is not shown here"
)

MANY = "This task runs a batch, which has many workflows: name one of them"

NOT_OF_BATCH = "This workflow was not started by this task: it does not have the correlation id of one of its items"

STATIC = Path(__file__).parent / "static"
"""The front end, built from the sources in ``ui/``."""

OUTPUT_LIMIT = 50_000
"""Bytes of an output that a user gives: Airflow's audit log stores it."""

CONTENT_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""Whatever Conductor's data contain, nothing of another origin is loaded or run."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The task instance in the path, and a workflow that belongs to it."""

    task: NamedWorkflow | BatchTask
    view: View


def _task_instance(
    dag_id: str, run_id: str, task_id: str, map_index: Annotated[int, PathParameter(ge=-1, le=2**31 - 1)]
) -> TaskInstanceId:
    return TaskInstanceId(dag_id, run_id, task_id, map_index)


TI: TypeAlias = Annotated[TaskInstanceId, Depends(_task_instance)]


class ActionBody(BaseModel):
    """An action, as the front end sends it.

    Attributes:
        verb: what to do.
        workflow: the workflow that it concerns: the task instance's, or a sub-workflow of it.
        ref: reference name of the task (rerun, skip).
        task: id of the attempt (complete, fail).
        reason: of a user (terminate, fail).
        output: the task's output (skip, complete, fail).
        terminal: whether Conductor must not retry the task (fail).
    """

    model_config = ConfigDict(extra="forbid")

    verb: Action
    workflow: Annotated[str, Field(min_length=1, max_length=255)]
    ref: Annotated[str | None, Field(max_length=1_000)] = None
    task: Annotated[str | None, Field(max_length=255)] = None
    reason: Annotated[str | None, Field(max_length=actions.REASON_LIMIT)] = None
    output: dict[str, Any] | None = None
    terminal: bool = False

    @model_validator(mode="after")
    def _names_its_task(self) -> ActionBody:
        if self.verb in (Action.RERUN, Action.SKIP) and not self.ref:
            raise ValueError(f"{self.verb} needs ref, the reference name of a task")
        if self.verb in (Action.COMPLETE, Action.FAIL) and not self.task:
            raise ValueError(f"{self.verb} needs task, the id of an attempt of a task")
        if self.output is not None and len(json.dumps(self.output)) > OUTPUT_LIMIT:
            raise ValueError(f"the output is larger than {OUTPUT_LIMIT:,} bytes; let a worker complete the task")
        return self

    def request(self, workflow_id: str, user: str) -> actions.Request:
        """The action on this workflow, for this user."""
        return actions.Request(
            action=self.verb,
            workflow_id=workflow_id,
            user=user,
            ref=self.ref or "",
            task_id=self.task or "",
            reason=self.reason or "",
            output=self.output or {},
            terminal=self.terminal,
        )


def make_app() -> FastAPI:
    """The application, with all its routes."""
    app = FastAPI(title="Conductor in Airflow's UI", docs_url=None, redoc_url=None, openapi_url=None)
    state = SharedReads()
    app.include_router(_pages())
    app.include_router(_workflow_routes(state))
    app.include_router(_list_routes(state))
    app.add_exception_handler(RequestValidationError, _refusal)
    app.middleware("http")(_secured)
    return app


async def _secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(SECURITY)
    return response


def _pages() -> APIRouter:
    router = APIRouter(dependencies=[access.READ_PAGES])

    @router.get("/task")
    @router.get("/run")
    @router.get("/health")
    def page() -> Response:
        return _file(STATIC / "index.html")

    @router.get("/assets/{name}")
    def asset(name: str) -> Response:
        files = {path.name: path for path in (STATIC / "assets").iterdir()}
        if name not in files:
            raise HTTPException(404, f"no such file: {name}")
        return _file(files[name])

    return router


def _file(path: Path) -> Response:
    # Always asked for anew: a new version of the provider must not meet the scripts of the old one.
    return FileResponse(path, media_type=CONTENT_TYPES.get(path.suffix), headers={"Cache-Control": "no-cache"})


def _workflow_routes(state: SharedReads) -> APIRouter:
    prefix = "/api/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/{map_index}"
    router = APIRouter(prefix=prefix, dependencies=[access.READ_TASK_INSTANCE])

    async def target(ti: TaskInstanceId, workflow_id: str | None) -> _Target:
        """The workflow, if it is the task instance's own or below it."""
        task = await _task(ti)
        if isinstance(task, BatchTask):
            if workflow_id is None:
                raise HTTPException(404, MANY)
            return await of_batch(task, workflow_id)
        own = await state.view(task.conn_id, task.workflow_id)
        prefix = (await state.settings(task.conn_id)).identity_prefix
        if not task.owns(own.workflow, prefix):
            raise HTTPException(404, NOT_ITS_OWN if task.rendered else NO_LONGER_KNOWN)
        if workflow_id in (None, task.workflow_id):
            return _Target(task, own)

        async def check() -> None:
            await state.run(task.conn_id, check_below(workflow_id, task.workflow_id))

        try:  # once for all polls: the workflow above it never changes
            await state.reads.get((task.conn_id, "below", workflow_id, task.workflow_id), check, lambda _: math.inf)
        except NotBelowError as error:
            raise HTTPException(404, str(error)) from None
        return _Target(task, await state.view(task.conn_id, workflow_id))

    async def of_batch(task: BatchTask, workflow_id: str) -> _Target:
        """A workflow of a batch. Conductor gives its correlation id to its sub-workflows, too."""
        view = await state.view(task.conn_id, workflow_id)
        prefix = (await state.settings(task.conn_id)).identity_prefix

        async def owns() -> bool:
            return await run_in_threadpool(task.owns, view.workflow, prefix)

        # Once for all polls: a correlation id never changes.
        key = (task.conn_id, "item", workflow_id, task.id, task.try_number)
        if not await state.reads.get(key, owns, lambda _: math.inf):
            raise HTTPException(404, NOT_OF_BATCH)
        return _Target(task, view)

    @router.get("/workflow")
    async def workflow(
        ti: TI,
        request: Request,
        may_act: access.MayWrite,
        with_log: access.MayReadLogs,
        workflow: Annotated[str | None, Query(max_length=255)] = None,
    ) -> Response:
        if workflow is None and isinstance(task := await _task(ti), BatchTask):
            return await run_in_threadpool(_tagged, await list_batch(state, task), request)
        found = await target(ti, workflow)
        url = (await state.settings(found.task.conn_id)).workflow_url(found.view.workflow.workflow_id)
        shown = await run_in_threadpool(found.view.to_json, url, with_log=with_log)
        answer = {"task": found.task.to_json(), **shown, "may_act": may_act}
        return await run_in_threadpool(_tagged, answer, request, "server_time")

    @router.get("/task", dependencies=[access.READ_TASK_LOGS])
    async def task(ti: TI, workflow: str, ref: str, id: str = "") -> Response:
        found = await target(ti, workflow)
        try:
            details = await state.run(found.task.conn_id, read_details(found.view.workflow, ref, id))
        except NoSuchTaskError as error:
            raise HTTPException(404, str(error)) from None
        return _json(await run_in_threadpool(details.to_json, masked))

    @router.post("/actions", dependencies=[access.SAME_PAGE, access.WRITE_TASK_INSTANCE, access.AUDIT_LOG])
    async def act(ti: TI, user: GetUserDep, body: Annotated[ActionBody, Body()]) -> Response:
        found = await target(ti, body.workflow)
        conn_id = found.task.conn_id
        request = body.request(found.view.workflow.workflow_id, str(user.get_name()))
        try:
            message, changed = await state.run(conn_id, actions.perform(request), changes=True)
        except ActionRefusedError as error:
            raise HTTPException(409, masked(str(error))) from None
        finally:
            state.reads.forget(conn_id)
            state.reads.forget(RUN)
        return _json({"message": masked(message), "changed": changed})

    return router


async def _task(ti: TaskInstanceId) -> NamedWorkflow | BatchTask:
    try:
        return await run_in_threadpool(conductor_task, ti)
    except NoWorkflowError as error:
        raise HTTPException(404, str(error)) from None


def _list_routes(state: SharedReads) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/dags/{dag_id}/runs/{run_id}/workflows", dependencies=[access.READ_TASK_INSTANCE])
    async def workflows(dag_id: str, run_id: str, request: Request) -> Response:
        async def read() -> dict[str, Any]:
            return await list_run(state, await run_in_threadpool(workflows_of_run, dag_id, run_id, ROWS))

        answer = await state.reads.get((RUN, dag_id, run_id), read, lambda _: LIST_AFTER * FRESH)
        return await run_in_threadpool(_tagged, answer, request)

    @router.get("/health", dependencies=[access.READ_CONNECTIONS])
    async def health(user: GetUserDep, request: Request, may_read: access.MayReadTaskInstances) -> Response:
        dag_ids = frozenset(await run_in_threadpool(access.readable_dag_ids, user) if may_read else ())
        stored, elsewhere = await run_in_threadpool(connection_ids)
        shown = sorted(elsewhere | await run_in_threadpool(access.readable_connection_ids, user, stored))
        fresh = HEALTH_AFTER * FRESH

        async def read_waits() -> dict[str, Any]:
            return await list_waits(state, await run_in_threadpool(waiting_workflows, dag_ids, ROWS))

        async def connection(conn_id: str) -> dict[str, Any]:
            return await state.reads.get(
                (QUEUES, conn_id), lambda: describe_connection(state, conn_id), lambda _: fresh
            )

        connections = await asyncio.gather(*map(connection, shown))
        waits = await state.reads.get((WAITS, dag_ids), read_waits, lambda _: fresh)
        answer = {"connections": connections, **waits, "poll_after": HEALTH_AFTER}
        return await run_in_threadpool(_tagged, answer, request)

    return router


def _tagged(answer: dict[str, Any], request: Request, *without: str) -> Response:
    """The answer with an ETag of all but these keys; 304 where the front end has it already."""
    content = _dumped({key: value for key, value in answer.items() if key not in without})
    tag = f'"{blake2s(content, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return _json(answer, headers)


def _json(answer: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    headers = headers or {"Cache-Control": "no-store"}
    return Response(_dumped(answer), media_type="application/json", headers=headers)


def _dumped(answer: dict[str, Any]) -> bytes:
    # Escaped: half of a surrogate pair, which a worker's text may have, is no UTF-8.
    return json.dumps(answer, separators=(",", ":"), default=str).encode()


def _refusal(request: Request, error: Exception) -> Response:
    """What was wrong with a request, as one text."""
    assert isinstance(error, RequestValidationError)
    faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return JSONResponse({"detail": "; ".join(faults)}, status_code=422)
