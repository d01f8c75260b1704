"""What becomes of an output: fetched from where the server keeps it, a part picked, never more than allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorConnectionLostError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    NotConductorError,
    external_storage as payloads,
)
from airflow_provider_conductor.exceptions import (
    ConductorOutputMissingError,
    ConductorOutputNotStorableError,
    ConductorOutputTooLargeError,
)
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from airflow_provider_conductor.testing.server import no_route
from tests.client import fault_server as answers
from tests.client.fault_server import Behaviour, FaultServer
from tests.operators.airflow_standin import AIRFLOW_2, context_of, error_of, result
from tests.operators.impatient import both_ways, execute, retry, sensor

ORDER = {"total": 42, "rows": [{"id": 1}, {"id": 2}]}
PATH = "workflow/output/8c1d.json"
PACK = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "COMPLETED"}


# A part of it


@both_ways
def test_a_part_is_the_result_in_the_outputs_place(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=0.3, output=ORDER)
    assert result(execute(output_path="rows[*].id", deferrable=deferrable)) == [1, 2]
    assert result(retry(conductor.add("FAILED", output=ORDER), output_path="total", deferrable=deferrable)) == 42


def test_the_sensor_returns_a_part_without_being_told_to_return_anything_else(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output=ORDER)
    assert result(sensor(workflow_id, output_path="rows[-1]")) == {"id": 2}
    assert result(sensor(workflow_id)) is None


def test_of_a_task_that_was_waited_for_the_part_is_picked_from_its_output(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add(tasks=[{**PACK, "outputData": {"boxes": [3, 4]}}])
    picked = result(sensor(workflow_id, wait_until_task_ref="pack", output_path="boxes[0]"))
    assert (picked["output"], picked["status"]) == (3, "RUNNING")


@both_ways
def test_a_part_that_is_not_there_fails_the_task_for_good_and_names_what_is(
    conductor: ConductorStandIn, deferrable: bool
) -> None:
    conductor.default_script = Script(after=0.3, output=ORDER)
    told = error_of(
        execute(output_path="totl", deferrable=deferrable),
        ConductorOutputMissingError,
        r"'totl'.*it has 'total', 'rows'",
    )
    assert conductor.only_workflow in str(told)


def test_a_part_that_is_null_is_a_result(conductor: ConductorStandIn) -> None:
    assert result(sensor(conductor.add("COMPLETED", output={"note": None}), output_path="note")) is None


def test_the_bound_is_that_of_the_part(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output={"total": 42, "rows": "x" * 5_000})
    assert result(sensor(workflow_id, output_path="total", max_output_bytes=100)) == 42
    error_of(
        sensor(workflow_id, output_path="rows", max_output_bytes=100),
        ConductorOutputTooLargeError,
        r"the part 'rows' .* 5,002 bytes",
    )


def test_what_still_runs_has_no_part_yet(conductor: ConductorStandIn) -> None:
    running = result(execute(output_path="total", wait_for_completion=False))
    assert (running["status"], running["output"]) == ("RUNNING", None)
    conductor.default_script = Script(after=0, output=ORDER)
    assert result(execute(output_path="total", wait_for_completion=False), run_id="another")["output"] == 42


@pytest.mark.parametrize("path", ["a..b", "rows[", "", 3])
def test_what_is_no_path_is_refused_in_the_dag_file(path: Any) -> None:
    for make in (execute, lambda **more: retry("abc", **more), lambda **more: sensor("abc", **more)):
        with pytest.raises(ValueError, match="output_path"):
            make(output_path=path)


@pytest.mark.parametrize("kind", ["execute", "retry", "sensor"])
def test_a_template_that_becomes_none_is_refused_before_anything_is_sent(
    conductor: ConductorStandIn, kind: str
) -> None:
    path = "{{ params.path }}"
    workflow_id = conductor.add("FAILED")
    operators = {
        "execute": execute,
        "retry": lambda **m: retry(workflow_id, **m),
        "sensor": lambda **m: sensor("1", **m),
    }
    operator = operators[kind](output_path=path)
    context = context_of(operator)
    context["params"] = {"path": "a..b"}
    operator.render_template_fields(context)
    with pytest.raises(ValueError, match=r"'a\.\.b'"):
        operator.execute(context)
    assert conductor.requests == []


# What Airflow's database cannot hold

NUL_FREE = {"total": 42, "rows": [{"id": 1}, {"note": "fine"}]}
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]

UNSTORABLE = {
    "a NUL character at 'rows[1].note'": {"rows": [{}, {"note": "a\0b"}]},
    r"a NUL character in the key 'a\\x00' at 'rows'": {"rows": {"a\0": 1}},
    "a lone surrogate at 'note'": {"note": "\ud800"},
    "a lone surrogate at 'x'": {"x": "\udc00"},
    "a whole number of more than 64 bits at 'n'": {"n": 2**64},
    "a whole number of more than 64 bits at 'm'": {"m": -(2**63) - 1},
    "lists and objects more than 250 deep at 'deep": {"deep": DEEP},
}
"""What PostgreSQL's JSONB refuses (seen on 15), and what a worker of Airflow 3 cannot send (seen on 3.3.2)."""


@both_ways
@pytest.mark.parametrize("words", UNSTORABLE)
def test_what_the_database_cannot_hold_names_workflow_and_field(
    conductor: ConductorStandIn, deferrable: bool, words: str
) -> None:
    conductor.default_script = Script(after=0.3, output=UNSTORABLE[words])
    if AIRFLOW_2:  # which stores bytes
        assert result(execute(deferrable=deferrable)) == UNSTORABLE[words]
        return
    told = error_of(execute(deferrable=deferrable), ConductorOutputNotStorableError)
    assert words.replace("\\\\", "\\") in str(told)
    assert conductor.only_workflow in str(told)


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), "\x01\x1b", "😀", 1e300, None, True, "\uffff"])
def test_what_it_can_hold_is_not_changed(conductor: ConductorStandIn, value: Any) -> None:
    output = {"value": value, "rows": [value]}
    assert result(sensor(conductor.add("COMPLETED", output=output), return_output=True)) == output


def test_a_part_without_it_can_be_had(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output={"total": 42, "note": "a\0b"})
    assert result(sensor(workflow_id, output_path="total")) == 42


def test_of_a_task_too(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add(tasks=[{**PACK, "outputData": {"box": "a\0b"}}])
    operator = sensor(workflow_id, wait_until_task_ref="pack", return_output=True)
    if AIRFLOW_2:
        assert result(operator)["output"] == {"box": "a\0b"}
        return
    error_of(operator, ConductorOutputNotStorableError, r"of task pack of workflow .* at 'box'")


def test_where_nothing_is_stored_nothing_is_refused(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", output={"note": "a\0b"})
    result(sensor(workflow_id, return_output=True, do_xcom_push=False))


# Kept elsewhere


@pytest.fixture
def store() -> Iterator[Callable[[Behaviour], FaultServer]]:
    """Starts a payload storage that answers as told."""
    started: list[FaultServer] = []

    def start(behaviour: Behaviour) -> FaultServer:
        started.append(FaultServer(behaviour))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def address(server: FaultServer) -> str:
    return f"http://127.0.0.1:{server.port}/bucket/8c1d.json?X-Amz-Signature=s3cr3t"


def stored(conductor: ConductorStandIn, where: str | FaultServer = "") -> str:
    """A completed workflow whose output the server keeps elsewhere; its id."""
    workflow_id = conductor.add("COMPLETED")
    conductor.workflows[workflow_id]["externalOutputPayloadStoragePath"] = PATH
    if where:
        conductor.stored[PATH] = where if isinstance(where, str) else address(where)
    return workflow_id


Store = Callable[[Behaviour], FaultServer]


def test_it_is_fetched_from_where_the_server_says(conductor: ConductorStandIn, store: Store) -> None:
    workflow_id = stored(conductor, store(answers.json_answer(ORDER)))
    assert result(sensor(workflow_id, return_output=True)) == ORDER
    assert result(sensor(workflow_id, output_path="rows[1].id")) == 2
    asked = [request for request in conductor.requests if request.path == "/workflow/externalstoragelocation"]
    assert dict(asked[0].query) == {"path": PATH, "operation": "READ", "payloadType": "WORKFLOW_OUTPUT"}


def test_nothing_is_fetched_that_is_not_wanted_or_there_already(conductor: ConductorStandIn) -> None:
    assert result(sensor(stored(conductor))) is None
    workflow_id = stored(conductor)
    conductor.workflows[workflow_id]["output"] = ORDER
    assert result(sensor(workflow_id, return_output=True)) == ORDER


def test_so_is_a_tasks_output(conductor: ConductorStandIn, store: Store) -> None:
    workflow_id = conductor.add(tasks=[{**PACK, "externalOutputPayloadStoragePath": PATH}])
    conductor.stored[PATH] = address(store(answers.json_answer({"boxes": 2})))
    assert result(sensor(workflow_id, wait_until_task_ref="pack", output_path="boxes"))["output"] == 2
    (asked,) = (request for request in conductor.requests if request.path == "/tasks/externalstoragelocation")
    assert asked.query["payloadType"] == "TASK_OUTPUT"


def test_the_storage_sees_neither_token_nor_headers_of_the_connection(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductor = ConductorStandIn(key=("id", "secret"))
    conductor.definitions.add("orders")
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(headers={"X-Tenant": "tea"}))
    server = store(answers.json_answer(ORDER))
    assert result(sensor(stored(conductor, server), return_output=True)) == ORDER
    conductor.close()
    (request,) = server.requests
    sent = {name.lower() for name in request.headers}
    assert sent.isdisjoint({"x-authorization", "authorization", "x-tenant", "cookie"})


def test_what_is_fetched_is_bounded_as_well(conductor: ConductorStandIn, store: Store) -> None:
    workflow_id = stored(conductor, store(answers.json_answer({"rows": "x" * 500})))
    error_of(
        sensor(workflow_id, return_output=True, max_output_bytes=400), ConductorOutputTooLargeError, "max_output_bytes"
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_more_than_any_server_stores_is_not_read(
    conductor: ConductorStandIn, store: Store, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    monkeypatch.setattr(payloads, "MAX_PAYLOAD_BYTES", 1_000)
    large = {"rows": "x" * 500_000}
    server = store(answers.gzipped(large) if compressed else answers.json_answer(large))
    error_of(sensor(stored(conductor, server), output_path="rows"), ConductorOutputTooLargeError, "over 1,000 bytes")


OWN = "/api/external/postgres/8c1d.json"
"""The address that a server gives whose storage is its own database."""


@both_ways
def test_what_the_server_keeps_in_its_own_database_is_read_there(conductor: ConductorStandIn, deferrable: bool) -> None:
    workflow_id = stored(conductor, OWN)
    conductor.payloads["8c1d.json"] = ORDER
    assert result(sensor(workflow_id, return_output=True, deferrable=deferrable)) == ORDER
    assert result(sensor(workflow_id, output_path="rows[1].id", deferrable=deferrable)) == 2


def test_and_with_the_connections_own_token_and_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    with ConductorStandIn(key=("id", "secret")) as conductor:
        monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(headers={"X-Tenant": "tea"}))
        conductor.payloads["8c1d.json"] = ORDER
        assert result(sensor(stored(conductor, OWN), return_output=True)) == ORDER
        (asked,) = (request for request in conductor.requests if request.path.startswith("/external/"))
    assert asked.headers["X-Authorization"] in conductor.tokens
    assert asked.headers["X-Tenant"] == "tea"


def test_a_payload_that_the_database_has_no_more_is_told_as_missing(conductor: ConductorStandIn) -> None:
    told = error_of(
        sensor(stored(conductor, OWN), return_output=True), ConductorOutputTooLargeError, "does not have it"
    )
    assert PATH in str(told)


def test_of_the_servers_own_too_no_more_is_read_than_any_server_stores(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "MAX_PAYLOAD_BYTES", 1_000)
    conductor.payloads["8c1d.json"] = {"rows": "x" * 5_000}
    error_of(sensor(stored(conductor, OWN), output_path="rows"), ConductorOutputTooLargeError, "over 1,000 bytes")


def test_the_servers_own_payload_is_asked_for_again_where_that_can_help(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(max_attempts=3))
    conductor.payloads["8c1d.json"] = ORDER
    failures = iter([(0, "", b""), (503, "text/html", b"<html>busy</html>")])

    def busy(request: Request) -> tuple[int, str, bytes] | None:
        return next(failures, None) if request.path.startswith("/external/") else None

    conductor.instead = busy
    assert result(sensor(stored(conductor, OWN), return_output=True)) == ORDER
    assert conductor.journal.count("GET /external/postgres/8c1d.json") == 3


def test_a_server_without_the_route_to_its_own_payloads_is_no_other_case(conductor: ConductorStandIn) -> None:
    conductor.instead = lambda request: no_route(request) if request.path.startswith("/external/") else None
    error_of(sensor(stored(conductor, OWN), return_output=True), ConductorOutputTooLargeError, "no such endpoint")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("", "gives no address"),
        ("file:///etc/passwd", "an address of file, not http"),
        ("s3://bucket/8c1d.json", "an address of s3, not http"),
        ("/bucket/8c1d.json", "an address of no scheme"),
        ("/api/workflow/8c1d", "an address of no scheme"),
        ("/api/external/../workflow/8c1d", "an address of no scheme"),
    ],
)
def test_without_an_address_for_us_the_error_names_the_place(
    conductor: ConductorStandIn, where: str, told: str
) -> None:
    workflow_id = stored(conductor, where)
    refused = error_of(sensor(workflow_id, return_output=True), ConductorOutputTooLargeError, told)
    assert PATH in str(refused)
    assert workflow_id in str(refused)


def test_an_old_server_without_the_route_is_no_other_case(conductor: ConductorStandIn) -> None:
    def no_such_route(request: Request) -> tuple[int, str, bytes] | None:
        return no_route(request) if request.path.endswith("externalstoragelocation") else None

    conductor.instead = no_such_route
    error_of(sensor(stored(conductor), return_output=True), ConductorOutputTooLargeError, "no such endpoint")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answers.status(403, b"<Error>Request has expired</Error>"), ConductorAuthError),
        (answers.status(404, b""), ConductorNotFoundError),
        (answers.status(503, b""), ConductorServerError),
        (answers.status(307, location="http://127.0.0.1:1/"), NotConductorError),
        (answers.html(200), NotConductorError),
        (answers.json_answer([1]), NotConductorError),
        (answers.drop, ConductorConnectionLostError),
    ],
    ids=["expired", "gone", "busy", "elsewhere again", "a page", "no object", "lost"],
)
def test_a_storage_that_fails_is_told_without_its_signed_address(
    conductor: ConductorStandIn, store: Store, answer: Behaviour, kind: type[ConductorRequestError]
) -> None:
    told = error_of(sensor(stored(conductor, store(answer)), return_output=True), kind)
    assert type(told) is kind
    assert PATH in str(told)
    chain: list[BaseException | None] = [told, told.__cause__]
    assert not any("s3cr3t" in repr(error) + str(error) for error in chain)


def test_a_storage_that_is_busy_for_a_moment_is_asked_again_under_a_fresh_address(
    conductor: ConductorStandIn, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(max_attempts=3))
    server = store(answers.in_turn(answers.status(503, b""), answers.drop, answers.json_answer(ORDER)))
    assert result(sensor(stored(conductor, server), return_output=True)) == ORDER
    asked = [request for request in conductor.requests if request.path == "/workflow/externalstoragelocation"]
    assert len(asked) == len(server.requests) == 3
