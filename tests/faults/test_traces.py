"""One trace, and one lineage, of a real Airflow's tasks and a real Conductor's workflows, as a collector gets it."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from airflow_provider_conductor.client import ConductorClient, Workflow
from tests.faults.real_airflow import AIRFLOW_2, RealAirflow, real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

TRIES = {"on_worker": 1, "is_deferred": 1, "fails": 2}


class Span(NamedTuple):
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    failed: bool
    attributes: Mapping[str, Any]


class Collector(ThreadingHTTPServer):
    """Takes spans as an OpenTelemetry collector does, by OTLP over HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []

    def take(self, body: bytes) -> None:
        sent = ExportTraceServiceRequest.FromString(body)
        for span in (span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans):
            values = {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}
            ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
            times = span.start_time_unix_nano, span.end_time_unix_nano
            self.spans.append(Span(span.name, *ids, *times, span.status.code == span.status.STATUS_CODE_ERROR, values))


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


def workflow_ids(airflow: RealAirflow, task_id: str) -> list[str]:
    """Those that a task's log names, in the order of its tries."""
    rows = airflow.query("select value from xcom where task_id = ? and key = 'workflow_id'", task_id)
    return [json.loads(value) for (value,) in rows]


NOTHING_IS_KILLED = {
    # So a slow start of a task must not be taken for its death.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "600",
    "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "600",
}


def ended(airflow: RealAirflow) -> bool:
    states = [seen.state for seen in airflow.tasks()]
    return len(states) == len(TRIES) and all(state in ("success", "failed") for state in states)


def test_a_workflow_is_in_the_trace_of_the_task_that_started_it(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, collector: Collector
) -> None:
    port = str(collector.server_address[1])
    env = {
        "TRACED": "1",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "AIRFLOW__TRACES__OTEL_HOST": "127.0.0.1",
        "AIRFLOW__TRACES__OTEL_PORT": port,
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "NO_PROXY": "127.0.0.1",
        **NOTHING_IS_KILLED,
    }
    with real_airflow(tmp_path, conductor_server.url, **env) as airflow:

        def ours() -> list[Span]:
            return [span for span in collector.spans if "conductor.workflow_id" in span.attributes]

        def of_workflows() -> list[Span]:
            return [span for span in ours() if "conductor.workflow_name" in span.attributes]

        airflow.wait_until(lambda: ended(airflow))
        try:
            airflow.wait_until(lambda: len(of_workflows()) == sum(TRIES.values()), seconds=60)
        except AssertionError:
            pytest.fail(f"too few spans: {[(span.name, span.parent_id) for span in collector.spans]}")

        by_task: dict[str, list[tuple[Span, Workflow]]] = {name: [] for name in TRIES}
        for span in of_workflows():
            workflow = direct.get_workflow(span.attributes["conductor.workflow_id"])
            by_task[workflow.input["airflow"]["task_id"]].append((span, workflow))
        assert {name: len(found) for name, found in by_task.items()} == TRIES

        for name, found in by_task.items():
            for span, workflow in found:
                context = workflow.input["airflow"]
                assert context["traceparent"].split("-")[1:3] == [span.trace_id, span.parent_id], name
                times = (workflow.start_time * 10**6, workflow.end_time * 10**6)
                assert (span.start, span.end) == times, "Conductor's own"
                (step,) = [span_ for span_ in ours() if span_.parent_id == span.span_id]
                assert (step.name, step.attributes["conductor.task_type"]) == (
                    ("step", "TERMINATE") if name == "fails" else ("step", "WAIT")
                )
                assert span.failed == (name == "fails")

        parents = {span.parent_id for found in by_task.values() for span, _ in found}
        assert len(parents) == sum(TRIES.values()), "each try has its own"
        found_parents = airflow.wait_until(
            lambda: (spans := [span for span in collector.spans if span.span_id in parents]) and spans
        )
        if AIRFLOW_2:
            assert {span.name.removeprefix("traced.") for span in found_parents} <= set(TRIES)
        else:
            assert sorted(span.name for span in found_parents) == [
                *("worker.fails", "worker.fails", "worker.is_deferred", "worker.on_worker"),
            ]
            (trace_id,) = {span.trace_id for span in ours()}
            assert "task_run.on_worker" in {span.name for span in collector.spans if span.trace_id == trace_id}


def test_a_workflow_is_a_run_below_the_run_of_the_task_that_started_it(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path
) -> None:
    sent = tmp_path / "lineage"
    sent.mkdir()
    env = {
        "TRACED": "1",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(sent / "event")}),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "here",
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "120",
        "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "150",
        **NOTHING_IS_KILLED,
    }

    def events() -> list[dict[str, Any]]:
        """Those that have been written, each in a file of its own."""
        found = []
        for path in sorted(sent.iterdir()):
            with contextlib.suppress(json.JSONDecodeError):  # not yet as a whole
                found.append(json.loads(path.read_text()))
        return found

    def runs() -> dict[str, list[dict[str, Any]]]:
        """The workflows' events by run."""
        runs: dict[str, list[dict[str, Any]]] = {}
        for event in events():
            if event["job"]["namespace"] == conductor_server.url.replace("http", "conductor"):
                runs.setdefault(event["run"]["runId"], []).append(event)
        return runs

    with real_airflow(tmp_path, conductor_server.url, **env) as airflow:
        airflow.wait_until(lambda: ended(airflow), 600)
        airflow.wait_until(lambda: len(runs()) == sum(TRIES.values()) and all(len(of) == 2 for of in runs().values()))
    by_airflow = [event for event in events() if event["job"]["namespace"] == "here"]
    jobs = {event["run"]["runId"]: event["job"]["name"] for event in by_airflow}
    tries = []
    for run_id, found in runs().items():
        workflow = direct.get_workflow(run_id)
        context = workflow.input["airflow"]
        handed_over = context["openlineage"]
        task_id = context["task_id"]
        assert {event["eventType"] for event in found} == {"START", "FAIL" if task_id == "fails" else "COMPLETE"}
        for event in found:
            assert event["job"]["name"] == workflow.name
            parent = event["run"]["facets"]["parent"]
            assert parent["run"]["runId"] == handed_over["parentRunId"]
            assert jobs[parent["run"]["runId"]] == parent["job"]["name"] == f"traced.{task_id}"
            root = parent["root"]
            assert root["run"]["runId"] == handed_over["rootParentRunId"]
            assert jobs[root["run"]["runId"]] == root["job"]["name"] == "traced"
        tries.append((task_id, handed_over["parentRunId"]))
    assert len(set(tries)) == sum(TRIES.values()), "each try has a run of its own"
