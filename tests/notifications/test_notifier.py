"""The notifier: what it takes, what it sends, and what Airflow's ways of calling it make of it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_conductor.client import ConductorConnectionLostError, ConductorNotFoundError
from airflow_provider_conductor.control.task_choice import CompletionRefusedError
from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import context_of

HUMAN = {
    "taskId": "7",
    "referenceTaskName": "approve",
    "taskType": "HUMAN",
    "status": "IN_PROGRESS",
    "taskDefName": "approve",
}
PAUSE = {
    "taskId": "8",
    "referenceTaskName": "pause",
    "taskType": "WAIT",
    "status": "IN_PROGRESS",
    "taskDefName": "pause",
}

WAYS = ("called", "awaited")


@pytest.fixture
def context() -> dict[str, Any]:
    context = context_of(BaseOperator(task_id="ship"), map_index=3)
    return {**context, "params": {"order": 7}, "dag": None}


def act(notifier: ConductorNotifier, context: Any, way: str = "called") -> None:
    """As Airflow does: a callback is called, and the triggerer awaits one that has its context."""
    if way == "called":
        notifier(context)
        return

    async def awaited() -> None:
        notifier.context = context
        notifier._update_context(context)
        notifier.render_template_fields(context)
        await notifier.async_notify(context)

    asyncio.run(awaited())


def failing(notifier: ConductorNotifier, context: Any) -> pytest.ExceptionInfo[Exception]:
    """What ``notify`` raises: 2.11 logs it, 3.x raises it on."""
    notifier.render_template_fields(context)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        notifier.notify(context)
    return raised


# Arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"action": "begin"}, "action must be one of 'start', 'complete_task', 'signal', 'terminate'"),
        ({"action": "start"}, "workflow_name must not be empty"),
        ({"action": "complete_task"}, "task_reference_name must not be empty"),
        ({"action": "start", "workflow_name": "refund", "reason": "x"}, "takes no reason; it takes correlation_id"),
        ({"action": "terminate", "workflow_name": "refund"}, "takes no workflow_name"),
        ({"action": "signal", "task_reference_name": "a"}, "takes no task_reference_name"),
        ({"action": "signal", "status": "DONE"}, "status must be one of 'COMPLETED'"),
    ],
)
def test_unusable_arguments_are_refused_when_the_dag_is_parsed(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ConductorNotifier(**arguments)


# Each action


def test_a_callback_without_an_exception_acts_too(conductor: ConductorStandIn, context: dict[str, Any]) -> None:
    """As of a task whose worker was lost: the templates of a DAG raise for what the context lacks."""
    conductor.script("refund", lambda given: Script())
    with DAG("orders", schedule=None) as dag:
        pass
    notifier = ConductorNotifier(action="start", workflow_name="refund", workflow_input={"why": "{{ exception }}"})
    notifier({**context, "dag": dag})
    notifier({**context, "dag": dag, "exception": ValueError("no tea left")})
    assert [started["input"]["why"] for started in conductor.started] == ["", "no tea left"]


@pytest.mark.parametrize("way", WAYS)
def test_it_starts_a_workflow(conductor: ConductorStandIn, context: dict[str, Any], way: str) -> None:
    conductor.script("refund", lambda given: Script())
    notifier = ConductorNotifier(
        action="start", workflow_name="refund", workflow_input={"order": "{{ params.order }}"}, version="2", priority=5
    )
    act(notifier, context, way)
    (body,) = conductor.started
    assert (body["name"], body["input"], body["version"], body["priority"]) == ("refund", {"order": "7"}, 2, 5)
    assert body["correlationId"].startswith(f"airflow:nightly_orders:{context['run_id']}:ship:3:icallback-")


def test_a_correlation_id_of_the_users_own_is_sent(conductor: ConductorStandIn, context: dict[str, Any]) -> None:
    conductor.script("refund", lambda given: Script())
    act(ConductorNotifier(action="start", workflow_name="refund", correlation_id="{{ run_id }}"), context)
    assert conductor.started[0]["correlationId"] == context["run_id"]


def test_each_call_starts_one(conductor: ConductorStandIn, context: dict[str, Any]) -> None:
    """Airflow calls one object for several tasks, and renders its templates in place."""
    conductor.script("refund", lambda given: Script())
    notifier = ConductorNotifier(action="start", workflow_name="refund", workflow_input={"order": "{{ params.order }}"})
    for order in (7, 8):
        act(notifier, {**context, "params": {"order": order}})
    assert [body["input"]["order"] for body in conductor.started] == ["7", "8"]
    assert len({body["correlationId"] for body in conductor.started}) == 2


@pytest.mark.parametrize(
    ("again", "more", "starts"),
    [
        pytest.param({}, {}, 1, id="the same call"),
        pytest.param({"try_number": 2}, {}, 2, id="of another try"),
        pytest.param({"task_id": "pay"}, {}, 2, id="of another task"),
        pytest.param({}, {"params": {"order": 8}}, 2, id="with another input"),
        pytest.param({}, {"reason": "task_failure"}, 2, id="of the DAG, whose last task it was"),
        pytest.param({"start_date": None}, {}, 2, id="on a worker"),
    ],
)
def test_a_call_that_airflow_repeats_for_a_lost_worker_starts_one(
    conductor: ConductorStandIn, context: dict[str, Any], again: dict[str, Any], more: dict[str, Any], starts: int
) -> None:
    conductor.script("refund", lambda given: Script())
    notifier = ConductorNotifier(action="start", workflow_name="refund", workflow_input={"order": "{{ params.order }}"})
    ti = {name: getattr(context["ti"], name) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}
    act(notifier, {**context, "ti": SimpleNamespace(**ti)})
    act(notifier, {**context, **more, "ti": SimpleNamespace(**(ti | again))})
    assert len(conductor.started) == starts


@pytest.mark.parametrize("label", [None, "refunds"])
def test_a_start_whose_answer_is_lost_is_not_repeated(
    conductor: ConductorStandIn, context: dict[str, Any], label: str | None
) -> None:
    conductor.script("refund", lambda given: Script())
    lost: list[Request] = []

    def lose(request: Request) -> tuple[int, str, bytes] | None:
        if lost or (request.method, request.path) != ("POST", "/workflow"):
            return None
        lost.append(request)
        conductor._start(request.body)
        return 0, "", b""

    conductor.instead = lose
    act(ConductorNotifier(action="start", workflow_name="refund", correlation_id=label), context)
    assert (len(lost), len(conductor.workflows)) == (1, 1)


@pytest.mark.parametrize("way", WAYS)
def test_it_completes_a_task(conductor: ConductorStandIn, context: dict[str, Any], way: str) -> None:
    workflow_id = conductor.add(tasks=[HUMAN])
    context["ti"].xcoms["workflow_id"] = workflow_id
    notifier = ConductorNotifier(
        action="complete_task",
        task_reference_name="approve",
        status="FAILED",
        reason="{{ run_id }} has failed",
        task_output={"order": "{{ params.order }}"},
    )
    act(notifier, context, way)
    (task,) = conductor.workflows[workflow_id]["tasks"]
    assert (task["status"], task["outputData"]["order"]) == ("FAILED", "7")
    assert task["reasonForIncompletion"] == f"{context['run_id']} has failed"


@pytest.mark.parametrize("way", WAYS)
def test_it_signals_a_workflow(conductor: ConductorStandIn, context: dict[str, Any], way: str) -> None:
    workflow_id = conductor.add(tasks=[PAUSE])
    act(ConductorNotifier(action="signal", workflow_id=workflow_id, task_output={"go": True}), context, way)
    (task,) = conductor.workflows[workflow_id]["tasks"]
    assert (task["status"], task["outputData"]) == ("COMPLETED", {"go": True})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reason", [None, "{{ params.order }} is off"])
def test_it_terminates_the_tasks_workflow(
    conductor: ConductorStandIn, context: dict[str, Any], way: str, reason: str | None
) -> None:
    workflow_id = context["ti"].xcoms["workflow_id"] = conductor.add(tasks=[PAUSE])
    act(ConductorNotifier(action="terminate", reason=reason), context, way)
    assert conductor.status(workflow_id) == "TERMINATED"
    expected = "7 is off" if reason else f"Airflow task was killed: nightly_orders.ship[3] run {context['run_id']}"
    assert conductor.workflows[workflow_id]["reasonForIncompletion"].startswith(expected)


@pytest.mark.parametrize("ended", ["COMPLETED", "FAILED"])
def test_a_workflow_that_has_ended_keeps_its_status(
    conductor: ConductorStandIn, context: dict[str, Any], ended: str
) -> None:
    workflow_id = conductor.add()
    conductor.end(workflow_id, ended)
    act(ConductorNotifier(action="terminate", workflow_id=workflow_id), context)
    assert conductor.status(workflow_id) == ended


# Contexts


@pytest.mark.parametrize("dag_run", [{"dag_id": "nightly", "dag_run_id": "manual__1"}, None])
def test_the_simple_context_of_a_deadline_is_enough(conductor: ConductorStandIn, dag_run: Any) -> None:
    conductor.script("escalate", lambda given: Script())
    notifier = ConductorNotifier(
        action="start",
        workflow_name="escalate",
        workflow_input={"run": "{{ dag_run.dag_run_id if dag_run else '' }}"},
        context={"dag_run": dag_run, "deadline": {"id": "1"}, "dag": None},
    )
    act(notifier, notifier.context, "awaited")
    (body,) = conductor.started
    run_id = dag_run["dag_run_id"] if dag_run else ""
    assert body["input"] == {"run": run_id}
    assert f":{run_id}:" in body["correlationId"]


# Trouble


def test_a_task_without_a_workflow_is_named(conductor: ConductorStandIn, context: dict[str, Any]) -> None:
    raised = failing(ConductorNotifier(action="terminate"), context)
    assert "has no Conductor workflow in its XCom 'workflow_id'; name one by workflow_id" in str(raised.value)
    assert conductor.requests == []


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"action": "signal"}, CompletionRefusedError),
        ({"action": "complete_task", "task_reference_name": "no such task"}, CompletionRefusedError),
        ({"action": "signal", "workflow_id": "no-such-workflow"}, ConductorNotFoundError),
        ({"action": "signal", "status": "{{ 'DONE' }}"}, ValueError),
        ({"action": "complete_task", "task_reference_name": "approve", "task_output": "{{ [1] }}"}, ValueError),
    ],
)
def test_what_cannot_be_done_is_an_error(
    conductor: ConductorStandIn, context: dict[str, Any], arguments: Any, kind: type[Exception]
) -> None:
    context["ti"].xcoms["workflow_id"] = conductor.add(tasks=[HUMAN])
    raised = failing(ConductorNotifier(**arguments), context)
    assert isinstance(raised.value, kind)
    assert {request.method for request in conductor.requests} <= {"GET"}


@pytest.mark.parametrize(
    "raises",
    [
        pytest.param(False, marks=pytest.mark.airflow_versions(before="3.1")),
        pytest.param(True, marks=pytest.mark.airflow_versions(since="3.3")),
    ],
)
def test_airflow_is_what_raises_or_logs_it(
    conductor: ConductorStandIn, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    """2.11 and 3.0 log what a notifier raises; 3.3 logs it, and raises it on to what has called it."""

    def lost(self: Any, context: Any) -> None:
        raise ConductorConnectionLostError("lost", method="GET", path="/")

    monkeypatch.setattr(ConductorNotifier, "notify", lost)
    notifier = ConductorNotifier(action="terminate", workflow_id="x")
    with pytest.raises(ConductorConnectionLostError) if raises else nullcontext():
        notifier(context)
