"""The routes of Conductor's pages in Airflow's UI.

Each depends on Airflow's own access checks (:mod:`~airflow_provider_conductor.ui.access`), and shows a workflow only
through a task instance that names it. What Conductor gives is sent as JSON and shown as text, never as markup.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2s
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Path as PathParameter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_provider_conductor._airflow import masked
from airflow_provider_conductor.client.errors import ConductorError, ConductorNotFoundError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.ui import access
from airflow_provider_conductor.ui.conductors import READ_LIMIT, Conductors, ConductorUnavailableError
from airflow_provider_conductor.ui.recent_answers import RecentAnswers
from airflow_provider_conductor.ui.task_instances import (
    NamedWorkflow,
    NoWorkflowError,
    TaskInstanceId,
    connection_ids,
    named_workflow,
    waiting_workflows,
    workflows_of_run,
)
from airflow_provider_conductor.view import actions
from airflow_provider_conductor.view.actions import Action, ActionRefusedError
from airflow_provider_conductor.view.queues import read_queues
from airflow_provider_conductor.view.summary import Standstill, summary
from airflow_provider_conductor.view.task import NoSuchTaskError, read_details
from airflow_provider_conductor.view.workflow import NotBelowError, View, check_below, read_view

T = TypeVar("T")

RUN, WAITS, QUEUES = object(), object(), object()
"""What keys of shared reads begin with that are no connection's."""

NOT_ITS_OWN = (
    "The XCom of this task names a workflow, but neither that workflow nor the task's arguments show that the task has "
    "started it or waits for it. Airflow keeps rendered arguments for the last runs of a task only"
)

STATIC = Path(__file__).parent / "static"
"""The front end, built from the sources in ``ui/``."""

FRESH = 0.9
"""A page polls at its pace; an answer that is younger than this share of it is shared."""

LIST_AFTER = 5.0
"""Seconds between two reads of a DAG run's workflows."""

HEALTH_AFTER = 10.0
"""Seconds between two reads of what the page in the menu shows."""

ROWS = 200
"""Task instances that a list has."""

READ_CLOSELY = 50
"""Running workflows of a list whose tasks are read, to say what they wait for."""

OUTPUT_LIMIT = 50_000
"""Bytes of an output that a user gives: Airflow's audit log stores it."""

AT_ONCE = 6
"""Requests to Conductor that one list has under way."""

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


@dataclass(slots=True)
class _State:
    """What the requests of one API server process share."""

    conductors: Conductors = field(default_factory=Conductors)
    reads: RecentAnswers = field(default_factory=RecentAnswers)

    async def view(self, conn_id: str, workflow_id: str) -> View:
        """A workflow as it is now, or was a moment ago for somebody else.

        Raises:
            HTTPException: Conductor cannot be read.
        """

        async def read() -> View:
            return await self.run(conn_id, read_view(workflow_id, masked))

        return await self.reads.get((conn_id, workflow_id), read, lambda view: (view.poll_after or LIST_AFTER) * FRESH)

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


@dataclass(frozen=True, slots=True)
class _Target:
    """The task instance in the path, and a workflow that belongs to it."""

    named: NamedWorkflow
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
    state = _State()
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


def _workflow_routes(state: _State) -> APIRouter:
    prefix = "/api/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/{map_index}"
    router = APIRouter(prefix=prefix, dependencies=[access.READ_TASK_INSTANCE])

    async def target(ti: TaskInstanceId, workflow_id: str | None) -> _Target:
        """The workflow, if it is the task instance's own or below it."""
        try:
            named = await run_in_threadpool(named_workflow, ti)
        except NoWorkflowError as error:
            raise HTTPException(404, str(error)) from None
        own = await state.view(named.conn_id, named.workflow_id)
        prefix = (await state.settings(named.conn_id)).identity_prefix
        if not named.is_its_own(own.workflow, prefix):
            raise HTTPException(404, NOT_ITS_OWN)
        if workflow_id in (None, named.workflow_id):
            return _Target(named, own)

        async def check() -> None:
            await state.run(named.conn_id, check_below(workflow_id, named.workflow_id))

        try:  # once for all polls: the workflow above it never changes
            await state.reads.get((named.conn_id, "below", workflow_id, named.workflow_id), check, lambda _: math.inf)
        except NotBelowError as error:
            raise HTTPException(404, str(error)) from None
        return _Target(named, await state.view(named.conn_id, workflow_id))

    @router.get("/workflow")
    async def workflow(
        ti: TI,
        request: Request,
        may_act: access.MayWrite,
        with_log: access.MayReadLogs,
        workflow: Annotated[str | None, Query(max_length=255)] = None,
    ) -> Response:
        found = await target(ti, workflow)
        url = (await state.settings(found.named.conn_id)).workflow_url(found.view.workflow.workflow_id)
        shown = await run_in_threadpool(found.view.to_json, url, with_log=with_log)
        answer = {"task": found.named.to_json(), **shown, "may_act": may_act}
        return await run_in_threadpool(_tagged, answer, request, "server_time")

    @router.get("/task", dependencies=[access.READ_TASK_LOGS])
    async def task(ti: TI, workflow: str, ref: str, id: str = "") -> Response:
        found = await target(ti, workflow)
        try:
            details = await state.run(found.named.conn_id, read_details(found.view.workflow, ref, id))
        except NoSuchTaskError as error:
            raise HTTPException(404, str(error)) from None
        return _json(await run_in_threadpool(details.to_json, masked))

    @router.post("/actions", dependencies=[access.SAME_PAGE, access.WRITE_TASK_INSTANCE, access.AUDIT_LOG])
    async def act(ti: TI, user: GetUserDep, body: Annotated[ActionBody, Body()]) -> Response:
        found = await target(ti, body.workflow)
        conn_id = found.named.conn_id
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


def _list_routes(state: _State) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/dags/{dag_id}/runs/{run_id}/workflows", dependencies=[access.READ_TASK_INSTANCE])
    async def workflows(dag_id: str, run_id: str, request: Request) -> Response:
        async def read() -> dict[str, Any]:
            return await _run_rows(state, await run_in_threadpool(workflows_of_run, dag_id, run_id, ROWS))

        answer = await state.reads.get((RUN, dag_id, run_id), read, lambda _: LIST_AFTER * FRESH)
        return await run_in_threadpool(_tagged, answer, request)

    @router.get("/health", dependencies=[access.READ_CONNECTIONS])
    async def health(user: GetUserDep, request: Request, may_read: access.MayReadTaskInstances) -> Response:
        dag_ids = frozenset(await run_in_threadpool(access.readable_dag_ids, user) if may_read else ())
        stored, elsewhere = await run_in_threadpool(connection_ids)
        shown = sorted(elsewhere | await run_in_threadpool(access.readable_connection_ids, user, stored))
        fresh = HEALTH_AFTER * FRESH

        async def read_waits() -> dict[str, Any]:
            return await _waits(state, await run_in_threadpool(waiting_workflows, dag_ids, ROWS))

        async def connection(conn_id: str) -> dict[str, Any]:
            return await state.reads.get((QUEUES, conn_id), lambda: _connection(state, conn_id), lambda _: fresh)

        connections = await asyncio.gather(*map(connection, shown))
        waits = await state.reads.get((WAITS, dag_ids), read_waits, lambda _: fresh)
        answer = {"connections": connections, **waits, "poll_after": HEALTH_AFTER}
        return await run_in_threadpool(_tagged, answer, request)

    return router


async def _read_all(
    state: _State, named: Sequence[NamedWorkflow]
) -> tuple[dict[TaskInstanceId, Workflow], dict[TaskInstanceId, Standstill], dict[str, str]]:
    """The workflows without their tasks; of the first that run, what they wait for; and errors by connection."""
    workflows: dict[TaskInstanceId, Workflow] = {}
    errors: dict[str, str] = {}
    for conn_id in sorted({one.conn_id for one in named}):
        ids = list(dict.fromkeys(one.workflow_id for one in named if one.conn_id == conn_id))
        try:
            found = await state.run(conn_id, read_many(ids))
        except HTTPException as error:
            errors[conn_id] = str(error.detail)
            continue
        prefix = (await state.settings(conn_id)).identity_prefix
        for one in named:
            workflow = found.get(one.workflow_id) if one.conn_id == conn_id else None
            if workflow is not None and one.is_its_own(workflow, prefix):
                workflows[one.id] = workflow
    running = [one for one in named if one.id in workflows and not workflows[one.id].status.ended]
    slots, standstills = asyncio.Semaphore(AT_ONCE), {}

    async def read(one: NamedWorkflow) -> None:
        async with slots:
            with contextlib.suppress(HTTPException):  # gone since, or unreachable: it has no blocker then
                found = await state.standstill(one.conn_id, one.workflow_id)
                if found is not None:
                    standstills[one.id] = found

    with contextlib.suppress(TimeoutError):  # the others have no blocker
        async with asyncio.timeout(READ_LIMIT):
            await asyncio.gather(*map(read, running[:READ_CLOSELY]))
    return workflows, standstills, errors


async def _run_rows(state: _State, named: Sequence[NamedWorkflow]) -> dict[str, Any]:
    shown = named[:ROWS]
    workflows, standstills, errors = await _read_all(state, shown)
    rows = []
    for one in shown:
        workflow = workflows.get(one.id)
        standstill = standstills.get(one.id)
        error = errors.get(one.conn_id, "" if workflow else f"Conductor has no workflow {one.workflow_id} of this task")
        rows.append(
            {
                **one.to_json(),
                "conn_id": one.conn_id,
                "workflow": summary(workflow) if workflow is not None else None,
                "blocker": standstill.blocker if standstill is not None else "",
                "needs_user": standstill is not None and standstill.needs_user,
                "error": error,
            }
        )
    all_ended = all(workflow.status.ended for workflow in workflows.values()) and not errors
    return {"rows": rows, "more": len(named) - len(shown), "poll_after": None if all_ended else LIST_AFTER}


async def _waits(state: _State, named: Sequence[NamedWorkflow]) -> dict[str, Any]:
    shown = named[:ROWS]
    workflows, standstills, _ = await _read_all(state, shown)
    waits = [
        {
            **asdict(one.id),
            "conn_id": one.conn_id,
            "workflow_id": one.workflow_id,
            "workflow_name": workflows[one.id].name,
            **asdict(standstill),
        }
        for one in shown
        if (standstill := standstills.get(one.id)) is not None and (standstill.stalled or standstill.needs_user)
    ]
    waits.sort(key=lambda wait: int(wait["since"]))
    return {"waits": waits, "more": len(named) - len(shown)}


async def _connection(state: _State, conn_id: str) -> dict[str, Any]:
    about: dict[str, Any] = {"conn_id": conn_id, "address": "", "ok": True, "message": ""}
    about |= {"queues": [], "queues_error": ""}
    try:
        about["address"] = (await state.settings(conn_id)).api_url
        queues, about["queues_error"] = await state.run(conn_id, read_queues())
        about["queues"] = [asdict(queue) for queue in queues]
    except HTTPException as error:
        about |= {"ok": False, "message": str(error.detail)}
    return about


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
