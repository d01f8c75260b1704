"""A Conductor server in this process, with the rules of a real one that operators have to know.

It serves real HTTP on a loopback port, so the blocking client, the asyncio client and whatever ``on_kill`` opens
meet the same workflows. A workflow it starts runs as its ``Script`` says.
"""

from __future__ import annotations

import base64
import json
import math
import re
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

__all__ = ["ConductorStandIn", "Request", "Script", "conductor"]

TOKEN = "token-that-nobody-may-see"

RUNS = ("RUNNING", "PAUSED")

BULK = {
    "pause": ("PUT", ["pause"]),
    "resume": ("PUT", ["resume"]),
    "terminate": ("DELETE", []),
    "restart": ("POST", ["restart"]),
    "retry": ("POST", ["retry"]),
    "remove": ("DELETE", ["remove"]),
}
"""The bulk endpoints, and what each does to one workflow."""

INDEXED = ("workflowType", "workflowId", "correlationId", "status", "startTime", "updateTime", "endTime")
"""The fields of a workflow that the SQL indexes of 3.32.2 have; before, they had no end times."""

_CONDITION = re.compile(r"([a-zA-Z]+)\s?(=|>|<|IN)\s?(.*)")


@dataclass(frozen=True)
class Script:
    """How a started workflow goes: RUNNING for ``after`` seconds, then ``status``. None: it never ends by itself."""

    after: float | None = None
    status: str = "COMPLETED"
    output: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as cancelled waits do, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ConductorStandIn:
    """``journal`` holds what arrived in order ("POST /workflow"); tests may write their own lines into it."""

    def __init__(self, key: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.key = key
        self.script = Script()
        self.definitions = {"orders"}
        self.workflows: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.journal: list[str] = []
        self.instead: Callable[[Request], tuple[int, str, bytes] | None] = lambda request: None
        """A test's own answer (status, content type, body) to a request, or None for the usual one."""
        self.stored: dict[str, str] = {}
        """Path in the external payload storage → the address it can be read from; a stock server gives none."""
        self.token_life: float | None = None
        """Seconds a token is good for, which it then says itself; None: forever, and it does not say."""
        self.tokens: dict[str, float] = {}
        """Each token given out and until when it is good, seconds since the epoch."""
        self.indexed = set(INDEXED)
        """The fields that the search index has; a condition on another one is ignored."""
        self.honours_idempotency = False
        """Whether a start with the idempotency key of another is that other, as on Orkes; else the key is ignored."""
        self._scripts: dict[str, tuple[float, Script]] = {}
        self._lock = threading.RLock()
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._schema = "https" if tls else "http"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{self._schema}://127.0.0.1:{self.port}"

    def connection(self, **extra: Any) -> str:
        """The connection's environment variable. One attempt a request, so that errors come at once."""
        login, password = self.key or (None, None)
        return json.dumps(
            {
                "conn_type": "conductor",
                "host": self.url,
                "login": login,
                "password": password,
                "extra": {"max_attempts": 1, **extra},
            }
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(
        self,
        status: str = "RUNNING",
        *,
        output: Mapping[str, Any] | None = None,
        reason: str = "",
        tasks: Sequence[Mapping[str, Any]] = (),
        name: str = "orders",
        correlation_id: str | None = None,
    ) -> str:
        """A workflow somebody else started; returns its id."""
        now = int(time.time() * 1000)
        workflow_id = str(uuid.uuid4())
        self.workflows[workflow_id] = {
            "workflowId": workflow_id,
            "workflowName": name,
            "workflowType": name,
            "workflowVersion": 1,
            "workflowDefinition": {"name": name, "version": 1, "tasks": []},
            "correlationId": correlation_id,
            "status": status,
            "reasonForIncompletion": reason or None,
            "createTime": now,
            "startTime": now,
            "updateTime": now,
            "endTime": 0 if status in RUNS else now,
            "input": {},
            "output": dict(output or {}),
            "tasks": [dict(task) for task in tasks],
        }
        return workflow_id

    def end(self, workflow_id: str, status: str, *, output: Mapping[str, Any] | None = None, reason: str = "") -> None:
        with self._lock:
            now = int(time.time() * 1000)
            self.workflows[workflow_id].update(
                status=status, reasonForIncompletion=reason or None, endTime=now, updateTime=now
            )
            if output is not None:
                self.workflows[workflow_id]["output"] = dict(output)

    def has_tasks(self, workflow_id: str, *tasks: Mapping[str, Any]) -> None:
        """Its tasks are these now; a task that ends moves the workflow's ``updateTime``."""
        with self._lock:
            self.workflows[workflow_id].update(tasks=[dict(task) for task in tasks], updateTime=int(time.time() * 1000))

    def plays(self, workflow_id: str, script: Script) -> str:
        self._scripts[workflow_id] = (time.monotonic(), script)
        return workflow_id

    def status(self, workflow_id: str) -> str:
        return self._look(workflow_id)["status"]

    def reason(self, workflow_id: str) -> str:
        return self.workflows[workflow_id]["reasonForIncompletion"] or ""

    @property
    def started(self) -> list[dict[str, Any]]:
        """Bodies of the starts, in order."""
        return [request.body for request in self.requests if (request.method, request.path) == ("POST", "/workflow")]

    @property
    def only_workflow(self) -> str:
        """The id of the one workflow there is."""
        (workflow_id,) = self.workflows
        return workflow_id

    def sent(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def _look(self, workflow_id: str) -> dict[str, Any]:
        with self._lock:
            workflow = self.workflows[workflow_id]
            begun, script = self._scripts.get(workflow_id, (0.0, Script()))
            due = script.after is not None and time.monotonic() >= begun + script.after
            if due and workflow["status"] in RUNS:
                self.end(workflow_id, script.status, output=script.output, reason=script.reason)
            return workflow

    def _answer(self, request: Request) -> tuple[int, str, bytes]:
        with self._lock:
            self.requests.append(request)
            self.journal.append(f"{request.method} {request.path}")
        own = self.instead(request)
        if own is not None:
            return own
        token = request.headers.get("X-Authorization")
        if self.key and request.path != "/token" and time.time() >= self.tokens.get(token or "", 0):
            return _json(401, {"message": "no valid token", "status": 401})
        with self._lock:
            return self._route(request)

    def _route(self, request: Request) -> tuple[int, str, bytes]:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match request.method, parts:
            case "POST", ["token"] if self.key:
                if (request.body.get("keyId"), request.body.get("keySecret")) != self.key:
                    return _json(401, {"message": "INVALID_KEY", "status": 401})
                return _json(200, {"token": self._new_token()})
            case "POST", ["workflow"]:
                return self._start(request.body)
            case "POST", ["workflow", "bulk", "search"]:
                found = [_in_bulk(self._look(item)) for item in request.body if item in self.workflows]
                missing = {item: "No such workflow" for item in request.body if item not in self.workflows}
                return _json(200, {"bulkSuccessfulResults": found, "bulkErrorResults": missing})
            case _, ["workflow", "bulk", verb] if verb in BULK:
                return self._bulk(request, verb)
            case "POST", ["workflow", name, "correlated"]:
                closed = request.query.get("includeClosed") == "true"
                return _json(200, {label: self._correlated(name, label, closed) for label in request.body})
            case "GET", ["workflow" | "tasks", "externalstoragelocation"]:
                path = request.query["path"]
                return _json(200, {"path": path} | ({"uri": self.stored[path]} if path in self.stored else {}))
            case "GET", ["workflow", "search"]:
                return self._search(request.query)
            case "GET", ["metadata", "taskdefs"] | ["tasks", _, "log"] | ["tasks", "queue", "polldata"]:
                return _json(200, [])
            case "GET", ["metadata", "taskdefs", name]:
                return _json(404, {"message": f"No such taskType found by name: {name}", "status": 404})
            case "GET", ["tasks", "queue", "sizes"]:
                return _json(200, {})
            case _, ["workflow", workflow_id, *rest]:
                if workflow_id not in self.workflows:
                    return _json(404, {"message": f"No such workflow found by id: {workflow_id}", "status": 404})
                return self._control(request, workflow_id, self._look(workflow_id), rest)
        return _json(404, {"message": f"No static resource api{request.path}.", "status": 404})

    def withdraw_tokens(self) -> None:
        """Refuse every token given out so far, whatever it says."""
        self.tokens = dict.fromkeys(self.tokens, 0.0)

    def _new_token(self) -> str:
        if self.token_life is None:
            token, until = f"{TOKEN}-{len(self.tokens)}", math.inf
        else:
            until = time.time() + self.token_life
            claims = base64.urlsafe_b64encode(json.dumps({"exp": until, "jti": len(self.tokens)}).encode())
            token = f"e30.{claims.decode().rstrip('=')}.{TOKEN}"
        self.tokens[token] = until
        return token

    def _start(self, body: dict[str, Any]) -> tuple[int, str, bytes]:
        if body["name"] not in self.definitions and not body.get("workflowDef"):
            return _json(
                404, {"message": f"No such workflow defined. name={body['name']}, version=null", "status": 404}
            )
        key = body.get("idempotencyKey")
        if self.honours_idempotency and key:
            for found in self.workflows.values():
                if (found["workflowName"], found.get("idempotencyKey")) == (body["name"], key):
                    if body.get("idempotencyStrategy") == "RETURN_EXISTING":
                        return 200, "text/plain", found["workflowId"].encode()
                    return _json(409, {"message": f"there is a workflow with idempotency key {key}", "status": 409})
        workflow_id = self.add(name=body["name"], correlation_id=body.get("correlationId"))
        self.workflows[workflow_id].update(input=body.get("input") or {}, idempotencyKey=key)
        return 200, "text/plain", self.plays(workflow_id, self.script).encode()

    def _correlated(self, name: str, label: str, closed: bool) -> list[dict[str, Any]]:
        found = [self._look(item) for item in self.workflows]
        return [
            item
            for item in found
            if (item["workflowName"], item["correlationId"]) == (name, label) and (closed or item["status"] in RUNS)
        ]

    def _search(self, query: Mapping[str, str]) -> tuple[int, str, bytes]:
        """As an SQL index does: it splits at exactly " AND ", does not trim, and ignores fields it does not know."""
        found = [_summary(self._look(item)) for item in self.workflows]
        for condition in query["query"].split(" AND "):
            read = _CONDITION.search(condition)
            if read is None:
                return _json(400, {"message": f"Incorrectly formatted query string: {condition}", "status": 400})
            name, operator, text = read.groups()
            values = re.sub("[\"'()]", "", text).split(",")
            if name not in self.indexed:
                continue
            if name.endswith("Time"):
                at = _iso(int(values[0]))
                began = _iso(0)  # to the index, what has not ended ended in 1970
                found = [
                    item
                    for item in found
                    if (item.get(name, began) < at if operator == "<" else item.get(name, began) > at)
                ]
            elif len(values) == 1:
                pattern = re.escape(values[0]).replace(r"\*", ".*")
                found = [item for item in found if re.fullmatch(pattern, item.get(name) or "")]
            else:
                found = [item for item in found if item.get(name) in values]
        found.sort(key=lambda item: item["startTime"])
        start, size = int(query["start"]), int(query["size"])
        return _json(200, {"totalHits": len(found), "results": found[start : start + size]})

    def _bulk(self, request: Request, verb: str) -> tuple[int, str, bytes]:
        if len(request.body) > 1000:
            return _json(400, {"message": "Cannot process more than 1000 workflows", "status": 400})
        method, rest = BULK[verb]
        one = replace(request, method=method)
        worked, refused = [], {}
        for workflow_id in request.body:
            if workflow_id not in self.workflows:
                refused[workflow_id] = f"No such workflow found by id: {workflow_id}"
                continue
            status, _, body = self._control(one, workflow_id, self._look(workflow_id), rest)
            if status < 300:
                worked.append(workflow_id)
            else:
                refused[workflow_id] = json.loads(body)["message"]
        return _json(200, {"bulkSuccessfulResults": worked, "bulkErrorResults": refused})

    def _run_again(self, workflow_id: str, **changes: Any) -> tuple[int, str, bytes]:
        now = int(time.time() * 1000)
        self.workflows[workflow_id].update(status="RUNNING", reasonForIncompletion=None, updateTime=now, **changes)
        self.plays(workflow_id, self.script)
        return 204, "application/json", b""

    def _control(
        self, request: Request, workflow_id: str, workflow: dict[str, Any], rest: list[str]
    ) -> tuple[int, str, bytes]:
        status = workflow["status"]
        match request.method, rest:
            case "GET", ["status"]:
                keys = ("workflowId", "correlationId", "status", "output")
                return _json(200, {key: workflow[key] for key in keys})
            case "GET", []:
                kept = workflow if request.query.get("includeTasks") != "false" else {**workflow, "tasks": []}
                return _json(200, kept)
            case "DELETE", []:
                if status == "COMPLETED":
                    return _json(409, {"message": "cannot terminate a COMPLETED workflow.", "status": 409})
                self.end(workflow_id, "TERMINATED", reason=request.query.get("reason", ""))  # FAILED is overwritten too
                return 200, "application/json", b""
            case "POST", ["retry"]:
                if status in RUNS:
                    return _json(404, {"message": "Workflow is still running", "status": 404})
                done = [task["status"] in ("COMPLETED", "SKIPPED") for task in workflow["tasks"]]
                if status == "COMPLETED" or (done and all(done)):
                    if status != "COMPLETED" and request.query.get("resumeSubworkflowTasks") == "true":
                        return 204, "application/json", b""
                    return _json(409, {"message": "no retryable tasks! Use restart", "status": 409})
                return self._run_again(workflow_id, lastRetriedTime=int(time.time() * 1000))
            case "POST", ["restart"]:
                if status in RUNS:
                    return _json(409, {"message": "not in terminal state, unable to restart.", "status": 409})
                return self._run_again(workflow_id, createTime=int(time.time() * 1000), endTime=0, lastRetriedTime=0)
            case "PUT", ["pause"]:
                if status not in RUNS:
                    return _json(409, {"message": "has ended, status cannot be updated.", "status": 409})
                workflow.update(status="PAUSED", updateTime=int(time.time() * 1000))
                return 200, "application/json", b""
            case "PUT", ["resume"]:
                if status != "PAUSED":
                    return _json(500, {"message": "is not PAUSED so cannot resume.", "status": 500, "retryable": False})
                workflow.update(status="RUNNING", updateTime=int(time.time() * 1000))
                return 200, "application/json", b""
            case "DELETE", ["remove"]:
                if status in RUNS and request.query.get("archiveWorkflow") == "true":
                    return _json(400, {"message": f"Cannot archive workflow with status: {status}", "status": 400})
                del self.workflows[workflow_id]
                return 200, "application/json", b""
        return _json(404, {"message": f"No static resource api{request.path}.", "status": 404})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                is_json = (self.headers.get("Content-Type") or "").startswith("application/json")
                query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
                status, kind, body = standin._answer(
                    Request(
                        method=self.command,
                        path=parts.path.removeprefix("/api"),
                        query=query,
                        headers=dict(self.headers.items()),
                        body=json.loads(content) if content and is_json else content.decode(),
                    )
                )
                if not status:  # nothing is answered
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def _in_bulk(workflow: dict[str, Any]) -> dict[str, Any]:
    """As 3.32 has it in a bulk answer: without tasks, and with another word for the time."""
    kept = {key: value for key, value in workflow.items() if key != "updateTime"}
    return kept | {"tasks": [], "updatedTime": workflow["updateTime"]}


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


def _summary(workflow: dict[str, Any]) -> dict[str, Any]:
    """As 3.32 has it in a search's answer: times as text, no end where it runs."""
    texts = {key: workflow[key] for key in ("workflowId", "workflowType", "correlationId", "status")}
    times = {key: _iso(workflow[key]) for key in ("startTime", "updateTime")}
    end = {"endTime": _iso(workflow["endTime"])} if workflow["endTime"] else {}
    return {**texts, **times, **end, "version": workflow["workflowVersion"]}


def no_route(request: Request) -> tuple[int, str, bytes]:
    """What 3.13.8 answers where it has no such endpoint."""
    when = "2026-11-26T10:48:18.267+00:00"
    return _json(404, {"timestamp": when, "status": 404, "error": "Not Found", "path": f"/api{request.path}"})


def _json(status: int, value: Any) -> tuple[int, str, bytes]:
    if status >= 400 and "timestamp" not in value:  # as Conductor words its errors, which tells them from a gateway's
        value = {"instance": "conductor-1", "retryable": False} | value
    return status, "application/json", json.dumps(value).encode()


@pytest.fixture
def conductor(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConductorStandIn]:
    """A stand-in server, and ``conductor_default`` pointing to it; its index does not lag."""
    monkeypatch.setattr("airflow_provider_conductor.polling.observation.ASK_AGAIN", (0.01,) * 4)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    server = ConductorStandIn()
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", server.connection())
    yield server
    server.close()
