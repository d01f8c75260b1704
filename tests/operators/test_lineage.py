"""OpenLineage, asked as its provider asks: the extractor it picks for the operator, after the task has ended."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import uuid
from datetime import datetime
from types import SimpleNamespace
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
from airflow_provider_conductor.operators.lineage import FACET_KEY, LISTENER
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


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """OpenLineage is on, and its events end here."""
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins import listener

    from airflow_provider_conductor.operators import lineage_events

    sent: list[dict[str, Any]] = []
    adapter = SimpleNamespace(emit=lambda event: sent.append(json.loads(Serde.to_json(event))))
    monkeypatch.setattr(conf, "is_disabled", lambda: False)
    monkeypatch.setattr(lineage_events, "get_openlineage_listener", lambda: SimpleNamespace(adapter=adapter))
    assert listener.__name__ == LISTENER
    return sent


def complete(task: Any, context: dict[str, Any], *, failed: bool = False) -> dict[str, Any]:
    extractor = ExtractorManager().get_extractor_class(task)(task)
    return (extractor.extract_on_failure if failed else extractor.extract_on_complete)(context["ti"]).run_facets


def with_lineage(task: Any, **conf: Any) -> dict[str, Any]:
    """A context whose task instance has what OpenLineage's macros read."""
    context = context_of(task)
    context["dag_run"].conf = conf
    context["dag_run"].clear_number = 0
    context["ti"].logical_date = context["logical_date"]
    context["ti"].dag_run = context["dag_run"]
    context["ti"].get_template_context = lambda: context
    return context


@pytest.mark.parametrize(
    ("status", "ends_as"),
    [("COMPLETED", "COMPLETE"), ("FAILED", "FAIL"), ("TIMED_OUT", "FAIL"), ("TERMINATED", "ABORT")],
)
def test_a_workflow_is_a_run_below_the_tasks(
    conductor: ConductorStandIn, events: list[dict[str, Any]], status: str, ends_as: str
) -> None:
    conductor.default_script = Script(after=0, status=status, reason="no tea left")
    task = execute(pass_context=True)
    context = with_lineage(task)
    if status == "COMPLETED":
        run(task, context)
    else:
        with pytest.raises(AirflowException):
            run(task, context)
    complete(task, context, failed=status != "COMPLETED")
    handed_over = conductor.started[0]["input"]["airflow"]["openlineage"]
    workflow = conductor.workflows[conductor.only_workflow]
    start, end = events
    assert (start["eventType"], end["eventType"]) == ("START", ends_as)
    assert start["run"]["runId"] == end["run"]["runId"] == conductor.only_workflow
    assert start["job"]["name"] == end["job"]["name"] == "orders"
    assert start["job"]["namespace"] == conductor.url.replace("http", "conductor")
    times = [datetime.fromisoformat(event["eventTime"]).timestamp() * 1000 for event in events]
    assert times == pytest.approx([workflow["startTime"], workflow["endTime"]], abs=1)
    for event in events:
        parent = event["run"]["facets"]["parent"]
        assert parent["run"]["runId"] == handed_over["parentRunId"]
        assert parent["job"]["name"] == handed_over["parentJobName"] == "nightly_orders.execute"
        assert parent["root"]["run"]["runId"] == handed_over["rootParentRunId"]
        assert parent["root"]["job"]["name"] == handed_over["rootParentJobName"] == "nightly_orders"
        assert own_fields(event["run"]["facets"][FACET_KEY])["workflowId"] == conductor.only_workflow
    message = end["run"]["facets"].get("errorMessage", {}).get("message")
    assert message == (None if status == "COMPLETED" else "no tea left")


def test_the_root_above_the_dag_run_stays_the_root(conductor: ConductorStandIn, events: list[dict[str, Any]]) -> None:
    """As where a workflow has started the DAG run, by ``client.lineage.dag_run_conf``."""
    conductor.default_script = Script(after=0)
    above = {
        "parentRunId": str(uuid.uuid4()),
        "parentJobName": "outer",
        "parentJobNamespace": "conductor://c",
        "rootParentRunId": str(uuid.uuid4()),
        "rootParentJobName": "nightly",
        "rootParentJobNamespace": "airflow",
    }
    task = execute(pass_context=True)
    context = with_lineage(task, openlineage=above)
    run(task, context)
    complete(task, context)
    root = events[0]["run"]["facets"]["parent"]["root"]
    assert root["run"]["runId"] == above["rootParentRunId"]
    assert (root["job"]["name"], root["job"]["namespace"]) == ("nightly", "airflow")
    handed_over = conductor.started[0]["input"]["airflow"]["openlineage"]
    assert handed_over["rootParentRunId"] == above["rootParentRunId"]


def test_a_workflow_whose_end_is_unknown_has_no_run(conductor: ConductorStandIn, events: list[dict[str, Any]]) -> None:
    task = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders")
    context = with_lineage(task)
    run(task, context)
    assert FACET_KEY in complete(task, context)
    assert events == []


def test_what_fails_in_openlineage_fails_nothing_else(
    conductor: ConductorStandIn, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("no such run")

    monkeypatch.setattr("airflow.providers.openlineage.plugins.macros.lineage_run_id", refuse)
    conductor.default_script = Script(after=0)
    task = execute(pass_context=True)
    context = with_lineage(task)
    run(task, context)
    assert "openlineage" not in conductor.started[0]["input"]["airflow"]
    assert set(complete(task, context)) == {"externalQuery", FACET_KEY}
    assert events == []


def test_nothing_is_handed_over_where_openlineage_is_off(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    result(execute(pass_context=True))
    assert "openlineage" not in conductor.started[0]["input"]["airflow"]
