"""OpenLineage, asked as its provider asks: the extractor it picks for the operator, after the task has ended."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.openlineage.extractors.base import OperatorLineage
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from openlineage.client.serde import Serde

from airflow_provider_conductor.decorators import conductor_task
from airflow_provider_conductor.operators import (
    ConductorRetryWorkflowOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.operators.lineage import FACET_KEY
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, deferred, error_of, result, resume, run
from tests.operators.impatient import execute


def told(task: Any, *, failed: bool = False) -> dict[str, Any]:
    """The run facets that OpenLineage's own machinery gets from the operator, as it sends them."""
    extractor = ExtractorManager().get_extractor_class(task)(task)
    lineage = extractor.extract_on_failure(None) if failed else extractor.extract_on_complete(None)
    assert isinstance(lineage, OperatorLineage)
    return {key: json.loads(Serde.to_json(facet)) for key, facet in lineage.run_facets.items()}


def own_fields(facet: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facet.items() if not name.startswith("_")}


def test_a_completed_workflow_is_told_with_id_name_version_and_server(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    task = execute()
    result(task)
    facets = told(task)
    workflow_id = conductor.only_workflow
    assert own_fields(facets["externalQuery"]) == {"externalQueryId": workflow_id, "source": conductor.url}
    assert own_fields(facets[FACET_KEY]) == {
        "workflowId": workflow_id,
        "workflowName": "orders",
        "workflowVersion": 1,
        "status": "COMPLETED",
        "server": conductor.url,
        "url": f"{conductor.url}/execution/{workflow_id}",
    }


def test_so_is_one_that_failed(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0, status="FAILED", reason="no tea left")
    task = execute()
    error_of(task, AirflowException)
    facet = told(task, failed=True)[FACET_KEY]
    assert (facet["workflowId"], facet["status"]) == (conductor.only_workflow, "FAILED")


def test_it_is_known_after_a_deferral_too(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0.4)
    first = execute(deferrable=True)
    context = context_of(first)
    deferral = deferred(first, context)
    resumed = execute(deferrable=True)
    resume(resumed, context, deferral)
    assert told(resumed)[FACET_KEY]["workflowId"] == conductor.only_workflow


def test_every_operator_and_the_sensor_tell(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)

    def make_input() -> dict[str, int]:
        return {"order": 7}

    failed, running, done = (conductor.add(status) for status in ("FAILED", "RUNNING", "COMPLETED"))
    for task in (
        ConductorStartWorkflowOperator(task_id="start", workflow_name="orders"),
        ConductorRetryWorkflowOperator(task_id="retry", workflow_id=failed),
        ConductorTerminateWorkflowOperator(task_id="terminate", workflow_id=running),
        ConductorWorkflowSensor(task_id="sense", workflow_id=done, deferrable=False),
        conductor_task(make_input, workflow_name="orders", deferrable=False)().operator,
    ):
        context = context_of(task)
        run(task, context)
        facet = told(task)[FACET_KEY]
        assert facet["workflowId"] == context["ti"].xcoms["workflow_id"]
        assert facet["server"] == conductor.url


def test_a_version_that_a_template_leaves_open_is_not_told(conductor: ConductorStandIn) -> None:
    task = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders", version="{{ params.version }}")
    context = context_of(task)
    context["params"] = {"version": None}
    task.render_template_fields(context)
    run(task, context)
    facet = told(task)[FACET_KEY]
    assert facet["workflowId"] == conductor.only_workflow
    assert "workflowVersion" not in facet  # what is None is left out


def test_a_task_that_started_nothing_tells_nothing(conductor: ConductorStandIn) -> None:
    task = execute(workflow_name="unknown")
    error_of(task, AirflowException)
    assert told(task, failed=True) == {}
    assert told(execute()) == {}


def test_nothing_is_asked_of_anybody(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    conductor.default_script = Script(after=0)
    task = execute()
    result(task)

    def refuse(*_: Any) -> None:
        raise AssertionError("lineage must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    conductor.requests.clear()
    assert told(task)[FACET_KEY]["workflowId"] == conductor.only_workflow
    assert conductor.requests == []


def test_an_operator_is_imported_without_openlineage() -> None:
    script = (
        "import sys, airflow_provider_conductor.operators.execute, airflow_provider_conductor.decorators.conductor\n"
        "print('LOADED', [name for name in sys.modules if name.startswith('openlineage')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
