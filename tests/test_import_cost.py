"""What a DAG file imports: little, since Airflow reads each of them every half minute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_conductor

ROOT = Path(airflow_provider_conductor.__file__).parents[1]

PARSED = (
    "airflow_provider_conductor.links.conductor",
    "airflow_provider_conductor.operators.execute",
    "airflow_provider_conductor.operators.batch",
    "airflow_provider_conductor.operators.definitions",
    "airflow_provider_conductor.operators.tasks",
    "airflow_provider_conductor.sensors.workflow",
    "airflow_provider_conductor.sensors.task",
    "airflow_provider_conductor.decorators.conductor",
)
"""What DAG files import."""

HOOK = "airflow_provider_conductor.hooks.conductor"
TRIGGER = "airflow_provider_conductor.triggers.workflow"

LIGHT = {
    "airflow_provider_conductor",
    "airflow_provider_conductor.batch",
    "airflow_provider_conductor.batch.state",
    "airflow_provider_conductor.batch.inputs",
    "airflow_provider_conductor.batch.failure_policy",
    "airflow_provider_conductor.client",
    "airflow_provider_conductor.client.plain",
    "airflow_provider_conductor.client.errors",
    "airflow_provider_conductor.client.sdk",
    "airflow_provider_conductor.client.statuses",
    "airflow_provider_conductor.client.text",
    "airflow_provider_conductor.control",
    "airflow_provider_conductor.control.task_choice",
    "airflow_provider_conductor.decorators",
    "airflow_provider_conductor.decorators.conductor",
    "airflow_provider_conductor.definitions",
    "airflow_provider_conductor.definitions.definition",
    "airflow_provider_conductor.exceptions",
    "airflow_provider_conductor.links",
    "airflow_provider_conductor.links.conductor",
    "airflow_provider_conductor.operators",
    "airflow_provider_conductor.operators.arguments",
    "airflow_provider_conductor.operators.base",
    "airflow_provider_conductor.operators.batch",
    "airflow_provider_conductor.operators.execute",
    "airflow_provider_conductor.operators.control",
    "airflow_provider_conductor.operators.definitions",
    "airflow_provider_conductor.operators.lineage",
    "airflow_provider_conductor.operators.rendering",
    "airflow_provider_conductor.operators.submission",
    "airflow_provider_conductor.operators.control_base",
    "airflow_provider_conductor.operators.task_context",
    "airflow_provider_conductor.operators.tasks",
    "airflow_provider_conductor.sensors",
    "airflow_provider_conductor.sensors.base",
    "airflow_provider_conductor.sensors.workflow",
    "airflow_provider_conductor.sensors.task",
    "airflow_provider_conductor.submission",
    "airflow_provider_conductor.submission.start_arguments",
    "airflow_provider_conductor.submission.identity",
    "airflow_provider_conductor.submission.termination_reasons",
    "airflow_provider_conductor.submission.start_record",
    "airflow_provider_conductor.control.conditions",
    "airflow_provider_conductor._airflow",
    "airflow_provider_conductor.polling",
    "airflow_provider_conductor.polling.awaited_task",
    "airflow_provider_conductor.polling.durations",
    "airflow_provider_conductor.polling.formatting",
}
"""All of this package that DAG files load; what is added here is paid for by each of them."""

CHECKED = LIGHT | {"airflow_provider_conductor.client.output_path"}
"""The same when the arguments have been checked."""

DEAR = ("aiohttp", "airflow.triggers", "conductor", "requests", "tenacity")

OPERATORS = """
from airflow_provider_conductor.decorators.conductor import conductor_task
from airflow_provider_conductor.operators import batch, execute as conductor, definitions, tasks
from airflow_provider_conductor.sensors.workflow import ConductorWorkflowSensor
from airflow_provider_conductor.sensors.task import ConductorTaskSensor
conductor.ConductorStartWorkflowOperator(task_id="a", workflow_name="orders")
conductor.ConductorExecuteWorkflowOperator(
    task_id="b", request={"name": "orders"}, timeout=60, stall_timeout=5, output_path="rows[0].id", pass_context=True
)
batch.ConductorExecuteWorkflowsOperator(
    task_id="k", workflow_name="orders", workflow_inputs=[{"order": 7}], item_key="order", failure_policy=0.05
)
conductor.ConductorRetryWorkflowOperator(task_id="c", workflow_id="1", wait_for_completion=True)
conductor.ConductorTerminateWorkflowOperator(task_id="d", query="status = 'RUNNING'")
definitions.ConductorRegisterDefinitionsOperator(task_id="e", definitions="*.json")
tasks.ConductorCompleteTaskOperator(task_id="f", workflow_id="1", task_reference_name="approve", status="FAILED")
tasks.ConductorSignalWorkflowOperator(task_id="g", workflow_id="1")
ConductorWorkflowSensor(task_id="h", workflow_id="1", deferrable=True)
ConductorTaskSensor(task_id="i", workflow_id="1", task_reference_name="ship", expected_status="COMPLETED")
conductor_task(lambda: {}, task_id="j", workflow_name="orders")
"""


def added_by(*steps: str) -> list[set[str]]:
    """The modules that each step loads, one after the other, on top of what every DAG file loads anyway."""
    script = (
        "import json, sys\n"
        "from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator\n"
        "added = []\n"
        f"for step in {steps!r}:\n"
        "    before = {name for name in sys.modules if not name.startswith('airflow_provider_conductor')}\n"
        "    exec(step, {})\n"
        "    added.append(sorted(set(sys.modules) - before))\n"
        "print('ADDED', json.dumps(added))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return [set(names) for names in json.loads(done.stdout.rpartition("ADDED")[2])]


@pytest.fixture(scope="module")
def added() -> dict[str, set[str]]:
    """What each import loads, and what making one of each does; of ours, with what was loaded before."""
    steps = {module: f"import {module}" for module in PARSED}
    steps |= {"made": OPERATORS, TRIGGER: f"import {TRIGGER}", HOOK: f"import {HOOK}"}
    return dict(zip(steps, added_by(*steps.values()), strict=True))


def ours(names: set[str]) -> set[str]:
    """Those of this package that a DAG file pays for; Airflow itself loads the connection's form, for its UI."""
    form = {f"airflow_provider_conductor.{name}" for name in ("connection_form", "provider_info", "client.settings")}
    return {name for name in names if name.startswith("airflow_provider_conductor")} - form


def dear(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(tuple(f"{top}." for top in DEAR)) or name in DEAR}


@pytest.mark.parametrize("module", PARSED)
def test_a_dag_file_imports_little(module: str, added: dict[str, set[str]]) -> None:
    assert module in added[module]
    assert ours(added[module]) <= LIGHT
    assert dear(added[module]) == set()


def test_checking_the_arguments_needs_little_more(added: dict[str, set[str]]) -> None:
    assert ours(added["made"]) <= CHECKED
    assert dear(added["made"]) == set()


def test_nothing_is_listed_in_vain(added: dict[str, set[str]]) -> None:
    assert ours(added["made"]) == CHECKED


def test_the_hook_and_the_trigger_are_what_loads_them(added: dict[str, set[str]]) -> None:
    """So the measurement would have seen it."""
    assert added[TRIGGER] >= {"airflow_provider_conductor.polling.wait", "airflow_provider_conductor.client.models"}
    assert added[HOOK] >= {HOOK, "airflow_provider_conductor.client.sync", "airflow_provider_conductor.client.aio"}
