"""pass_context: a workflow is told which Airflow task started it, and a start is none the less known for it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorStartWorkflowOperator
from airflow_provider_conductor.operators.submission import CONTEXT_KEY
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import context_of, error_of

both = pytest.mark.parametrize("kind", [ConductorStartWorkflowOperator, ConductorExecuteWorkflowOperator])


def make(kind: type = ConductorStartWorkflowOperator, **arguments: Any) -> Any:
    return kind(task_id="start", workflow_name="orders", retries=2, **{"pass_context": True, **arguments})


@both
def test_the_task_is_told_beside_the_input(conductor: ConductorStandIn, kind: type) -> None:
    conductor.default_script = Script(after=0)
    task = make(kind, workflow_input={"order": 7})
    context = context_of(task, map_index=3)
    context["ti"].log_url = "http://airflow/log"
    task.execute(context)
    ti = context["ti"]
    assert conductor.started[0]["input"] == {
        "order": 7,
        "airflow": {
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": "start",
            "map_index": 3,
            "try_number": 1,
            "logical_date": context["dag_run"].logical_date.isoformat(),
            "url": "http://airflow/log",
        },
    }
    assert task.workflow_input == {"order": 7}


@both
def test_nothing_is_told_unasked(conductor: ConductorStandIn, kind: type) -> None:
    conductor.default_script = Script(after=0)
    task = make(kind, pass_context=False)
    task.execute(context_of(task))
    assert conductor.started[0]["input"] == {}


def test_a_run_without_a_date_and_an_airflow_without_an_address_are_told_as_null(conductor: ConductorStandIn) -> None:
    task = make()
    context = context_of(task)
    context["dag_run"] = SimpleNamespace(start_date=context["dag_run"].start_date, logical_date=None)
    task.execute(context)
    told = conductor.started[0]["input"][CONTEXT_KEY]
    assert (told["logical_date"], told["url"], told["map_index"]) == (None, None, -1)
    assert json.loads(json.dumps(told)) == told


@both
def test_a_key_of_that_name_is_refused_in_the_dag_file(kind: type) -> None:
    with pytest.raises(ValueError, match=r"'airflow' of its own.*rename it"):
        make(kind, workflow_input={"airflow": "mine"})
    make(kind, workflow_input={"airflow": "mine"}, pass_context=False)


@both
def test_one_that_comes_out_of_a_template_before_anything_is_sent(conductor: ConductorStandIn, kind: type) -> None:
    task = make(kind, workflow_input="{{ params.input }}")
    task.workflow_input = {"airflow": "mine"}
    error_of(task, ConductorStartRefusedError, "'airflow' of its own")
    assert conductor.requests == []


@pytest.mark.parametrize("label", [None, "order-7"], ids=["by identity", "by a label of one's own"])
def test_a_later_try_knows_the_start_of_an_earlier_one_though_the_try_is_another(
    conductor: ConductorStandIn, label: str | None
) -> None:
    first = make(workflow_input={"order": 7}, correlation_id=label)
    workflow_id = first.execute(context_of(first))
    second = make(workflow_input={"order": 7}, correlation_id=label)
    assert second.execute(context_of(second, try_number=2)) == workflow_id
    assert len(conductor.started) == 1
    assert conductor.workflows[workflow_id]["input"][CONTEXT_KEY]["try_number"] == 1


@pytest.mark.parametrize("label", [None, "order-7"], ids=["by identity", "by a label of one's own"])
def test_a_start_whose_answer_is_lost_is_found(conductor: ConductorStandIn, label: str | None) -> None:
    def lose_the_answer(request: Request) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) != ("POST", "/workflow"):
            return None
        conductor.instead = lambda request: None
        conductor._start(request.body)
        return 0, "", b""

    conductor.instead = lose_the_answer
    task = make(workflow_input={"order": 7}, correlation_id=label)
    assert task.execute(context_of(task)) == conductor.only_workflow
    assert len(conductor.started) == 1


def test_a_later_try_with_another_input_says_so_and_keeps_the_workflow(conductor: ConductorStandIn) -> None:
    first = make(workflow_input={"order": 7}, pass_context=False)
    workflow_id = first.execute(context_of(first))
    second = make(workflow_input={"order": 8}, pass_context=False)
    told: list[str] = []
    second.log.warning = lambda text, *args: told.append(str(text) % args if args else str(text))
    assert second.execute(context_of(second, try_number=2)) == workflow_id
    assert any("started with another input" in line for line in told)
