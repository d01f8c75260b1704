"""What receives Airflow's metrics in tests, on loopback: StatsD's datagrams, and OpenTelemetry's requests over HTTP."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from dev.examples import airflow_environment
from tests.docs.pages import ROOT

TAGS = "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED"
BACKENDS = ("statsd", "statsd with tags", "opentelemetry")
STATSD_TYPES = {"g": "gauge", "c": "counter"}


@dataclass(frozen=True, slots=True, order=True)
class Arrived:
    """A metric as it has arrived, its value left out: the name, "gauge" or "counter", and the tags."""

    name: str
    type: str
    tags: tuple[tuple[str, str], ...] = ()


class StatsdReceiver:
    """A UDP socket; what was sent waits in it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def values(self) -> dict[Arrived, float]:
        """Our metrics: the last value of a gauge, the sum of a counter."""
        found: dict[Arrived, float] = {}
        for line in self._lines():
            metric, value = read_statsd(line)
            found[metric] = value + (found.get(metric, 0) if metric.type == "counter" else 0)
        return found

    def _lines(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                found += self._socket.recv(65_536).decode().splitlines()
            except BlockingIOError:
                return [line for line in found if "conductor." in line]

    def close(self) -> None:
        self._socket.close()


def read_statsd(line: str) -> tuple[Arrived, float]:
    """A line in StatsD's own form, or with tags as InfluxDB's or Datadog's: ``name,tag=value:1|g|#tag:value``."""
    found = re.fullmatch(
        r"(?P<name>[\w.]+)(?P<influx>(,[^:]+)?):(?P<value>[\d.]+)\|(?P<type>\w)(\|#(?P<dog>.*))?", line
    )
    assert found, line
    pairs = [tag.partition("=") for tag in found["influx"].split(",") if tag]
    pairs += [tag.partition(":") for tag in (found["dog"] or "").split(",") if tag]
    tags = tuple(sorted((key, value) for key, _, value in pairs))
    return Arrived(found["name"], STATSD_TYPES[found["type"]], tags), float(found["value"])


@dataclass
class OtlpReceiver:
    """An HTTP server that takes ``POST /v1/metrics``."""

    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/metrics"
                receiver.requests.append(ExportMetricsServiceRequest.FromString(content))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def values(self) -> dict[Arrived, float]:
        """Our metrics and the last value of each that arrived."""
        found: dict[Arrived, float] = {}
        for request in self.requests:
            for of_resource in request.resource_metrics:
                for scope in of_resource.scope_metrics:
                    for metric in scope.metrics:
                        if "conductor." in metric.name:
                            found |= _read_otlp(metric)
        return found


def _read_otlp(metric: Any) -> dict[Arrived, float]:
    """Each point of a metric; a counter is a monotonic sum since the process began."""
    is_sum = metric.WhichOneof("data") == "sum"
    if is_sum:
        assert metric.sum.is_monotonic
        assert metric.sum.aggregation_temporality == 2  # cumulative
    points = (metric.sum if is_sum else metric.gauge).data_points
    found = {}
    for point in points:
        tags = tuple(sorted((item.key, item.value.string_value) for item in point.attributes))
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        found[Arrived(metric.name, "counter" if is_sum else "gauge", tags)] = float(value)
    return found


def received(backend: str, home: Path) -> dict[Arrived, float]:
    """What arrives of two waits' metrics, reported by Airflow's own logger for this backend in a process of its own."""
    receiver = OtlpReceiver() if backend == "opentelemetry" else StatsdReceiver()
    prefix = "AIRFLOW__METRICS__OTEL" if backend == "opentelemetry" else "AIRFLOW__METRICS__STATSD"
    env = {
        **airflow_environment(home, "http://127.0.0.1:1"),
        f"{prefix}_ON": "True",
        f"{prefix}_HOST": "127.0.0.1",
        f"{prefix}_PORT": str(receiver.port),
        TAGS: str(backend == "statsd with tags"),
    }
    command = [sys.executable, "-m", "tests.monitoring.report_waits"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return receiver.values()
    finally:
        receiver.close()
