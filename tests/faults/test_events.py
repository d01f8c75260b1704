"""DAGs that the ends of workflows schedule, with a real scheduler, triggerer and Conductor.

One Airflow for as much as can be: its start takes longer than each of the steps.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_conductor._airflow import events_are_confirmed
from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.triggers import ConductorWorkflowEventTrigger
from airflow_provider_conductor.triggers.event_inbox import AT_ONCE
from dev.conductor_server import ConductorServer
from dev.examples import register_definitions, running_worker
from tests.faults.conftest import ENDS
from tests.faults.dags.events import MANY
from tests.faults.proxy import FaultProxy, Kind, fine, late_index
from tests.faults.real_airflow import RealAirflow, real_airflow

pytestmark = [
    pytest.mark.integration,
    pytest.mark.faults,
    pytest.mark.airflow_versions(since="3.0"),
]

BURST = 340
"""Workflows that end while one of the programs is killed."""

LATE = 120
"""Workflows that end while the index is late."""

LATEST = 30.0
"""Seconds by which the index is late at most."""


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


@pytest.fixture
def own_proxy(own_server: ConductorServer) -> Iterator[FaultProxy]:
    proxy = FaultProxy(own_server.api_url)
    yield proxy
    proxy.stop()


@pytest.fixture
def client(own_server: ConductorServer) -> Iterator[ConductorClient]:
    with ConductorClient(own_server.api_url) as client:
        yield client


@pytest.mark.airflow
@pytest.mark.airflow_versions(since="3.3")
def test_a_workflows_end_schedules_a_dag(
    client: ConductorClient,
    own_server: ConductorServer,
    own_proxy: FaultProxy,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    register_definitions(client.settings.api_url)
    prefix = f"event_{uuid.uuid4().hex[:8]}"
    name = f"{prefix}_ends"
    sub = {"name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW"}
    parent = {**ENDS, "name": f"{prefix}_parent", "outputParameters": {}}
    child = {**ENDS, "name": f"{prefix}_parted"}
    parent["tasks"] = [{**sub, "subWorkflowParam": {"name": child["name"], "version": 1}}]
    client.register_workflow_defs([{**ENDS, "name": name}, child, parent])
    searches: list[float] = []

    def count(line: str) -> Kind:
        if line == "GET /api/workflow/search":
            searches.append(time.monotonic())
        return fine

    own_proxy.choose = count
    before = client.start_workflow_by_name(name, {"number": -1})
    settings = {
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "20",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    }
    with (
        (tmp_path / "worker.log").open("w") as log,
        running_worker(client.settings.api_url, log=log),
        real_airflow(tmp_path, own_proxy.url, EVENTS_DAGS=prefix, EVENTS_MANY="1", **settings) as airflow,
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
        first = client.start_workflow_by_name(name, {"number": 0}, correlation_id="label 7")
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
        order = client.start_workflow_by_name("order_fulfilment", {"order_id": "A-1007", "amount": 129.9})
        airflow.wait_until(lambda: client.get_workflow_status(order).status.ended, 300)
        airflow.wait_until(lambda: seen.runs("book_finished_orders"), 300)
        assert "B6-A-1007" in seen.runs("book_finished_orders")

        # A sub-workflow's end is no event.
        parent_id = client.start_workflow_by_name(parent["name"], {"number": 1})
        airflow.wait_until(lambda: seen.events("parents"), 120)

        # Each killed in the middle, one after the other.
        def end_some(more: int) -> None:
            started.update(client.start_workflow_by_name(name, {"number": number}) for number in range(more))

        started, killed_at = {first}, []
        for victim in ("triggerer", "scheduler", "Conductor"):
            seen_before = len(seen.ends())
            end_some(BURST // 2)
            airflow.wait_until(lambda before=seen_before: len(seen.ends()) > before + 5, 300)
            killed_at.append(f"{victim} after {len(seen.ends())}")
            if victim == "Conductor":
                own_server.kill()
                own_server.restart()
                end_some(BURST // 2)
            else:
                airflow.kill(victim)
                end_some(BURST // 2)
                airflow.start(victim)
            airflow.wait_until(lambda: {found["workflow_id"] for found in seen.ends()} >= started, 600)
        time.sleep(20)
        counts = Counter(found["event_id"] for found in seen.ends())
        twice = {event_id for event_id, times in counts.items() if times > 1}
        report(f"killed {', '.join(killed_at)} of {len(started)} events: {len(twice)} came twice, none was lost")
        assert {found["workflow_id"] for found in seen.ends()} == started
        assert max(counts.values()) <= 2
        assert len(twice) <= AT_ONCE

        assert {found["workflow_id"] for found in seen.events("parents")} == {parent_id}
        # Airflow 3.3.2 may leave an event that comes while it makes a run to the run after the next event.
        last = client.start_workflow_by_name(name, {"number": BURST + 1})
        airflow.wait_until(lambda: last in {found["workflow_id"] for found in seen.ends()}, 120)
        airflow.wait_until(lambda: set(seen.runs("booked")) == {found["event_id"] for found in seen.ends()}, 300)
        report(f"{len(counts)} ends in {len(airflow.query('select id from dag_run where dag_id = ?', 'booked'))} runs")
        assert not airflow.query("select id from dag_run where dag_id = 'paused'")


@pytest.mark.airflow
def test_each_version_of_airflow_runs_a_dag_for_an_end(
    direct: ConductorClient, proxy: FaultProxy, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """What ends while no triggerer runs, or while every DAG is paused, is missed where no position is kept."""
    prefix = f"event_{uuid.uuid4().hex[:8]}"
    name = f"{prefix}_ends"
    direct.register_workflow_defs([{**ENDS, "name": name}])
    searches: list[str] = []

    def count(line: str) -> Kind:
        if line == "GET /api/workflow/search":
            searches.append(line)
        return fine

    proxy.choose = count
    ended = [direct.start_workflow_by_name(name, {"number": -1})]

    def unwatched() -> bool:
        searches.clear()
        time.sleep(6)
        return not searches

    def end() -> str:
        """End one, which a watch that has begun cannot but see."""
        searches.clear()
        airflow.wait_until(lambda: len(searches) > 1)
        ended.append(direct.start_workflow_by_name(name, {"number": len(ended)}, correlation_id="label 7"))
        airflow.wait_until(lambda: ended[-1] in [event["workflow_id"] for event in seen.ends()])
        return ended[-1]

    # Airflow 3.0 begins to watch an asset when it has parsed the file twice.
    settings = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "20"}
    with real_airflow(tmp_path, proxy.url, EVENTS_DAGS=prefix, **settings) as airflow:
        seen = Seen(airflow, prefix)
        first = end()
        (event,) = seen.ends()
        workflow = direct.get_workflow(first)
        assert event.pop("event_id")
        times = [datetime.fromisoformat(event.pop(key)) for key in ("start_time", "end_time")]
        assert [round(moment.timestamp() * 1000) for moment in times] == [
            workflow.start_time,
            workflow.end_time,
        ]
        assert event == {
            "workflow_id": first,
            "workflow_name": name,
            "workflow_version": 1,
            "status": "COMPLETED",
            "correlation_id": "label 7",
            "url": f"{proxy.url}/execution/{first}",
            "output": {"number": 1},
            "output_omitted": None,
        }
        airflow.wait_until(lambda: seen.runs("booked"))
        assert seen.runs("booked") == [found["event_id"] for found in seen.ends()]
        assert len(airflow.query("select id from dag_run where dag_id = 'booked'")) == 1

        keeps_position = events_are_confirmed()
        airflow.wait_until(lambda: not keeps_position or seen.positions())
        airflow.kill("triggerer")
        missed = [direct.start_workflow_by_name(name, {"number": 0})]
        airflow.start("triggerer")
        last = [end()]
        airflow.call("PATCH", "/api/v2/dags/booked", {"is_paused": True})
        airflow.wait_until(lambda: airflow.query("select count(*) from trigger") == [(0,)])
        airflow.wait_until(unwatched)
        missed.append(direct.start_workflow_by_name(name, {"number": 0}))
        airflow.call("PATCH", "/api/v2/dags/booked", {"is_paused": False})
        last.append(end())
        found = [event["workflow_id"] for event in seen.ends()]
        report(f"{airflow_version}: {len({*found} & {*missed})} of {len(missed)} ends without a watch were reported")
        assert set(found) == {first, *last, *(missed if keeps_position else ())}
        assert keeps_position or len(found) == len(set(found))
        airflow.wait_until(lambda: set(seen.runs("booked")) == {found["event_id"] for found in seen.ends()})


async def test_an_index_that_is_late_loses_nothing_and_repeats_nothing(
    direct: ConductorClient, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each workflow appears by itself up to 30 s late, so later ends before earlier ones."""
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{proxy.url}"}}')
    proxy.choose = lambda line: late_index(lambda workflow_id: zlib.crc32(workflow_id.encode()) % 1000 / 1000 * LATEST)
    name = f"late_{uuid.uuid4().hex[:8]}"
    direct.register_workflow_defs([{**ENDS, "name": name}])
    watch = ConductorWorkflowEventTrigger(workflow_name=name, poll_interval=1)
    found: list[str] = []

    async def collect() -> None:
        async for event in watch.run():
            found.append(event.payload["workflow_id"])

    collecting = asyncio.create_task(collect())
    try:
        while proxy.counts["late_index other"] < 2:  # noqa: ASYNC110 - another program's
            await asyncio.sleep(0.1)
        ended = []
        for number in range(LATE):
            ended.append(await asyncio.to_thread(direct.start_workflow_by_name, name, {"number": number}))
            await asyncio.sleep(0.2)
        async with asyncio.timeout(300):
            while len(found) < LATE:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        await asyncio.sleep(10)
    finally:
        collecting.cancel()
        await asyncio.wait([collecting])
    assert found != ended, "none was late"
    assert sorted(found) == sorted(ended)
