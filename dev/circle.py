"""The circle of the demo: a workflow's end starts a DAG, whose workflow waits for another DAG."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from airflow_provider_conductor.client import ConductorClient
from dev.airflow_standalone import AirflowReader, running_airflow
from dev.conductor_server import ConductorServer, free_port

DAG = "restock_after_orders"

PATIENCE = 300


def show_circle(home: Path, server: ConductorServer, log: IO[str], say: Callable[[str], None]) -> bool:
    """Let orders be fulfilled, and tell what follows from one; returns whether all of it succeeded."""
    home.mkdir()
    with running_airflow(home, server.url, free_port(), log) as airflow, ConductorClient(server.api_url) as client:
        reader = AirflowReader(airflow)
        reader.until(lambda: reader.get(f"/dags/{DAG}").get("dag_id"), f"the DAG {DAG}")
        triggers = "/jobs?job_type=TriggererJob&is_alive=true"
        reader.until(lambda: reader.get(triggers).get("jobs"), "the triggerer")
        run = _place_orders(client, reader, say)
        say(f"its end has started a run of DAG {DAG}: {run}")
        counting = reader.until(lambda: reader.runs("count_stock"), "the run of count_stock")[0]["dag_run_id"]
        say(f"whose workflow restock waits for a run of DAG count_stock: {counting}")

        def state() -> str:
            found = next(item["state"] for item in reader.runs(DAG) if item["dag_run_id"] == run)
            return str(found) if found in ("success", "failed") else ""

        ended = reader.until(state, f"the end of {run}")
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/restock/xcomEntries/return_value"
        say(f"= {DAG}: {ended} -> {reader.get(path).get('value')}")
        return ended == "success"


def _place_orders(client: ConductorClient, reader: AirflowReader, say: Callable[[str], None]) -> str:
    """Place orders until the end of one has started a DAG run: what ends before the triggerer watches starts none."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        order = client.start_workflow_by_name("order_fulfilment", {"order_id": "A-1008", "amount": 12.5})
        say(f"workflow order_fulfilment {order} starts")
        soon = time.monotonic() + 30
        while time.monotonic() < soon:
            if runs := reader.runs(DAG):
                return str(runs[0]["dag_run_id"])
            time.sleep(0.5)
    raise RuntimeError(f"no run of {DAG} within {PATIENCE} s")
