"""DAGs scheduled by the ends of workflows; ``EVENTS_DAGS`` is the prefix of the workflows' names.

With ``EVENTS_MANY``, there are more than the one DAG.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.assets import conductor_workflow_asset

PREFIX = os.environ.get("EVENTS_DAGS", "")

MANY = 50


def scheduled(name: str, schedule: Any, **more: Any) -> None:
    from airflow.sdk import task

    arguments = {
        "start_date": datetime(2026, 1, 1),
        "is_paused_upon_creation": False,
        "catchup": False,
        # The API server of a busy machine may be late for its workers.
        "default_args": {"retries": 20, "retry_delay": timedelta(seconds=1)},
    }
    with DAG(name, schedule=schedule, **(arguments | more)) as dag:

        @task
        def note(triggering_asset_events: Any = None) -> list[str]:
            events = [event for found in triggering_asset_events.values() for event in found]
            return [event.extra["payload"]["event_id"] for event in events]

        note()
    globals()[name] = dag


if PREFIX:
    ended = conductor_workflow_asset(f"{PREFIX}_ends", poll_interval=2)
    scheduled("booked", ended)

if os.environ.get("EVENTS_MANY"):
    scheduled("paused", ended, is_paused_upon_creation=True)
    scheduled(
        "parents", conductor_workflow_asset(workflow_name_prefix=f"{PREFIX}_par", name="parents", poll_interval=2)
    )
    many = [conductor_workflow_asset(f"{PREFIX}_{number}", poll_interval=2) for number in range(MANY)]
    scheduled("all_of_many", many)

    book_finished_orders = import_module("example_dags.book_finished_orders").dag
