"""Start: the workflow's id at once, in XCom and as the result; a refusal is not retried."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_conductor.client import ConductorRequestError
from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorStartWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Request
from tests.operators.airflow_standin import context_of, error_of, refusal


def start(**arguments: Any) -> ConductorStartWorkflowOperator:
    return ConductorStartWorkflowOperator(task_id="start", **{"workflow_name": "orders", **arguments})


def test_it_returns_the_id_and_waits_for_nothing(conductor: ConductorStandIn) -> None:
    operator = start(workflow_input={"order": 17})
    context = context_of(operator, conductor.journal)
    workflow_id = operator.execute(context)
    assert workflow_id == conductor.only_workflow
    assert conductor.status(workflow_id) == "RUNNING"
    assert conductor.workflows[workflow_id]["input"] == {"order": 17}
    assert conductor.journal[0] == "POST /workflow"
    assert conductor.journal[-2:] == ["xcom workflow_id", "xcom workflow_url"]
    assert len(conductor.started) == 1
    page = f"{conductor.url}/execution/{workflow_id}"
    assert context["ti"].xcoms == {"workflow_id": workflow_id, "workflow_url": page}


def test_what_is_not_given_is_not_sent(conductor: ConductorStandIn) -> None:
    start().execute(context_of(start()))
    (body,) = conductor.started
    assert body["name"] == "orders"
    assert body.keys().isdisjoint({"version", "workflowDef", "taskToDomain"})


def test_a_definition_can_come_along(conductor: ConductorStandIn) -> None:
    definition = {"name": "ad_hoc", "version": 1, "tasks": []}
    operator = start(workflow_name="ad_hoc", workflow_def=definition)
    operator.execute(context_of(operator))
    assert conductor.started[0]["workflowDef"] == definition


@pytest.mark.parametrize("kind", [ConductorStartWorkflowOperator, ConductorExecuteWorkflowOperator])
def test_a_missing_definition_fails_at_once_and_is_not_retried(kind: type, conductor: ConductorStandIn) -> None:
    operator = kind(task_id="start", workflow_name="ordres")
    context = context_of(operator)
    with pytest.raises(ConductorStartRefusedError, match="ordres") as refusal:
        operator.execute(context)
    assert isinstance(refusal.value, AirflowFailException)
    assert len(conductor.started) == 1
    assert context["ti"].xcoms == {}


@pytest.mark.parametrize(
    "arguments",
    [{"workflow_input": {"when": object()}}, {"workflow_input": ["a list"]}, {"workflow_name": " "}],
    ids=["not json", "not a mapping", "no name"],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(
    conductor: ConductorStandIn, arguments: dict[str, Any]
) -> None:
    error_of(start(**arguments), ConductorStartRefusedError)
    assert conductor.requests == []


def test_a_refused_input_is_not_retried_and_a_server_in_trouble_is(conductor: ConductorStandIn) -> None:
    conductor.instead = lambda request: refusal(400, "order is missing")
    operator = start()
    error_of(operator, ConductorStartRefusedError, "order is missing")
    conductor.instead = lambda request: refusal(500, "out of disk")
    error = error_of(operator, ConductorRequestError, "out of disk")
    assert not isinstance(error, AirflowFailException)


@pytest.mark.parametrize("was_started", [False, True])
def test_a_start_that_met_trouble_with_the_database_is_one_workflow(
    conductor: ConductorStandIn, was_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an answer says ``retryable: false``; of some starts that were answered so, there is a workflow."""
    monkeypatch.setattr("airflow_provider_conductor.operators.submission.MIN_SEARCH_SECONDS", 0.0)
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(read_timeout=1))
    troubled: list[str] = []

    def trouble(request: Request) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) != ("POST", "/workflow") or troubled:
            return None
        troubled.append(conductor._start(request.body)[2].decode() if was_started else "none")
        return refusal(500, "Connection is closed")

    conductor.instead = trouble
    operator = start()
    assert operator.execute(context_of(operator)) == conductor.only_workflow
    assert (conductor.only_workflow in troubled) == was_started
    assert len(conductor.started) == (1 if was_started else 2)


def test_a_version_that_is_no_number_is_refused_before_anything_is_sent(conductor: ConductorStandIn) -> None:
    error_of(start(version="latest"), ValueError, "version")
    assert conductor.requests == []
