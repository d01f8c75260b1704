from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorBadRequestError,
    ConductorConflictError,
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    ConductorSettings,
    ConductorTooManyRequestsError,
    NotConductorError,
    endpoints,
    errors,
)
from airflow_provider_conductor.client.flow import Answer
from airflow_provider_conductor.client.wire import Exchange
from tests.recorded import record_database_trouble


def error_of(status: int, body: Any, *, safe: bool = True) -> ConductorRequestError:
    call = replace(endpoints.get_workflow("w1"), safe_to_repeat=safe)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ConductorRequestError) as caught:
        Exchange(ConductorSettings("http://conductor:8080")).value(call, Answer(status, {}, content))
    return caught.value


HTML = b"<html><body>404 page not found</body></html>"


def own(status: int, message: str | None = None, *, retryable: bool = False) -> dict[str, Any]:
    """An error as 3.13.8 and 3.32.2 word theirs."""
    return {"status": status, "message": message, "instance": "conductor-1", "retryable": retryable}


SPRING = {"timestamp": "2026-11-26T10:48:18.267+00:00", "status": 404, "error": "Not Found", "path": "/api/x"}
ORKES = {"message": "Token cannot be null or empty", "error": "INVALID_TOKEN", "timestamp": 1656058235313}
KONG = {"message": "no Route matched with those values", "request_id": "c5d1"}

CASES = [
    # status, body, error, repeatable if safe, fate unknown if not safe
    (400, own(400, "Validation failed"), ConductorBadRequestError, False, False),
    (401, ORKES, ConductorAuthError, False, False),
    (401, own(401, "no"), ConductorAuthError, False, False),
    (403, own(403, "You don't have permissions to execute task: x"), ConductorAuthError, False, False),
    (403, SPRING | {"status": 403, "error": "Forbidden"}, ConductorAuthError, False, False),
    (404, SPRING, ConductorMissingRouteError, False, False),
    (404, SPRING | {"message": ""}, ConductorMissingRouteError, False, False),
    (404, own(404, "No static resource api/x."), ConductorMissingRouteError, False, False),
    (405, own(405, "Request method 'POST' is not supported"), ConductorMissingRouteError, False, False),
    (500, own(500, "Request method 'POST' not supported"), ConductorMissingRouteError, False, False),
    (404, own(404, "No such workflow found by id: w1"), ConductorNotFoundError, False, False),
    (404, own(404, "No such task found by id: t1"), ConductorNotFoundError, False, False),
    (404, own(404, "No such workflow defined. name=x, version=null"), ConductorDefinitionNotFoundError, False, False),
    (404, own(404, "No such workflow found by name: x, version: 1"), ConductorDefinitionNotFoundError, False, False),
    (404, own(404, "Workflow is still running.  status=RUNNING"), ConductorConflictError, False, False),
    (409, own(409, "no retryable tasks! Use restart"), ConductorConflictError, False, False),
    (410, own(410, "gone"), ConductorBadRequestError, False, False),
    (400, HTML, ConductorBadRequestError, False, False),
    (413, b"", ConductorBadRequestError, False, False),
    (429, b"", ConductorTooManyRequestsError, True, False),
    (500, own(500, "boom", retryable=True), ConductorServerError, True, True),
    (500, own(500, "HikariPool-1 - Connection is not available, request timed out"), ConductorServerError, True, True),
    (500, own(500, "ERROR: deadlock detected"), ConductorServerError, True, True),
    (500, own(500, "not paused"), ConductorServerError, False, False),
    (500, HTML, ConductorServerError, False, True),
    (502, HTML, ConductorServerError, True, True),
    (503, b"", ConductorServerError, True, True),
    (503, own(503, "full"), ConductorServerError, False, False),
    (504, b"upstream timed out", ConductorServerError, True, True),
]

STRANGERS = [
    (401, b"Unauthorized"),
    (401, {"message": "Unauthorized"}),
    (403, HTML),
    (403, {"message": "Forbidden"}),
    (404, b""),
    (404, b"404 page not found\n"),
    (404, HTML),
    (404, KONG),
    (404, {"message": "No such workflow found by id: w1"}),
    (404, {"error": "Not Found", "path": "/api/x"}),
    (404, SPRING | {"requestId": "c5d1"}),
    (404, {"error_msg": "404 Route Not Found"}),
    (404, {"statusCode": 404, "message": "Resource not found"}),
    (405, HTML),
    (409, HTML),
    (404, b"[" * 100_000),
]


@pytest.mark.parametrize(("status", "body"), STRANGERS)
def test_only_conductors_own_json_makes_an_error_about_conductor(status: int, body: Any) -> None:
    safe, unsafe = error_of(status, body), error_of(status, body, safe=False)
    assert type(safe) is type(unsafe) is NotConductorError
    assert (safe.repeatable, safe.fate_unknown) == (True, False)
    assert (unsafe.repeatable, unsafe.fate_unknown) == (False, True)
    assert "something in front of Conductor" in str(safe)


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b"404 page not found\n", "'404 page not found'"),
        (b"<!DOCTYPE html><html><title>Not\n here</title><body>x</body></html>", "'Not here'"),
        (KONG, "'no Route matched with those values'"),
        (HTML, "'a page of HTML'"),
        (b"x" * 5_000, f"'{'x' * 100}'"),
    ],
)
def test_a_gateways_page_is_quoted_briefly(body: Any, quoted: str) -> None:
    assert str(error_of(404, body)).endswith(f"not by Conductor itself: {quoted}")


@pytest.mark.parametrize(("status", "body", "kind", "repeatable", "unknown"), CASES)
def test_the_body_decides_what_an_error_status_means(
    status: int, body: Any, kind: type, repeatable: bool, unknown: bool
) -> None:
    safe, unsafe = error_of(status, body), error_of(status, body, safe=False)
    assert type(safe) is type(unsafe) is kind
    assert (safe.repeatable, safe.fate_unknown) == (repeatable, False)
    assert (unsafe.repeatable, unsafe.fate_unknown) == (False, unknown)


@pytest.mark.parametrize("answer", record_database_trouble.recorded(), ids=lambda answer: answer["body"]["message"])
def test_trouble_with_the_servers_database_passes_and_leaves_the_fate_of_a_start_open(answer: dict[str, Any]) -> None:
    assert answer["body"]["retryable"] is False
    safe, unsafe = error_of(answer["status"], answer["body"]), error_of(answer["status"], answer["body"], safe=False)
    assert safe.repeatable
    assert unsafe.fate_unknown


QUESTIONS = {
    errors.ConductorUnreachableError("refused", repeatable=True): "temporary concerns_server",
    errors.ConductorTlsError("handshake"): "concerns_server",
    errors.ConductorTimeoutError("no answer", repeatable=True): "temporary",
    errors.ConductorTimeoutError("no answer to a start", fate_unknown=True): "temporary",
    errors.NotConductorError("gateway", status=404, repeatable=True): "temporary",
    errors.NotConductorError("firewall", status=403, repeatable=True): "temporary refused_by_gateway",
    errors.NotConductorError("not read", status=200): "conclusive",
    errors.ConductorAuthError("no", status=403): "conclusive concerns_server",
    errors.ConductorBadRequestError("no", status=400): "conclusive",
    errors.ConductorNotFoundError("no", status=404): "conclusive",
    errors.ConductorConflictError("no", status=409): "conclusive",
    errors.ConductorMissingRouteError("no", status=500): "conclusive",
    errors.ConductorTooManyRequestsError("start", status=429): "temporary concerns_server",
    errors.ConductorServerError("busy", status=503, repeatable=True): "temporary",
    errors.ConductorServerError("defect", status=500): "temporary conclusive",
}


@pytest.mark.parametrize("error", QUESTIONS, ids=repr)
def test_an_error_answers_what_its_callers_do_next(error: ConductorRequestError) -> None:
    asked = ("temporary", "conclusive", "concerns_server", "refused_by_gateway")
    assert " ".join(name for name in asked if getattr(error, name)) == QUESTIONS[error]


def test_the_first_line_names_call_server_status_and_message() -> None:
    error = error_of(404, own(404, "No such workflow found by id: w1"))
    assert str(error) == "GET /workflow/w1 at http://conductor:8080: 404 No such workflow found by id: w1"


def test_validation_errors_are_listed_by_field() -> None:
    body = {"message": "Validation failed", "validationErrors": [{"path": "name", "message": "must not be empty"}]}
    assert "name: must not be empty" in str(error_of(400, body))


@pytest.mark.parametrize("body", [[1], "text", None, 5, {"message": 5}, {"validationErrors": [5, None]}, b"\xff\xfe"])
def test_an_error_body_of_any_shape_still_becomes_an_error(body: Any) -> None:
    assert type(error_of(500, body)) is ConductorServerError


def test_a_payload_in_a_servers_message_is_cut() -> None:
    assert len(str(error_of(500, {"message": "x" * 1_000_000}))) < 3_000


REQUEST_ERRORS = [
    kind
    for kind in (getattr(errors, name) for name in errors.__all__)
    if isinstance(kind, type) and issubclass(kind, ConductorRequestError)
]


@pytest.mark.parametrize("kind", REQUEST_ERRORS)
@pytest.mark.parametrize("carry", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_an_error_is_complete_after_pickling_and_copying(kind: type[ConductorRequestError], carry: Any) -> None:
    error = kind("gone", method="GET", path="/x", server="http://h", status=503, repeatable=True, retry_after=2.0)
    error.add_note("seen in task ship")
    copied = carry(error)
    assert type(copied) is kind
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)
