"""@task.conductor: the function is called once a try, before anything is sent; then it is an Execute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowSkipException, TaskDeferred, timezone
from conductor.client.http.models import StartWorkflowRequest as SdkRequest

from airflow_provider_conductor.client import ConductorInputError, StartWorkflowRequest
from airflow_provider_conductor.decorators import conductor_task
from airflow_provider_conductor.decorators.conductor import read_returned
from airflow_provider_conductor.exceptions import ConductorStartRefusedError, ConductorWorkflowFailedError
from airflow_provider_conductor.links import ConductorWorkflowLink
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, first_event, in_a_thread, run, sent_through_airflow

SOON = 0.4

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


def operator(function: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
    """The task that the decorated function makes, called with ``args``."""
    defaults = {
        "task_id": "make_order",
        "workflow_name": "orders",
        "wait_for_seconds": 0.1,
        "poll_interval": 0.1,
        "deferrable": False,
    }
    with DAG("shop", start_date=timezone.datetime(2026, 1, 1), schedule=None):
        return conductor_task(function, **{**defaults, **arguments})(*args).operator


def counted(returned: Any) -> tuple[Callable[[], Any], list[int]]:
    calls: list[int] = []

    def make_order() -> Any:
        calls.append(1)
        return returned

    return make_order, calls


def test_airflow_offers_it_as_a_task_decorator() -> None:
    from airflow.providers.common.compat.sdk import task

    with DAG("shop", start_date=timezone.datetime(2026, 1, 1), schedule=None):

        @task.conductor(workflow_name="orders")
        def order() -> dict[str, int]:
            return {"order": 7}

        made = order().operator
    assert isinstance(made, ConductorExecuteWorkflowOperator)
    assert (made.task_id, made.workflow_name, made.custom_operator_name) == ("order", "orders", "@task.conductor")


def test_default_args_for_other_operators_give_it_no_input(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    made = operator(
        counted(StartWorkflowRequest(name="orders"))[0],
        workflow_name=None,
        default_args={"workflow_input": {"order": 99}},
    )
    run(made, context_of(made))
    assert [body.get("input") or {} for body in conductor.started] == [{}]


@both_ways
def test_the_function_makes_the_input_and_the_output_is_the_result(
    conductor: ConductorStandIn, deferrable: bool
) -> None:
    conductor.default_script = Script(after=SOON, output={"total": 42})
    function, calls = counted({"order": 7})
    task = operator(function, deferrable=deferrable)
    assert run(task, context_of(task)) == {"total": 42}
    assert conductor.started[0]["input"] == {"order": 7}
    assert len(calls) == len(conductor.started) == 1


def test_a_deferred_wait_is_resumed_in_a_new_process_without_the_function(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=SOON, output={"total": 42})
    function, calls = counted({"order": 7})
    first = operator(function, deferrable=True)
    context = context_of(first)
    with pytest.raises(TaskDeferred) as deferral:
        first.execute(context)
    event = first_event(sent_through_airflow(deferral.value.trigger))
    resumed = operator(function, deferrable=True)
    kwargs = {**deferral.value.kwargs, "event": event}
    assert resumed.resume_execution(deferral.value.method_name, kwargs, context) == {"total": 42}
    assert len(calls) == 1


def test_arguments_and_airflows_context_reach_the_function(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)

    def make_order(number: int, *, note: str = "none", run_id: str | None = None) -> dict[str, Any]:
        return {"order": number, "note": note, "run": run_id}

    task = operator(make_order, 7)
    context = context_of(task)
    run(task, context)
    assert conductor.started[0]["input"] == {"order": 7, "note": "none", "run": context["run_id"]}


@pytest.mark.parametrize(
    "request_",
    [
        {"workflow_name": "orders", "workflow_input": {"order": 7}, "priority": 5},
        StartWorkflowRequest(name="orders", input={"order": 7}, priority=5),
        SdkRequest(name="orders", input={"order": 7}, priority=5),
    ],
    ids=["a dict", "ours", "the SDK's"],
)
def test_the_function_may_return_a_whole_request(conductor: ConductorStandIn, request_: Any) -> None:
    conductor.default_script = Script(after=0)
    function, _ = counted(request_)
    task = operator(function, workflow_name=None, version=3)
    run(task, context_of(task))
    (sent,) = conductor.started
    assert (sent["name"], sent["input"], sent["priority"], sent["version"]) == ("orders", {"order": 7}, 5, 3)
    assert sent["idempotencyStrategy"] == "RETURN_EXISTING"


def test_what_of_a_request_is_no_argument_is_sent_too(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    function, _ = counted(SdkRequest(name="orders", external_input_payload_storage_path="orders/7.json"))
    task = operator(function, request={"name": "orders", "createdBy": "Ana"})
    run(task, context_of(task))
    (sent,) = conductor.started
    assert (sent["createdBy"], sent["externalInputPayloadStoragePath"]) == ("Ana", "orders/7.json")


@pytest.mark.parametrize("given", [{"workflow_def": {"name": "orders", "tasks": []}}, {"request": {"name": "orders"}}])
def test_a_definition_or_a_request_may_name_the_workflow(conductor: ConductorStandIn, given: dict[str, Any]) -> None:
    conductor.default_script = Script(after=0)
    function, _ = counted({"order": 7})
    task = operator(function, workflow_name=None, **given)
    run(task, context_of(task))
    assert (conductor.started[0]["name"], conductor.started[0]["input"]) == ("orders", {"order": 7})


def test_what_the_function_returned_is_not_rendered(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    function, _ = counted({"note": "{{ ti.task_id }}"})
    task = operator(function)
    context = context_of(task)
    task.render_template_fields(context)
    run(task, context)
    assert conductor.started[0]["input"] == {"note": "{{ ti.task_id }}"}


# Refused before anything is sent


@pytest.mark.parametrize(
    ("returned", "name", "told"),
    [
        (None, "orders", "must be a dict"),
        ([{"order": 7}], "orders", "not list"),
        ({"workflow_input": {}, "timeout": 3}, "orders", "'timeout'"),
        (StartWorkflowRequest(name="parcels"), "orders", "'parcels', and the decorator 'orders'"),
        (SdkRequest(name="orders", idempotency_key="k1"), "orders", "idempotencyKey cannot be started"),
        (StartWorkflowRequest(name="orders", input={"a": object()}), "orders", "JSON"),
        ({"order": 7}, None, "neither it nor the decorator"),
        ({"order": float("nan")}, "orders", "JSON"),
        ({"order": object()}, "orders", "JSON"),
    ],
)
def test_what_cannot_be_used_is_refused(conductor: ConductorStandIn, returned: Any, name: Any, told: str) -> None:
    function, _ = counted(returned)
    task = operator(function, workflow_name=name)
    with pytest.raises(ConductorStartRefusedError, match=told) as refused:
        run(task, context_of(task))
    assert "started" in str(refused.value)
    assert conductor.requests == []


def test_an_error_in_the_function_is_the_tasks(conductor: ConductorStandIn) -> None:
    def make_order() -> dict[str, Any]:
        raise AirflowSkipException("no orders today")

    task = operator(make_order)
    with pytest.raises(AirflowSkipException, match="no orders today"):
        run(task, context_of(task))
    assert conductor.requests == []


def test_an_input_beside_the_functions_is_refused_in_the_dag_file() -> None:
    with pytest.raises(TypeError, match="the function returns it"):
        operator(lambda: {}, workflow_input={"order": 7})


def test_so_is_a_coroutine_function() -> None:
    async def make_order() -> dict[str, Any]:
        return {}

    with pytest.raises(TypeError, match="make_order: use def"):
        operator(make_order)


def test_so_are_the_faults_that_execute_tells_there() -> None:
    with pytest.raises(ValueError, match="on_timeout"):
        operator(lambda: {}, on_timeout="explode")
    with pytest.raises(ValueError, match="output_path"):
        operator(lambda: {}, output_path="a..b")


# Over several tries


@both_ways
def test_a_retry_that_makes_another_input_stays_with_the_workflow_there_is(
    conductor: ConductorStandIn, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def make_order(ti: Any = None) -> dict[str, Any]:
        return {"try": ti.try_number}

    first = operator(make_order, retries=1, cancel_on_kill=False)
    first._take({"try": 1})
    first._begin(context_of(first))
    workflow_id = first._start()  # and the worker dies
    conductor.end(workflow_id, "COMPLETED", output={"total": 42})
    second = operator(make_order, retries=1, deferrable=deferrable)
    assert run(second, context_of(second, try_number=2)) == {"total": 42}
    assert [body["input"] for body in conductor.started] == [{"try": 1}]


@pytest.mark.parametrize(("retry_from", "inputs"), [("failed_task", [1]), ("new", [1, 2])])
def test_a_failed_workflow_runs_on_with_its_own_input_unless_told_to_start_anew(
    conductor: ConductorStandIn, retry_from: str, inputs: list[int]
) -> None:
    conductor.default_script = Script(after=0, status="FAILED", reason="no tea left")
    tries = iter([1, 2])
    task = operator(lambda: {"try": next(tries)}, retries=1, retry_from=retry_from)
    with pytest.raises(ConductorWorkflowFailedError):
        run(task, context_of(task))
    conductor.default_script = Script(after=0, output={"total": 42})
    assert run(task, context_of(task, try_number=2)) == {"total": 42}
    assert [body["input"]["try"] for body in conductor.started] == inputs


def test_killed_while_the_function_runs_nothing_is_started(conductor: ConductorStandIn) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def make_order() -> dict[str, Any]:
        entered.set()
        assert go_on.wait(10)
        return {"order": 7}

    task = operator(make_order)
    thread, errors = in_a_thread(lambda: task.execute(context_of(task)))
    assert entered.wait(10)
    task.on_kill()
    go_on.set()
    thread.join(10)
    (error,) = errors
    assert isinstance(error, AirflowException)
    assert "make_order ran; no workflow was started" in str(error)
    assert conductor.requests == []


# As Airflow's other decorators


def test_it_can_be_overridden_and_its_arguments_told_in_part() -> None:
    with DAG("shop", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:

        @conductor_task(workflow_name="orders", retries=1)
        def order(shop: str, number: int) -> dict[str, Any]:
            return {"shop": shop, "order": number}

        order("eu", 1)
        order.override(task_id="parcel", workflow_name="parcels", retries=3)("eu", 2)
        order.override(task_id="many").partial(shop="us").expand(number=[1, 2, 3])
    assert [task.task_id for task in dag.tasks] == ["order", "parcel", "many"]
    parcel = dag.get_task("parcel")
    assert (parcel.workflow_name, parcel.retries) == ("parcels", 3)
    many = dag.get_task("many")
    assert many.partial_kwargs["workflow_name"] == "orders"


@pytest.mark.parametrize("task_id", ["order", "many"])
def test_the_button_is_on_plain_and_mapped_tasks(task_id: str) -> None:
    with DAG("shop", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:

        @conductor_task(workflow_name="orders")
        def order(number: int) -> dict[str, Any]:
            return {"order": number}

        order(1)
        order.override(task_id="many").expand(number=[1, 2])
    assert [type(link) for link in dag.get_task(task_id).operator_extra_links] == [ConductorWorkflowLink]


def test_the_annotation_of_the_input_says_nothing_of_the_output() -> None:
    def annotated(number: int = 1) -> dict[str, int]:
        return {"order": number}

    def made(**arguments: Any) -> Any:
        with DAG("shop", start_date=timezone.datetime(2026, 1, 1), schedule=None) as dag:
            conductor_task(annotated, workflow_name="orders", task_id="one", **arguments)()
            conductor_task(annotated, workflow_name="orders", task_id="many", **arguments).expand(number=[1, 2])
        return [dag.get_task(task_id).multiple_outputs for task_id in ("one", "many")]

    assert made() == [False, False]
    assert made(multiple_outputs=True) == [True, True]


def test_default_arguments_of_the_dag_reach_it() -> None:
    defaults = {"workflow_name": "orders", "conductor_conn_id": "europe", "retries": 2}
    with DAG("shop", start_date=timezone.datetime(2026, 1, 1), schedule=None, default_args=defaults):

        @conductor_task
        def order() -> dict[str, Any]:
            return {"order": 7}

        made = order().operator
    assert (made.workflow_name, made.conductor_conn_id, made.retries) == ("orders", "europe", 2)


def test_the_context_goes_along_under_its_key(conductor: ConductorStandIn) -> None:
    conductor.default_script = Script(after=0)
    task = operator(lambda: {"order": 7}, pass_context=True)
    run(task, context_of(task))
    assert conductor.started[0]["input"]["airflow"]["task_id"] == task.task_id
    clash = operator(lambda: {"airflow": "mine"}, pass_context=True)
    before = len(conductor.requests)
    with pytest.raises(ConductorStartRefusedError, match="'airflow'"):
        run(clash, context_of(clash, run_id="another"))
    assert len(conductor.requests) == before


# How what a function returned is read

of_each_kind = pytest.mark.parametrize("kind", [StartWorkflowRequest, SdkRequest], ids=["ours", "the SDK's"])


@pytest.mark.parametrize(
    "returned",
    [
        {"order": 7},
        {},
        {"name": "tea", "version": 2, "input": {"a": 1}, "workflow_name": "of the user's own"},
        {"correlationId": "c", "correlation_id": "c"},
    ],
)
def test_a_dict_is_the_input_whatever_its_keys_are_called(returned: dict[str, Any]) -> None:
    assert read_returned(returned) == ({"workflow_input": returned}, {})


def test_a_dict_with_workflow_input_is_start_arguments() -> None:
    arguments = {"workflow_input": {"order": 7}, "workflow_name": "orders", "version": 2, "priority": 9}
    assert read_returned({**arguments, "correlation_id": None}) == (arguments, {})


def test_start_arguments_with_anything_else_are_refused_with_what_would_do() -> None:
    with pytest.raises(ConductorInputError, match=r"'color', 'timeout' is none of workflow_name") as told:
        read_returned({"workflow_input": {}, "timeout": 3, "color": "red"})
    assert "goes into 'workflow_input' as a whole" in str(told.value)


@pytest.mark.parametrize("wrong", [[1], "text", 3])
def test_start_arguments_need_a_dict_for_input(wrong: Any) -> None:
    with pytest.raises(ConductorInputError, match="workflow_input must be a dict"):
        read_returned({"workflow_input": wrong})


@of_each_kind
def test_a_request_is_read_by_its_fields(kind: type) -> None:
    request = kind(
        name="orders",
        version=2,
        input={"order": 7},
        correlation_id="c1",
        priority=3,
        task_to_domain={"pack": "eu"},
        created_by="Ana",
        external_input_payload_storage_path="orders/7.json",
    )
    arguments, further = read_returned(request)
    assert arguments == {
        "workflow_name": "orders",
        "version": 2,
        "workflow_input": {"order": 7},
        "correlation_id": "c1",
        "priority": 3,
        "task_to_domain": {"pack": "eu"},
    }
    assert further == {"createdBy": "Ana", "externalInputPayloadStoragePath": "orders/7.json"}


@of_each_kind
def test_a_request_may_leave_the_name_to_the_decorator(kind: type) -> None:
    assert read_returned(kind(name="", version=2, input={"order": 7})) == (
        {"workflow_name": "", "version": 2, "workflow_input": {"order": 7}},
        {},
    )


def test_the_strategy_the_sdk_sets_unasked_is_not_taken_for_a_wish() -> None:
    request = SdkRequest(name="orders", input={"order": 7})
    assert request.idempotency_strategy is not None
    assert read_returned(request) == ({"workflow_name": "orders", "workflow_input": {"order": 7}}, {})


@pytest.mark.parametrize("returned", [None, "orders", 7, ["order"], ({"order": 7},), object(), SdkRequest])
def test_anything_else_is_refused_with_what_was_expected(returned: Any) -> None:
    with pytest.raises(ConductorInputError, match=r"it must be a dict .* or a StartWorkflowRequest, not "):
        read_returned(returned)
