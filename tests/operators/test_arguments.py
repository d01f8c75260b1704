"""Arguments: every input is a template, tasks can be mapped, and what cannot be is refused in the DAG file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, BaseOperator, timezone

from airflow_provider_conductor.operators import (
    ConductorDeleteWorkflowOperator,
    ConductorExecuteWorkflowOperator,
    ConductorPauseWorkflowOperator,
    ConductorRerunWorkflowOperator,
    ConductorRestartWorkflowOperator,
    ConductorResumeWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, result

STARTING = (ConductorStartWorkflowOperator, ConductorExecuteWorkflowOperator)
STEERING_ON = (
    ConductorResumeWorkflowOperator,
    ConductorRestartWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorRerunWorkflowOperator,
)
STEERING = (
    *STEERING_ON,
    ConductorPauseWorkflowOperator,
    ConductorTerminateWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorDeleteWorkflowOperator,
)
WAITING = (ConductorExecuteWorkflowOperator, *STEERING_ON)
BY_ID = (*STEERING, ConductorWorkflowSensor)

REQUIRED: dict[type, dict[str, Any]] = {
    ConductorStartWorkflowOperator: {"workflow_name": "orders"},
    ConductorExecuteWorkflowOperator: {"workflow_name": "orders"},
    **{kind: {"workflow_id": "abc"} for kind in BY_ID},
    ConductorSkipTaskOperator: {"workflow_id": "abc", "task_ref": "ship"},
}


def make(kind: type[BaseOperator], **arguments: Any) -> Any:
    return kind(task_id="task", **{**REQUIRED[kind], **arguments})


# Templates


def rendered(operator: Any, **params: Any) -> Any:
    """The operator with its templates rendered as Airflow does before it runs."""
    context = context_of(operator)
    context["params"] = params
    operator.render_template_fields(context)
    return operator


@pytest.mark.parametrize("kind", STARTING)
def test_every_input_of_a_start_is_a_template(
    kind: type, conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EUROPE", conductor.connection_uri())
    monkeypatch.delenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT")
    conductor.default_script = Script(after=0)
    operator = rendered(
        kind(
            task_id="task",
            conductor_conn_id="{{ params.where }}",
            workflow_name="{{ params.what }}s",
            version="{{ params.version }}",
            workflow_input={"order": "{{ params.order }}", "lines": [{"sku": "{{ params.sku }}"}]},
            workflow_def={"name": "{{ params.what }}s", "tasks": [{"taskReferenceName": "{{ params.sku }}"}]},
            correlation_id="{{ run_id }}",
            priority="{{ params.priority }}",
            task_to_domain={"pack": "{{ params.where }}"},
        ),
        where="europe",
        what="order",
        version=3,
        order=17,
        sku="tea",
        priority=5,
    )
    result(operator)
    (body,) = conductor.started
    assert body["name"] == "orders"
    assert (body["version"], body["priority"]) == (3, 5)
    assert body["input"] == {"order": "17", "lines": [{"sku": "tea"}]}
    assert body["workflowDef"] == {"name": "orders", "tasks": [{"taskReferenceName": "tea"}]}
    assert body["correlationId"] == context_of(operator)["run_id"]
    assert body["taskToDomain"] == {"pack": "europe"}


BY_LABEL = {"workflow_id": None, "workflow_name": "{{ params.a }}", "correlation_id": "{{ run_id }}"}
TEMPLATES: list[tuple[Sequence[type], dict[str, Any]]] = [
    (BY_ID, {"workflow_id": "{{ params.a }}", "conductor_conn_id": "{{ params.b }}"}),
    (STEERING, BY_LABEL),
    (STEERING, {"workflow_id": None, "query": "status = {{ params.status }}"}),
    (
        [ConductorRerunWorkflowOperator],
        {
            "from_task_ref": "{{ params.a }}",
            "task_input": {"sku": "{{ params.a }}"},
            "workflow_input": {"lines": ["{{ params.b }}"]},
        },
    ),
    ([ConductorSkipTaskOperator], {"task_ref": "{{ params.a }}", "task_output": {"a": "{{ params.b }}"}}),
    (
        [ConductorTerminateWorkflowOperator],
        {"workflow_id": ["{{ params.a }}-1", "{{ params.b }}-2"], "reason": "{{ run_id }} is over"},
    ),
    ([ConductorExecuteWorkflowOperator, ConductorWorkflowSensor], {"wait_until_task_ref": "{{ params.a }}"}),
]


@pytest.mark.parametrize(("kind", "arguments"), [(kind, given) for kinds, given in TEMPLATES for kind in kinds])
def test_the_others_inputs_are_templates(kind: type, arguments: dict[str, Any]) -> None:
    operator = rendered(make(kind, **arguments), a="pack", b="europe", status="PAUSED")
    expected = json.dumps({name: value for name, value in arguments.items() if value is not None})
    run_id = "scheduled__2026-01-01T00:00:00+00:00"
    for template, text in (
        ("params.a", "pack"),
        ("params.b", "europe"),
        ("params.status", "PAUSED"),
        ("run_id", run_id),
    ):
        expected = expected.replace("{{ " + template + " }}", text)
    for name, value in json.loads(expected).items():
        assert getattr(operator, name) == value


def test_a_termination_says_by_default_which_task_did_it() -> None:
    operator = rendered(make(ConductorTerminateWorkflowOperator))
    assert "nightly_orders.task" in operator.reason


# In a DAG


@pytest.mark.parametrize("kind", BY_ID)
def test_what_takes_a_started_workflows_id_comes_after_its_start(kind: type) -> None:
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None):
        start = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders")
        after = make(kind, workflow_id=start.output)
    assert after.upstream_task_ids == {"start"}


@pytest.mark.parametrize("kind", REQUIRED)
def test_every_operator_can_be_mapped(kind: type) -> None:
    name, *others = REQUIRED[kind]
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:
        fixed = {other: REQUIRED[kind][other] for other in others}
        kind.partial(task_id="mapped", **fixed).expand(**{name: ["a", "b"]})
    assert type(dag.get_task("mapped")).__name__ == "MappedOperator"


@pytest.mark.parametrize("kind", REQUIRED)
def test_a_dag_can_be_stored_and_read_back(kind: type) -> None:
    """The scheduler and the web server know a task only in the form Airflow stored it in."""
    from airflow.serialization import serialized_objects

    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:
        make(kind)
    storage = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    task = storage.from_dict(storage.to_dict(dag)).get_task("task")
    assert task.task_type == kind.__name__
    assert list(task.operator_extra_link_dict) == ["Conductor workflow"]
    assert set(task.template_fields) == set(kind.template_fields)


# Refused while the DAG file is read


NO_VALUES: list[tuple[str, Any]] = [
    *(("timeout", value) for value in (0, -1, "soon", timedelta(0))),
    *(("stall_timeout", value) for value in (0, True)),
    *(("poll_interval", value) for value in (-5, "often")),
    ("on_timeout", "explode"),
]
NO_VALUES_OF_A_SENSOR = [("poke_interval", 0), ("stall_timeout", -1), ("on_timeout", "explode")]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((kind, *given) for kind in WAITING for given in NO_VALUES),
        *((ConductorWorkflowSensor, *given) for given in NO_VALUES_OF_A_SENSOR),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(kind: type, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        make(kind, **{name: value})


@pytest.mark.parametrize("kind", REQUIRED)
def test_an_argument_that_does_not_exist_is_refused(kind: type) -> None:
    with pytest.raises((TypeError, AirflowException), match=r"wait_for_second|Invalid arguments"):
        make(kind, wait_for_second=3)


@pytest.mark.parametrize("kind", REQUIRED)
def test_arguments_are_by_name_only(kind: type) -> None:
    with pytest.raises((TypeError, AirflowException)):
        kind("task", "orders")


SELECTED = {"workflow_name": "orders", "correlation_id": "monday"}


NO_SELECTIONS: dict[str, list[dict[str, Any]]] = {
    "exactly one of workflow_id, query, or conditions": [
        {},
        {"workflow_name": "orders"},
        {"correlation_id": "monday"},
        {"workflow_id": "abc", "query": "status = RUNNING"},
        {"workflow_id": "abc", **SELECTED},
        {"query": "status = RUNNING", **SELECTED},
        {"workflow_id": "abc", "status": "RUNNING"},
        {"query": "status = RUNNING", "started_before": "2026-01-01"},
    ],
    "workflow_id": [{"workflow_id": ""}, {"workflow_id": ["abc", " "]}, {"workflow_id": ["abc", None]}],
    "query": [{"query": ""}],
    "correlation_id": [{"workflow_name": "orders", "correlation_id": ""}],
    "max_workflows": [{"workflow_id": "abc", "max_workflows": bound} for bound in (0, "100", True)],
    "the operator !=": [{"query": "status != COMPLETED"}],
    "write FAILED": [{"status": "failed"}],
    "started_before takes a datetime": [{"status": "FAILED", "started_before": "soon"}],
    "no workflow can match": [{"started_before": "2026-01-01", "started_after": "2026-01-02"}],
}


@pytest.mark.parametrize("kind", STEERING)
@pytest.mark.parametrize(
    ("selection", "told"),
    [(selection, told) for told, selections in NO_SELECTIONS.items() for selection in selections],
    ids=str,
)
def test_what_is_no_selection_is_refused(kind: type, selection: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(kind, **{"workflow_id": None, **selection})


@pytest.mark.parametrize("kind", STEERING)
@pytest.mark.parametrize(
    "selection",
    [
        SELECTED,
        {**SELECTED, "status": ["FAILED", "TIMED_OUT"]},
        {"workflow_name": "orders", "status": "FAILED"},
        {"status": "FAILED", "started_before": "{{ ds }}"},
        {"ended_before": timedelta(days=30)},
    ],
    ids=lambda selection: " and ".join(selection),
)
def test_conditions_are_a_way_of_selection(kind: type, selection: dict[str, Any]) -> None:
    operator = make(kind, workflow_id=None, **selection)
    assert {name: getattr(operator, name) for name in selection} == selection


@pytest.mark.parametrize("kind", STEERING_ON)
@pytest.mark.parametrize(
    "selection",
    [
        {"workflow_id": ["abc", "def"]},
        {"workflow_id": None, "query": "status = PAUSED"},
        {"workflow_id": None, **SELECTED},
    ],
    ids=["a list", "a query", "a label"],
)
def test_only_one_workflow_can_be_waited_for(kind: type, selection: dict[str, Any]) -> None:
    make(kind, **selection)
    with pytest.raises(ValueError, match="wait_for_completion waits for one workflow"):
        make(kind, wait_for_completion=True, **selection)


def test_the_input_of_no_task_is_refused() -> None:
    with pytest.raises(ValueError, match="from_task_ref"):
        make(ConductorRerunWorkflowOperator, task_input={"a": 1})
    with pytest.raises(ValueError, match="from_task_ref must not be empty"):
        make(ConductorRerunWorkflowOperator, from_task_ref="")


@pytest.mark.parametrize("value", [{"a": 1}, [1], None])
def test_an_output_that_a_skip_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="task_output\\['lines'\\]"):
        make(ConductorSkipTaskOperator, task_output={"lines": value})
    with pytest.raises(ValueError, match="task_ref"):
        make(ConductorSkipTaskOperator, task_ref="")


# What holds where nothing is said


@pytest.mark.parametrize("kind", STEERING_ON)
def test_default_arguments_of_a_dag_reach_every_parameter(kind: type) -> None:
    """Airflow looks for them in each class's own signature, and these are spread over several."""
    wanted = {"max_workflows": 7, "timeout": 60, "on_timeout": "leave", "conductor_conn_id": "europe"}
    with DAG("orders", start_date=timezone.datetime(2026, 1, 1), schedule=None, default_args=wanted):
        operator = make(kind)
    assert {name: getattr(operator, name) for name in wanted} == wanted


@pytest.mark.parametrize("kind", [*WAITING, ConductorWorkflowSensor])
@pytest.mark.parametrize("wanted", [True, False])
def test_deferrable_follows_airflows_default(kind: type, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", str(wanted))
    assert make(kind).deferrable is wanted
    assert make(kind, deferrable=not wanted).deferrable is not wanted


def test_what_we_started_dies_with_us_and_what_others_started_does_not() -> None:
    ours, theirs = make(ConductorExecuteWorkflowOperator), make(ConductorWorkflowSensor)
    assert (ours.on_timeout, ours.cancel_on_kill) == ("terminate", True)
    assert (theirs.on_timeout, theirs.cancel_on_kill) == ("leave", False)


@pytest.mark.parametrize("kind", WAITING)
def test_a_duration_may_be_a_timedelta(kind: type) -> None:
    operator = make(kind, timeout=timedelta(minutes=2), stall_timeout=timedelta(minutes=1))
    assert (operator.timeout, operator.stall_timeout) == (120.0, 60.0)
