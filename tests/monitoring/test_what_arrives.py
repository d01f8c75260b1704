"""What Airflow's own StatsD and OpenTelemetry loggers send of our metrics is what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version

from tests.docs.pages import ROOT
from tests.monitoring.receivers import BACKENDS, Arrived, read_statsd, received

RECORDED = ROOT / "tests" / "recorded" / "metrics"
SERIES = airflow_version.rpartition(".")[0]


def recorded(version: str) -> dict[str, set[Arrived]]:
    """Backend → what arrived there of this Airflow; of the newest one, where this Airflow was not recorded."""
    path = next(RECORDED.glob(f"airflow-{version}.*.json"), None) or max(RECORDED.glob("airflow-3.*.json"))
    return {
        backend: {Arrived(item["name"], item["type"], tuple(sorted(item["tags"].items()))) for item in items}
        for backend, items in json.loads(path.read_text()).items()
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_metrics_arrive_as_recorded(backend: str, tmp_path: Path) -> None:
    arrived = received(backend, tmp_path)
    assert arrived.keys() == recorded(SERIES)[backend]
    values = {metric.name: value for metric, value in arrived.items()}
    assert values["airflow.conductor.waits"] == 0, "the waits are over"
    assert values["airflow.conductor.errors"] == 1
    assert values["airflow.conductor.woken"] == 2
    assert values["airflow.conductor.requests"] > values["airflow.conductor.errors"]
    assert values["airflow.conductor.polls"] >= 2


def test_airflow_2_and_3_send_the_same() -> None:
    assert recorded("2.11") == recorded("3.3")


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        ("airflow.conductor.waits:2|g", ()),
        ("airflow.conductor.waits,conn_id=a,hostname=b:2|g", (("conn_id", "a"), ("hostname", "b"))),
        ("airflow.conductor.waits:2|g|#conn_id:a,hostname:b", (("conn_id", "a"), ("hostname", "b"))),
    ],
)
def test_each_form_of_tags_is_read(line: str, tags: tuple[tuple[str, str], ...]) -> None:
    assert read_statsd(line) == (Arrived("airflow.conductor.waits", "gauge", tags), 2.0)
