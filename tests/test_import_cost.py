"""What a DAG file imports: little, since Airflow reads each of them every half minute."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import airflow_provider_conductor

ROOT = Path(airflow_provider_conductor.__file__).parents[1]

PACKAGE = "airflow_provider_conductor"

PARSED = tuple(
    f"from {PACKAGE}.{package} import {name}"
    for package in ("decorators", "links", "notifications", "operators", "sensors", "task_groups")
    for name in import_module(f"{PACKAGE}.{package}").__all__
)
"""What DAG files import."""

HOOK = f"from {PACKAGE}.hooks import ConductorHook"
TRIGGER = f"from {PACKAGE}.triggers import ConductorWorkflowTrigger"

RUNS_A_TASK = {
    f"{PACKAGE}.{module}"
    for module in (
        "batch.driver",
        "client.aio",
        "client.endpoints",
        "client.flow",
        "client.models",
        "client.sync",
        "control.apply",
        "control.approval",
        "control.commands",
        "definitions.register",
        "hooks.conductor",
        "polling.observation",
        "polling.poller",
        "polling.progress",
        "polling.wait",
        "submission.start_once",
        "triggers.approval",
        "triggers.batch",
        "triggers.sensor",
        "triggers.workflow",
    )
}
"""What a task or trigger needs when it runs, and a DAG file must not load."""

LOADED = {PACKAGE} | {
    f"{PACKAGE}.{module}"
    for module in (
        "_airflow",
        "_exports",
        "_options",
        "_required_actions",
        "batch",
        "batch.failure_policy",
        "batch.inputs",
        "batch.state",
        "client",
        "client.errors",
        "client.lineage",
        "client.output_path",
        "client.plain",
        "client.statuses",
        "client.task_types",
        "client.text",
        "control",
        "control.conditions",
        "control.task_choice",
        "decorators",
        "decorators.conductor",
        "definitions",
        "definitions.definition",
        "definitions.task_tree",
        "exceptions",
        "links",
        "links.conductor",
        "mirrors",
        "mirrors.names",
        "mirrors.plan",
        "notifications",
        "notifications.conductor",
        "operators",
        "operators.approval",
        "operators.approval_arguments",
        "operators.approval_conclusion",
        "operators.arguments",
        "operators.base",
        "operators.batch",
        "operators.complete_task",
        "operators.conclusion",
        "operators.control",
        "operators.control_base",
        "operators.deferral",
        "operators.definitions",
        "operators.execute",
        "operators.kill_guard",
        "operators.lineage",
        "operators.rendering",
        "operators.slow_runs",
        "operators.submission",
        "operators.task_run",
        "operators.waiting",
        "polling",
        "polling.awaited_task",
        "polling.durations",
        "polling.formatting",
        "sensors",
        "sensors.base",
        "sensors.task",
        "sensors.workflow",
        "submission",
        "submission.errors",
        "submission.identity",
        "submission.kill_check",
        "submission.start_arguments",
        "submission.start_record",
        "submission.termination_reasons",
        "task_groups",
        "task_groups.start",
        "task_groups.step",
        "task_groups.workflow",
    )
}
"""All of this package that DAG files load; what is added here is paid for by each of them."""

DEAR = ("aiohttp", "airflow.triggers", "conductor", "requests", "tenacity")

ANY_OPERATOR = "from airflow.providers.common.compat.sdk import BaseOperator; BaseOperator(task_id='any')"
"""What every DAG file does: with Airflow 3.0 this loads its models and API, and with them aiohttp."""

OPERATORS = """
from airflow_provider_conductor.decorators import conductor_task
from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.operators import *
from airflow_provider_conductor.sensors import *
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup
ConductorStartWorkflowOperator(task_id="a", workflow_name="orders")
ConductorExecuteWorkflowOperator(
    task_id="b", request={"name": "orders"}, timeout=60, stall_timeout=5, output_path="rows[0].id", pass_context=True
)
ConductorExecuteWorkflowsOperator(
    task_id="k", workflow_name="orders", workflow_inputs=[{"order": 7}], item_key="order", failure_policy=0.05
)
ConductorRetryWorkflowOperator(task_id="c", workflow_id="1", wait_for_completion=True)
ConductorTerminateWorkflowOperator(task_id="d", query="status = 'RUNNING'")
ConductorApprovalOperator(task_id="l", workflow_id="1", task_reference_name="approve", params={"amount": 5})
ConductorRegisterDefinitionsOperator(task_id="e", definitions="*.json")
ConductorCompleteTaskOperator(task_id="f", workflow_id="1", task_reference_name="approve", status="FAILED")
ConductorSignalWorkflowOperator(task_id="g", workflow_id="1")
ConductorWorkflowSensor(task_id="h", workflow_id="1", deferrable=True)
ConductorTaskSensor(task_id="i", workflow_id="1", task_reference_name="ship", expected_status="COMPLETED")
conductor_task(lambda: {}, task_id="j", workflow_name="orders")
from airflow.providers.common.compat.sdk import DAG
with DAG("z", schedule=None):
    ConductorWorkflowTaskGroup({"name": "w", "tasks": [{"name": "a", "taskReferenceName": "a", "type": "SIMPLE"}]})
ConductorNotifier(action="start", workflow_name="refund", workflow_input={"order": "{{ params.order }}"})
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
    steps = [*PARSED, ANY_OPERATOR, OPERATORS, TRIGGER, HOOK]
    return dict(zip(steps, added_by(*steps), strict=True))


def heavy(names: set[str]) -> set[str]:
    libraries = {name for name in names if name.startswith(tuple(f"{top}." for top in DEAR)) or name in DEAR}
    return libraries | (names & RUNS_A_TASK)


@pytest.mark.parametrize("step", [*PARSED, OPERATORS], ids=[step.rpartition(" ")[2] for step in PARSED] + ["made"])
def test_a_dag_file_loads_nothing_that_only_a_task_needs(step: str, added: dict[str, set[str]]) -> None:
    assert heavy(added[step]) == set()


def test_a_dag_file_loads_what_is_listed_and_nothing_else(added: dict[str, set[str]]) -> None:
    """Airflow itself loads the connection's form, for its UI."""
    of_the_form = ("client.extra", "client.hiding", "client.settings", "connection_form", "provider_info")
    form = {f"{PACKAGE}.{name}" for name in of_the_form}
    assert {name for name in added[OPERATORS] if name.startswith(PACKAGE)} - form == LOADED


def test_the_hook_and_the_trigger_are_what_loads_them(added: dict[str, set[str]]) -> None:
    """So the measurement would have seen it."""
    assert heavy(added[TRIGGER] | added[HOOK]) >= {f"{PACKAGE}.polling.wait", f"{PACKAGE}.client.sync"}


def test_all_of_the_list_exists() -> None:
    for module in RUNS_A_TASK:
        import_module(module)
