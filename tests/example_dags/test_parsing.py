"""The example DAGs parse on this Airflow, and name only workflows that are defined beside them."""

from __future__ import annotations

import json

import pytest

from airflow_provider_conductor._airflow import watchers_exist
from airflow_provider_conductor.dag_runs.request import TASK_TYPE
from airflow_provider_conductor.dag_runs.worker import TASK_DEFINITION
from dev.examples import DAGS, DEFINITIONS
from dev.run_dags import read_dags

FROM_AIRFLOW_3 = () if watchers_exist() else ("book_finished_orders", "restock_after_orders")
"""There is nothing to watch an asset with before."""

FROM_AIRFLOW_3_ASSETS = ("fulfilled_orders", "orders_to_restock")

EXAMPLES = sorted(path.stem for path in DAGS.glob("*.py") if path.stem not in FROM_AIRFLOW_3)


@pytest.fixture(scope="module")
def bag():
    """What Airflow makes of the folder; 2.11 looks for the DAGs' pools in its database, and warns as there is none."""
    return read_dags(DAGS)


def test_no_import_errors(bag):
    assert bag.import_errors == {}


def test_each_file_is_one_dag_of_its_name(bag):
    assert sorted(bag.dags) == EXAMPLES


@pytest.mark.airflow_versions(since="3.0")
def test_the_examples_assets_can_all_be_active_together(bag):
    """Airflow activates no two assets of one name, or of one URI, and runs no DAG of those that it leaves out."""
    conditions = filter(None, (getattr(dag.timetable, "asset_condition", None) for dag in bag.dags.values()))
    assets = {
        (asset.name, asset.uri) for condition in conditions for asset in getattr(condition, "objects", [condition])
    }
    assert len(assets) == len(FROM_AIRFLOW_3_ASSETS)
    assert len({name for name, _ in assets}) == len({uri for _, uri in assets}) == len(assets)


def test_each_definition_uses_known_tasks():
    known = {task["name"] for task in json.loads((DEFINITIONS / "tasks.json").read_text())}
    for path in DEFINITIONS.glob("*.json"):
        if path.stem == "tasks":
            continue
        workflow = json.loads(path.read_text())
        assert workflow["name"] == path.stem
        assert {task["name"] for task in workflow["tasks"] if task["type"] == "SIMPLE"} <= known


def test_each_dag_names_a_defined_workflow_or_is_a_step_of_one():
    steps = "".join(path.read_text() for path in DEFINITIONS.iterdir())
    for name in EXAMPLES:
        source = (DAGS / f"{name}.py").read_text()
        named = any(f'name="{path.stem}"' in source or path.name in source for path in DEFINITIONS.iterdir())
        assert named or f'"dag_id": "{name}"' in steps, name


def test_the_task_that_runs_a_dag_is_defined_as_the_worker_defines_it():
    (defined,) = [task for task in json.loads((DEFINITIONS / "tasks.json").read_text()) if task["name"] == TASK_TYPE]
    kept = ("name", "retryCount", "timeoutSeconds", "timeoutPolicy", "responseTimeoutSeconds")
    assert {key: defined[key] for key in kept} == {key: TASK_DEFINITION[key] for key in kept}
