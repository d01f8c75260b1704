from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.client import ConductorInputError, StartWorkflowRequest, WorkflowStatus, endpoints
from airflow_provider_conductor.client.endpoints import tasks, workflows
from airflow_provider_conductor.client.flow import Answer, Call

GIVEN: dict[str, Any] = {
    "correlation_ids": ["c"],
    "definition": {"name": "a"},
    "definitions": {"name": "a"},
    "key_id": "id",
    "key_secret": "secret",
    "line": "line",
    "payload_type": "WORKFLOW_OUTPUT",
    "request": {"name": "a"},
    "status": "COMPLETED",
    "task_types": ["ship"],
    "version": 1,
    "workflow_ids": ["w1"],
}
"""Arguments that are not ids or names."""

ENDPOINTS = [
    name
    for name, function in inspect.getmembers(endpoints, inspect.isfunction)
    if function.__module__ in (tasks.__name__, workflows.__name__) and not name.startswith("_")
]


def made(name: str, /, **arguments: Any) -> Call[Any]:
    """An endpoint's request, with only the arguments that it needs and these."""
    endpoint = getattr(endpoints, name)
    needed = [item.name for item in inspect.signature(endpoint).parameters.values() if item.default is item.empty]
    call: Call[Any] = endpoint(**{item: GIVEN.get(item, "x1") for item in needed} | arguments)
    return call


def with_part(name: str, place: str, part: Any) -> Call[Any]:
    return made(name, **({"request": {"name": part}} if name == "execute_workflow" else {place: part}))


PLACES = [
    (name, place)
    for name in ENDPOINTS
    for place in re.findall(r"{(\w+)}", made(name).template)
    if place not in ("status", "version")
]


@pytest.mark.parametrize(("name", "place"), PLACES)
@pytest.mark.parametrize("part", ["", "  ", None, ".", "..", "a/b", "a\\b"])
def test_an_id_that_would_be_another_endpoint_is_refused(name: str, place: str, part: Any) -> None:
    with pytest.raises(ConductorInputError, match="must not"):
        with_part(name, place, part)


@pytest.mark.parametrize(
    "listed",
    [["a", "b"], (), range(2), "['a', 'b']", " [1]", "('a',)", "LazyXComSequence([2 items])", "{'a': 1}", "None"],
    ids=str,
)
def test_a_list_or_its_text_is_not_an_id(listed: Any) -> None:
    with pytest.raises(ConductorInputError, match=r"workflow_id must .*nothing was sent"):
        endpoints.get_workflow(listed)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_an_id_is_quoted_into_one_part_of_the_path(name: str, place: str) -> None:
    odd = "a b c?d#e%2F..;ü"
    plain, quoted = with_part(name, place, "plain").path.split("/"), with_part(name, place, odd).path.split("/")
    assert [a if a == b else unquote(b) for a, b in zip(plain, quoted, strict=True)] == [
        odd if part == "plain" else part for part in plain
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
    *("bulk_pause", "bulk_search", "decide_workflow", "event_stream", "fetch_token", "pause_workflow"),
    *("register_task_defs", "register_workflow_defs", "update_task", "validate_workflow_def"),
    *(name for name in ENDPOINTS if name.startswith(("get_", "search_"))),
}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_only_idempotent_requests_are_safe_to_repeat(name: str) -> None:
    call = made(name)
    assert call.safe_to_repeat is (name in SAFE)
    assert json.loads(json.dumps(call.body)) == call.body


def test_no_keyword_of_a_start_request_is_left_out_of_its_body() -> None:
    values = {name: f"the {name}" for name in inspect.signature(StartWorkflowRequest).parameters}
    assert set(StartWorkflowRequest(**values).to_json().values()) == set(values.values())


# Reading answers


def answer(content: bytes, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "text/html", "date": "Mon, 23 Nov 2026 13:14:11 GMT"}, content)


HTML = b"<!DOCTYPE html><html></html>"


NOT_ANSWERS: dict[str, list[bytes]] = {
    "start_workflow": [b"", b'""', HTML, b'{"status": "ok"}', b"Welcome to nginx", b"x" * 256, b"\xff\xfe\xfd"],
    "rerun_workflow": [b""],
    "get_workflow": [
        b"",
        HTML,
        b'{"workflowId": "w1", "status": "RUNN',
        b"[]",
        b"{}",
        b'{"workflowId": "w1"}',
        b'{"workflowId": "w1", "status": "THRIVING"}',
    ],
    "get_workflow_status": [b'{"status": "RUNNING"}'],
    "execute_workflow": [b'"w1"'],
    "pause_workflow": [HTML],
    "terminate_workflow": [b"  <html>"],
    "update_task": [HTML],
    "search_workflows": [b"{}", b'{"results": ["w1"]}'],
    "search_tasks": [b"{}", b'{"results": ["t1"]}', b'{"results": [{"status": "FAILED"}]}'],
    "get_workflow_tasks": [b"[]"],
    "get_queue_size": [b'"3"', b"true"],
    "get_workflow_names_and_versions": [b"[]", b'{"message": "hi"}'],
    "get_by_correlation_ids": [b'{"message": "hi"}', b'{"c": ["w1"]}'],
    "bulk_pause": [b"{}", b""],
    "get_task_defs": [HTML, b"", b"{}"],
    "get_poll_data": [b'["x"]'],
    "get_task_logs": [b'["x"]'],
    "get_queue_sizes": [b"[]"],
    "get_task": [b"[]"],
    "get_workflow_def": [b'"a"'],
    "fetch_token": [b'{"token": ""}', b'{"token": null}', HTML],
}


@pytest.mark.parametrize(("name", "content"), [(name, item) for name, items in NOT_ANSWERS.items() for item in items])
def test_an_answer_conductor_does_not_give_is_never_a_value(name: str, content: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        made(name).parse(answer(content))


def listed(**workflow: str) -> dict[str, str]:
    return {"workflowId": "w1", "workflowName": "orders", "correlationId": "Monday", "status": "RUNNING", **workflow}


@pytest.mark.parametrize(
    "somebody_elses",
    [
        listed(workflowName="payments"),
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


def test_a_look_up_by_a_name_in_another_case_returns_what_a_start_by_it_runs() -> None:
    """With MySQL's default collation, a start of ``Orders`` runs ``orders``; the look-up finds it by either name."""
    call = endpoints.get_by_correlation_ids("Orders", ["Monday"])
    found = call.parse(answer(json.dumps({"Monday": [listed(workflowName="orders")]}).encode()))
    assert [item.name for item in found["Monday"]] == ["orders"]


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
