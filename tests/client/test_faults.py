"""What both clients make of a server that misbehaves, on real sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAnswerError,
    ConductorConnectionLostError,
    ConductorRequestError,
    ConductorTimeoutError,
    ConductorUnreachableError,
    NotConductorError,
    endpoints,
)
from tests.client import fault_server as faults
from tests.client.fault_server import Behaviour
from tests.client.transports import Clock, Connect, Meet, Serve, Transport

READ = endpoints.get_workflow("w1")
START = endpoints.start_workflow({"name": "orders"})
IMPATIENT: dict[str, Any] = {"read_timeout": 1.0, "connect_timeout": 1.0}
"""Less than a late answer takes, and more than a good one on a busy machine."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
HALF = b'{"workflowId": "w1", "sta'

BROKEN: dict[str, Behaviour] = {
    "closed without an answer": faults.drop,
    "reset": faults.reset(),
    "reset in the head": faults.reset(b"HTTP/1.1 200 OK\r\nconten"),
    "reset in the body": faults.reset(HEAD + b"content-length: 60\r\n\r\n" + HALF),
    "shorter than its content-length": faults.raw(HEAD + b"content-length: 60\r\n\r\n" + HALF),
    "chunked, ending in a chunk": faults.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n30\r\n" + HALF),
    "chunked, ending between chunks": faults.raw(
        HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(HALF), HALF)
    ),
    "not the gzip it says": faults.status(200, b"not gzip at all", content_encoding="gzip"),
}
LATE: dict[str, Behaviour] = {
    "silent": faults.silent,
    "a head byte now and then": faults.slow_head,
    "a body byte now and then": faults.slow_body,
}
NOT_CONDUCTOR: dict[str, Behaviour] = {
    "not HTTP": faults.garbage,
    "HTML": faults.html(200),
    "empty": faults.status(200),
    "half the JSON, and whole by its length": faults.status(200, HALF),
    "no content": faults.status(204),
    "JSON of another kind": faults.json_answer({"ok": True}),
}


def table(behaviours: dict[str, Behaviour]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", behaviours.values(), ids=behaviours)


def error_from(client: Transport, call: Any) -> ConductorRequestError:
    with pytest.raises(ConductorRequestError) as caught:
        client.send(call)
    return caught.value


@table(BROKEN | LATE)
def test_a_read_whose_answer_was_lost_is_asked_again(meet: Meet, fault: Behaviour) -> None:
    client, server = meet(faults.in_turn(fault, faults.workflow()), **IMPATIENT)
    assert client.send(READ).workflow_id == "w1"
    assert len(server.requests) == 2


@table(BROKEN | LATE)
def test_a_start_whose_fate_is_unknown_is_never_sent_again(meet: Meet, fault: Behaviour) -> None:
    client, server = meet(fault, **IMPATIENT)
    error = error_from(client, START)
    assert isinstance(error, ConductorConnectionLostError)
    assert error.fate_unknown
    assert not error.repeatable
    assert len(server.requests) == 1


@table(LATE)
def test_an_answer_that_is_not_complete_in_time_is_a_timeout(meet: Meet, fault: Behaviour) -> None:
    assert type(error_from(meet(fault, **IMPATIENT)[0], START)) is ConductorTimeoutError


@pytest.mark.parametrize("call", [READ, endpoints.poll_task("ship"), endpoints.terminate_workflow("w1"), START])
def test_one_attempt_is_one_request_on_the_wire(meet: Meet, call: Any) -> None:
    client, server = meet(faults.in_turn(faults.workflow(), faults.drop), max_attempts=1)
    client.send(READ)  # the next goes over the same connection, which HTTP libraries like to try twice
    error_from(client, call)
    assert len(server.requests) == 2


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_read_that_keeps_failing_is_given_up_after_max_attempts(meet: Meet, clock: Clock, attempts: int) -> None:
    client, server = meet(faults.drop, max_attempts=attempts)
    error = error_from(client, READ)
    assert type(error) is ConductorConnectionLostError
    assert len(server.requests) == attempts
    assert len(clock.sleeps) == attempts - 1


@table(NOT_CONDUCTOR)
def test_what_conductor_does_not_answer_is_an_error_and_never_a_value(meet: Meet, fault: Behaviour) -> None:
    client, server = meet(fault, max_attempts=1)
    read, start = error_from(client, READ), error_from(client, START)
    assert type(read) is type(start) is NotConductorError
    assert (read.fate_unknown, start.fate_unknown) == (False, True)
    assert len(server.requests) == 2


def test_a_closed_port_is_unreachable_and_even_a_start_is_sent_again(
    serve: Serve, connect: Connect, clock: Clock
) -> None:
    server = serve(faults.text("w1"), down=True)
    clock.meanwhile = server.listen
    assert connect(server).send(START) == "w1"
    assert len(clock.sleeps) == 1
    assert len(server.requests) == 1


def test_the_error_of_an_unreachable_server_names_its_address(serve: Serve, connect: Connect, clock: Clock) -> None:
    server = serve(faults.drop, down=True)
    error = error_from(connect(server, max_attempts=3), START)
    assert type(error) is ConductorUnreachableError
    assert not error.fate_unknown
    assert f"POST /workflow at http://127.0.0.1:{server.port}: cannot connect" in str(error)
    assert len(clock.sleeps) == 2


@pytest.mark.parametrize("body", [None, {"message": "full"}])
@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_a_gateways_refusal_is_repeated_for_reads_and_raised_for_starts(meet: Meet, code: int, body: Any) -> None:
    client, server = meet(faults.in_turn(faults.status(code, body), faults.workflow(), faults.status(code, body)))
    assert client.send(READ).workflow_id == "w1"
    error = error_from(client, START)
    assert isinstance(error, ConductorAnswerError)
    assert error.status == code
    assert len(server.requests) == 3


def test_what_the_server_calls_not_retryable_is_sent_once(meet: Meet) -> None:
    client, server = meet(faults.status(503, {"message": "no", "retryable": False}))
    error_from(client, READ)
    assert len(server.requests) == 1


@pytest.mark.parametrize("where", ["workflow", "token"])
def test_a_caller_with_little_time_is_answered_within_it(meet: Meet, where: str) -> None:
    """However long the read timeout is, and though the token has to be fetched first."""
    paths = {"token": faults.token("t"), "workflow": faults.workflow()} | {where: faults.silent}
    client = meet(faults.by_path(**paths), key_id="k", key_secret="s", read_timeout=3600.0)[0]
    with pytest.raises(ConductorTimeoutError, match=r"no answer within 0\.5 s"):
        client.send(replace(endpoints.get_workflow("w1"), within=0.5))


def test_retry_after_is_waited_out(meet: Meet, clock: Clock) -> None:
    client, _ = meet(faults.in_turn(faults.status(429, retry_after="17"), faults.workflow()))
    client.send(READ)
    assert clock.sleeps == [17.0]


def test_a_retry_after_beyond_a_minute_is_left_to_the_caller(meet: Meet, clock: Clock) -> None:
    client, server = meet(faults.status(503, retry_after="3600"))
    error = error_from(client, READ)
    assert error.retry_after == 3600
    assert (clock.sleeps, len(server.requests)) == ([], 1)


def test_one_connection_carries_many_requests(meet: Meet) -> None:
    client, server = meet(faults.workflow())
    for _ in range(5):
        client.send(READ)
    assert (len(server.requests), server.connections) == (5, 1)


def test_a_kept_connection_the_server_has_dropped_costs_a_start_nothing(meet: Meet) -> None:
    client, server = meet(faults.in_turn(faults.workflow(), faults.text("w2")), max_attempts=1)
    client.send(READ)
    server.close_idle()
    client.wait()
    assert client.send(START) == "w2"
    assert len(server.sent_to("/workflow")) == 1


def test_a_compressed_answer_is_read(meet: Meet) -> None:
    padding = "x" * 300_000
    client, server = meet(faults.gzipped({"workflowId": "w1", "status": "RUNNING", "output": {"a": padding}}))
    assert client.send(READ).output == {"a": padding}
    assert "gzip" in server.requests[0].headers["accept-encoding"]


def test_both_clients_put_the_same_on_the_wire(meet: Meet) -> None:
    client, server = meet(faults.json_answer({}), headers={"X-Team": "data"})
    call = endpoints.skip_task_from_workflow("a;b c%2F+é", "ship?", task_output={"a b&c": "1+1=2 é", "ok": True})
    client.send(call)
    client.send(endpoints.get_queue_sizes(["ship", "pack"]))
    client.send(endpoints.register_task_defs({"name": "é"}))
    skip, sizes, register = server.requests
    assert (skip.method, skip.path) == ("PUT", "/api/workflow/a%3Bb%20c%252F%2B%C3%A9/skiptask/ship%3F")
    assert skip.query == [("taskOutput[a b&c]", "1+1=2 é"), ("taskOutput[ok]", "true")]
    assert skip.headers["x-team"] == "data"
    assert skip.headers["user-agent"].startswith("airflow-provider-conductor/")
    assert "content-type" not in skip.headers or not skip.body
    assert sizes.query == [("taskType", "ship"), ("taskType", "pack")]
    assert (register.headers["content-type"], register.json()) == ("application/json", [{"name": "é"}])


def test_the_line_of_a_log_is_sent_as_text(meet: Meet) -> None:
    client, server = meet(faults.status(200))
    client.send(endpoints.log_task("t1", '50 % "done" é'))
    (request,) = server.requests
    assert request.headers["content-type"].startswith("text/plain")
    assert request.body.decode() == '50 % "done" é'


@pytest.mark.parametrize("location", ["/api/v2/workflow/w1?includeTasks=true", "v2/w1?includeTasks=true"])
def test_a_read_follows_redirects_on_its_own_server(meet: Meet, location: str) -> None:
    client, server = meet(faults.in_turn(faults.status(307, location=location), faults.workflow("w2")))
    assert client.send(READ).workflow_id == "w2"
    assert server.requests[1].target.endswith(location)
    assert server.requests[1].query == [("includeTasks", "true")]


@pytest.mark.parametrize("location", ["/api/workflow/w1", "//"])
def test_redirects_in_a_circle_end(meet: Meet, location: str) -> None:
    client, server = meet(faults.status(302, location=location))
    assert type(error_from(client, READ)) is NotConductorError
    assert len(server.requests) <= 5


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_start_follows_no_redirect(meet: Meet, code: int) -> None:
    client, server = meet(faults.status(code, location="/api/v2/workflow"))
    error = error_from(client, START)
    assert type(error) is NotConductorError
    assert "put it into the connection" in str(error)
    assert len(server.requests) == 1
