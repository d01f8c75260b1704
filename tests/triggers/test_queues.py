"""Which triggers Airflow may give to the triggerers of their task's queue."""

from __future__ import annotations

import pytest

from airflow_provider_conductor import triggers

pytestmark = pytest.mark.airflow_versions(since="3.2")


@pytest.mark.parametrize("name", [name for name in triggers.__all__ if name != "ConductorWorkflowEventTrigger"])
def test_a_wait_goes_to_the_triggerers_of_its_tasks_queue(name: str) -> None:
    assert getattr(triggers, name).supports_triggerer_queue


def test_an_asset_watcher_has_no_task_and_so_no_queue() -> None:
    assert not triggers.ConductorWorkflowEventTrigger.supports_triggerer_queue
