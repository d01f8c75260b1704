"""Arguments that an earlier version of this package stored in Airflow's database still make a trigger.

One file a released version lies under ``tests/recorded/trigger_arguments``; they are kept, never changed.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from airflow_provider_conductor import __version__
from airflow_provider_conductor.waiting.wait import WaitPlan

RECORDED = sorted((Path(__file__).parent.parent / "recorded" / "trigger_arguments").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_arguments_stored_by_an_earlier_version_still_load(path):
    stored = json.loads(path.read_text())
    module, _, name = stored["classpath"].rpartition(".")
    trigger = getattr(importlib.import_module(module), name)(**stored["kwargs"])
    plan = WaitPlan.from_json(trigger.plan)
    assert plan.workflow_id == stored["kwargs"]["plan"]["workflow_id"]
    assert plan.deadline == stored["kwargs"]["plan"]["deadline"]
    assert trigger.kill_reason == stored["kwargs"]["kill_reason"]
    assert trigger.serialize()[0] == stored["classpath"]


def test_the_present_version_is_recorded():
    assert __version__ in {path.stem for path in RECORDED}, "record what this version stores, before it is released"
