"""Records what Airflow's REST API answers to the worker of DAG runs, and what it refuses.

    .venv/airflow-3.3/bin/python -m tests.recorded.record_airflow_api --conductor http://localhost:8080

An Airflow is started with the DAGs of ``tests/faults/dags/steps.py``; the answers are written to
``airflow_api/<version>.json``, with the id of the run as RUN, and without times and this machine's folders.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow import __version__ as airflow_version

from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.dag_runs.airflow_api import AirflowApi
from airflow_provider_conductor.dag_runs.airflow_client import AirflowClient, AirflowSettings
from airflow_provider_conductor.dag_runs.request import DagRunRequest, XCom
from tests.faults.real_airflow import real_airflow

HERE = Path(__file__).parent / "airflow_api"

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")

DAGS = Path(__file__).parents[1] / "faults" / "dags"

FILE_TOKEN = re.compile(r'("file_token": *")[^"]*')
"""The DAG file's path, encoded (2.11)."""

IN_STATE = "select 1 from dag_run where dag_id = ? and state = ?"

DATE = "2026-01-02T03:04:05+00:00"


def refusals(api: AirflowApi, run_id: str) -> Iterator[tuple[str, Call[Any]]]:
    """Requests about a DAG that is paused, in their order, with their names."""
    paused = DagRunRequest("step_paused", {"first": 1}, note="a note")
    yield "triggered", api.trigger(paused, run_id)
    yield "triggered_again", api.trigger(paused, run_id)
    dated = DagRunRequest("step_paused", logical_date=DATE)
    yield "triggered_with_date", api.trigger(dated, f"{run_id}-dated")
    yield "date_is_taken", api.trigger(dated, f"{run_id}-other")
    yield "no_such_dag", api.trigger(DagRunRequest("step_unknown"), run_id)
    yield "queued", api.dag_run("step_paused", run_id)
    yield "no_such_run", api.dag_run("step_paused", "unknown")
    yield "open_runs", api.open_runs(0)
    yield "paused", api.is_paused("step_paused")
    yield "no_failed_tasks", api.failed_tasks("step_paused", run_id)
    yield "no_such_xcom", api.xcom("step_paused", run_id, XCom("pass_by"))
    for number, call in enumerate(api.end_as_failed("step_paused", run_id, "ended")):
        yield f"ended_as_failed_{number}", call
    yield "failed", api.dag_run("step_paused", run_id)


class Recording(AirflowClient):
    """A client whose answers are kept."""

    last: Answer

    def __init__(self, settings: AirflowSettings) -> None:
        super().__init__(settings)
        read = self._airflow.value

        def value(call: Call[Any], answer: Answer) -> Any:
            self.last = answer
            return read(call, answer)

        self._airflow.value = value  # type: ignore[method-assign]

    async def answer_to(self, call: Call[Any], run_id: str) -> dict[str, Any]:
        """The answer, whatever it is, and the error that it is for the client."""
        error = None
        try:
            await self.send(call)
        except Exception as raised:
            error = type(raised).__name__
        text = TIME.sub("TIME", self.last.content.decode().replace(run_id, "RUN"))
        text = FILE_TOKEN.sub(r"\1TOKEN", text.replace(str(DAGS), "DAGS"))
        try:
            body = json.loads(text)
        except ValueError:
            body = text[:300]
        return {"request": call.route, "status": self.last.status, "error": error, "body": body}


async def refused(client: Recording) -> dict[str, Any]:
    """The answers to :func:`refusals`, and to a request without credentials, by name."""
    api = await client.find_api()
    run_id = f"conductor__{uuid.uuid4()}"
    return {name: await client.answer_to(call, run_id) for name, call in refusals(api, run_id)}


async def ended(client: Recording, airflow: Any) -> dict[str, Any]:
    """What is read of runs that have ended."""
    api = await client.find_api()
    run_id = f"conductor__{uuid.uuid4()}"
    for dag_id, state in (("step_counts", "success"), ("step_fails", "failed")):
        await client.send(api.trigger(DagRunRequest(dag_id, {"first": 1}), run_id))
        await asyncio.to_thread(airflow.wait_until, lambda d=dag_id, s=state: airflow.query(IN_STATE, d, s))
    calls = {
        "succeeded": api.dag_run("step_counts", run_id),
        "xcom": api.xcom("step_counts", run_id, XCom("count")),
        "xcom_of_map_index": api.xcom("step_counts", run_id, XCom("double", map_index=2)),
        "failed_tasks": api.failed_tasks("step_fails", run_id),
    }
    return {name: await client.answer_to(call, run_id) for name, call in calls.items()}


def recorded() -> dict[str, dict[str, Any]]:
    """Airflow's version → name → answer."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(HERE.glob("*.json"))}


async def record(airflow: Any) -> dict[str, Any]:
    fields = json.loads(airflow.api_connection())
    parts = {name: fields.get(name) for name in ("host", "schema", "port", "login", "password")}
    async with Recording(AirflowSettings(parts, {})) as client:
        found = await refused(client) | await ended(client, airflow)
    async with Recording(AirflowSettings({**parts, "login": None, "password": None}, {})) as stranger:
        api = await stranger.find_api()
        found["no_credentials"] = await stranger.answer_to(api.dag_run("step_paused", "any"), "RUN")
    async with Recording(AirflowSettings({**parts, "password": "wrong"}, {})) as stranger:
        api = await stranger.find_api()
        found["wrong_password"] = await stranger.answer_to(api.dag_run("step_paused", "any"), "RUN")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what Airflow's REST API answers.")
    parser.add_argument("--conductor", required=True, help="a Conductor's address; it is not asked")
    chosen = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        settings = {"triggerer": False, "rest_api": True}
        with real_airflow(Path(home), chosen.conductor, **settings, STEP_DAGS="1") as airflow:  # type: ignore[arg-type]
            airflow.wait_until(lambda: len(airflow.query("select 1 from dag where dag_id like 'step_%'")) == 5)
            found = asyncio.run(record(airflow))
    (HERE / f"{airflow_version}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
