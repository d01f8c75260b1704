"""A Conductor server and a clock in memory, and a driver that plays a network between them and a flow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from airflow_provider_conductor.client import (
    ConductorBadRequestError,
    ConductorConflictError,
    ConductorConnectionLostError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorServerError,
    ConductorTimeoutError,
    ConductorUnreachableError,
    Workflow,
    flow as driving,
)
from airflow_provider_conductor.client.flow import Answer, Call, Now, Sleep, Step
from airflow_provider_conductor.submission.identity import TaskIdentity
from airflow_provider_conductor.submission.start_once import Started, start_once
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord, first_try_of_series

START = 1_700_000_000.0
READ_TIMEOUT = 5.0
PATIENCE = 30.0

ENDED = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")


class Crashed(BaseException):
    """The worker's process is gone: nothing runs after this, not even an ``except``."""


@dataclass
class Server:
    """Carries out what the driver lets through; ``index_delay`` is how long a look-up lags behind a start.

    Its definitions have the ``task_types``. A look-up that ``widens`` ignores case, and finds other names, too.
    """

    looks_up: bool = True
    widens: bool = False
    locked: bool = False
    """Whether look-ups leave out what is being written, as PostgreSQL's do; the index does not."""
    task_types: tuple[str, ...] = ("SIMPLE",)
    archived: dict[str, dict[str, Any]] = field(default_factory=dict)
    index_delay: float = 0.0
    clock_ahead: float = 0.0
    tells_date: bool = True
    now: float = START
    workflows: dict[str, dict[str, Any]] = field(default_factory=dict)
    late: list[tuple[float, Call[Any]]] = field(default_factory=list)
    nothing_to_retry: bool = False
    retries_in_vain: bool = False
    """Whether a retry is accepted and does nothing, as where no task has failed."""
    no_route: bool = False
    refuses: bool = False
    starts: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        for moment, call in sorted(self.late, key=lambda one: one[0]):
            if moment <= until:
                self.late.remove((moment, call))
                self.now = max(self.now, moment)
                self.carry_out(call)
        self.now = until

    def add(self, status: str = "RUNNING", *, name: str = "orders", reason: str = "", **more: Any) -> str:
        """A workflow that is there already."""
        self.starts += 1
        workflow_id = f"wf-{self.starts}"
        self.workflows[workflow_id] = {
            "workflowId": workflow_id,
            "workflowName": name,
            "status": status,
            "reasonForIncompletion": reason,
            "createTime": int((self.now + self.clock_ahead) * 1000),
            "seen_from": self.now + self.index_delay,
            "input": {},
            "workflowDefinition": {"name": name, "tasks": [{"type": kind} for kind in self.task_types]},
            **more,
        }
        return workflow_id

    def child(self, parent: str, kind: str = "START_WORKFLOW", status: str = "RUNNING") -> str:
        """What a workflow starts: under its own name with its own input, and its correlation id, as servers do it."""
        above = self.workflows[parent]
        more = {"correlationId": above["correlationId"], "input": above["input"]}
        if kind == "SUB_WORKFLOW":
            more |= {"parentWorkflowId": parent, "parentWorkflowTaskId": "t1"}
        elif kind == "failureWorkflow":
            more["input"] = {**above["input"], "workflowId": parent, "failureStatus": above["status"]}
        return self.add(status, name=above["workflowName"], **more)

    def archive(self, workflow_id: str) -> None:
        """As an archiving listener does: out of the database, and kept in the search index."""
        self.archived[workflow_id] = self.workflows.pop(workflow_id)

    def end(self, workflow_id: str, status: str, reason: str = "") -> None:
        self.workflows[workflow_id] |= {"status": status, "reasonForIncompletion": reason}

    def running(self) -> list[str]:
        return [key for key, value in self.workflows.items() if value["status"] not in ENDED]

    def status(self, workflow_id: str) -> str:
        return str(self.workflows[workflow_id]["status"])

    def carry_out(self, call: Call[Any]) -> Any:
        parts = [unquote(part) for part in call.path.split("/")[2:]]
        match call.method, parts:
            case "POST", []:
                if self.refuses:
                    raise ConductorBadRequestError("no", method="POST", path=call.path, status=400)
                self.bodies.append(call.body)
                given = {"input": call.body.get("input") or {}, "correlationId": call.body["correlationId"]}
                return self.add(name=call.body["name"], **given)
            case "POST", ["bulk", *_]:  # as on old servers
                raise ConductorMissingRouteError("this server has no such endpoint", method="POST", path=call.path)
            case "POST", [name, "correlated"]:
                return self._correlated(name, call)
            case "GET", ["search"]:
                return self._search(call)
            case "GET", [workflow_id]:
                return self._view(self._found(workflow_id))
            case "DELETE", [workflow_id]:
                if self._found(workflow_id)["status"] == "COMPLETED":
                    raise ConductorConflictError("cannot terminate a COMPLETED workflow", status=409)
                self.end(workflow_id, "TERMINATED", dict(call.params).get("reason", ""))
                return None
            case "POST", [workflow_id, "retry"]:
                if self._found(workflow_id)["status"] not in ENDED[1:] or self.nothing_to_retry:
                    raise ConductorConflictError("no retryable tasks! Use restart", status=409)
                if not self.retries_in_vain:
                    self.end(workflow_id, "RUNNING")
                return None
            case "POST", [workflow_id, "restart"]:
                if self._found(workflow_id)["status"] not in ENDED:
                    raise ConductorConflictError("non-terminal", status=409)
                self.end(workflow_id, "RUNNING")
                self.workflows[workflow_id]["createTime"] = int((self.now + self.clock_ahead) * 1000)
                return None
        raise AssertionError(f"the simulation does not know {call.method} {call.path}")

    def _found(self, workflow_id: str) -> dict[str, Any]:
        if workflow_id not in self.workflows:
            raise ConductorNotFoundError("No such workflow found by id", status=404)
        return self.workflows[workflow_id]

    def _correlated(self, name: str, call: Call[Any]) -> Any:
        if self.no_route:
            raise ConductorMissingRouteError("this server has no such endpoint", method="POST", path=call.path)
        return self._answer(
            call,
            {
                wanted: [data for data in self._visible() if self._fits(data, name, wanted) and not self.locked]
                for wanted in call.body
            },
        )

    def _visible(self) -> list[dict[str, Any]]:
        return [data for data in self.workflows.values() if self.looks_up and data["seen_from"] <= self.now]

    def _fits(self, data: dict[str, Any], name: str, wanted: str) -> bool:
        found = str(data.get("correlationId"))
        if self.widens:
            return found.casefold() == wanted.casefold()
        return data["workflowName"] == name and found == wanted

    def _search(self, call: Call[Any]) -> Any:
        """The index, by one condition; a summary has times and the input as text."""
        ((name, values),) = re.findall(r"^(\w+) ?(?:IN|=) ?(.*)$", dict(call.params)["query"])
        wanted = values.strip("()'").split(",")
        found = [data for data in [*self._visible(), *self.archived.values()] if data.get(name) in wanted]
        asked = dict(call.params)
        found.sort(key=lambda data: data["createTime"], reverse=asked.get("sort", "").endswith("DESC"))
        results = [
            {
                "workflowId": data["workflowId"],
                "workflowType": data["workflowName"],
                "correlationId": data.get("correlationId"),
                "status": data["status"],
                "reasonForIncompletion": data["reasonForIncompletion"],
                "startTime": datetime.fromtimestamp(data["createTime"] / 1000, UTC).isoformat(),
                "input": str(data["input"]),
            }
            for data in found[: int(asked["size"])]
        ]
        return self._answer(call, {"totalHits": len(found), "results": results})

    def _answer(self, call: Call[Any], content: Any) -> Any:
        headers = {"date": formatdate(self.now + self.clock_ahead, usegmt=True)} if self.tells_date else {}
        return call.parse(Answer(200, headers, json.dumps(content).encode()))

    def _view(self, data: dict[str, Any]) -> Workflow:
        observed = int(self.now + self.clock_ahead) * 1000 if self.tells_date else 0
        return Workflow(dict(data), observed_at=observed)


Fault = Callable[[Server, Call[Any]], Any]
"""What becomes of one request: returns the answer, or raises what the client would."""


def fine(server: Server, call: Call[Any]) -> Any:
    return server.carry_out(call)


def request_lost(server: Server, call: Call[Any]) -> Any:
    server.pass_time(READ_TIMEOUT)
    raise _lost(call, ConductorTimeoutError)


def answer_lost(server: Server, call: Call[Any]) -> Any:
    server.carry_out(call)
    raise _lost(call, ConductorConnectionLostError)


def refused(server: Server, call: Call[Any]) -> Any:
    raise ConductorUnreachableError("cannot connect", method=call.method, path=call.path)


def unavailable(server: Server, call: Call[Any]) -> Any:
    raise ConductorServerError("no message", status=503, fate_unknown=not call.safe_to_repeat)


def done_but_unavailable(server: Server, call: Call[Any]) -> Any:
    server.carry_out(call)
    raise ConductorServerError("gateway timeout", status=504, fate_unknown=not call.safe_to_repeat)


def crash_before(server: Server, call: Call[Any]) -> Any:
    raise Crashed


def crash_after(server: Server, call: Call[Any]) -> Any:
    server.carry_out(call)
    raise Crashed


def done_later(seconds: float, *, and_crash: bool = False) -> Fault:
    """The client gives up after its timeout; the server takes the request up ``seconds`` after it was sent."""

    def fault(server: Server, call: Call[Any]) -> Any:
        if (call.method, call.path) != ("POST", "/workflow"):
            return request_lost(server, call)
        server.late.append((server.now + seconds, call))
        if and_crash:
            raise Crashed
        server.pass_time(READ_TIMEOUT)
        raise _lost(call, ConductorTimeoutError)

    fault.__name__ = f"done_{seconds:g}s_later{'_and_crash' if and_crash else ''}"
    return fault


def at(paths: str | tuple[str, ...], *faults: Fault) -> list[Fault]:
    """A script in which the faults meet the first request to one of these paths, and those after it."""
    left = list(faults)

    def meet(server: Server, call: Call[Any]) -> Any:
        due = left and (len(left) < len(faults) or call.path.endswith(paths))
        return (left.pop(0) if due else fine)(server, call)

    return [meet] * 200


def _lost(call: Call[Any], kind: type[ConductorConnectionLostError]) -> ConductorConnectionLostError:
    return kind("lost", method=call.method, path=call.path, fate_unknown=not call.safe_to_repeat)


def drive(flow: Generator[Any, Any, Any], server: Server, faults: Iterable[Fault] = ()) -> Any:
    """Run a flow to its end; each request takes the next fault, and the rest go well."""
    script: Iterator[Fault] = iter(faults)

    def do(step: Step) -> Any:
        if isinstance(step, Now):
            return server.now
        if isinstance(step, Sleep):
            return server.pass_time(step.seconds)
        server.pass_time(0.01)
        return next(script, fine)(server, step)

    return driving.drive(flow, do)


@dataclass
class Airflow:
    """One task and its tries. ``stores`` says whether there is a task state store."""

    server: Server
    stores: bool = False
    retries: int = 2
    max_tries: int = 2
    try_number: int = 1
    prefix: str = "airflow"
    retry_from: str = "failed_task"
    cancel_on_kill: bool = True
    label: str | None = None
    input: dict[str, Any] = field(default_factory=dict)
    version: int | None = None
    context_input: dict[str, Any] = field(default_factory=dict)
    store: dict[str, Any] | None = None
    run_began: float = START
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def plan(self) -> StartPlan:
        record = StartRecord.from_json(self.store)
        identity = TaskIdentity(
            prefix=self.prefix,
            dag_id="nightly",
            run_id="manual__1",
            task_id="run_orders",
            map_index=-1,
            try_number=self.try_number,
            first_try=first_try_of_series(record, max_tries=self.max_tries, retries=self.retries),
        )
        if record is not None and record.max_tries == self.max_tries:
            series_began = record.series_began
        else:
            series_began = self.server.now if identity.begins_series else self.run_began
        body = {"name": "orders", "input": self.input, **({"version": self.version} if self.version else {})}
        return StartPlan(
            identity=identity,
            context_input=self.context_input,
            body=body if self.label is None else {**body, "correlationId": self.label},
            max_tries=self.max_tries,
            series_began=series_began,
            run_began=self.run_began,
            record=record,
            keeps_records=self.stores,
            retry_from=self.retry_from,  # type: ignore[arg-type]
            cancel_on_kill=self.cancel_on_kill,
            search_seconds=PATIENCE,
            leftover_reason="Airflow task was killed: it starts anew",
        )

    def remember(self, record: StartRecord) -> None:
        if self.stores:
            self.store = record.to_json()

    def run(self, *faults: Fault) -> Started:
        """This try's start."""
        flow = start_once(self.plan(), log=self.lines.append, warn=self.warnings.append, save=self.remember)
        return drive(flow, self.server, faults)  # type: ignore[no-any-return]

    def retry(self, after: float = 60.0) -> Airflow:
        """Airflow's automatic retry: the next try of the same series."""
        self.server.pass_time(after)
        self.try_number += 1
        return self

    def clear(self, after: float = 60.0) -> Airflow:
        self.max_tries = self.try_number + self.retries
        return self.retry(after)

    def crash(self, *faults: Fault) -> Airflow:
        """A try that ends by SIGKILL at the last of these."""
        try:
            self.run(*faults)
        except Crashed:
            return self
        raise AssertionError("it did not crash")
