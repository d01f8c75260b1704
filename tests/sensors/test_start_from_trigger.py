"""A sensor that begins in the triggerer: what Airflow is told of it, and where a worker has to begin after all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    TaskDeferred,
    task_group,
    timezone,
)

from airflow_provider_conductor._airflow import DEFERRED_KEY, RETRIES_MAY_RESUME, triggers_render_templates
from airflow_provider_conductor.exceptions import ConductorWorkflowTimeoutError
from airflow_provider_conductor.operators import ConductorStartWorkflowOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import context_of
from tests.sensors.triggerer import run_anywhere

RESUMED = [f"xcom {DEFERRED_KEY}"] if RETRIES_MAY_RESUME else []
"""What a task that cannot be cancelled writes when a worker takes it over."""


def sensor(**arguments: Any) -> ConductorWorkflowSensor:
    defaults: dict[str, Any] = {"task_id": "sense", "workflow_id": "abc", "start_from_trigger": True}
    return ConductorWorkflowSensor(**{**defaults, **arguments})


def a_dag(**arguments: Any) -> Any:
    return DAG("orders", start_date=datetime(2026, 1, 1), schedule=None, **arguments)


# What is told when the DAG is parsed


def test_it_is_opt_in() -> None:
    operator = ConductorWorkflowSensor(task_id="sense", workflow_id="abc", deferrable=True)
    assert (operator.start_from_trigger, operator.start_trigger_args) == (False, None)


def test_it_implies_deferrable_on_every_airflow() -> None:
    operator = sensor()
    assert operator.deferrable
    assert operator.start_from_trigger == triggers_render_templates()


def test_it_contradicts_a_wait_on_the_worker() -> None:
    with pytest.raises(ValueError, match="needs deferrable=True"):
        sensor(deferrable=False)


def test_two_sensors_share_no_arguments() -> None:
    one, other = sensor(workflow_id="one"), sensor(task_id="other", workflow_id="other")
    if triggers_render_templates():
        assert one.start_trigger_args.trigger_kwargs["workflow_id"] == "one"
        assert other.start_trigger_args.trigger_kwargs["workflow_id"] == "other"
    assert ConductorWorkflowSensor.start_trigger_args is None


def mapped_group() -> Any:
    made = []

    @task_group
    def each(workflow_id: Any) -> None:
        made.append(sensor(workflow_id=workflow_id))

    with a_dag():
        each.expand(workflow_id=["a", "b"])
    return made[0]


def in_dag_with(**arguments: Any) -> Any:
    with a_dag(**arguments):
        return sensor(workflow_id="{{ the_id() }}")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (mapped_group, "mapped"),
        (lambda: in_dag_with(user_defined_macros={"the_id": lambda: "abc"}), "user_defined_macros"),
        (lambda: in_dag_with(user_defined_filters={"short": str}), "user_defined_filters"),
        (lambda: sensor(workflow_id=lambda **_: "abc"), "neither a text"),
    ],
    ids=["mapped group", "macros", "filters", "callable"],
)
def test_where_the_triggerer_lacks_something_a_worker_begins(make: Callable[[], Any], why: str) -> None:
    operator = make()
    assert not operator.start_from_trigger
    assert operator.start_trigger_args is None
    assert (why if triggers_render_templates() else "Airflow 3.3") in operator._on_worker_because


def test_a_worker_that_begins_says_why(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_dag(user_defined_macros={"the_id": lambda: "abc"}):
        operator = sensor(workflow_id="{{ the_id() }}")
    operator.workflow_id = conductor.add()  # rendered
    log = Mock()
    monkeypatch.setattr(ConductorWorkflowSensor, "log", log)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context_of(operator))
    assert deferred.value.method_name == "execute_complete"
    (why,) = [call.args[1] for call in log.info.call_args_list if "in spite of start_from_trigger" in call.args[0]]
    assert why == operator._on_worker_because


def test_a_mapped_sensor_leaves_airflow_nothing_to_begin_with() -> None:
    with a_dag():
        mapped = ConductorWorkflowSensor.partial(task_id="sense", start_from_trigger=True).expand(workflow_id=["a"])
    assert mapped.start_trigger_args is None


def serialised(dag: Any) -> Any:
    """The DAG as the scheduler reads it."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialisation
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as Serialisation
    return Serialisation.from_dict(json.loads(json.dumps(Serialisation.to_dict(dag))))


def test_the_scheduler_reads_it_from_the_serialised_dag() -> None:
    with a_dag() as dag:
        start = ConductorStartWorkflowOperator(task_id="start", workflow_name="w")
        sensor(workflow_id=start.output)
        ConductorTaskSensor(
            task_id="packed", workflow_id="{{ run_id }}", task_reference_name="pack", start_from_trigger=True
        )
    for task_id in ("sense", "packed"):
        task = serialised(dag).get_task(task_id)
        assert task.start_from_trigger == triggers_render_templates()
        assert (task.start_trigger_args is not None) == triggers_render_templates()
    assert dag.get_task("sense").upstream_task_ids == {"start"}


def test_a_template_is_rendered_wherever_it_begins(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output={"total": 42})
    operator = sensor(workflow_id="{{ params.started }}", return_output=True)
    context = {**context_of(operator), "params": {"started": workflow_id}}
    operator.render_template_fields(context)  # as a worker does, at the beginning or at the end
    assert run_anywhere(operator, context) == {"total": 42}


# The worker that concludes


def taken_over(conductor: ConductorStandIn, event: dict[str, Any], **arguments: Any) -> Any:
    operator = sensor(**arguments)
    context = context_of(operator, conductor.journal)
    try:
        return operator.resume_execution("take_over", {"event": event}, context)
    finally:
        assert context["ti"].xcoms["workflow_id"] == operator.workflow_id
        assert context["ti"].xcoms["workflow_url"] == f"{conductor.url}/execution/{operator.workflow_id}"


def test_the_worker_writes_id_and_page_again_and_returns_the_output(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output={"total": 42})
    event = {"workflow_id": workflow_id, "status": "COMPLETED", "message": ""}
    assert taken_over(conductor, event, workflow_id=workflow_id, return_output=True) == {"total": 42}
    assert conductor.journal[: len(RESUMED) + 2] == [*RESUMED, "xcom workflow_id", "xcom workflow_url"]


@pytest.mark.parametrize(
    ("came", "says"),
    [("", "workflow_id must not be empty"), ("None", "rendered to 'None'"), ("['a', 'b']", r"not a list.*\.output")],
)
def test_an_id_that_cannot_be_is_refused_without_a_retry(conductor: ConductorStandIn, came: str, says: str) -> None:
    """The trigger has refused it already; on the worker it is rendered anew."""
    operator = sensor(workflow_id="{{ params.id }}")
    operator.workflow_id = came
    event = {"workflow_id": "(none)", "status": "error", "message": says, "error": "ConductorConfigError"}
    context = context_of(operator, conductor.journal)
    with pytest.raises(AirflowFailException, match=says):
        operator.resume_execution("take_over", {"event": event}, context)
    assert conductor.journal == RESUMED


@pytest.mark.parametrize(("on_timeout", "then"), [("leave", "RUNNING"), ("terminate", "TERMINATED")])
@pytest.mark.parametrize(
    ("limit", "error"),
    [({}, AirflowSensorTimeout), ({"execution_timeout": timedelta(seconds=20)}, ConductorWorkflowTimeoutError)],
    ids=["timeout", "execution_timeout"],
)
def test_a_triggerer_that_never_answered_is_a_time_out_all_the_same(
    conductor: ConductorStandIn, on_timeout: Any, then: str, limit: dict[str, Any], error: type[AirflowException]
) -> None:
    """Nobody has written the id to XCom by then: the worker does, and knows what to terminate."""
    workflow_id = conductor.add()
    operator = sensor(workflow_id=workflow_id, on_timeout=on_timeout, **limit)
    context = context_of(operator, start_date=timezone.utcnow() - timedelta(seconds=60))
    if not operator.start_from_trigger:  # as a worker does that begins
        operator._begin(context)
        operator._announce(workflow_id)
        error = AirflowException
    with pytest.raises(error):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert conductor.status(workflow_id) == then
    assert context["ti"].xcoms["workflow_id"] == workflow_id
