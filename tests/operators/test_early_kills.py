"""A task that is killed before it knows what it has to terminate: nothing is started after that, in any operator.

Airflow 3 calls ``on_kill`` in its handler of SIGTERM and lets the task go on for five seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_conductor.exceptions import ConductorInvalidStateError
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.operators import (
    ConductorCompleteTaskOperator,
    ConductorDeleteWorkflowOperator,
    ConductorExecuteWorkflowOperator,
    ConductorRestartWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorSignalWorkflowOperator,
    ConductorStartWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import context_of, deferred, error_of, refusal, resume
from tests.operators.batch_standin import Orders, batch

SHAPES = pytest.mark.parametrize("map_index", [-1, 2], ids=["unmapped", "mapped"])


def execute(**more: Any) -> ConductorExecuteWorkflowOperator:
    return ConductorExecuteWorkflowOperator(task_id="t", workflow_name="orders", **more)


SINGLE: dict[str, Callable[..., Any]] = {
    "start": partial(ConductorStartWorkflowOperator, task_id="t", workflow_name="orders"),
    "execute": execute,
    "deferrable": partial(execute, deferrable=True),
    "batch": batch,
}

STARTS = ("/workflow", "/retry", "/restart")


Kill = Callable[[Any], None]


@pytest.fixture
def kill_early(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """The signal comes while the task looks up its connection: a busy API server takes its time for that."""

    def arrange(task: Any) -> None:
        look_up = ConductorHook.get_connection
        killed: list[str] = []

        def late(conn_id: str) -> Any:
            if not killed:
                killed.append(conn_id)
                task.on_kill()
            return look_up(conn_id)

        monkeypatch.setattr(ConductorHook, "get_connection", staticmethod(late))

    return arrange


def kill_in(conductor: ConductorStandIn, task: Any, *paths: str) -> None:
    """The signal comes while the first request to one of these paths is on its way."""

    def killed_meanwhile(request: Request) -> None:
        if request.path.endswith(paths):
            conductor.instead = lambda request: None
            task.on_kill()

    conductor.instead = killed_meanwhile


def assert_killed(task: Any, context: dict[str, Any] | None = None) -> None:
    with pytest.raises(AirflowException, match="killed"):
        task.execute(context or context_of(task))


def states(conductor: ConductorStandIn) -> set[str]:
    return {conductor.status(workflow_id) for workflow_id in conductor.workflows}


def starts(conductor: ConductorStandIn) -> list[str]:
    """What was sent that makes a workflow run."""
    return [request.path for request in conductor.sent("POST") if request.path.endswith(STARTS)]


@SHAPES
@pytest.mark.parametrize("cancel_on_kill", [True, False])
@pytest.mark.parametrize("kind", SINGLE)
def test_killed_before_the_start_nothing_is_started(
    conductor: ConductorStandIn,
    kill_early: Kill,
    kind: str,
    cancel_on_kill: bool,
    map_index: int,
) -> None:
    task = SINGLE[kind](cancel_on_kill=cancel_on_kill)
    kill_early(task)
    assert_killed(task, context_of(task, map_index=map_index))
    assert starts(conductor) == []


@SHAPES
@pytest.mark.parametrize("kind", SINGLE)
def test_killed_in_a_retry_what_the_earlier_try_left_is_terminated_and_nothing_started(
    orders: Orders, kill_early: Kill, kind: str, map_index: int
) -> None:
    orders.never = set(range(12))
    conductor = orders.conductor
    more: dict[str, Any] = {"retries": 1}
    if kind == "batch":
        more |= {"deferrable": True, "wait_for_seconds": 0}
    else:
        more |= {"workflow_input": {"order": 1}}
    first = SINGLE["deferrable" if kind in ("start", "execute") else kind](**more | {"wait_for_seconds": 0})
    deferred(first, context_of(first, map_index=map_index))
    sent = len(starts(conductor))
    task = SINGLE[kind](**more)
    kill_early(task)
    assert_killed(task, context_of(task, try_number=2, map_index=map_index))
    assert len(starts(conductor)) == sent
    assert states(conductor) == {"TERMINATED"}


def test_a_killed_batch_also_ends_the_second_workflow_of_an_item(orders: Orders, kill_early: Kill) -> None:
    """Two of one start, as a lost answer may leave them."""
    orders.never = set(range(12))
    conductor = orders.conductor
    more: dict[str, Any] = {"retries": 1, "deferrable": True, "wait_for_seconds": 0}
    first = batch(**more)
    deferred(first, context_of(first))
    workflow = next(iter(conductor.workflows.values()))
    second = conductor.add(correlation_id=workflow["correlationId"])
    task = batch(**more)
    kill_early(task)
    assert_killed(task, context_of(task, try_number=2))
    assert conductor.status(second) == "TERMINATED"
    assert states(conductor) == {"TERMINATED"}


@pytest.mark.parametrize("retry_from", ["failed_task", "start", "new"])
@pytest.mark.parametrize("kind", ["start", "execute", "batch"])
def test_killed_while_it_looks_for_an_earlier_try_nothing_runs_again(
    orders: Orders, kind: str, retry_from: Any
) -> None:
    orders.fail = dict.fromkeys(range(12), "no stock")
    conductor = orders.conductor
    more: dict[str, Any] = {"retries": 1, "retry_from": retry_from}
    if kind != "batch":
        more |= {"workflow_input": {"order": 1}}
    first = SINGLE[kind](**more)
    if kind == "start":
        first.execute(context_of(first))
        conductor.end(conductor.only_workflow, "FAILED")
    else:
        error_of(first, AirflowException)
    sent = len(starts(conductor))
    task = SINGLE[kind](**more)
    kill_in(conductor, task, "/correlated")
    assert_killed(task, context_of(task, try_number=2))
    assert len(starts(conductor)) == sent
    assert states(conductor) == {"FAILED"}


def test_killed_while_a_start_of_unknown_fate_is_looked_for_it_is_not_sent_again(conductor: ConductorStandIn) -> None:
    task = SINGLE["execute"]()
    lost: list[Request] = []

    def lose(request: Request) -> tuple[int, str, bytes] | None:
        if request.path == "/workflow" and not lost:
            lost.append(request)
            return 0, "", b""
        if request.path.endswith("/correlated") and len(lost) == 1:
            lost.append(request)
            task.on_kill()
        return None

    conductor.instead = lose
    assert_killed(task)
    assert len(starts(conductor)) == 1
    assert conductor.workflows == {}


@SHAPES
@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_batch_that_is_resumed_and_killed_at_once_starts_nothing_and_ends_what_runs(
    orders: Orders, kill_early: Kill, cancel_on_kill: bool, map_index: int
) -> None:
    orders.never = {0, 1}
    more = {"deferrable": True, "wait_for_seconds": 0, "max_active": 2, "cancel_on_kill": cancel_on_kill}
    context = context_of(task := batch(**more), map_index=map_index)
    deferral = deferred(task, context)
    sent = len(orders.sent)
    assert sent < 12
    resumed = batch(**more)
    kill_early(resumed)
    with pytest.raises(AirflowException, match="killed"):
        resume(resumed, context, deferral, {"status": "go_on", "message": ""})
    assert len(orders.sent) == sent
    left = "TERMINATED" if cancel_on_kill else "RUNNING"
    assert [orders.status(number) for number in (0, 1)] == [left, left]


def test_a_batch_that_is_killed_as_it_defers_ends_what_runs(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.never = {3, 4}
    task = batch(deferrable=True, wait_for_seconds=0)
    monkeypatch.setattr(task, "_save_batch", lambda *arguments: task.on_kill())
    assert_killed(task)
    assert [orders.status(number) for number in (3, 4)] == ["TERMINATED", "TERMINATED"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("make", [ConductorRetryWorkflowOperator, ConductorRestartWorkflowOperator])
def test_a_command_is_not_sent_for_a_killed_task(
    conductor: ConductorStandIn, kill_early: Kill, make: type, waits: bool
) -> None:
    workflow_id = conductor.add("FAILED")
    task = make(task_id="t", workflow_id=workflow_id, wait_for_completion=waits)
    kill_early(task)
    assert_killed(task)
    assert starts(conductor) == []
    assert conductor.status(workflow_id) == "FAILED"


@pytest.mark.parametrize("make", [ConductorRetryWorkflowOperator, ConductorRestartWorkflowOperator])
def test_a_command_under_way_in_a_kill_is_undone(conductor: ConductorStandIn, make: type) -> None:
    workflow_id = conductor.add("FAILED")
    task = make(task_id="t", workflow_id=workflow_id, wait_for_completion=True)
    kill_in(conductor, task, *STARTS)
    error_of(task, AirflowException)
    assert conductor.status(workflow_id) == "TERMINATED"


@pytest.mark.parametrize("kill_at", ["connection", "look"])
def test_nothing_is_terminated_or_deleted_for_a_killed_task(
    conductor: ConductorStandIn, kill_early: Kill, kill_at: str
) -> None:
    workflow_id = conductor.add()
    task = ConductorDeleteWorkflowOperator(task_id="t", workflow_id=workflow_id, terminate_running=True)
    if kill_at == "connection":
        kill_early(task)
    else:
        kill_in(conductor, task, workflow_id)
    assert_killed(task)
    assert conductor.sent("DELETE") == []
    assert conductor.status(workflow_id) == "RUNNING"


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: ConductorCompleteTaskOperator(task_reference_name="approve", **more),
        ConductorSignalWorkflowOperator,
    ],
)
def test_no_task_is_ended_for_a_killed_task(conductor: ConductorStandIn, make: Callable[..., Any]) -> None:
    wait = {"taskId": "7", "referenceTaskName": "approve", "taskType": "WAIT", "status": "IN_PROGRESS"}
    workflow_id = conductor.add(tasks=[wait])
    task = make(task_id="t", workflow_id=workflow_id)
    kill_in(conductor, task, workflow_id)
    assert_killed(task)
    assert conductor.sent("POST") == []


@pytest.mark.parametrize(("cancel_on_kill", "left"), [(True, "TERMINATED"), (False, "RUNNING")])
def test_a_sensor_that_is_killed_before_its_wait_does_not_wait(
    conductor: ConductorStandIn, kill_early: Kill, cancel_on_kill: bool, left: str
) -> None:
    workflow_id = conductor.add()
    task = ConductorWorkflowSensor(task_id="t", workflow_id=workflow_id, cancel_on_kill=cancel_on_kill)
    kill_early(task)
    assert_killed(task)
    assert conductor.status(workflow_id) == left


# A task that is over, or has been deferred


def test_on_kill_after_a_deferral_terminates_nothing(conductor: ConductorStandIn) -> None:
    """A worker that is told to stop while the process of a deferred task is being finalised."""
    task = SINGLE["deferrable"](wait_for_seconds=0)
    deferred(task, context_of(task))
    task.on_kill()
    assert conductor.status(conductor.only_workflow) == "RUNNING"


@pytest.mark.parametrize("kind", ["execute", "deferrable"])
def test_on_kill_after_success_terminates_nothing(conductor: ConductorStandIn, kind: str) -> None:
    """Airflow 3 sends SIGTERM when a task that has succeeded takes long to end (``task_success_overtime``)."""
    pack = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "COMPLETED"}
    task = SINGLE[kind](wait_until_task_ref="pack", wait_for_seconds=0)
    context = context_of(task)
    if kind == "deferrable":
        deferral = deferred(task, context)
        conductor.has_tasks(conductor.only_workflow, pack)
        task = SINGLE[kind](wait_until_task_ref="pack")
        resume(task, context, deferral)
    else:
        conductor.default_script = Script(after=None, tasks=[pack])
        task.execute(context)
    task.on_kill()
    assert conductor.status(conductor.only_workflow) == "RUNNING"


def test_nor_does_it_after_a_command_that_was_refused(conductor: ConductorStandIn) -> None:
    """The workflow runs for somebody else, and this task does not wait for it."""
    workflow_id = conductor.add()
    task = ConductorRestartWorkflowOperator(task_id="t", workflow_id=workflow_id, wait_for_completion=True)
    error_of(task, ConductorInvalidStateError, workflow_id)
    task.on_kill()
    assert conductor.status(workflow_id) == "RUNNING"


def test_nor_does_it_after_an_error_that_leaves_the_workflow_to_a_retry(conductor: ConductorStandIn) -> None:
    task = SINGLE["execute"]()
    conductor.instead = lambda request: refusal(401, "go away") if request.method == "GET" else None
    error_of(task, Exception, "go away")
    assert conductor.sent("GET")
    conductor.instead = lambda request: None
    task.on_kill()
    assert conductor.status(conductor.only_workflow) == "RUNNING"
