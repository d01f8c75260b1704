"""The example DAGs parse on this Airflow, and name only workflows that are defined beside them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dev.examples import DAGS, DEFINITIONS, airflow_environment

EXAMPLES = sorted(path.stem for path in DAGS.glob("*.py"))

READ = """
import json
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag
bag = DagBag()
tasks = {dag_id: [task.task_id for task in dag.tasks] for dag_id, dag in bag.dags.items()}
print(json.dumps({"errors": bag.import_errors, "tasks": tasks}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """What an Airflow of its own makes of the DAGs folder."""
    home = tmp_path_factory.mktemp("airflow")
    env = airflow_environment(home, "http://127.0.0.1:1")
    # Airflow 2.11 looks for the DAGs' pools in its database and only warns where there is none.
    run = subprocess.run(
        [sys.executable, "-c", READ], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_no_import_errors(parsed):
    assert parsed["errors"] == {}


def test_each_file_is_one_dag_of_its_name(parsed):
    assert (
        sorted(parsed["tasks"])
        == EXAMPLES
        == ["approval", "conductor_batch", "nightly_model_training", "order_pipeline", "stop_and_retry"]
    )


def test_each_definition_uses_known_tasks():
    known = {task["name"] for task in json.loads((DEFINITIONS / "tasks.json").read_text())}
    for path in DEFINITIONS.glob("*.json"):
        if path.stem == "tasks":
            continue
        workflow = json.loads(path.read_text())
        assert workflow["name"] == path.stem
        assert {task["name"] for task in workflow["tasks"] if task["type"] == "SIMPLE"} <= known


def test_each_dag_names_a_defined_workflow():
    for name in EXAMPLES:
        source = (DAGS / f"{name}.py").read_text()
        assert any(f'workflow_name="{path.stem}"' in source for path in DEFINITIONS.glob("*.json")), name
