"""Many workflows in one task: what runs, what comes back, what fails it, what a retry and a kill do."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_conductor.exceptions import (
    ConductorBatchFailed,
    ConductorOutputTooLarge,
    ConductorStartRefused,
    ConductorWorkflowTimeout,
)
from airflow_provider_conductor.operators.batch import ConductorExecuteWorkflowsOperator
from airflow_provider_conductor.triggers.batch import ConductorWorkflowsTrigger
from tests.operators.airflow_standin import context_of, first_event, in_a_thread, sent_through_airflow
from tests.operators.conductor_standin import ConductorStandIn, Request, Script

INPUTS = [{"order": number} for number in range(12)]


def batch(**arguments: Any) -> ConductorExecuteWorkflowsOperator:
    defaults: dict[str, Any] = {"workflow_name": "orders", "workflow_inputs": INPUTS, "deferrable": False}
    return ConductorExecuteWorkflowsOperator(task_id="fulfil", **{**defaults, **arguments})


def run(task: Any, context: dict[str, Any], deferrals: list[ConductorWorkflowsTrigger] | None = None) -> Any:
    """Run a task to its end, through as many deferrals as it takes."""
    step: Callable[[], Any] = lambda: task.execute(context)  # noqa: E731
    while True:
        try:
            return step()
        except TaskDeferred as deferral:
            trigger = sent_through_airflow(deferral.trigger)
            assert isinstance(trigger, ConductorWorkflowsTrigger)
            if deferrals is not None:
                deferrals.append(trigger)
            stored = json.loads(json.dumps(deferral.kwargs))
            kwargs = {**stored, "event": first_event(trigger)}
            step = lambda task=task, method=deferral.method_name, kwargs=kwargs: task.resume_execution(  # noqa: E731
                method, kwargs, context
            )


class Orders:
    """Plays the stand-in's part of what the inputs ask for, and sees how many run at once."""

    def __init__(self, conductor: ConductorStandIn, after: float = 0.05) -> None:
        self.conductor = conductor
        self.after = after
        self.fail: dict[int, str] = {}
        self.never: set[int] = set()
        self.refused: set[int] = set()
        self.most = 0
        start = conductor._start

        def started(body: dict[str, Any]) -> tuple[int, str, bytes]:
            order = body["input"]["order"]
            if order in self.refused:
                return 400, "application/json", b'{"message": "no such order", "status": 400}'
            if order in self.fail:
                conductor.script = Script(after=self.after, status="FAILED", reason=self.fail[order])
            else:
                conductor.script = Script(after=None if order in self.never else self.after, output={"shipped": order})
            answer = start(body)
            running = sum(conductor.status(workflow_id) == "RUNNING" for workflow_id in conductor.workflows)
            self.most = max(self.most, running)
            return answer

        conductor._start = started  # type: ignore[method-assign]
        route = conductor._route

        def routed(request: Request) -> tuple[int, str, bytes]:
            if request.path != "/workflow/bulk/terminate":
                return route(request)
            for workflow_id in request.body:  # FAILED is overwritten, as a real server does
                if conductor.status(workflow_id) != "COMPLETED":
                    conductor.end(workflow_id, "TERMINATED", reason=request.query["reason"])
            answer = {"bulkSuccessfulResults": request.body, "bulkErrorResults": {}}
            return 200, "application/json", json.dumps(answer).encode()

        conductor._route = routed  # type: ignore[method-assign]

    @property
    def sent(self) -> list[int]:
        return [body["input"]["order"] for body in self.conductor.started]

    def status(self, order: int) -> str:
        (found,) = [w for w in self.conductor.workflows.values() if w["input"]["order"] == order]
        return self.conductor.status(found["workflowId"])


@pytest.fixture
def orders(conductor: ConductorStandIn) -> Orders:
    return Orders(conductor)


# What comes back


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_outputs_come_in_the_order_of_the_inputs(orders: Orders, deferrable: bool) -> None:
    task = batch(max_active=4, deferrable=deferrable, wait_for_seconds=0)
    deferrals: list[ConductorWorkflowsTrigger] = []
    assert run(task, context_of(task), deferrals) == [{"shipped": number} for number in range(12)]
    assert sorted(orders.sent) == list(range(12))
    assert orders.most <= 4
    assert bool(deferrals) == deferrable


def test_each_is_started_under_an_identity_of_its_own(orders: Orders) -> None:
    task = batch()
    run(task, context_of(task))
    ids = {body["input"]["order"]: body["correlationId"] for body in orders.conductor.started}
    assert ids[3] == "airflow:nightly_orders:scheduled__2026-01-01T00:00:00+00:00:fulfil:-1:i3:1"
    assert len(set(ids.values())) == 12


def test_a_key_tells_the_items_apart(orders: Orders) -> None:
    task = batch(workflow_inputs=[{"order": 70}, {"order": 5}], item_key="order")
    run(task, context_of(task))
    assert sorted(body["correlationId"].split(":")[-2] for body in orders.conductor.started) == ["i5", "i70"]


def test_what_is_stored_while_it_is_deferred_has_no_inputs(orders: Orders) -> None:
    orders.after = 0.5
    secret = [{"order": number, "note": "x" * 5_000} for number in range(200)]
    task = batch(workflow_inputs=secret, max_active=6, deferrable=True, wait_for_seconds=0)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context_of(task))
    stored = json.dumps([deferral.value.kwargs, deferral.value.trigger.serialize()])
    assert "xxx" not in stored
    assert len(stored) < 2_000


def test_the_link_is_in_xcom(orders: Orders) -> None:
    task = batch()
    context = context_of(task)
    run(task, context)
    assert context["ti"].xcoms["workflow_url"].rpartition("/")[2] in orders.conductor.workflows
    assert set(context["ti"].xcoms) == {"workflow_url"}


def test_no_inputs_at_run_time_are_no_work(orders: Orders) -> None:
    task = batch(workflow_inputs="{{ rows }}")
    task.workflow_inputs = []
    assert task.execute(context_of(task)) == []
    assert orders.sent == []


def test_too_large_outputs_are_told_with_the_way_out(orders: Orders) -> None:
    task = batch(max_output_bytes=50)
    with pytest.raises(ConductorOutputTooLarge, match="result_path"):
        run(task, context_of(task))


@pytest.mark.parametrize("deferrable", [False, True])
def test_results_go_to_object_storage(orders: Orders, tmp_path: Path, deferrable: bool) -> None:
    orders.fail = {2: "no stock"}
    path = f"file://{tmp_path}/run/results.jsonl"
    task = batch(result_path=path, max_output_bytes=10, failure_policy=0.5, deferrable=deferrable, wait_for_seconds=0)
    assert run(task, context_of(task)) == path
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == [str(number) for number in range(12)]
    assert lines[3]["output"] == {"shipped": 3}
    assert (lines[2]["status"], lines[2]["output"], lines[2]["reason"]) == ("FAILED", None, "no stock")
    assert all(line["workflow_id"] in orders.conductor.workflows for line in lines)


# Failures


@pytest.mark.parametrize(
    ("policy", "failures", "fails"),
    [("any", 0, False), ("any", 1, True), ("all", 11, False), ("all", 12, True), (0.25, 3, False), ("0.25", 4, True)],
)
def test_the_policy_decides(orders: Orders, policy: Any, failures: int, fails: bool) -> None:
    orders.fail = {number: f"order {number} has no stock" for number in range(failures)}
    task = batch(failure_policy=policy)
    if not fails:
        found = run(task, context_of(task))
        assert found == [None if number < failures else {"shipped": number} for number in range(12)]
        return
    with pytest.raises(ConductorBatchFailed) as failed:
        run(task, context_of(task))
    assert len(orders.sent) == 12
    assert (failed.value.failed, failed.value.total) == (failures, 12)
    assert f"{failures} of 12 Conductor workflows failed" in str(failed.value)


@pytest.mark.parametrize("deferrable", [False, True])
def test_failures_are_summarised_by_cause(orders: Orders, deferrable: bool) -> None:
    orders.fail = {1: "order 1 has no stock", 2: "order 22 has no stock", 3: "card declined"}
    task = batch(deferrable=deferrable, wait_for_seconds=0)
    with pytest.raises(ConductorBatchFailed) as failed:
        run(task, context_of(task))
    assert [(cause["count"], cause["reason"]) for cause in failed.value.causes] == [
        (2, "order 1 has no stock"),
        (1, "card declined"),
    ]
    example = failed.value.causes[0]["workflow_id"]
    assert orders.conductor.workflows[example]["input"] == {"order": 1}
    assert f"2 times FAILED: order 1 has no stock (item 1; see {orders.conductor.url}/execution/{example})" in str(
        failed.value
    )


def test_diagnoses_are_few(orders: Orders) -> None:
    words = ["fire", "flood", "storm", "frost", "strike", "war", "theft", "fog", "jam", "error", "loss", "mud"]
    orders.fail = dict(enumerate(words))
    task = batch()
    with pytest.raises(ConductorBatchFailed) as failed:
        run(task, context_of(task))
    whole = [r for r in orders.conductor.sent("GET") if r.query.get("includeTasks") == "true"]
    assert len(whole) <= 12 + 5
    assert "2 more of 2 other causes" in str(failed.value)


def test_stop_early_starts_no_more(orders: Orders) -> None:
    orders.fail = {0: "no stock"}
    task = batch(max_active=1, stop_early=True)
    with pytest.raises(ConductorBatchFailed, match="11 were not started"):
        run(task, context_of(task))
    assert orders.sent == [0]


def test_an_input_that_the_server_refuses_is_one_failure(orders: Orders) -> None:
    orders.refused = {4}
    task = batch(failure_policy=0.1)
    found = run(task, context_of(task))
    assert found[4] is None
    assert found[5] == {"shipped": 5}


def test_refusals_alone_are_not_retried(orders: Orders) -> None:
    orders.refused = {4, 6}
    task = batch()
    with pytest.raises(AirflowFailException, match="no such order"):
        run(task, context_of(task))


def test_a_definition_that_is_missing_ends_it_at_once(conductor: ConductorStandIn) -> None:
    task = batch(workflow_name="nobody_knows")
    with pytest.raises(ConductorStartRefused, match="nobody_knows"):
        run(task, context_of(task))
    assert len(conductor.started) <= 8


# Again


def test_a_retry_keeps_what_completed_and_runs_what_failed_on(orders: Orders) -> None:
    orders.fail = {1: "no stock"}
    task = batch(retries=2)
    with pytest.raises(ConductorBatchFailed):
        run(task, context_of(task))
    orders.conductor.script = Script(after=0.05, output={"shipped": 1})
    assert run(task, context_of(task, try_number=2)) == [{"shipped": number} for number in range(12)]
    assert len(orders.sent) == 12
    assert [request.path.endswith("/retry") for request in orders.conductor.sent("POST")].count(True) == 1


def test_a_retry_looks_up_many_at_once(orders: Orders) -> None:
    orders.fail = {1: "no stock"}
    task = batch(retries=2)
    with pytest.raises(ConductorBatchFailed):
        run(task, context_of(task))
    before = len(orders.conductor.requests)
    orders.conductor.script = Script(after=0.05)
    run(task, context_of(task, try_number=2))
    assert len(orders.conductor.requests) - before <= 12


def test_a_crash_leaves_only_what_is_missing(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    task = batch(max_active=3, retries=2)
    crashed = threading.Event()

    def away(request: Request) -> tuple[int, str, bytes] | None:
        if len(orders.sent) >= 7:
            crashed.set()
        return (401, "application/json", b'{"message": "gone"}') if crashed.is_set() else None

    orders.conductor.instead = away
    with pytest.raises(Exception, match="gone"):
        run(task, context_of(task))
    orders.conductor.instead = lambda request: None
    orders.conductor.requests.clear()
    kept = len(orders.conductor.workflows)
    again = batch(max_active=3, retries=2)
    assert run(again, context_of(again, try_number=2)) == [{"shipped": number} for number in range(12)]
    assert len(orders.sent) == 12 - kept
    assert len(orders.conductor.workflows) == 12


def test_a_clear_starts_anew(orders: Orders) -> None:
    task = batch()
    run(task, context_of(task))
    again = context_of(task, try_number=2)
    type(again["ti"]).max_tries = property(lambda ti: ti.task.retries + ti.try_number - 1)  # type: ignore[assignment]
    try:
        run(task, again)
    finally:
        type(again["ti"]).max_tries = property(lambda ti: ti.task.retries)  # type: ignore[assignment]
    assert sorted(orders.sent) == sorted([*range(12), *range(12)])


def test_inputs_that_changed_meanwhile_are_looked_up(orders: Orders) -> None:
    orders.after = 0.3
    task = batch(deferrable=True, wait_for_seconds=0, item_key="order")
    context = context_of(task)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context)
    event = first_event(deferral.value.trigger)
    task.workflow_inputs = list(reversed(INPUTS))
    found = task.resume_execution("execute_complete", {**deferral.value.kwargs, "event": event}, context)
    assert found == [{"shipped": number} for number in reversed(range(12))]
    assert len(orders.sent) == 12


# The end of a wait


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("on_timeout", ["terminate", "leave"])
def test_a_time_out_ends_what_runs_and_only_that(orders: Orders, on_timeout: Any, deferrable: bool) -> None:
    orders.never = {3, 4}
    orders.fail = {5: "no stock"}
    task = batch(timeout=3, on_timeout=on_timeout, deferrable=deferrable, wait_for_seconds=0)
    with pytest.raises(ConductorWorkflowTimeout, match="10 of 12 ended"):
        run(task, context_of(task))
    left = "TERMINATED" if on_timeout == "terminate" else "RUNNING"
    assert [orders.status(number) for number in (2, 3, 4, 5)] == ["COMPLETED", left, left, "FAILED"]


def test_a_retry_after_a_time_out_goes_on(orders: Orders) -> None:
    orders.never = {3}
    task = batch(timeout=2, retries=2)
    with pytest.raises(ConductorWorkflowTimeout):
        run(task, context_of(task))
    orders.conductor.script = Script(after=0.05, output={"shipped": 3})
    assert run(task, context_of(task, try_number=2))[3] == {"shipped": 3}
    assert len(orders.sent) == 12


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_kill_ends_what_runs_and_only_that(orders: Orders, cancel_on_kill: bool) -> None:
    orders.never = {7, 8}
    orders.fail = {5: "no stock"}
    task = batch(cancel_on_kill=cancel_on_kill)
    thread, raised = in_a_thread(lambda: task.execute(context_of(task)))
    give_up = time.monotonic() + 20
    while task._driver is None or task._driver.batch.ended < 10:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    task.on_kill()
    thread.join(20)
    assert "killed" in str(raised[0])
    left = "TERMINATED" if cancel_on_kill else "RUNNING"
    assert [orders.status(number) for number in (5, 7, 8, 9)] == ["FAILED", left, left, "COMPLETED"]


def test_a_signal_ends_the_run_at_once(orders: Orders) -> None:
    """Airflow raises in a signal handler; what is sent by then is there for the next try."""
    orders.never = set(range(12))
    task = batch(max_active=3)

    def interrupt(*_: object) -> None:
        raise AirflowException("Task received SIGTERM signal")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        with pytest.raises(AirflowException, match="SIGTERM"):
            task.execute(context_of(task))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not [thread for thread in threading.enumerate() if thread.name == "conductor-batch"]
    assert len(orders.sent) == 3


def test_a_killed_try_is_followed_by_new_workflows(orders: Orders) -> None:
    orders.never = {7}
    task = batch(retries=1)
    thread, _ = in_a_thread(lambda: task.execute(context_of(task)))
    give_up = time.monotonic() + 20
    while task._driver is None or task._driver.batch.ended < 11:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    task.on_kill()
    thread.join(20)
    orders.never = set()
    assert run(task, context_of(task, try_number=2))[7] == {"shipped": 7}
    assert orders.sent.count(7) == 2
    assert len(orders.sent) == 13


def test_an_event_of_another_kind_fails_the_task(orders: Orders) -> None:
    task = batch()
    with pytest.raises(AirflowException, match="something unknown"):
        task.execute_complete(context_of(task), event={"what": "ever"})


# What is wrong is told before anything is sent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workflow_inputs": []}, "workflow_inputs is empty"),
        ({"workflow_inputs": [{"a": 1}, "b"]}, r"workflow_inputs\[1\] must be a dict, not str"),
        ({"workflow_inputs": {"a": 1}}, "must be a list of dicts"),
        ({"max_active": 0}, "max_active must be a whole number from 1"),
        ({"max_active": "many"}, "max_active"),
        ({"failure_policy": 1.5}, "failure_policy must be"),
        ({"failure_policy": "most"}, "failure_policy must be"),
        ({"failure_policy": True}, "failure_policy must be"),
        ({"on_timeout": "explode"}, "on_timeout"),
        ({"timeout": -1}, "timeout"),
        ({"workflow_input": {"a": 1}}, "a batch has workflow_inputs"),
        ({"correlation_id": "a"}, "a batch has workflow_inputs"),
    ],
)
def test_it_is_told_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        batch(**arguments)


@pytest.mark.parametrize(
    ("rendered", "message"),
    [
        ({"workflow_inputs": "[{'a': 1}]"}, "tojson"),
        ({"workflow_inputs": "7"}, "must be a list of dicts"),
        ({"workflow_inputs": [{"a": 1}, None]}, r"workflow_inputs\[1\]"),
        ({"workflow_inputs": [{"a": 1}, {"a": float("nan")}]}, r"workflow_inputs\[1\]"),
        ({"workflow_inputs": [{"a": 1}, {"b": 1}], "item_key": "a"}, r"workflow_inputs\[1\]\['a'\]"),
        ({"workflow_inputs": [{"a": 1}, {"a": "1"}], "item_key": "a"}, "same 'a'"),
    ],
)
def test_what_a_template_makes_is_checked_before_anything_is_sent(
    conductor: ConductorStandIn, rendered: dict[str, Any], message: str
) -> None:
    task = batch(workflow_inputs="{{ rows }}")
    for name, value in rendered.items():
        setattr(task, name, value)
    with pytest.raises(ConductorStartRefused, match=message):
        task.execute(context_of(task))
    assert conductor.requests == []


def test_a_template_may_render_json(orders: Orders) -> None:
    task = batch(workflow_inputs="{{ rows | tojson }}", max_active="{{ most }}", failure_policy="{{ share }}")
    task.workflow_inputs, task.max_active, task.failure_policy = '[{"order": 3}]', "2", "0.1"
    assert run(task, context_of(task)) == [{"shipped": 3}]


def test_an_iterator_is_read_once(orders: Orders) -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"order": 1}
        yield {"order": 2}

    task = batch(workflow_inputs=rows())
    assert run(task, context_of(task)) == [{"shipped": 1}, {"shipped": 2}]


def test_progress_is_told(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_conductor.operators.batch.FIRST_LINE", 1.0)
    orders.after = 2.5
    task = batch(max_active=6)
    lines: list[str] = []
    monkeypatch.setattr(task.log, "info", lambda line, *values: lines.append(line % values if values else line))
    run(task, context_of(task))
    assert any("0 of 12 ended, 6 running, 6 to start" in line for line in lines)
    assert any("12 of 12 ended, 0 running, 0 to start" in line for line in lines)
