"""A Conductor server in this process, with the rules of a real one that operators have to know.

It serves real HTTP on a loopback port, so the blocking client, the asyncio client and whatever ``on_kill`` opens
meet the same workflows.
"""

from __future__ import annotations

import base64
import json
import math
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlsplit

from airflow_provider_conductor.testing.search_index import INDEXED, search

TOKEN = "token-that-nobody-may-see"

Answer: TypeAlias = tuple[int, str, bytes]
"""Status, content type and body; status 0: the connection is closed without an answer."""

RUNS = ("RUNNING", "PAUSED")

ENDED = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")

REFUSED = {
    "DELETE ": (["COMPLETED"], 409, "Cannot terminate a COMPLETED workflow."),
    "POST retry": (RUNS, 404, "Workflow is still running"),
    "POST restart": (RUNS, 409, "not in terminal state, unable to restart."),
    "PUT pause": (ENDED, 409, "has ended, status cannot be updated."),
    "PUT resume": (["RUNNING", *ENDED], 500, "is not PAUSED so cannot resume."),
}
"""What is done to one workflow → the statuses in which it is refused, and how."""

BULK = {
    "pause": "PUT pause",
    "resume": "PUT resume",
    "terminate": "DELETE ",
    "restart": "POST restart",
    "retry": "POST retry",
    "remove": "DELETE remove",
}
"""The bulk endpoints, and what each does to one workflow."""

NO_PAYLOAD = {"Error": "Data with this ID does not exist or has been deleted from the external storage."}

DONE: Answer = (200, "application/json", b"")


@dataclass(frozen=True, slots=True)
class Script:
    """How a started workflow goes: RUNNING for some seconds, then in its last status.

    Args:
        after: seconds that it runs; None: it never ends by itself.
        status: the status that it ends with.
        output: its output when it has ended.
        reason: why it has ended, as ``reasonForIncompletion``.
        tasks: its tasks, as in the answer to ``GET /workflow/{id}``.
    """

    after: float | None = 0.0
    status: str = "COMPLETED"
    output: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    tasks: Sequence[Mapping[str, Any]] = ()


ScriptOf: TypeAlias = Script | Callable[[Mapping[str, Any]], Script]
"""A script, or what makes one of the workflow's input."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived: the path without ``/api``, each query parameter's last value, a JSON body parsed."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as cancelled waits do, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets: else the client waits 40 ms for the second

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = (self.headers.get("Content-Type") or "").startswith("application/json")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        sent = json.loads(content) if content and is_json else content.decode()
        path = parts.path.removeprefix("/api")
        status, kind, body = self.server.answer(Request(self.command, path, query, dict(self.headers.items()), sent))
        if not status:  # nothing is answered
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *args: Any) -> None:
        pass


class ConductorStandIn(AbstractContextManager["ConductorStandIn"]):
    """A Conductor server on a loopback port, whose workflows go as their scripts say.

    ::

        with ConductorStandIn() as conductor:
            conductor.script("orders", Script(output={"parcel": "P-7"}))
            monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri())
            ...
            assert conductor.started[0]["input"] == {"order": 7}

    It answers as Conductor 3.32.2 does. What it has no route for, such as workers' polls, is 404.

    Args:
        key: key id and secret of the access key that it asks for; None: it asks for none.
        tls: serves HTTPS with this context.

    Attributes:
        port, url: where it listens; the address is without ``/api``.
        definitions: the names of the workflow definitions that it has; :meth:`script` adds to them.
        default_script: how a workflow goes that has no script of its own: by default, it never ends.
        workflows: workflow id → the workflow, as in the answer to ``GET /workflow/{id}``.
        requests: what has arrived, in order.
        journal: the same in short, such as "POST /workflow"; a test may add lines of its own.
        instead: a test's own answer to a request, or None for the usual one.
        stored: path in the external payload storage → the address that it can be read from; a stock server has none,
            and one on Postgres gives ``/api/external/postgres/<file>``.
        payloads: file → the payload that it answers there.
        token_life: seconds for which a token is valid, which the token then says; None: forever, and it says nothing.
        tokens: each token given out and until when it is valid, in seconds since the epoch.
        indexed: the fields that the search index has; a condition on another one is ignored. Empty: it is off, and
            finds nothing.
        looks_up: whether a look-up by correlation id finds anything; with Redis or Cassandra and no index, it does not.
        honours_idempotency: whether a start with the idempotency key of another start is that one, as on Orkes;
            otherwise the key is ignored, as by Conductor.
    """

    def __init__(self, key: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.key = key
        self.definitions: set[str] = set()
        self.default_script = Script(after=None)
        self.workflows: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.journal: list[str] = []
        self.instead: Callable[[Request], Answer | None] = lambda request: None
        self.stored: dict[str, str] = {}
        self.payloads: dict[str, Any] = {}
        self.token_life: float | None = None
        self.tokens: dict[str, float] = {}
        self.indexed = set(INDEXED)
        self.looks_up = True
        self.honours_idempotency = False
        self._scripts: dict[str, list[ScriptOf]] = {}
        self._playing: dict[str, tuple[float, Script]] = {}
        self._lock = threading.RLock()
        self._server = _Listener(self._answer)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._schema = "https" if tls else "http"
        self.url = f"{self._schema}://127.0.0.1:{self.port}"
        # To close it takes half an interval.
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def connection_uri(self, **extra: Any) -> str:
        """Make the value of an ``AIRFLOW_CONN_…`` environment variable that leads here.

        Args:
            extra: fields of the connection's extra. Left out, ``max_attempts`` is 1, so that errors are seen at once.
        """
        login = "".join((quote(self.key[0], safe=""), ":", quote(self.key[1], safe=""), "@")) if self.key else ""
        fields = quote(json.dumps({"max_attempts": 1, **extra}), safe="")
        return f"conductor://{login}127.0.0.1:{self.port}/{self._schema}?__extra__={fields}"

    def script(self, workflow_name: str, *scripts: ScriptOf) -> None:
        """Define a workflow, and say how its runs go from now on.

        Args:
            workflow_name: the definition's name.
            scripts: one for each run in order: a start, a retry or a restart; the last one is for all further runs.
                A function gets the workflow's input and returns its script. None given: ``default_script``.
        """
        with self._lock:
            self.definitions.add(workflow_name)
            self._scripts[workflow_name] = list(scripts)

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
        """Add a workflow that somebody else has started, and return its id."""
        now = _now()
        workflow_id = str(uuid.uuid4())
        self.workflows[workflow_id] = {
            "workflowId": workflow_id,
            "workflowName": name,
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
        """End a workflow now, whatever its script says."""
        with self._lock:
            now = _now()
            self.workflows[workflow_id].update(
                status=status, reasonForIncompletion=reason or None, endTime=now, updateTime=now
            )
            if output is not None:
                self.workflows[workflow_id]["output"] = dict(output)

    def has_tasks(self, workflow_id: str, *tasks: Mapping[str, Any]) -> None:
        """Set a workflow's tasks; a task that ends moves the workflow's ``updateTime``."""
        with self._lock:
            self.workflows[workflow_id].update(tasks=[dict(task) for task in tasks], updateTime=_now())

    def plays(self, workflow_id: str, script: Script) -> str:
        """Let a workflow go as a script says, from now on, and return its id."""
        with self._lock:
            self._playing[workflow_id] = (time.monotonic(), script)
            if script.tasks:
                self.has_tasks(workflow_id, *script.tasks)
        return workflow_id

    def status(self, workflow_id: str) -> str:
        """A workflow's status now."""
        status: str = self._current(workflow_id)["status"]
        return status

    def reason(self, workflow_id: str) -> str:
        """Why a workflow has ended; "" where nothing is said."""
        return self.workflows[workflow_id]["reasonForIncompletion"] or ""

    @property
    def started(self) -> list[dict[str, Any]]:
        """The bodies of the starts that have arrived, in order."""
        return [request.body for request in self.requests if (request.method, request.path) == ("POST", "/workflow")]

    @property
    def only_workflow(self) -> str:
        """The id of the one workflow there is."""
        (workflow_id,) = self.workflows
        return workflow_id

    def sent(self, method: str) -> list[Request]:
        """The requests with this HTTP method, in order."""
        return [request for request in self.requests if request.method == method]

    def withdraw_tokens(self) -> None:
        """Refuse every token given out so far, whatever it says."""
        self.tokens = dict.fromkeys(self.tokens, 0.0)

    def _current(self, workflow_id: str) -> dict[str, Any]:
        """The workflow, after what its script has done since it was last read."""
        with self._lock:
            workflow = self.workflows[workflow_id]
            begun, script = self._playing.get(workflow_id, (0.0, Script(after=None)))
            due = script.after is not None and time.monotonic() >= begun + script.after
            if due and workflow["status"] in RUNS:
                self.end(workflow_id, script.status, output=script.output, reason=script.reason)
            return workflow

    def _run(self, workflow_id: str) -> str:
        """Begin a run of the workflow, as the next script of its definition says."""
        workflow = self.workflows[workflow_id]
        scripts = self._scripts.get(workflow["workflowName"]) or [self.default_script]
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return self.plays(workflow_id, script if isinstance(script, Script) else script(workflow["input"]))

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            self.journal.append(f"{request.method} {request.path}")
        own = self.instead(request)
        if own is not None:
            return own
        token = request.headers.get("X-Authorization")
        if self.key and request.path != "/token" and time.time() >= self.tokens.get(token or "", 0):
            return _error(401, "no valid token")
        with self._lock:
            return self._route(request)

    def _route(self, request: Request) -> Answer:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match request.method, parts:
            case "POST", ["token"] if self.key:
                if (request.body.get("keyId"), request.body.get("keySecret")) != self.key:
                    return _error(401, "INVALID_KEY")
                return _json(200, {"token": self._new_token()})
            case "POST", ["workflow"]:
                return self._start(request.body)
            case "POST", ["workflow", "bulk", "search"]:
                whole = request.query.get("includeTasks") == "true"
                found = [_in_bulk(self._current(item), whole) for item in request.body if item in self.workflows]
                missing = {item: "No such workflow" for item in request.body if item not in self.workflows}
                return _json(200, {"bulkSuccessfulResults": found, "bulkErrorResults": missing})
            case _, ["workflow", "bulk", verb] if verb in BULK:
                return self._bulk(request.body, verb, request.query)
            case "POST", ["tasks"]:
                return self._update_task(request.body)
            case "POST", ["workflow", name, "correlated"]:
                return _json(200, {label: self._correlated(name, label, request.query) for label in request.body})
            case "GET", ["workflow" | "tasks", "externalstoragelocation"]:
                path = request.query["path"]
                return _json(200, {"path": path} | ({"uri": self.stored[path]} if path in self.stored else {}))
            case "GET", ["external", "postgres", file]:
                return _json(200, self.payloads.get(file, NO_PAYLOAD))
            case "GET", ["workflow", "search"]:
                return self._search(request.query)
            case "GET", ["metadata", "taskdefs"] | ["tasks", _, "log"] | ["tasks", "queue", "polldata"]:
                return _json(200, [])
            case "GET", ["metadata", "taskdefs", name]:
                return _error(404, f"No such taskType found by name: {name}")
            case "GET", ["tasks", "queue", "sizes"]:
                return _json(200, {})
            case _, ["workflow", workflow_id, *rest]:
                own = self._control(f"{request.method} {'/'.join(rest)}", workflow_id, request.query)
                if own is not None:
                    return own
        return _error(404, f"No static resource api{request.path}.")

    def _new_token(self) -> str:
        if self.token_life is None:
            token, until = f"{TOKEN}-{len(self.tokens)}", math.inf
        else:
            until = time.time() + self.token_life
            claims = base64.urlsafe_b64encode(json.dumps({"exp": until, "jti": len(self.tokens)}).encode())
            token = f"e30.{claims.decode().rstrip('=')}.{TOKEN}"
        self.tokens[token] = until
        return token

    def _start(self, body: dict[str, Any]) -> Answer:
        if body["name"] not in self.definitions and not body.get("workflowDef"):
            return _error(404, f"No such workflow defined. name={body['name']}, version=null")
        key = body.get("idempotencyKey")
        if self.honours_idempotency and key:
            for found in self.workflows.values():
                if (found["workflowName"], found.get("idempotencyKey")) == (body["name"], key):
                    if body.get("idempotencyStrategy") == "RETURN_EXISTING":
                        return 200, "text/plain", found["workflowId"].encode()
                    return _error(409, f"there is a workflow with idempotency key {key}")
        workflow_id = self.add(name=body["name"], correlation_id=body.get("correlationId"))
        self.workflows[workflow_id].update(input=body.get("input") or {}, idempotencyKey=key)
        return 200, "text/plain", self._run(workflow_id).encode()

    def _correlated(self, name: str, label: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if not self.looks_up:
            return []
        closed, whole = (query.get(key) == "true" for key in ("includeClosed", "includeTasks"))
        found = [self._current(item) for item in self.workflows]
        return [
            item if whole else {**item, "tasks": []}
            for item in found
            if (item["workflowName"], item["correlationId"]) == (name, label) and (closed or item["status"] in RUNS)
        ]

    def _search(self, query: Mapping[str, str]) -> Answer:
        if not self.indexed:
            return _json(200, {"totalHits": 0, "results": []})
        try:
            workflows = [self._current(item) for item in self.workflows]
            found = search(workflows, query.get("query", ""), self.indexed, query.get("sort", ""))
        except ValueError as error:
            return _error(400, str(error))
        start, size = int(query["start"]), int(query["size"])
        return _json(200, {"totalHits": len(found), "results": found[start : start + size]})

    def _bulk(self, workflow_ids: list[str], verb: str, query: Mapping[str, str]) -> Answer:
        if len(workflow_ids) > 1000:
            problem = "Cannot process more than 1000 workflows. Please use multiple requests."
            error = {"status": 400, "message": "Validation failed, check below errors for detail.", "retryable": False}
            return _json(400, error | {"validationErrors": [{"path": f"{verb}Workflow.arg0", "message": problem}]})
        worked, refused = [], {}
        for workflow_id in workflow_ids:
            status, _, body = self._control(BULK[verb], workflow_id, query) or DONE
            if status < 300:
                worked.append(workflow_id)
            else:
                refused[workflow_id] = json.loads(body)["message"]
        return _json(200, {"bulkSuccessfulResults": worked, "bulkErrorResults": refused})

    def _update_task(self, update: Mapping[str, Any]) -> Answer:
        """The task as it is updated, if it is open; the workflow runs on until its script, or a test, ends it."""
        workflow = self.workflows.get(update["workflowInstanceId"])
        if workflow is None:
            return _error(404, f"No such workflow found by id: {update['workflowInstanceId']}")
        task = next((task for task in workflow["tasks"] if task["taskId"] == update["taskId"]), None)
        if task is None:
            return _error(404, f"No such task found by id: {update['taskId']}")
        if task["status"] in ("SCHEDULED", "IN_PROGRESS"):
            task.update({key: value for key, value in update.items() if key != "workflowInstanceId"})
        return 200, "text/plain", update["taskId"].encode()

    def _run_again(self, workflow_id: str, **changes: Any) -> Answer:
        now = _now()
        self.workflows[workflow_id].update(status="RUNNING", reasonForIncompletion=None, updateTime=now, **changes)
        self._run(workflow_id)
        return 204, "application/json", b""

    def _control(self, verb: str, workflow_id: str, query: Mapping[str, str]) -> Answer | None:
        """The answer to what is asked of one workflow, or None where there is no such route."""
        if workflow_id not in self.workflows:
            return _error(404, f"No such workflow found by id: {workflow_id}")
        workflow = self._current(workflow_id)
        status = workflow["status"]
        refused_in, code, why = REFUSED.get(verb, ((), 0, ""))
        if status in refused_in:
            return _error(code, why)
        match verb:
            case "GET status":
                keys = ["workflowId", "correlationId", "status"]
                keys += ["output"] if query.get("includeOutput") == "true" else []
                return _json(200, {key: workflow[key] for key in keys})
            case "GET ":
                return _json(200, workflow if query.get("includeTasks") != "false" else {**workflow, "tasks": []})
            case "DELETE ":  # FAILED is overwritten too
                self.end(workflow_id, "TERMINATED", reason=query.get("reason", ""))
            case "POST retry":
                done = [task["status"] in ("COMPLETED", "SKIPPED") for task in workflow["tasks"]]
                if status == "COMPLETED" or (done and all(done)):
                    if status != "COMPLETED" and query.get("resumeSubworkflowTasks") == "true":
                        return 204, "application/json", b""
                    return _error(409, "no retryable tasks! Use restart")
                return self._run_again(workflow_id, lastRetriedTime=_now())
            case "POST restart":
                return self._run_again(workflow_id, createTime=_now(), endTime=0, lastRetriedTime=0)
            case "PUT pause" | "PUT resume":
                workflow.update(status="PAUSED" if verb == "PUT pause" else "RUNNING", updateTime=_now())
            case "DELETE remove":
                if status in RUNS and query.get("archiveWorkflow") == "true":
                    return _error(400, f"Cannot archive workflow with status: {status}")
                del self.workflows[workflow_id]
            case _:
                return None
        return DONE


def _now() -> int:
    """In milliseconds since the epoch, as everything in Conductor."""
    return int(time.time() * 1000)


def _in_bulk(workflow: dict[str, Any], whole: bool) -> dict[str, Any]:
    """As 3.32 has it in a bulk answer: without its start, and with another word for its last change."""
    kept = {key: value for key, value in workflow.items() if key not in ("startTime", "updateTime")}
    return kept | {"tasks": workflow["tasks"] if whole else [], "updatedTime": workflow["updateTime"]}


def no_route(request: Request) -> Answer:
    """What 3.13.8 answers where it has no such endpoint."""
    when = "2026-11-26T10:48:18.267+00:00"
    return _json(404, {"timestamp": when, "status": 404, "error": "Not Found", "path": f"/api{request.path}"})


def _error(status: int, message: str) -> Answer:
    """As Conductor words its errors, which tells them from a gateway's."""
    return _json(status, {"instance": "conductor-1", "retryable": False, "message": message, "status": status})


def _json(status: int, value: Any) -> Answer:
    return status, "application/json", json.dumps(value).encode()
