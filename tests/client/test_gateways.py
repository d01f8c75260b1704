"""A gateway in front of Conductor answers in its stead for a while: nothing is concluded about Conductor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorServerError,
    NotConductorError,
    endpoints,
)
from airflow_provider_conductor.client.flows import get_workflow_status
from airflow_provider_conductor.client.retry import worth_repeating
from airflow_provider_conductor.client.wire import BELIEVED_AFTER
from tests.client import fault_server as faults
from tests.client.fault_server import Behaviour
from tests.client.transports import Clock, Meet

KEY = {"key_id": "id", "key_secret": "s3cr3t-k3y"}
READ = endpoints.get_workflow("w1")
START = endpoints.start_workflow({"name": "orders"})

PAGES: dict[str, Behaviour] = {
    "404 text": faults.status(404, b"404 page not found\n", content_type="text/plain"),
    "404 html": faults.html(404),
    "404 json": faults.status(404, {"message": "no Route matched with those values"}),
    "403 html": faults.html(403),
    "401 empty": faults.status(401, b""),
    "405 html": faults.html(405),
    "200 html": faults.html(200),
    "302 to a login": faults.status(302, location="https://login.example.com/"),
}


def table(behaviours: dict[str, Behaviour]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", behaviours.values(), ids=behaviours)


@table(PAGES)
def test_a_read_is_asked_again_once_the_gateway_is_well(meet: Meet, page: Behaviour) -> None:
    client, server = meet(faults.in_turn(page, faults.workflow()))
    assert client.send(READ).workflow_id == "w1"
    assert len(server.requests) == 2


@table(PAGES)
def test_a_gateway_that_keeps_answering_is_an_error_in_the_end(meet: Meet, page: Behaviour) -> None:
    client, server = meet(page, max_attempts=3)
    with pytest.raises(NotConductorError) as caught:
        client.send(READ)
    assert len(server.requests) == 3
    assert caught.value.repeatable


@table(PAGES)
def test_a_start_that_a_gateway_answers_is_not_sent_again(meet: Meet, page: Behaviour) -> None:
    client, server = meet(page)
    with pytest.raises(NotConductorError) as caught:
        client.send(START)
    assert not caught.value.repeatable
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 425])
def test_a_gateway_out_of_patience_is_asked_again_but_not_for_a_start(meet: Meet, status: int) -> None:
    gave_up = faults.status(status, b"", content_type="text/plain")
    client, _ = meet(faults.in_turn(gave_up, gave_up, faults.workflow()), max_attempts=3)
    assert client.send(READ).workflow_id == "w1"
    client, server = meet(gave_up)
    with pytest.raises(ConductorServerError) as lost:
        client.send(START)
    assert lost.value.fate_unknown
    assert not worth_repeating(lost.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("once", "sent"), [(True, 1), (False, 5)])
def test_a_call_whose_caller_repeats_it_is_sent_once(meet: Meet, once: bool, sent: int) -> None:
    client, server = meet(faults.status(503, b"", content_type="text/plain"), max_attempts=5)
    with pytest.raises(ConductorServerError):
        client.send(replace(READ, once=once))
    assert len(server.requests) == sent


@pytest.mark.parametrize("page", [faults.html(401), faults.status(403, {"message": "Forbidden"})])
def test_credentials_that_a_gateway_asks_for_are_named(meet: Meet, page: Behaviour) -> None:
    with pytest.raises(
        NotConductorError, match="asks for credentials, put them into the connection's headers"
    ) as caught:
        meet(page, max_attempts=1)[0].send(READ)
    assert caught.value.refused_by_gateway


# Tokens


@table({name: page for name, page in PAGES.items() if name != "302 to a login"})
def test_a_gateway_without_a_token_endpoint_is_not_an_open_server(meet: Meet, page: Behaviour) -> None:
    client, server = meet(faults.by_path(token=faults.in_turn(page, faults.token("t1"))), max_attempts=1, **KEY)
    with pytest.raises(NotConductorError, match="/token"):
        client.send(READ)
    client.send(READ)
    assert [request.headers.get("x-authorization") for request in server.sent_to("/workflow/w1")] == ["t1"]


def test_a_renewed_token_is_fetched_though_the_endpoint_is_said_to_be_missing(meet: Meet, clock: Clock) -> None:
    tokens = faults.in_turn(faults.token("t1"), faults.error(404, "No static resource api/token."), faults.token("t2"))
    client, server = meet(faults.by_path(token=tokens), max_attempts=2, **KEY)
    client.send(READ)
    clock.now += 3600
    client.send(READ)
    assert [request.headers.get("x-authorization") for request in server.sent_to("/workflow/w1")] == ["t1", "t2"]


@pytest.mark.parametrize("refusal", [faults.orkes_token_refused(), faults.html(401)])
def test_an_open_server_that_asks_for_a_token_gets_one(meet: Meet, refusal: Behaviour) -> None:
    tokens = faults.in_turn(faults.no_route, faults.token("t1"))
    client, server = meet(
        faults.by_path(token=tokens, rest=faults.in_turn(faults.workflow(), refusal, faults.workflow())), **KEY
    )
    client.send(READ)
    client.send(READ)
    sent = [request.headers.get("x-authorization") for request in server.sent_to("/workflow/w1")]
    assert sent == [None, None, "t1"]


def test_a_gateways_403_fetches_no_token(meet: Meet) -> None:
    client, server = meet(
        faults.by_path(token=faults.token("t1"), rest=faults.in_turn(faults.html(403), faults.workflow())), **KEY
    )
    client.send(READ)
    assert len(server.sent_to("/token")) == 1


def test_conductors_own_refusal_is_raised_at_once(meet: Meet) -> None:
    client, server = meet(faults.by_path(token=faults.token("t1"), rest=faults.orkes_token_refused()), **KEY)
    with pytest.raises(ConductorAuthError):
        client.send(READ)
    assert len(server.sent_to("/workflow/w1")) == 2


# Endpoints


def missing_status(then: Behaviour, *pages: Behaviour) -> Behaviour:
    status = faults.in_turn(*pages, then)
    return lambda exchange: (status if exchange.request.path.endswith("/status") else faults.workflow())(exchange)


@table(PAGES)
def test_a_gateways_page_does_not_make_an_endpoint_missing(meet: Meet, page: Behaviour) -> None:
    client, server = meet(missing_status(faults.workflow(), page))
    for _ in range(2):
        client.run(get_workflow_status(client.client.capabilities, "w1"))
    assert len(server.sent_to("/workflow/w1/status")) == 3
    assert server.sent_to("/workflow/w1") == []


def test_an_endpoint_that_stays_missing_is_accepted_after_a_while(meet: Meet, clock: Clock) -> None:
    client, _ = meet(missing_status(faults.no_route, faults.workflow()), max_attempts=1)
    call = endpoints.get_workflow_status("w1")
    client.send(call)
    with pytest.raises(NotConductorError, match="which has answered before"):
        client.send(call)
    clock.now += BELIEVED_AFTER
    with pytest.raises(ConductorMissingRouteError):
        client.send(call)


def test_the_look_up_of_earlier_starts_is_never_taken_for_missing(meet: Meet) -> None:
    call = endpoints.get_by_correlation_ids("orders", ["c1"])
    running = {"workflowId": "w1", "workflowName": "orders", "correlationId": "c1", "status": "RUNNING"}
    found = faults.json_answer({"c1": [running]})
    client, _ = meet(faults.in_turn(found, faults.status(404, b"404 page not found\n"), faults.no_route, found))
    for _ in range(2):
        assert [workflow.workflow_id for workflow in client.send(call)["c1"]] == ["w1"]


# Answers that cannot be read


WORKFLOW = b'{"workflowId": "w1", "status": "RUNNING", %s}'
UNREADABLE: dict[str, bytes] = {
    "nested too deeply": WORKFLOW % (b'"input": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "a number of 5,000 digits": WORKFLOW % (b'"input": ' + b"9" * 5_000),
    "a time as a text": WORKFLOW % b'"updateTime": "soon"',
    "a time as an object": WORKFLOW % b'"updateTime": {}',
    "an endless time": WORKFLOW % b'"endTime": 1e400',
    "a time of no calendar": WORKFLOW % b'"startTime": 99999999999999999',
    "a status that is a number": b'{"workflowId": "w1", "status": 5}',
    "a reason that is an object": WORKFLOW % b'"reasonForIncompletion": {"a": 1}',
    "an output that is a list": WORKFLOW % b'"output": [1]',
    "tasks that are an object": WORKFLOW % b'"tasks": {"a": 1}',
    "a task that is null": WORKFLOW % b'"tasks": [null]',
    "a task's time as a text": WORKFLOW % b'"tasks": [{"taskId": "t", "scheduledTime": "now"}]',
    "a task's definition as a text": WORKFLOW % b'"tasks": [{"taskId": "t", "workflowTask": "ship"}]',
    "a task's retries as a text": WORKFLOW % b'"tasks": [{"workflowTask": {"retryCount": "many"}}]',
    "a retry delay as a text": WORKFLOW % b'"tasks": [{"taskDefinition": {"backoffJitterMs": "some"}}]',
    "a task's status as a list": WORKFLOW % b'"tasks": [{"status": ["COMPLETED"]}]',
    "a sub-workflow's id as an object": WORKFLOW % b'"tasks": [{"subWorkflowId": {"a": 1}}]',
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_whatever_cannot_be_read_is_an_error_of_this_call_alone(meet: Meet, content: bytes) -> None:
    client, _ = meet(faults.in_turn(faults.status(200, content), faults.workflow()))
    with pytest.raises(NotConductorError, match="not a valid Conductor answer"):
        client.send(READ)
    assert client.send(READ).workflow_id == "w1"


@pytest.mark.parametrize(
    ("call", "content"),
    [
        (endpoints.search_workflows(), b'{"totalHits": 1e400, "results": []}'),
        (endpoints.search_workflows(), b'{"totalHits": "many", "results": []}'),
        (endpoints.get_by_correlation_ids("orders", ["c"]), b'{"c": [{"workflowId": "w", "status": "X"}]}'),
        (endpoints.get_by_correlation_ids("orders", ["c"]), b'{"c": 5}'),
        (endpoints.bulk_search(["w1"]), b'{"bulkSuccessfulResults": 5}'),
        (endpoints.get_poll_data("ship"), b"[5]"),
        (endpoints.get_poll_data("ship"), b'[{"lastPollTime": "yesterday"}]'),
        (endpoints.poll_task("ship"), b'{"taskId": 5}'),
        (endpoints.get_workflow_names_and_versions(), b'{"orders": [{"version": "new"}]}'),
    ],
)
def test_so_are_the_answers_of_the_other_endpoints(meet: Meet, call: Any, content: bytes) -> None:
    with pytest.raises(NotConductorError):
        meet(faults.status(200, content), max_attempts=1)[0].send(call)


@pytest.mark.parametrize("retry_after", ["9" * 400, "Fri, 31 Dec 99999 23:59:59 GMT", "-1", "nan"])
def test_an_invalid_retry_after_is_ignored(meet: Meet, retry_after: str) -> None:
    client, _ = meet(faults.in_turn(faults.status(503, retry_after=retry_after), faults.workflow()))
    assert client.send(READ).workflow_id == "w1"


@pytest.mark.parametrize("date", ["Fri, 31 Dec 99999 23:59:59 GMT", "now"])
def test_an_invalid_date_is_ignored(meet: Meet, date: str) -> None:
    client, _ = meet(faults.json_answer({"workflowId": "w1", "status": "RUNNING"}, date=date))
    assert client.send(READ).observed_at == 0
