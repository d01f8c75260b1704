from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.client import ConductorInputError, StartWorkflowRequest, WorkflowStatus, endpoints
from airflow_provider_conductor.client.endpoints import tasks, workflows
from airflow_provider_conductor.client.flow import Answer, Call

WITH_AN_ID: dict[str, Callable[[str], Call[Any]]] = {
    "get_workflow": endpoints.get_workflow,
    "get_workflow_status": endpoints.get_workflow_status,
    "get_workflow_tasks": endpoints.get_workflow_tasks,
    "decide_workflow": endpoints.decide_workflow,
    "reset_workflow_callbacks": endpoints.reset_workflow_callbacks,
    "terminate_and_delete_workflow": endpoints.terminate_and_delete_workflow,
    "requeue_tasks": endpoints.requeue_tasks,
    "pause_workflow": endpoints.pause_workflow,
    "resume_workflow": endpoints.resume_workflow,
    "terminate_workflow": endpoints.terminate_workflow,
    "restart_workflow": endpoints.restart_workflow,
    "retry_workflow": endpoints.retry_workflow,
    "rerun_workflow": endpoints.rerun_workflow,
    "skip_task_from_workflow": lambda part: endpoints.skip_task_from_workflow("w1", part),
    "skip_task of": lambda part: endpoints.skip_task_from_workflow(part, "ship"),
    "delete_workflow": endpoints.delete_workflow,
    "start_workflow_by_name": endpoints.start_workflow_by_name,
    "execute_workflow": lambda part: endpoints.execute_workflow({"name": part}),
    "get_by_correlation_ids": lambda part: endpoints.get_by_correlation_ids(part, ["c"]),
    "get_running_workflows": endpoints.get_running_workflows,
    "poll_task": endpoints.poll_task,
    "get_task": endpoints.get_task,
    "log_task": lambda part: endpoints.log_task(part, "line"),
    "get_task_logs": endpoints.get_task_logs,
    "get_workflow_def": endpoints.get_workflow_def,
    "unregister_workflow_def": lambda part: endpoints.unregister_workflow_def(part, 1),
    "get_task_def": endpoints.get_task_def,
    "unregister_task_def": endpoints.unregister_task_def,
}


@pytest.mark.parametrize("endpoint", WITH_AN_ID.values(), ids=WITH_AN_ID)
@pytest.mark.parametrize("part", ["", "  ", None, ".", "..", "a/b", "a\\b"])
def test_an_id_that_would_be_another_endpoint_is_refused(endpoint: Callable[[Any], Call[Any]], part: str) -> None:
    with pytest.raises(ConductorInputError, match="must not"):
        endpoint(part)


@pytest.mark.parametrize(
    "listed",
    [["a", "b"], (), range(2), "['a', 'b']", " [1]", "('a',)", "LazyXComSequence([2 items])", "{'a': 1}", "None"],
    ids=str,
)
def test_a_list_or_its_text_is_not_an_id(listed: Any) -> None:
    with pytest.raises(ConductorInputError, match=r"workflow_id must .*nothing was sent"):
        endpoints.get_workflow(listed)


@pytest.mark.parametrize("endpoint", WITH_AN_ID.values(), ids=WITH_AN_ID)
def test_an_id_is_quoted_into_one_part_of_the_path(endpoint: Callable[[str], Call[Any]]) -> None:
    plain, odd = endpoint("plain").path.split("/"), endpoint("a b c?d#e%2F..;ü").path.split("/")
    assert [a if a == b else unquote(b) for a, b in zip(plain, odd, strict=True)] == [
        "a b c?d#e%2F..;ü" if part == "plain" else part for part in plain
    ]


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\"), min_size=1).filter(
        lambda s: s.strip() and s not in (".", "..")
    )
)
def test_any_name_survives_its_quoting(name: str) -> None:
    path = endpoints.get_task_def(name).path
    assert path.isascii()
    assert unquote(path.removeprefix("/metadata/taskdefs/")) == name


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: endpoints.start_workflow({"name": ""}), "name must not be empty"),
        (lambda: endpoints.start_workflow({"version": 1}), "name must not be empty"),
        (lambda: endpoints.start_workflow([1]), "must be an object"),
        (lambda: endpoints.start_workflow({"name": "a", "input": {"x": float("nan")}}), "not JSON compliant"),
        (lambda: endpoints.start_workflow({"name": "a", "input": {"x": object()}}), "cannot turn builtins.object"),
        (lambda: endpoints.start_workflow_by_name("a", {"x": float("inf")}), "not JSON compliant"),
        (lambda: endpoints.start_workflow_by_name("a", [1]), "must be a mapping"),
        (lambda: endpoints.execute_workflow({"name": "a"}, hold_seconds=26), "between 1 and 25"),
        (lambda: endpoints.execute_workflow({"name": "a"}, hold_seconds=0.5), "between 1 and 25"),
        (lambda: endpoints.execute_workflow({"name": "a"}, hold_seconds=float("nan")), "between 1 and 25"),
        (lambda: endpoints.execute_workflow({"name": "a", "version": "new"}), "version"),
        (lambda: endpoints.rerun_workflow("w1", task_input={"x": float("nan")}), "not JSON compliant"),
        (lambda: endpoints.skip_task_from_workflow("w1", "t", task_output={"a": [1]}), "is a list"),
        (lambda: endpoints.bulk_pause([]), "no workflow ids"),
        (lambda: endpoints.bulk_pause(["a", ""]), "must not be empty"),
        (lambda: endpoints.bulk_pause("w1"), "list"),
        (lambda: endpoints.bulk_search(map(str, range(1_001))), "1001 workflow ids"),
        (lambda: endpoints.get_by_correlation_ids("a", "c1"), "list"),
        (lambda: endpoints.get_by_correlation_ids("a", []), "no correlation ids"),
        (lambda: endpoints.get_queue_sizes("ship"), "list"),
        (lambda: endpoints.get_queue_sizes([""]), "must not be empty"),
        (lambda: endpoints.get_poll_data(""), "must not be empty"),
        (lambda: endpoints.update_task("", "t", "COMPLETED"), "must not be empty"),
        (lambda: endpoints.update_task("w", "", "COMPLETED"), "must not be empty"),
        (lambda: endpoints.update_task("w", "t", "DONE"), "DONE"),
        (lambda: endpoints.update_task_by_ref_name("w", "t", "DONE"), "DONE"),
        (lambda: endpoints.update_task_sync("w", "", "COMPLETED"), "must not be empty"),
        (lambda: endpoints.signal_workflow_task_async("", "COMPLETED"), "must not be empty"),
        (lambda: endpoints.signal_workflow_task_sync("w", "DONE"), "DONE"),
        (lambda: endpoints.update_task("w", "t", "COMPLETED", output={"x": float("nan")}), "not JSON compliant"),
        (lambda: endpoints.get_workflow_tasks("w", statuses=["DONE"]), "DONE"),
        (lambda: endpoints.get_queue_size(""), "must not be empty"),
        (lambda: endpoints.register_workflow_defs([]), "no workflow definition"),
        (lambda: endpoints.register_workflow_defs({"tasks": []}), "name of a workflow definition"),
        (lambda: endpoints.register_task_defs("ship"), "must be an object"),
    ],
)
def test_what_the_server_would_misread_is_refused_before_anything_is_sent(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConductorInputError, match=said):
        make()


def test_an_input_that_holds_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(ConductorInputError):
        endpoints.start_workflow({"name": "a", "input": loop})


def test_a_thousand_ids_go_into_one_bulk_request() -> None:
    assert len(endpoints.bulk_terminate(str(i) for i in range(1_000)).body) == 1_000


SAFE = {
    "bulk_pause",
    "bulk_search",
    "decide_workflow",
    "event_stream",
    "fetch_token",
    "get_all_poll_data",
    "get_all_queue_sizes",
    "get_by_correlation_ids",
    "get_external_storage_location",
    "get_poll_data",
    "get_queue_size",
    "get_queue_sizes",
    "get_running_workflows",
    "get_task",
    "get_task_def",
    "get_task_defs",
    "get_task_logs",
    "get_workflow",
    "get_workflow_def",
    "get_workflow_defs",
    "get_workflow_names_and_versions",
    "get_workflow_status",
    "get_workflow_tasks",
    "pause_workflow",
    "register_task_defs",
    "register_workflow_defs",
    "search_tasks",
    "search_workflows",
    "search_workflows_by_tasks",
    "update_task",
    "validate_workflow_def",
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "execute_workflow": ({"name": "a"},),
    "start_workflow": ({"name": "a"},),
    "test_workflow": ({"name": "a"},),
    "fetch_token": ("id", "secret"),
    "get_all_poll_data": (),
    "get_all_queue_sizes": (),
    "get_by_correlation_ids": ("a", ["c"]),
    "get_workflow_defs": (),
    "get_workflow_names_and_versions": (),
    "get_external_storage_location": ("output/1.json", "WORKFLOW_OUTPUT"),
    "get_queue_sizes": (["ship"],),
    "get_task_defs": (),
    "log_task": ("t1", "line"),
    "register_task_defs": ({"name": "a"},),
    "register_workflow_defs": ({"name": "a"},),
    "search_tasks": (),
    "search_workflows": (),
    "signal_workflow_task_async": ("w1", "COMPLETED"),
    "signal_workflow_task_sync": ("w1", "COMPLETED"),
    "search_workflows_by_tasks": (),
    "skip_task_from_workflow": ("w1", "ship"),
    "unregister_workflow_def": ("a", 1),
    "update_task": ("w1", "t1", "COMPLETED"),
    "update_task_by_ref_name": ("w1", "ship", "COMPLETED"),
    "update_task_sync": ("w1", "ship", "COMPLETED"),
    "validate_workflow_def": ({"name": "a"},),
}
ENDPOINTS = {
    name
    for name, function in inspect.getmembers(endpoints, inspect.isfunction)
    if function.__module__ in (tasks.__name__, workflows.__name__) and not name.startswith("_")
}


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_only_idempotent_requests_are_safe_to_repeat(name: str) -> None:
    arguments: tuple[Any, ...] = (["w1"],) if name.startswith("bulk_") else ARGUMENTS.get(name, ("w1",))
    call = getattr(endpoints, name)(*arguments)
    assert call.safe_to_repeat is (name in SAFE)
    assert json.loads(json.dumps(call.body)) == call.body


def test_no_keyword_of_a_start_request_is_left_out_of_its_body() -> None:
    values = {name: f"the {name}" for name in inspect.signature(StartWorkflowRequest).parameters}
    assert set(StartWorkflowRequest(**values).to_json().values()) == set(values.values())


# Reading answers


def answer(content: bytes, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "text/html", "date": "Mon, 23 Nov 2026 13:14:11 GMT"}, content)


HTML = b"<!DOCTYPE html><html></html>"


@pytest.mark.parametrize(
    ("call", "content"),
    [
        (endpoints.start_workflow({"name": "a"}), b""),
        (endpoints.start_workflow({"name": "a"}), b'""'),
        (endpoints.start_workflow({"name": "a"}), HTML),
        (endpoints.start_workflow({"name": "a"}), b'{"status": "ok"}'),
        (endpoints.start_workflow({"name": "a"}), b"Welcome to nginx"),
        (endpoints.start_workflow({"name": "a"}), b"x" * 256),
        (endpoints.start_workflow({"name": "a"}), b"\xff\xfe\xfd"),
        (endpoints.rerun_workflow("w1"), b""),
        (endpoints.get_workflow("w1"), b""),
        (endpoints.get_workflow("w1"), HTML),
        (endpoints.get_workflow("w1"), b'{"workflowId": "w1", "status": "RUNN'),
        (endpoints.get_workflow("w1"), b"[]"),
        (endpoints.get_workflow("w1"), b"{}"),
        (endpoints.get_workflow("w1"), b'{"workflowId": "w1"}'),
        (endpoints.get_workflow("w1"), b'{"workflowId": "w1", "status": "THRIVING"}'),
        (endpoints.get_workflow_status("w1"), b'{"status": "RUNNING"}'),
        (endpoints.execute_workflow({"name": "a"}), b'"w1"'),
        (endpoints.pause_workflow("w1"), HTML),
        (endpoints.terminate_workflow("w1"), b"  <html>"),
        (endpoints.update_task("w1", "t1", "COMPLETED"), HTML),
        (endpoints.search_workflows(), b"{}"),
        (endpoints.search_workflows(), b'{"results": ["w1"]}'),
        (endpoints.search_tasks(), b"{}"),
        (endpoints.search_tasks(), b'{"results": ["t1"]}'),
        (endpoints.search_tasks(), b'{"results": [{"status": "FAILED"}]}'),
        (endpoints.get_workflow_tasks("w1"), b"[]"),
        (endpoints.get_queue_size("ship"), b'"3"'),
        (endpoints.get_queue_size("ship"), b"true"),
        (endpoints.get_workflow_names_and_versions(), b"[]"),
        (endpoints.get_workflow_names_and_versions(), b'{"message": "hi"}'),
        (endpoints.get_by_correlation_ids("a", ["c"]), b'{"message": "hi"}'),
        (endpoints.get_by_correlation_ids("a", ["c"]), b'{"c": ["w1"]}'),
        (endpoints.bulk_pause(["w1"]), b"{}"),
        (endpoints.bulk_pause(["w1"]), b""),
        (endpoints.get_task_defs(), HTML),
        (endpoints.get_task_defs(), b""),
        (endpoints.get_task_defs(), b"{}"),
        (endpoints.get_poll_data("ship"), b'["x"]'),
        (endpoints.get_task_logs("t1"), b'["x"]'),
        (endpoints.get_queue_sizes(["ship"]), b"[]"),
        (endpoints.get_task("t1"), b"[]"),
        (endpoints.get_workflow_def("a"), b'"a"'),
        (endpoints.fetch_token("id", "secret"), b'{"token": ""}'),
        (endpoints.fetch_token("id", "secret"), b'{"token": null}'),
        (endpoints.fetch_token("id", "secret"), HTML),
    ],
)
def test_an_answer_conductor_does_not_give_is_never_a_value(call: Call[Any], content: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        call.parse(answer(content))


def listed(**workflow: str) -> dict[str, str]:
    return {"workflowId": "w1", "workflowName": "orders", "correlationId": "Monday", "status": "RUNNING", **workflow}


@pytest.mark.parametrize(
    "somebody_elses",
    [
        listed(workflowName="payments"),
        listed(workflowName="Orders"),
        listed(workflowName=""),
        listed(correlationId="monday"),
        listed(correlationId="Monday 2"),
        listed(correlationId=""),
    ],
)
def test_a_look_up_by_correlation_id_returns_exact_matches_only(somebody_elses: dict[str, str]) -> None:
    """An index that reads the id as a pattern, or a collation that ignores case, finds more."""
    call = endpoints.get_by_correlation_ids("orders", ["Monday", "MONDAY"])
    ours = listed(workflowId="w2")
    content = {"Monday": [somebody_elses, ours], "MONDAY": [ours], "Tuesday": [listed(correlationId="Tuesday")]}
    found = call.parse(answer(json.dumps(content).encode()))
    assert {key: [item.workflow_id for item in items] for key, items in found.items()} == {
        "Monday": ["w2"],
        "MONDAY": [],
    }


def test_a_bulk_search_gives_what_was_asked_for_to_the_letter() -> None:
    content = {"bulkSuccessfulResults": [listed(workflowId=name) for name in ("w1", "W1", "w2")]}
    found = endpoints.bulk_search(["w1"]).parse(answer(json.dumps(content).encode()))
    assert [data["workflowId"] for data in found.successful] == ["w1"]


def test_an_id_is_read_as_text_or_as_json() -> None:
    call = endpoints.start_workflow({"name": "a"})
    assert call.parse(answer(b"0a1b-2c")) == call.parse(answer(b'"0a1b-2c"\n')) == "0a1b-2c"


def test_the_servers_clock_is_read_with_the_workflow() -> None:
    found = endpoints.get_workflow("w1").parse(answer(b'{"workflowId": "w1", "status": "RUNNING"}'))
    assert (found.status, found.observed_at) == (WorkflowStatus.RUNNING, 1_795_439_651_000)


def test_the_newest_servers_name_for_status_is_read() -> None:
    body = b'{"targetWorkflowId": "x", "workflowId": "w1", "targetWorkflowStatus": "COMPLETED"}'
    assert endpoints.execute_workflow({"name": "a"}).parse(answer(body)).status is WorkflowStatus.COMPLETED


def test_204_is_no_task() -> None:
    assert endpoints.poll_task("ship").parse(answer(b"", status=204)) is None
    assert endpoints.get_task_logs("t1").parse(answer(b"", status=204)) == ()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Mon, 23 Nov 2026 13:14:41 GMT", 30.0),
        ("Mon, 23 Nov 2026 13:14:01 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock(header: str, seconds: float | None) -> None:
    headers = {"retry-after": header, "date": "Mon, 23 Nov 2026 13:14:11 GMT"}
    assert Answer(503, headers, b"").retry_after == seconds


@pytest.mark.parametrize("update", [endpoints.update_task_by_ref_name, endpoints.update_task_sync])
def test_a_route_is_the_same_for_every_workflow(update: Any) -> None:
    """A client remembers those that have answered, for as long as it lives."""
    assert len({update(workflow_id, "pack", "COMPLETED").route for workflow_id in ("w1", "w2")}) == 1


@pytest.mark.parametrize("status", ["COMPLETED", "IN_PROGRESS"])
@pytest.mark.parametrize(
    "field",
    [
        *(
            {"taskId": 1},
            {"referenceTaskName": []},
            {"taskType": {}},
            {"reasonForIncompletion": 5},
            {"retryCount": "2"},
        ),
        *({"seq": 1.5}, {"outputData": [1]}, {"endTime": "soon"}, {"startTime": 10**400}, {"workflowTask": [1]}),
        *({"workflowTask": {"type": {"a": 1}}}, {"subWorkflowId": {"a": 1}}),
    ],
    ids=str,
)
def test_a_task_with_a_field_of_another_kind_is_refused_whether_it_has_ended_or_not(
    field: dict[str, Any], status: str
) -> None:
    body = {"workflowId": "w1", "status": "RUNNING", "tasks": [{"taskId": "t", "status": status, **field}]}
    with pytest.raises(ValueError, match=" of a task"):
        endpoints.get_workflow("w1").parse(Answer(200, {}, json.dumps(body).encode()))
