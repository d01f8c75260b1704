"""Many workflows in one task: what runs, what comes back, what fails it, what a retry and a kill do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_conductor.exceptions import (
    ConductorBatchFailedError,
    ConductorOutputTooLargeError,
    ConductorStartRefusedError,
)
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.client import fault_server as answers
from tests.client.fault_server import FaultServer
from tests.operators.airflow_standin import (
    TaskInstanceStandIn,
    context_of,
    deferred,
    error_of,
    first_event,
    refusal,
    result,
    resume,
    run,
)
from tests.operators.batch_standin import INPUTS, Orders, batch

GO_ON = {"status": "go_on", "message": ""}
SHIPPED = [{"shipped": number} for number in range(12)]
TWO = [{"order": 0}, {"order": 1}]


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_outputs_come_in_the_order_of_the_inputs(orders: Orders, deferrable: bool) -> None:
    task = batch(max_active=4, deferrable=deferrable, wait_for_seconds=0)
    deferrals: list[TaskDeferred] = []
    assert run(task, context_of(task), deferrals=deferrals) == SHIPPED
    assert sorted(orders.sent) == list(range(12))
    assert orders.most <= 4
    assert bool(deferrals) == deferrable


def test_each_is_started_under_an_identity_of_its_own(orders: Orders) -> None:
    result(batch())
    ids = {body["input"]["order"]: body["correlationId"] for body in orders.conductor.started}
    assert ids[3] == "airflow:nightly_orders:scheduled__2026-01-01T00:00:00+00:00:fulfil:-1:i3:1"
    assert len(set(ids.values())) == 12


def test_a_key_tells_the_items_apart(orders: Orders) -> None:
    result(batch(workflow_inputs=[{"order": 70}, {"order": 5}], item_key="order"))
    assert sorted(body["correlationId"].split(":")[-2] for body in orders.conductor.started) == ["i5", "i70"]


def test_what_is_stored_while_it_is_deferred_has_no_inputs(orders: Orders) -> None:
    orders.after = 0.5
    secret = [{"order": number, "note": "x" * 5_000} for number in range(200)]
    task = batch(workflow_inputs=secret, max_active=6, deferrable=True, wait_for_seconds=0)
    deferral = deferred(task, context_of(task))
    stored = json.dumps([deferral.kwargs, deferral.trigger.serialize()])
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
    error_of(batch(max_output_bytes=50), ConductorOutputTooLargeError, "result_path")


@pytest.mark.parametrize("deferrable", [False, True])
def test_results_go_to_object_storage(orders: Orders, tmp_path: Path, deferrable: bool) -> None:
    orders.fail = {2: "no stock"}
    path = f"file://{tmp_path}/run/results.jsonl"
    task = batch(result_path=path, max_output_bytes=10, failure_policy=0.5, deferrable=deferrable, wait_for_seconds=0)
    assert result(task) == path
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == [str(number) for number in range(12)]
    assert lines[3]["output"] == {"shipped": 3}
    assert (lines[2]["status"], lines[2]["output"], lines[2]["reason"]) == ("FAILED", None, "no stock")
    assert all(line["workflow_id"] in orders.conductor.workflows for line in lines)


# An output that the server keeps elsewhere

PATH = "workflow/output/8c1d.json"


@pytest.fixture
def elsewhere(orders: Orders) -> Iterator[FaultServer]:
    """A storage that has order 3's output; of order 4's the server gives no address."""

    def move(request: Request) -> None:
        for workflow in list(orders.conductor.workflows.values()):
            order = workflow["input"].get("order")
            if order in (3, 4) and workflow["status"] == "COMPLETED":
                workflow.update(output={}, externalOutputPayloadStoragePath=f"{order}/{PATH}")

    storage = FaultServer(answers.json_answer({"shipped": "from afar"}))
    orders.conductor.instead = move
    orders.conductor.stored[f"3/{PATH}"] = f"http://127.0.0.1:{storage.port}/3"
    yield storage
    storage.stop()


def test_an_output_kept_elsewhere_is_fetched(orders: Orders, elsewhere: FaultServer, tmp_path: Path) -> None:
    inputs = [{"order": 2}, {"order": 3}]
    task = batch(workflow_inputs=inputs)
    assert result(task) == [{"shipped": 2}, {"shipped": "from afar"}]
    task = batch(workflow_inputs=inputs, result_path=f"file://{tmp_path}/results.jsonl")
    result(task, run_id="another")
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["output"] for line in lines] == [{"shipped": 2}, {"shipped": "from afar"}]
    assert len(elsewhere.requests) == 2


def test_one_that_cannot_be_fetched_is_an_error_that_names_the_place(orders: Orders, elsewhere: FaultServer) -> None:
    error_of(batch(workflow_inputs=[{"order": 2}, {"order": 4}]), ConductorOutputTooLargeError, f"item 1 .*4/{PATH}")


@pytest.mark.parametrize("failing", [False, True])
def test_in_a_file_of_results_the_place_stands_in_its_stead(
    orders: Orders, elsewhere: FaultServer, tmp_path: Path, failing: bool
) -> None:
    """Ten thousand results are not given up for one of them."""
    orders.fail = {5: "no stock"} if failing else {}
    task = batch(
        workflow_inputs=[{"order": 2}, {"order": 4}, {"order": 5}], result_path=f"file://{tmp_path}/results.jsonl"
    )
    if failing:
        error_of(task, ConductorBatchFailedError, "no stock")
    else:
        run(task, context_of(task))
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == ["0", "1", "2"]
    assert (lines[1]["output"], lines[1]["external_output_path"]) == (None, f"4/{PATH}")
    assert "external_output_path" not in lines[0]


# What the workflows are told


def test_each_is_told_of_the_task_and_a_retry_knows_them(orders: Orders) -> None:
    orders.fail = {1: "no stock"}
    inputs = [{"order": 1}, {"order": 2}]
    task = batch(workflow_inputs=inputs, pass_context=True, retries=2)
    error_of(task, ConductorBatchFailedError)
    told = {body["input"]["order"]: body["input"]["airflow"] for body in orders.conductor.started}
    assert told.keys() == {1, 2}
    assert {(one["task_id"], one["try_number"]) for one in told.values()} == {("fulfil", 1)}
    assert inputs == [{"order": 1}, {"order": 2}]
    orders.fail = {}
    assert result(task, try_number=2) == [{"shipped": 1}, {"shipped": 2}]
    assert len(orders.sent) == 2


# Failures


@pytest.mark.parametrize(
    ("policy", "failures", "fails"),
    [("any", 0, False), ("any", 1, True), ("all", 11, False), ("all", 12, True), (0.25, 3, False), ("0.25", 4, True)],
)
def test_the_policy_decides(orders: Orders, policy: Any, failures: int, fails: bool) -> None:
    orders.fail = {number: f"order {number} has no stock" for number in range(failures)}
    task = batch(failure_policy=policy)
    if not fails:
        found = result(task)
        assert found == [None if number < failures else {"shipped": number} for number in range(12)]
        return
    failed = error_of(task, ConductorBatchFailedError)
    assert len(orders.sent) == 12
    assert (failed.failed, failed.total) == (failures, 12)
    assert f"{failures} of 12 Conductor workflows failed" in str(failed)


@pytest.mark.parametrize("deferrable", [False, True])
def test_failures_are_summarised_by_cause(orders: Orders, deferrable: bool) -> None:
    orders.fail = {1: "order 1 has no stock", 2: "order 22 has no stock", 3: "card declined"}
    failed = error_of(batch(deferrable=deferrable, wait_for_seconds=0), ConductorBatchFailedError)
    assert [(cause["count"], cause["reason"]) for cause in failed.causes] == [
        (2, "order 1 has no stock"),
        (1, "card declined"),
    ]
    example = failed.causes[0]["workflow_id"]
    assert orders.conductor.workflows[example]["input"] == {"order": 1}
    assert f"2 times FAILED: order 1 has no stock (item 1; see {orders.conductor.url}/execution/{example})" in str(
        failed
    )


def test_diagnoses_are_few(orders: Orders) -> None:
    words = ["fire", "flood", "storm", "frost", "strike", "war", "theft", "fog", "jam", "error", "loss", "mud"]
    orders.fail = dict(enumerate(words))
    failed = error_of(batch(), ConductorBatchFailedError)
    whole = [r for r in orders.conductor.sent("GET") if r.query.get("includeTasks") == "true"]
    assert len(whole) <= 12 + 5
    assert "2 more of 2 other causes" in str(failed)


def test_stop_early_starts_no_more(orders: Orders) -> None:
    orders.fail = {0: "no stock"}
    error_of(batch(max_active=1, stop_early=True), ConductorBatchFailedError, "11 were not started")
    assert orders.sent == [0]


def test_an_input_that_the_server_refuses_is_one_failure(orders: Orders) -> None:
    orders.refused = {4}
    found = result(batch(failure_policy=0.1))
    assert found[4] is None
    assert found[5] == {"shipped": 5}


def test_refusals_alone_are_not_retried(orders: Orders) -> None:
    orders.refused = {4, 6}
    error_of(batch(), AirflowFailException, "no such order")


def test_a_definition_that_is_missing_ends_it_at_once(conductor: ConductorStandIn) -> None:
    error_of(batch(workflow_name="nobody_knows"), ConductorStartRefusedError, "nobody_knows")
    assert len(conductor.started) <= 8


# Again


def test_a_retry_keeps_what_completed_and_runs_what_failed_on(orders: Orders) -> None:
    """And it looks up many at once."""
    orders.fail = {1: "no stock"}
    task = batch(retries=2)
    error_of(task, ConductorBatchFailedError)
    before = len(orders.conductor.requests)
    orders.fail = {}
    assert result(task, try_number=2) == SHIPPED
    assert len(orders.sent) == 12
    assert [request.path.endswith("/retry") for request in orders.conductor.sent("POST")].count(True) == 1
    assert len(orders.conductor.requests) - before <= 12


def test_a_crash_leaves_only_what_is_missing(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    task = batch(max_active=3, retries=2)
    crashed = threading.Event()

    def away(request: Request) -> tuple[int, str, bytes] | None:
        if len(orders.sent) >= 7:
            crashed.set()
        return refusal(401, "gone") if crashed.is_set() else None

    orders.conductor.instead = away
    error_of(task, Exception, "gone")
    orders.conductor.instead = lambda request: None
    orders.conductor.requests.clear()
    kept = len(orders.conductor.workflows)
    assert result(batch(max_active=3, retries=2), try_number=2) == SHIPPED
    assert len(orders.sent) == 12 - kept
    assert len(orders.conductor.workflows) == 12


def test_a_clear_starts_anew(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    task = batch()
    result(task)
    monkeypatch.setattr(TaskInstanceStandIn, "max_tries", property(lambda ti: ti.task.retries + ti.try_number - 1))
    result(task, try_number=2)
    assert sorted(orders.sent) == sorted([*range(12), *range(12)])


def test_inputs_that_changed_meanwhile_are_looked_up(orders: Orders) -> None:
    orders.after = 0.3
    task = batch(deferrable=True, wait_for_seconds=0, item_key="order")
    context = context_of(task)
    deferral = deferred(task, context)
    event = first_event(deferral.trigger)
    task.workflow_inputs = list(reversed(INPUTS))
    assert resume(task, context, deferral, event) == [{"shipped": number} for number in reversed(range(12))]
    assert len(orders.sent) == 12


def removed_after_its_end(orders: Orders, order: int) -> None:
    """As if an archive listener took this order's workflow away once the batch has seen its end."""
    route = orders.conductor._route

    def routed(request: Request) -> tuple[int, str, bytes]:
        answer = route(request)
        for workflow_id, workflow in list(orders.conductor.workflows.items()):
            if workflow["input"].get("order") == order and workflow["status"] == "COMPLETED" and "bulk" in request.path:
                del orders.conductor.workflows[workflow_id]
        return answer

    orders.conductor._route = routed  # type: ignore[method-assign]


def test_an_output_that_is_gone_has_failed(orders: Orders) -> None:
    removed_after_its_end(orders, 1)
    task = batch(workflow_inputs=TWO)
    told = error_of(task, ConductorBatchFailedError, "the outputs of 1 that completed cannot be read any more")
    assert isinstance(told, AirflowFailException)
    assert [cause["status"] for cause in told.causes] == ["GONE"]


@pytest.mark.parametrize("arguments", [{"failure_policy": 0.5}, {"do_xcom_push": False}], ids=str)
def test_the_policy_or_nobodys_need_allows_it_to_be_gone(orders: Orders, arguments: dict[str, Any]) -> None:
    removed_after_its_end(orders, 1)
    assert result(batch(workflow_inputs=TWO, **arguments)) == [{"shipped": 0}, None]


@pytest.mark.parametrize("wanted", [True, False])
def test_what_the_triggerer_has_seen_complete_has_completed(orders: Orders, wanted: bool) -> None:
    """Also where the server has removed it since: a retry would run it again."""
    orders.after = 0.3
    arguments = {"workflow_inputs": TWO, "deferrable": True, "wait_for_seconds": 0}
    task = batch(**arguments, do_xcom_push=wanted, retries=2)
    context = context_of(task)
    deferral = deferred(task, context)
    event = first_event(deferral.trigger)
    orders.conductor.workflows.clear()
    if wanted:
        with pytest.raises(ConductorBatchFailedError, match="2 that completed cannot be read any more") as failed:
            resume(task, context, deferral, event)
        assert isinstance(failed.value, AirflowFailException)
    else:
        assert resume(task, context, deferral, event) == [None, None]


@pytest.mark.parametrize("inputs", [[], None, "no list"])
@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_inputs_that_are_gone_fail_the_task_and_leave_nothing_unattended(
    orders: Orders, inputs: Any, cancel_on_kill: bool
) -> None:
    orders.never = set(range(12))
    task = batch(deferrable=True, wait_for_seconds=0, cancel_on_kill=cancel_on_kill)
    context = context_of(task)
    deferral = deferred(task, context)
    task.workflow_inputs = inputs
    with pytest.raises(AirflowException, match="inputs have changed since the deferral") as told:
        resume(task, context, deferral, GO_ON)
    assert not isinstance(told.value, AirflowFailException)
    assert "nothing was started" not in str(told.value)
    left = {orders.conductor.status(workflow_id) for workflow_id in orders.conductor.workflows}
    assert left == ({"TERMINATED"} if cancel_on_kill else {"RUNNING"})
    words = "12 of its workflows were terminated" if cancel_on_kill else "12 of its workflows still run"
    assert words in str(told.value)


@pytest.mark.parametrize("left_out", [False, True])
def test_of_inputs_that_changed_what_is_gone_is_ended(orders: Orders, left_out: bool) -> None:
    """And nothing else, though the first look-up leaves it out, as PostgreSQL's do with what is being written."""
    orders.never = {0, 1}
    task = batch(workflow_inputs=TWO, item_key="order", deferrable=True, wait_for_seconds=0)
    context = context_of(task)
    deferral = deferred(task, context)
    task.workflow_inputs = [{"order": 1}, {"order": 2}]
    for workflow in orders.conductor.workflows.values():
        if workflow["input"]["order"] == 1:
            orders.conductor.plays(workflow["workflowId"], Script(after=0.1, output={"shipped": 1}))
    orders.never = {0}
    task.deferrable = False
    if left_out:
        orders.leave_out(1)
    assert resume(task, context, deferral, GO_ON) == [{"shipped": 1}, {"shipped": 2}]
    assert (orders.status(0), orders.status(1)) == ("TERMINATED", "COMPLETED")


FOR_OTHERS = {
    "correlation_id": "label-{{ run_id }}",
    "request": {"name": "others", "input": {"order": 99}},
    "workflow_input": {"order": 99},
}
"""What the DAG's default_args may have for the other operators."""


@pytest.mark.parametrize("name", FOR_OTHERS)
def test_default_args_give_it_nothing_that_it_does_not_take(orders: Orders, name: str) -> None:
    assert result(batch(default_args={name: FOR_OTHERS[name]})) == SHIPPED
    assert len({body["correlationId"] for body in orders.conductor.started}) == 12
    with pytest.raises(TypeError, match=name):
        batch(**{name: FOR_OTHERS[name]})


def test_an_event_of_another_kind_fails_the_task(orders: Orders) -> None:
    task = batch()
    with pytest.raises(AirflowException, match="unknown event"):
        task.execute_complete(context_of(task), event={"what": "ever"})


# What is wrong is told before anything is sent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workflow_inputs": []}, "workflow_inputs is empty"),
        ({"workflow_inputs": [{"a": 1}, 7]}, r"workflow_inputs\[1\] must be a dict, not int"),
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
        ({"workflow_inputs": [{"a": 1}, {"airflow": 1}], "pass_context": True}, "'airflow' of its own"),
    ],
)
def test_it_is_told_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        batch(**arguments)


@pytest.mark.parametrize(
    ("rendered", "message"),
    [
        ({"workflow_inputs": "[{'a': 1}]"}, "tojson"),
        ({"workflow_inputs": "7"}, "that is not a JSON list"),
        ({"workflow_inputs": [{"a": 1}, "{'a': 1}"]}, r"workflow_inputs\[1\] is text that is not a JSON object"),
        ({"workflow_inputs": [{"a": 1}, None]}, r"workflow_inputs\[1\]"),
        ({"workflow_inputs": [{"a": 1}, {"a": float("nan")}]}, r"workflow_inputs\[1\]"),
        ({"workflow_inputs": [{"a": 1}, {"b": 1}], "item_key": "a"}, r"workflow_inputs\[1\]\['a'\]"),
        ({"workflow_inputs": [{"a": 1}, {"a": "1"}], "item_key": "a"}, "same 'a'"),
        ({"workflow_inputs": [{"a": 1}, {"airflow": 1}], "pass_context": True}, r"workflow_inputs\[1\].*'airflow'"),
        ({"workflow_inputs": [{"a": 1}], "workflow_name": ""}, "no workflow name|workflow_name"),
    ],
)
def test_what_a_template_makes_is_checked_before_anything_is_sent(
    conductor: ConductorStandIn, rendered: dict[str, Any], message: str
) -> None:
    task = batch(workflow_inputs="{{ rows }}")
    for name, value in rendered.items():
        setattr(task, name, value)
    error_of(task, ConductorStartRefusedError, message)
    assert conductor.requests == []


def test_a_template_may_render_json(orders: Orders) -> None:
    task = batch(workflow_inputs="{{ rows | tojson }}", max_active="{{ most }}", failure_policy="{{ share }}")
    task.workflow_inputs, task.max_active, task.failure_policy = '[{"order": 3}]', "2", "0.1"
    assert result(task) == [{"shipped": 3}]


def test_an_iterator_is_read_once(orders: Orders) -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"order": 1}
        yield {"order": 2}

    assert result(batch(workflow_inputs=rows())) == [{"shipped": 1}, {"shipped": 2}]


def test_progress_is_told(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_conductor.operators.batch_run.FIRST_LINE", 1.0)
    orders.after = 2.5
    task = batch(max_active=6)
    lines: list[str] = []
    monkeypatch.setattr(task.log, "info", lambda line, *values: lines.append(line % values if values else line))
    result(task)
    assert any("0 of 12 ended, 6 running, 6 to start" in line for line in lines)
    assert any("12 of 12 ended, 0 running, 0 to start" in line for line in lines)
