"""The routes of Conductor's pages in Airflow's UI.

Each depends on Airflow's own access checks (:mod:`~airflow_provider_conductor.ui.access`), and shows a workflow only
through a task instance that names it. What Conductor gives is sent as JSON and shown as text, never as markup.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import blake2s
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.providers.common.compat.sdk import redact
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_conductor.client.errors import ConductorError, ConductorNotFoundError
from airflow_provider_conductor.client.flow import Flow
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.ui import access
from airflow_provider_conductor.ui.conductors import ConductorRefusedError, Conductors
from airflow_provider_conductor.ui.shared_reads import SharedReads
from airflow_provider_conductor.ui.task_instances import (
    NamedWorkflow,
    NoWorkflowError,
    TaskInstanceId,
    connection_ids,
    named_workflow,
    waiting_workflows,
    workflows_of_run,
)
from airflow_provider_conductor.view import actions, summary
from airflow_provider_conductor.view.actions import Action, ActionRefusedError
from airflow_provider_conductor.view.queues import read_queues
from airflow_provider_conductor.view.task import DEEPEST, NoSuchTaskError, read_details
from airflow_provider_conductor.view.workflow import NotBelowError, View, check_below, read_view

T = TypeVar("T")

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


mask = partial(redact, max_depth=DEEPEST + 1)
"""Hides secrets wherever they are in a text or in JSON; Airflow's own depth is 5."""


@dataclass(slots=True)
class _State:
    """What the requests of one API server process share."""

    conductors: Conductors = field(default_factory=Conductors)
    reads: SharedReads = field(default_factory=SharedReads)

    async def view(self, conn_id: str, workflow_id: str) -> View:
        """A workflow as it is now, or was a moment ago for somebody else.

        Raises:
            HTTPException: Conductor cannot be read.
        """

        async def read() -> View:
            return await self.run(conn_id, read_view(workflow_id))

        return await self.reads.get((conn_id, workflow_id), read, lambda view: (view.poll_after or LIST_AFTER) * FRESH)

    async def run(self, conn_id: str, flow: Flow[T]) -> T:
        """What the flow returns.

        Raises:
            HTTPException: 404 for what Conductor does not know; 502 where it cannot be read.
        """
        try:
            return await self.conductors.run(conn_id, flow)
        except ConductorNotFoundError as error:
            raise HTTPException(
                404,
                f"Conductor does not know it: {mask(str(error))}. It was deleted, or archived some time after its "
                "end; what is left is in this task's log",
            ) from None
        except ConductorError as error:
            raise HTTPException(
                502,
                f"Airflow's API server could not read Conductor (connection {conn_id}): {mask(str(error))}. "
                "The workflow, and the Airflow task that waits for it, are not affected",
            ) from None
        except ConductorRefusedError as error:
            raise HTTPException(502, str(error)) from None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The task instance in the path, and a workflow that belongs to it."""

    named: NamedWorkflow
    view: View


TI: TypeAlias = Annotated[TaskInstanceId, Depends(TaskInstanceId)]


class Press(BaseModel):
    """The press of a button, as the front end sends it.

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

    def request(self, user: str) -> actions.Request:
        """What is to be done, for this user.

        Raises:
            HTTPException: 422, the action needs what is missing.
        """
        if self.verb in (Action.RERUN, Action.SKIP) and not self.ref:
            raise HTTPException(422, f"{self.verb} needs ref, the reference name of a task")
        if self.verb in (Action.COMPLETE, Action.FAIL) and not self.task:
            raise HTTPException(422, f"{self.verb} needs task, the id of an attempt of a task")
        return actions.Request(
            action=self.verb,
            workflow_id=self.workflow,
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
    return app


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
    headers = {**SECURITY, "Cache-Control": "no-cache"}
    return FileResponse(path, media_type=CONTENT_TYPES.get(path.suffix), headers=headers)


def _workflow_routes(state: _State) -> APIRouter:
    prefix = "/api/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/{map_index}"
    router = APIRouter(prefix=prefix, dependencies=[access.READ_TASK_INSTANCE])

    async def asked(ti: TI, workflow_id: str | None) -> _Asked:
        """The workflow, if it is the task instance's own or below it."""
        try:
            named = await run_in_threadpool(named_workflow, ti)
        except NoWorkflowError as error:
            raise HTTPException(404, str(error)) from None
        wanted = workflow_id or named.workflow_id
        view = await state.view(named.conn_id, wanted)

        async def check() -> None:
            await state.run(named.conn_id, check_below(view.workflow, named.workflow_id))

        try:  # once for all polls: whose sub-workflow it is does not change
            await state.reads.get((named.conn_id, "below", wanted, named.workflow_id), check, lambda _: math.inf)
        except NotBelowError as error:
            raise HTTPException(404, str(error)) from None
        return _Asked(named, view)

    @router.get("/workflow")
    async def workflow(
        ti: TI, request: Request, may_act: access.MayWrite, workflow: Annotated[str | None, Query()] = None
    ) -> Response:
        found = await asked(ti, workflow)
        client = await state.conductors.client(found.named.conn_id)
        url = client.settings.workflow_url(found.view.workflow.workflow_id)
        shown = await run_in_threadpool(found.view.to_json, mask, url)
        return await run_in_threadpool(
            _tagged, {"task": found.named.to_json(), **shown, "may_act": may_act}, request, "server_time"
        )

    @router.get("/task", dependencies=[access.READ_TASK_LOGS])
    async def task(ti: TI, workflow: str, ref: str, id: str = "") -> Response:
        found = await asked(ti, workflow)
        try:
            details = await state.run(found.named.conn_id, read_details(found.view.workflow, ref, id))
        except NoSuchTaskError as error:
            raise HTTPException(404, str(error)) from None
        return _json(await run_in_threadpool(details.to_json, mask))

    @router.post("/actions", dependencies=[access.SAME_PAGE, access.WRITE_TASK_INSTANCE, access.AUDIT_LOG])
    async def act(ti: TI, user: GetUserDep, press: Annotated[Press, Body()]) -> Response:
        found = await asked(ti, press.workflow)
        request = press.request(str(user.get_name()))
        try:
            message, changed = await state.run(found.named.conn_id, actions.perform(request))
        except ActionRefusedError as error:
            raise HTTPException(409, mask(str(error))) from None
        finally:
            state.reads.forget(found.named.conn_id)
        return _json({"message": mask(message), "changed": changed})

    return router


def _list_routes(state: _State) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/dags/{dag_id}/runs/{run_id}/workflows", dependencies=[access.READ_TASK_INSTANCE])
    async def workflows(dag_id: str, run_id: str, request: Request) -> Response:
        async def read() -> dict[str, Any]:
            return await _run_rows(state, await run_in_threadpool(workflows_of_run, dag_id, run_id, ROWS))

        answer = await state.reads.get(("run", dag_id, run_id), read, lambda _: LIST_AFTER * FRESH)
        return await run_in_threadpool(_tagged, answer, request)

    @router.get("/health", dependencies=[access.READ_CONNECTIONS])
    async def health(user: GetUserDep, request: Request) -> Response:
        dag_ids = frozenset(await run_in_threadpool(access.readable_dag_ids, user))

        async def read_connections() -> list[dict[str, Any]]:
            found = await run_in_threadpool(connection_ids)
            return list(await asyncio.gather(*(_connection(state, conn_id) for conn_id in found)))

        async def read_waits() -> dict[str, Any]:
            return await _waits(state, await run_in_threadpool(waiting_workflows, dag_ids, ROWS))

        fresh = HEALTH_AFTER * FRESH
        connections = await state.reads.get(("connections",), read_connections, lambda _: fresh)
        waits = await state.reads.get(("waits", dag_ids), read_waits, lambda _: fresh)
        answer = {"connections": connections, **waits, "poll_after": HEALTH_AFTER}
        return await run_in_threadpool(_tagged, answer, request)

    return router


async def _read_all(
    state: _State, named: Sequence[NamedWorkflow]
) -> tuple[dict[tuple[str, str], Workflow], dict[tuple[str, str], View], dict[str, str]]:
    """The workflows without their tasks; of the first that run, what they wait for; and errors by connection."""
    workflows: dict[tuple[str, str], Workflow] = {}
    errors: dict[str, str] = {}
    for conn_id in sorted({one.conn_id for one in named}):
        ids = list(dict.fromkeys(one.workflow_id for one in named if one.conn_id == conn_id))
        try:
            found = await state.run(conn_id, read_many(ids))
        except HTTPException as error:
            errors[conn_id] = str(error.detail)
        else:
            workflows |= {(conn_id, workflow_id): workflow for workflow_id, workflow in found.items()}
    running = [key for key, workflow in workflows.items() if not workflow.status.ended][:READ_CLOSELY]
    slots, views = asyncio.Semaphore(AT_ONCE), {}

    async def read(key: tuple[str, str]) -> None:
        async with slots:
            with contextlib.suppress(HTTPException):  # gone since, or unreachable: it has no blocker then
                views[key] = await state.view(*key)

    await asyncio.gather(*map(read, running))
    return workflows, views, errors


async def _run_rows(state: _State, named: Sequence[NamedWorkflow]) -> dict[str, Any]:
    shown = named[:ROWS]
    workflows, views, errors = await _read_all(state, shown)
    rows = []
    for one in shown:
        key = (one.conn_id, one.workflow_id)
        workflow = workflows.get(key)
        error = errors.get(one.conn_id, "" if workflow else f"Conductor does not know workflow {one.workflow_id}")
        rows.append(
            {
                **one.to_json(),
                "conn_id": one.conn_id,
                "workflow": summary.summary(workflow) if workflow is not None else None,
                **summary.blocked(views.get(key), mask),
                "error": error,
            }
        )
    all_ended = all(workflow.status.ended for workflow in workflows.values()) and not errors
    return {"rows": rows, "more": len(named) - len(shown), "poll_after": None if all_ended else LIST_AFTER}


async def _waits(state: _State, named: Sequence[NamedWorkflow]) -> dict[str, Any]:
    shown = named[:ROWS]
    _, views, _ = await _read_all(state, shown)
    waits = []
    for one in shown:
        view = views.get((one.conn_id, one.workflow_id))
        about = summary.wait(view, mask) if view is not None else None
        if about is not None:
            waits.append({**asdict(one.id), "conn_id": one.conn_id, **about})
    waits.sort(key=lambda wait: int(wait["since"]))
    return {"waits": waits, "more": len(named) - len(shown)}


async def _connection(state: _State, conn_id: str) -> dict[str, Any]:
    about: dict[str, Any] = {"conn_id": conn_id, "address": "", "ok": True, "message": ""}
    about |= {"queues": [], "queues_error": ""}
    try:
        about["address"] = (await state.conductors.client(conn_id)).settings.api_url
        about["queues"] = [queue.to_json() for queue in await state.run(conn_id, read_queues())]
    except ConductorRefusedError as error:
        about |= {"ok": False, "message": str(error)}
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
    return Response(_dumped(answer), media_type="application/json", headers={**headers, **SECURITY})


def _dumped(answer: dict[str, Any]) -> bytes:
    # Escaped: half of a surrogate pair, which a worker's text may have, is no UTF-8.
    return json.dumps(answer, separators=(",", ":"), default=str).encode()


def _refusal(request: Request, error: Exception) -> Response:
    """What was wrong with a request, as one text."""
    assert isinstance(error, RequestValidationError)
    faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return JSONResponse({"detail": "; ".join(faults)}, status_code=422)
