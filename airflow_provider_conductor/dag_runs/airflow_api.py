"""The few operations of Airflow's REST API that DAG runs as tasks need, as calls: version 2 of Airflow 3, 1 of 2.11."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from airflow_provider_conductor.client.endpoints.reading import Token
from airflow_provider_conductor.client.endpoints.writing import call, without_none
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.dag_runs.request import DagRunRequest, XCom

ApiVersion: TypeAlias = Literal[1, 2]

OPEN_STATES = ("queued", "running")

PAGE = 100
"""DAG runs in one answer: Airflow's default and, as it is configured, its limit."""


@dataclass(frozen=True, slots=True)
class DagRun:
    """A DAG run as the REST API has it; times are ISO 8601 texts, "" where there is none."""

    dag_id: str
    run_id: str
    state: str
    logical_date: str = ""
    start_date: str = ""
    end_date: str = ""
    note: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ("success", "failed")


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task instance that has not succeeded."""

    task_id: str
    state: str
    map_index: int = -1
    try_number: int = 0


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some of the DAG runs that were asked for, and how many there are."""

    runs: tuple[DagRun, ...]
    total: int


@dataclass(frozen=True, slots=True)
class AirflowApi:
    """Makes calls for one version of the API."""

    version: ApiVersion

    def trigger(self, request: DagRunRequest, run_id: str) -> Call[DagRun]:
        """Start a DAG run. A second sending does no more: the run exists then (409)."""
        body = {"dag_run_id": run_id, "conf": dict(request.conf), **without_none({"note": request.note})}
        if request.logical_date or self.version == 2:  # version 2 wants it, if only as null
            body["logical_date"] = request.logical_date
        return self._call("POST /dags/{dag_id}/dagRuns", _dag_run, request.dag_id, body=body)

    def dag_run(self, dag_id: str, run_id: str) -> Call[DagRun]:
        return self._call("GET /dags/{dag_id}/dagRuns/{run_id}", _dag_run, dag_id, run_id)

    def open_runs(self, offset: int) -> Call[RunPage]:
        """A page of the DAG runs of all DAGs that have not ended."""
        query = {"state": list(OPEN_STATES), "limit": PAGE, "offset": offset, "order_by": "id"}
        return self._call("GET /dags/{dag_id}/dagRuns", _run_page, "~", query=query)

    def is_paused(self, dag_id: str) -> Call[bool]:
        return self._call("GET /dags/{dag_id}", lambda answer: bool(_object(answer).get("is_paused")), dag_id)

    def failed_tasks(self, dag_id: str, run_id: str) -> Call[tuple[TaskState, ...]]:
        """The first tasks of a run that have failed."""
        query = {"state": ["failed", "upstream_failed"], "limit": 20}
        return self._call(
            "GET /dags/{dag_id}/dagRuns/{run_id}/taskInstances", _task_states, dag_id, run_id, query=query
        )

    def xcom(self, dag_id: str, run_id: str, wanted: XCom) -> Call[Any]:
        """An XCom's value as JSON."""
        query = {"map_index": wanted.map_index, "stringify": False}
        return self._call(
            "GET /dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}",
            lambda answer: _object(answer).get("value"),
            *(dag_id, run_id, wanted.task_id, wanted.key),
            query=query,
        )

    def end_as_failed(self, dag_id: str, run_id: str, note: str) -> tuple[Call[DagRun], ...]:
        """End a run with its tasks, and say in its note why; version 1 takes two calls."""
        route = "PATCH /dags/{dag_id}/dagRuns/{run_id}"
        if self.version == 2:
            return (self._call(route, _dag_run, dag_id, run_id, body={"state": "failed", "note": note}),)
        return (
            self._call(route, _dag_run, dag_id, run_id, body={"state": "failed"}),
            self._call(f"{route}/setNote", _dag_run, dag_id, run_id, body={"note": note}),
        )

    def run_path(self, dag_id: str, run_id: str) -> str:
        """The path of a run's page in Airflow's UI, quoted."""
        route = (
            "GET /dags/{dag_id}/runs/{run_id}" if self.version == 2 else "GET /dags/{dag_id}/grid?dag_run_id={run_id}"
        )
        return call(route, _object, dag_id, run_id).path

    def _call(
        self,
        route: str,
        parse: Any,
        *parts: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Call[Any]:
        method, path = route.split()
        return call(f"{method} /v{self.version}{path}", parse, *parts, query=query, body=body, safe_to_repeat=True)


def version_of(version: ApiVersion) -> Call[str]:
    """Airflow's own version, if it has this version of the API; it needs no credentials."""
    route = f"GET /v{version}/version"
    return call(route, lambda answer: str(_object(answer)["version"]))


def fetch_token(login: str, password: str) -> Call[Token]:
    """A token of version 2."""
    body = {"username": login, "password": password}
    return replace(call("POST /auth/token", _token, body=body, safe_to_repeat=True), authenticated=False)


def _object(answer: Answer) -> dict[str, Any]:
    value = answer.json()
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def _token(answer: Answer) -> Token:
    found = _object(answer).get("access_token")
    if not isinstance(found, str) or not re.fullmatch(r"[\x21-\x7e]+", found):
        raise ValueError("an answer without a token")
    return Token(found, answer.server_time)


def _dag_run(answer: Answer) -> DagRun:
    return _as_dag_run(_object(answer))


def _as_dag_run(data: Any) -> DagRun:
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), str) for key in ("dag_run_id", "dag_id", "state")
    ):
        raise ValueError("something without dag_run_id, dag_id and state instead of a DAG run")
    texts = {name: str(data.get(name) or "") for name in ("logical_date", "start_date", "end_date", "note")}
    return DagRun(data["dag_id"], data["dag_run_id"], data["state"], **texts)


def _run_page(answer: Answer) -> RunPage:
    data = _object(answer)
    return RunPage(tuple(map(_as_dag_run, data["dag_runs"])), int(data["total_entries"]))


def _task_states(answer: Answer) -> tuple[TaskState, ...]:
    return tuple(
        TaskState(item["task_id"], item["state"], item.get("map_index", -1), item.get("try_number") or 0)
        for item in _object(answer)["task_instances"]
    )
