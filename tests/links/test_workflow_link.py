"""The button "Conductor workflow": there from the start of the wait on, and free."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import XCom

from airflow_provider_conductor import operators, sensors
from airflow_provider_conductor.decorators.conductor import _ConductorDecoratedOperator
from airflow_provider_conductor.links import ConductorDefinitionLink, ConductorWorkflowLink
from airflow_provider_conductor.operators import ConductorStartWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import context_of

KEY = SimpleNamespace(dag_id="orders", task_id="start", run_id="run", map_index=-1, try_number=1)


def test_it_leads_where_the_task_said_it_would(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders")
    context = context_of(operator)
    workflow_id = operator.execute(context)
    monkeypatch.setattr(XCom, "get_value", lambda *, key, ti_key: context["ti"].xcoms.get(key))
    link = ConductorWorkflowLink()
    assert link.get_link(operator, ti_key=KEY) == f"{conductor.url}/execution/{workflow_id}"
    assert link.xcom_key in context["ti"].xcoms


def test_before_the_start_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(XCom, "get_value", lambda *, key, ti_key: None)
    assert ConductorWorkflowLink().get_link(None, ti_key=KEY) == ""


def test_it_needs_no_network_and_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a link must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(XCom, "get_value", lambda *, key, ti_key: "http://conductor/execution/abc")
    operator = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders", conductor_conn_id="no_such")
    assert ConductorWorkflowLink().get_link(operator, ti_key=KEY) == "http://conductor/execution/abc"


def test_its_name_is_what_the_button_says() -> None:
    assert ConductorWorkflowLink().name == "Conductor workflow"


OPERATORS = [
    *(getattr(operators, name) for name in operators.__all__ if name.endswith("Operator")),
    *(getattr(sensors, name) for name in sensors.__all__),
    _ConductorDecoratedOperator,
]


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
def test_every_operator_and_sensor_has_a_button(kind: type) -> None:
    assert any(isinstance(link, (ConductorWorkflowLink, ConductorDefinitionLink)) for link in kind.operator_extra_links)
