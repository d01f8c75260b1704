"""DAGs that the ends of workflows schedule, with a real scheduler, triggerer and Conductor.

One Airflow for all of it: its start takes longer than each of the steps.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.triggers.event_inbox import AT_ONCE
from dev.examples import register_definitions, running_worker
from tests.faults.conftest import ENDS
from tests.faults.dags.events import MANY
from tests.faults.proxy import FaultProxy, Kind, fine
from tests.faults.real_airflow import RealAirflow, real_airflow

pytestmark = [
    pytest.mark.integration,
    pytest.mark.airflow,
    pytest.mark.faults,
    pytest.mark.airflow_versions(since="3.3"),
]

BURST = 120
"""Workflows that end while the triggerer is killed."""


class Seen:
    """What Airflow has stored."""

    def __init__(self, airflow: RealAirflow, prefix: str) -> None:
        self.airflow, self.prefix = airflow, prefix

    def events(self, asset: str) -> list[dict[str, Any]]:
        """The payloads of the asset's events, the first first."""
        rows = self.airflow.query(
            "select e.extra from asset_event e join asset a on a.id = e.asset_id where a.name = ? order by e.id", asset
        )
        return [json.loads(row[0])["payload"] for row in rows]

    def ends(self) -> list[dict[str, Any]]:
        return self.events(f"conductor://conductor_default/workflow/{self.prefix}_ends")

    def positions(self) -> int:
        found = self.airflow.query("select count(*) from asset_state_store where key = 'conductor_position'")
        return int(found[0][0]) if found else 0

    def runs(self, dag_id: str) -> list[str]:
        """The event ids that each finished run has got."""
        rows = self.airflow.query("select value from xcom where dag_id = ? and key = 'return_value'", dag_id)
        values = [json.loads(row[0]) for row in rows]
        return [event for value in values for event in (json.loads(value) if isinstance(value, str) else value)]


def test_a_workflows_end_schedules_a_dag(
    direct: ConductorClient, proxy: FaultProxy, tmp_path: Path, report: Callable[[str], None]
) -> None:
    register_definitions(direct.settings.api_url)
    prefix = f"event_{uuid.uuid4().hex[:8]}"
    name = f"{prefix}_ends"
    sub = {"name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW"}
    parent = {**ENDS, "name": f"{prefix}_parent", "outputParameters": {}}
    child = {**ENDS, "name": f"{prefix}_parted"}
    parent["tasks"] = [{**sub, "subWorkflowParam": {"name": child["name"], "version": 1}}]
    direct.register_workflow_defs([{**ENDS, "name": name}, child, parent])
    searches: list[float] = []

    def count(line: str) -> Kind:
        if line == "GET /api/workflow/search":
            searches.append(time.monotonic())
        return fine

    proxy.choose = count
    before = direct.start_workflow_by_name(name, {"number": -1})
    settings = {
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "20",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    }
    with (
        (tmp_path / "worker.log").open("w") as log,
        running_worker(direct.settings.api_url, log=log),
        real_airflow(tmp_path, proxy.url, EVENTS_DAGS=prefix, **settings) as airflow,
    ):
        seen = Seen(airflow, prefix)
        airflow.wait_until(lambda: seen.positions() == MANY + 3, 600)

        # Fifty-three assets, one search each two seconds.
        searches.clear()
        began = time.monotonic()
        time.sleep(20)
        polls, seconds = len(searches), time.monotonic() - began
        report(f"{MANY + 3} assets: {polls} searches in {seconds:.0f} s")
        assert 1 <= polls <= seconds / 2 + 2

        # One end, one event, one run; not for what ended before, not for a DAG that is paused.
        first = direct.start_workflow_by_name(name, {"number": 0}, correlation_id="label 7")
        airflow.wait_until(seen.ends, 120)
        (event,) = seen.ends()
        assert (event["workflow_id"], event["status"], event["correlation_id"]) == (first, "COMPLETED", "label 7")
        assert (event["workflow_name"], event["workflow_version"], event["output"]) == (name, 1, {"number": 0})
        assert before not in {found["workflow_id"] for found in seen.ends()}
        airflow.wait_until(lambda: seen.runs("booked"), 300)
        assert seen.runs("booked") == [event["event_id"]]
        assert len(airflow.query("select id from dag_run where dag_id = 'booked'")) == 1
        assert not airflow.query("select id from dag_run where dag_id = 'paused'")

        # The example DAG, as it is.
        order = direct.start_workflow_by_name("order_fulfilment", {"order_id": "A-1007", "amount": 129.9})
        airflow.wait_until(lambda: direct.get_workflow_status(order).status.ended, 300)
        airflow.wait_until(lambda: seen.runs("book_finished_orders"), 300)
        assert "B6-A-1007" in seen.runs("book_finished_orders")

        # A sub-workflow's end is no event.
        parent_id = direct.start_workflow_by_name(parent["name"], {"number": 1})
        airflow.wait_until(lambda: seen.events("parents"), 120)

        # Killed in the middle.
        started = [direct.start_workflow_by_name(name, {"number": number}) for number in range(1, BURST // 2)]
        airflow.wait_until(lambda: len(seen.ends()) > 5, 120)
        airflow.kill("triggerer")
        killed_at = len(seen.ends())
        started += [direct.start_workflow_by_name(name, {"number": number}) for number in range(BURST // 2, BURST + 1)]
        airflow.start("triggerer")
        wanted = {first, *started}
        airflow.wait_until(lambda: {found["workflow_id"] for found in seen.ends()} >= wanted, 400)
        time.sleep(20)
        counts = Counter(found["event_id"] for found in seen.ends())
        twice = {event_id for event_id, times in counts.items() if times > 1}
        report(f"killed after {killed_at} of {len(wanted)} events: {len(twice)} came twice, none was lost")
        assert {found["workflow_id"] for found in seen.ends()} == wanted
        assert max(counts.values()) <= 2
        assert len(twice) <= AT_ONCE

        assert {found["workflow_id"] for found in seen.events("parents")} == {parent_id}
        # Airflow 3.3.2 may leave an event that comes while it makes a run to the run after the next event.
        last = direct.start_workflow_by_name(name, {"number": BURST + 1})
        airflow.wait_until(lambda: last in {found["workflow_id"] for found in seen.ends()}, 120)
        airflow.wait_until(lambda: set(seen.runs("booked")) == {found["event_id"] for found in seen.ends()}, 300)
        report(f"{len(counts)} ends in {len(airflow.query('select id from dag_run where dag_id = ?', 'booked'))} runs")
        assert not airflow.query("select id from dag_run where dag_id = 'paused'")
