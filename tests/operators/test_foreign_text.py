"""Text that servers, workers and definitions send: wherever it comes out, databases, logs and terminals can bear it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_conductor.batch.state import Batch
from airflow_provider_conductor.client import (
    ConductorClient,
    ConductorError,
    ConductorServerError,
    ConductorSettings,
    NotConductorError,
)
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.operators import (
    ConductorCompleteTaskOperator,
    ConductorExecuteWorkflowOperator,
    ConductorExecuteWorkflowsOperator,
    ConductorPauseWorkflowOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.polling.user_actions import Lifecycle
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import STILL_RUNNING, WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from airflow_provider_conductor.sensors import ConductorTaskSensor, ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import context_of
from tests.operators.batch_standin import Orders
from tests.waiting_modes import modes
from tests.waiting_modes.modes import ALL, SENSOR, Heard, run_task

HOSTILE = "a\x00b\x1b[31mred\x9b2J\x1b]0;title\x07\ud800\u202e\x7f\r\n2026-01-01 ERROR - forged ::group::x ##[endgroup]"
"""NUL, colours, a terminal's title, a lone surrogate, a bidirectional override, a line of its own, folds."""

BAD_ID = "id\x00\n::group::"


FOLDS = ("::group::", "::endgroup::", "##[group]", "##[endgroup]")


def assert_bearable(where: str, value: Any) -> None:
    """What may be stored, logged and shown; lines are our own."""
    for text in texts(value):
        text.encode()  # a lone surrogate cannot be
        for line in text.split("\n"):
            assert line.isprintable(), (where, text)
            assert not line.startswith("2026-01-01"), (where, text)
        assert not any(fold in text for fold in FOLDS), (where, text)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)


def assert_all_bearable(outcome: modes.Outcome) -> None:
    assert_bearable("outcome", [outcome.lines, outcome.xcoms, outcome.result])
    error = outcome.error
    while error is not None:
        notes = getattr(error, "__notes__", ())
        assert_bearable("error", [str(error), repr(error), list(error.args), vars(error), *notes])
        error = error.__cause__


def hostile_task(status: str, **more: Any) -> dict[str, Any]:
    now = int(time.time() * 1000)
    names = ("taskId", "taskDefName", "taskType", "reasonForIncompletion", "workerId", "domain")
    return {
        **dict.fromkeys(names, HOSTILE),
        **dict.fromkeys(("scheduledTime", "startTime", "updateTime"), now - 60_000),
        "referenceTaskName": f"pack{HOSTILE}",
        "status": status,
        "retryCount": 0,
        "endTime": now if status not in ("SCHEDULED", "IN_PROGRESS") else 0,
        "workflowTask": {"type": "SIMPLE", "name": HOSTILE, "taskReferenceName": HOSTILE},
        **more,
    }


OPEN = {
    "queued": [hostile_task("SCHEDULED")],
    "worked at": [hostile_task("IN_PROGRESS")],
    "retried": [
        hostile_task("FAILED", retried=True),
        hostile_task("SCHEDULED", retryCount=1, callbackAfterSeconds=3600, scheduledTime=int(time.time() * 1000)),
    ],
    "overdue": [hostile_task("FAILED", retried=True), hostile_task("SCHEDULED", retryCount=1)],
    "in a sub-workflow": [hostile_task("IN_PROGRESS", subWorkflowId=HOSTILE, taskType="SUB_WORKFLOW")],
    "of an unknown kind": [hostile_task(HOSTILE, workflowTask={"type": HOSTILE}, endTime=0)],
    "skipped before": [hostile_task("SKIPPED"), hostile_task("IN_PROGRESS")],
}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The triggers' events, as they go into the metadata database."""
    seen: list[Any] = []
    play: Callable[..., Any] = modes._event_of

    def kept(deferral: TaskDeferred, heard: Heard) -> Any:
        assert_bearable("trigger", list(deferral.trigger.serialize()))
        assert_bearable("next_kwargs", deferral.kwargs)
        seen.append(play(deferral, heard))
        return seen[-1]

    monkeypatch.setattr(modes, "_event_of", kept)
    return seen


@pytest.fixture
def hostile(conductor: ConductorStandIn) -> ConductorStandIn:
    """A server whose workflows, poll data and task logs are full of it."""
    add = conductor.add

    def added(*args: Any, **more: Any) -> str:
        workflow_id = add(*args, **more)
        names = ("workflowName", "workflowType", "correlationId", "createdBy", "ownerApp")
        conductor.workflows[workflow_id].update(dict.fromkeys(names, HOSTILE))
        conductor.workflows[workflow_id]["output"]["conductor.failure_workflow"] = HOSTILE
        return workflow_id

    def instead(request: Request) -> tuple[int, str, bytes] | None:
        if request.path == "/tasks/queue/polldata":
            return _json([{"queueName": HOSTILE, "workerId": HOSTILE, "lastPollTime": 1, "domain": HOSTILE}])
        if request.path.endswith("/log"):
            return _json([{"log": HOSTILE, "taskId": HOSTILE, "createdTime": 1}] * 3)
        return None

    conductor.add = added  # type: ignore[method-assign]
    conductor.instead = instead
    return conductor


def _json(value: Any, status: int = 200) -> tuple[int, str, bytes]:
    if status >= 400:  # as Conductor words its errors
        value = {"instance": HOSTILE, "retryable": False} | value
    return status, "application/json", json.dumps(value).encode()


QUICK = {"poll_interval": 0.1, "wait_for_seconds": 0.05, "workflow_name": "orders"}


def run(mode: str, workflow_id: str | None = None, **arguments: Any) -> modes.Outcome:
    if mode in SENSOR:
        return run_task(
            ConductorWorkflowSensor,
            workflow_id=workflow_id,
            poke_interval=0.1,
            **{"timeout": 30, **ALL[mode], **arguments},
        )
    return run_task(ConductorExecuteWorkflowOperator, **{**QUICK, "timeout": 30, **ALL[mode], **arguments})


ENDS = [
    *((mode, "FAILED") for mode in ALL),
    *(("execute deferrable", status) for status in ("TERMINATED", "COMPLETED")),
]


@pytest.mark.parametrize(("mode", "status"), ENDS)
def test_an_end_full_of_it(hostile: ConductorStandIn, events: list[Any], mode: str, status: str) -> None:
    end = {"status": status, "reason": HOSTILE, "output": {"total": 1}}
    deferred = "deferrable" in mode
    tasks = [hostile_task("COMPLETED" if status == "COMPLETED" else "FAILED"), hostile_task("CANCELED")]
    hostile.default_script = Script(after=None if deferred else 0.4, tasks=tasks, **end)
    workflow_id = hostile.plays(hostile.add(), hostile.default_script)
    outcome = run(mode, workflow_id, on_start=lambda xcoms: hostile.end(xcoms["workflow_id"], **end))
    assert (outcome.error is None) == (status == "COMPLETED")
    assert_all_bearable(outcome)
    assert_bearable("events", events)
    assert bool(events) == deferred


@pytest.mark.parametrize("doing", OPEN)
def test_what_a_look_says(hostile: ConductorStandIn, doing: str) -> None:
    spec = WaitSpec(workflow_id=hostile.add(tasks=OPEN[doing]), started_at=time.time())
    state = WaitState(lifecycle=Lifecycle(1, 2, 3, 0))
    heard = Heard()
    with ConductorClient(hostile.url) as client:
        event: WaitEvent = client.run(
            wait(spec, to_log(heard.info), state=state, warn=to_log(heard.warning), return_after=0)
        )
    assert event.status == STILL_RUNNING
    assert "forged" in event.message
    assert_bearable("event", [event.to_json(), heard.lines, state.to_json()])


@pytest.mark.parametrize("mode", ALL)
def test_a_wait_that_times_out(hostile: ConductorStandIn, events: list[Any], mode: str) -> None:
    add = hostile.add
    hostile.add = lambda *args, **more: add(*args, **{**more, "tasks": OPEN["overdue"]})  # type: ignore[method-assign]
    outcome = run(mode, hostile.add(), timeout=0.6)
    assert outcome.error is not None
    assert_all_bearable(outcome)
    assert_bearable("events", events)


@pytest.mark.parametrize("mode", SENSOR)
@pytest.mark.parametrize("wanted", [f"pack{HOSTILE}", "ship"], ids=["there", "not there"])
def test_a_missed_task(hostile: ConductorStandIn, events: list[Any], mode: str, wanted: str) -> None:
    workflow_id = hostile.add("FAILED", reason=HOSTILE, tasks=[hostile_task("FAILED")])
    arguments = {"task_reference_name": wanted, "poke_interval": 0.1, **ALL[mode]}
    outcome = run_task(ConductorTaskSensor, workflow_id=workflow_id, **arguments)
    assert outcome.error is not None
    assert_bearable("error", str(outcome.error).replace(repr(wanted), ""))
    assert_bearable("events", events)


@pytest.mark.parametrize("mode", ALL)
def test_an_error_body_full_of_it(hostile: ConductorStandIn, events: list[Any], mode: str) -> None:
    workflow_id = hostile.add()
    instead = hostile.instead
    answers = [None, (503, "text/\x1b[31mhtml", HOSTILE.encode(errors="replace"))]

    def refuses(request: Request) -> tuple[int, str, bytes] | None:
        if not request.path.startswith("/workflow/"):
            return instead(request)
        answer = answers.pop(0) if answers else _json({"message": HOSTILE, "status": 403}, 403)
        return answer or instead(request)

    hostile.instead = refuses
    outcome = run(mode, workflow_id)
    assert outcome.error is not None
    assert_all_bearable(outcome)
    assert_bearable("events", events)


def test_a_start_that_is_refused(conductor: ConductorStandIn) -> None:
    conductor.instead = lambda request: _json(
        {"message": HOSTILE, "validationErrors": [{"path": HOSTILE, "message": HOSTILE}]}, 400
    )
    assert_all_bearable(run_task(ConductorStartWorkflowOperator, workflow_name="orders"))


@pytest.mark.parametrize("bad", [BAD_ID, "id\u202ex", "id\x1b[0m"])
def test_an_id_that_cannot_be_stored_is_no_answer_of_conductor(conductor: ConductorStandIn, bad: str) -> None:
    conductor.instead = lambda request: (
        (200, "text/plain", bad.encode())
        if request.method == "POST"
        else _json({"workflowId": bad, "status": "FAILED"})
    )
    with ConductorClient(conductor.url) as client:
        for call in (lambda: client.start_workflow_by_name("orders", {}), lambda: client.get_workflow("it")):
            with pytest.raises(NotConductorError) as told:
                call()
            assert_bearable("error", str(told.value))


def test_what_a_bulk_answer_says(conductor: ConductorStandIn) -> None:
    ids = [conductor.add() for _ in range(2)]
    conductor.instead = lambda request: (
        _json({"bulkSuccessfulResults": [], "bulkErrorResults": dict.fromkeys(ids, HOSTILE)})
        if "/bulk/pause" in request.path
        else None
    )
    outcome = run_task(ConductorPauseWorkflowOperator, workflow_id=ids)
    assert outcome.error is not None
    assert_all_bearable(outcome)


def test_the_reasons_we_send(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()
    run_task(ConductorTerminateWorkflowOperator, workflow_id=workflow_id, reason=HOSTILE)
    (request,) = conductor.sent("DELETE")
    assert_bearable("reason", request.query["reason"].replace("\n2026", ""))
    assert "forged" in request.query["reason"]


def test_a_task_that_is_completed(hostile: ConductorStandIn) -> None:
    task = partial(hostile_task, referenceTaskName="approve", workflowInstanceId=BAD_ID)
    workflow_id = hostile.add(tasks=[task("IN_PROGRESS")])
    instead = hostile.instead

    def updated(request: Request) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) == ("POST", "/tasks"):
            assert_bearable("reason", request.body["reasonForIncompletion"].replace("\n2026", ""))
            hostile.has_tasks(workflow_id, task("FAILED"))
            return 200, "text/plain", b"task"
        return instead(request)

    hostile.instead = updated
    arguments = {"task_reference_name": "approve", "status": "FAILED", "reason": HOSTILE}
    assert_all_bearable(run_task(ConductorCompleteTaskOperator, workflow_id=workflow_id, **arguments))


def test_a_batch_whose_items_fail_with_it(conductor: ConductorStandIn, orders: Orders) -> None:
    orders.fail = {1: HOSTILE, 2: HOSTILE}
    orders.refused = {3}
    outcome = run_task(
        ConductorExecuteWorkflowsOperator,
        workflow_name="orders",
        workflow_inputs=[{"order": n, "key": f"k{n}{HOSTILE}"} for n in range(5)],
        item_key="key",
        deferrable=False,
    )
    assert outcome.error is not None
    assert_all_bearable(outcome)


def test_what_a_batch_puts_down_of_it() -> None:
    state = Batch(keys=["a", "b"], began=0.0)
    state.fail(0, "REFUSED", HOSTILE)
    assert_bearable("checkpoint", state.to_json())


def test_an_event_and_an_error_that_are_made_of_it(conductor: ConductorStandIn) -> None:
    assert_bearable("event", WaitEvent(workflow_id="it", status="FAILED", message=HOSTILE).to_json())
    assert_bearable("read", WaitEvent.from_json({"workflow_id": "it", "status": "FAILED", "message": HOSTILE}).message)
    assert_bearable("error", str(ConductorError(HOSTILE)).replace("\n2026", ""))
    conductor.instead = lambda request: (500, "application/json", json.dumps({"message": HOSTILE}).encode())
    client = ConductorClient(ConductorSettings(conductor.url, max_attempts=1))
    with client, pytest.raises(ConductorServerError) as caught:
        client.get_workflow("it")
    assert_bearable("answer", [str(caught.value), caught.value.message])


def test_the_facets_and_the_link(hostile: ConductorStandIn) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    from tests.operators.test_lineage import told

    workflow_id = hostile.add("FAILED", reason=HOSTILE, tasks=[hostile_task("FAILED")])
    task = ConductorWorkflowSensor(task_id="sense", workflow_id=workflow_id, poke_interval=0.1, deferrable=False)
    context = context_of(task)
    with pytest.raises(Exception, match="failed: "):
        task.execute(context)
    assert_bearable("facets", told(task, failed=True))
    assert_bearable("link", context["ti"].xcoms["workflow_url"])
