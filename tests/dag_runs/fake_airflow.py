"""Airflow's REST API in this process, in both versions; ``test_fake_airflow.py`` holds it against recorded answers."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from airflow_provider_conductor.dag_runs.airflow_api import ApiVersion
from airflow_provider_conductor.dag_runs.airflow_client import AirflowSettings
from airflow_provider_conductor.testing import ConductorStandIn, Request

LOGIN, PASSWORD = "admin", "secret-of-airflow"

Answer = tuple[int, str, bytes]


@dataclass
class FakeAirflow:
    """Serves real HTTP; DAG runs change only as a test says.

    Attributes:
        dags: dag id → whether it is paused.
        runs: (dag id, run id) → the run.
        starts: the run ids that were created, in order.
        xcoms: (dag id, task id, key, map index) → value, of any run.
        failed_tasks: of any run that has failed.
        instead: a test's own answer to a request, or None for the usual one.
    """

    version: ApiVersion = 2
    dags: dict[str, bool] = field(default_factory=lambda: {"etl": False, "step_paused": True})
    runs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    xcoms: dict[tuple[str, str, str, int], Any] = field(default_factory=dict)
    failed_tasks: list[dict[str, Any]] = field(default_factory=list)
    instead: Callable[[Request], Answer | None] = lambda request: None
    tokens: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.server = ConductorStandIn()
        self.server.instead = self._answer
        self.url = self.server.url

    def close(self) -> None:
        self.server.close()

    def settings(self, **fields: Any) -> AirflowSettings:
        parts = {"host": self.url, "schema": None, "port": None, "login": LOGIN, "password": PASSWORD}
        extra = {"max_attempts": 1, **fields.pop("extra", {})}
        return AirflowSettings({**parts, **fields}, extra)

    def end(self, run_id: str, state: str) -> None:
        """Let a run end."""
        with self._lock:
            (run,) = [run for (_, found), run in self.runs.items() if found == run_id]
            run.update(state=state, end_date="2026-11-27T01:00:09+00:00")

    def withdraw_tokens(self) -> None:
        """Refuse every token given out so far."""
        self.tokens += 1

    def _answer(self, request: Request) -> Answer:
        own = self.instead(request)
        if own is not None:
            return own
        if request.path == "/auth/token" and self.version == 2:
            if request.body != {"username": LOGIN, "password": PASSWORD}:
                return _json(401, {"detail": "Invalid credentials"})
            return _json(201, {"access_token": f"e30.{self.tokens}.e30"})
        match = re.fullmatch(r"/v(\d)(/.*)", request.path)
        if match is None or int(match[1]) != self.version:
            return _json(404, {"detail": "Not Found"}) if self.version == 2 else (404, "text/html", b"<html>404</html>")
        if match[2] == "/version":
            return _json(200, {"version": "3.3.2" if self.version == 2 else "2.11.2", "git_version": None})
        if request.headers.get("Authorization") != self._credentials():
            if self.version == 1:
                return _json(403, {"detail": None, "title": "Forbidden"})
            return _json(401, {"detail": "Not authenticated", "title": "Unauthorized"})
        with self._lock:
            return self._route(request, [unquote(part) for part in match[2].strip("/").split("/")])

    def _credentials(self) -> str:
        if self.version == 2:
            return f"Bearer e30.{self.tokens}.e30"
        return f"Basic {base64.b64encode(f'{LOGIN}:{PASSWORD}'.encode()).decode()}"

    def _route(self, request: Request, parts: list[str]) -> Answer:
        match request.method, parts:
            case "POST", ["dags", dag_id, "dagRuns"]:
                return self._trigger(dag_id, request.body)
            case "GET", ["dags", "~", "dagRuns"]:
                found = [run for run in self.runs.values() if run["state"] in ("queued", "running")]
                start, limit = int(request.query["offset"]), int(request.query["limit"])
                return _json(200, {"dag_runs": found[start : start + limit], "total_entries": len(found)})
            case "GET", ["dags", dag_id] if dag_id in self.dags:
                return _json(200, {"dag_id": dag_id, "is_paused": self.dags[dag_id]})
            case method, ["dags", dag_id, "dagRuns", run_id, *rest]:
                run = self.runs.get((dag_id, run_id))
                if run is None:
                    return self._missing(f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found")
                return self._of_run(method, run, rest, request)
        return self._missing("Not Found")

    def _trigger(self, dag_id: str, body: dict[str, Any]) -> Answer:
        if dag_id not in self.dags:
            return self._missing(f"DAG with dag_id: '{dag_id}' not found")
        if self.version == 2 and "logical_date" not in body:
            return _json(422, {"detail": [{"type": "missing", "loc": ["body", "logical_date"], "msg": "required"}]})
        run_id, date = body["dag_run_id"], body.get("logical_date")
        dates = {run["logical_date"] for (found, _), run in self.runs.items() if found == dag_id}
        if (dag_id, run_id) in self.runs or (date and date in dates):
            # Version 2 answers what the database says, as an object.
            detail = {"reason": "Unique constraint violation"} if self.version == 2 else "DAGRun … already exists"
            return _json(409, {"detail": detail, "title": "Conflict"})
        self.starts.append(run_id)
        run = {"dag_run_id": run_id, "dag_id": dag_id, "state": "queued", "logical_date": date, "conf": body["conf"]}
        run |= {"start_date": None, "end_date": None, "note": body.get("note"), "run_type": "manual"}
        self.runs[dag_id, run_id] = run
        return _json(200, run)

    def _of_run(self, method: str, run: dict[str, Any], rest: list[str], request: Request) -> Answer:
        match method, rest:
            case "GET", []:
                return _json(200, run)
            case "PATCH", [] | ["setNote"]:
                run.update(request.body)
                return _json(200, run)
            case "GET", ["taskInstances"]:
                found = self.failed_tasks if run["state"] == "failed" else []
                return _json(200, {"task_instances": found, "total_entries": len(found)})
            case "GET", ["taskInstances", task_id, "xcomEntries", key]:
                key_of_it = (run["dag_id"], task_id, key, int(request.query["map_index"]))
                if key_of_it not in self.xcoms:
                    return self._missing(f"XCom entry with key: `{key}` not found")
                return _json(200, {"key": key, "task_id": task_id, "value": self.xcoms[key_of_it]})
        return self._missing("Not Found")

    def _missing(self, detail: str) -> Answer:
        return _json(404, {"detail": detail} if self.version == 2 else {"detail": detail, "title": "…", "status": 404})


def _json(status: int, value: Any) -> Answer:
    return status, "application/json", json.dumps(value).encode()
