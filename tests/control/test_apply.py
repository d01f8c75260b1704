"""The flow: look, act where it is due, look again; races, lost answers, and what has no effect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorSettings
from airflow_provider_conductor.control import commands
from airflow_provider_conductor.control.apply import ROUNDS, Outcome, apply
from airflow_provider_conductor.control.commands import Command
from airflow_provider_conductor.control.eligibility import Kind
from airflow_provider_conductor.testing import ConductorStandIn, Request
from airflow_provider_conductor.testing.server import no_route

Answer = tuple[int, str, bytes] | None
Do = Callable[..., Outcome]

LOST: Answer = (0, "", b"")


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_conductor.control.apply.PAUSES", (0.01, 0.01))
    monkeypatch.setattr("airflow_provider_conductor.control.commands.UNDONE_WITHIN", 0.01)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def do(conductor: ConductorStandIn, said: list[str]) -> Iterator[Do]:
    with ConductorClient(ConductorSettings(conductor.url, max_attempts=1)) as client:

        def run(command: Command, *workflow_ids: str, **how: Any) -> Outcome:
            return client.run(apply(command, workflow_ids, log=said.append, **how))

        yield run


def requests(conductor: ConductorStandIn) -> list[str]:
    return [f"{request.method} {request.path}" for request in conductor.requests]


def at_first(conductor: ConductorStandIn, ending: str, act: Callable[[], Answer]) -> None:
    """Something else happens just before the first request whose path has this ending."""
    seen: list[Request] = []

    def instead(request: Request) -> Answer:
        if request.path.endswith(ending) and not seen:
            seen.append(request)
            return act()
        return None

    conductor.instead = instead


# Few requests


def test_several_take_three_requests(conductor: ConductorStandIn, do: Do) -> None:
    ids = [conductor.add() for _ in range(3)]
    outcome = do(commands.pause(), *ids)
    assert outcome.done == ids
    assert requests(conductor) == [
        "POST /workflow/bulk/search",
        "PUT /workflow/bulk/pause",
        "POST /workflow/bulk/search",
    ]


def test_one_takes_three_small_requests(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add()
    assert do(commands.pause(), one).done == [one]
    assert requests(conductor) == [f"GET /workflow/{one}", f"PUT /workflow/{one}/pause", f"GET /workflow/{one}"]


def test_where_nothing_is_due_nothing_is_sent(conductor: ConductorStandIn, do: Do, said: list[str]) -> None:
    ids = [conductor.add("PAUSED") for _ in range(3)]
    outcome = do(commands.pause(), *ids)
    assert (outcome.done, list(outcome.already)) == ([], ids)
    assert requests(conductor) == ["POST /workflow/bulk/search"]
    assert said == [f"workflow {item} is PAUSED: it is already paused" for item in ids]


def test_only_what_is_due_is_sent(conductor: ConductorStandIn, do: Do) -> None:
    failed = [conductor.add("FAILED") for _ in range(2)]
    do(commands.terminate("why"), *failed, *(running := [conductor.add() for _ in range(2)]))
    (sent,) = (request for request in conductor.requests if request.path.endswith("/terminate"))
    assert sent.body == running
    assert sent.query["reason"] == "why"


def test_many_go_in_chunks_of_a_thousand_and_are_counted_in_the_log(
    conductor: ConductorStandIn, do: Do, said: list[str]
) -> None:
    ids = [conductor.add("COMPLETED" if number % 1000 == 0 else "RUNNING") for number in range(2_001)]
    outcome = do(commands.terminate("why"), *ids)
    assert (len(outcome.done), len(outcome.already)) == (1_998, 3)
    sizes = [len(request.body) for request in conductor.requests if request.path.endswith("/bulk/terminate")]
    assert sizes == [999, 999]
    looks = [len(request.body) for request in conductor.requests if request.path.endswith("/bulk/search")]
    assert (max(looks), sum(looks)) == (100, 2_000 + 2 * 999)  # the last one is looked at, and acted on, alone
    assert said == [
        "terminated 999 workflows, 1 already so of 2,001",
        "terminated 1,998 workflows, 2 already so of 2,001",
        "terminated 1,998 workflows, 3 already so of 2,001",
    ]


def test_what_has_sub_workflows_is_retried_one_by_one(conductor: ConductorStandIn, do: Do) -> None:
    plain, nested = [conductor.add("FAILED") for _ in range(3)], conductor.add("FAILED")
    conductor.workflows[nested]["workflowDefinition"]["tasks"] = [{"type": "SUB_WORKFLOW"}]
    assert set(do(commands.retry(), *plain, nested).done) == {*plain, nested}
    sent = [request for request in conductor.requests if request.path.endswith("/retry")]
    assert [request.body for request in sent if request.path == "/workflow/bulk/retry"] == [plain]
    assert [request.query for request in sent if nested in request.path] == [{"resumeSubworkflowTasks": "true"}]


@pytest.mark.parametrize("route", ["search", "remove"])
def test_a_server_without_the_bulk_endpoint_is_asked_one_by_one(
    conductor: ConductorStandIn, do: Do, route: str
) -> None:
    """3.13 takes the "bulk" of a removal for a workflow's id."""
    no_such = b'{"message": "No such workflow found by id: bulk", "status": 404, "retryable": false}'

    def instead(request: Request) -> Answer:
        if request.path != f"/workflow/bulk/{route}":
            return None
        return no_route(request) if route == "search" else (404, "application/json", no_such)

    conductor.instead = instead
    ids = [conductor.add("FAILED") for _ in range(3)]
    assert do(commands.delete(), *ids).done == ids
    assert conductor.workflows == {}


# What fails


def test_failures_are_reported_by_reason_with_every_id(conductor: ConductorStandIn, do: Do) -> None:
    completed, paused, failed = (conductor.add(status) for status in ("COMPLETED", "PAUSED", "FAILED"))
    outcome = do(commands.retry(), completed, paused, failed, "no-such-id", "nor-this")
    assert outcome.done == [failed]
    lines = outcome.failure.splitlines()
    assert lines[0] == "could not retry 4 workflows (retried 1 workflows, 0 already so, 4 failed)"
    assert lines[1].startswith(f"workflow {completed} is COMPLETED: there is nothing to retry; ConductorRestart")
    assert lines[2].startswith(f"workflow {paused} is PAUSED: there is nothing to retry; ConductorResume")
    assert lines[3] == (
        "2 workflows are each unknown to the server: it never existed, or it has been deleted or archived: "
        "no-such-id, nor-this"
    )


def test_a_message_stays_readable_when_hundreds_fail(conductor: ConductorStandIn, do: Do) -> None:
    ids = [conductor.add("COMPLETED") for _ in range(300)]
    outcome = do(commands.retry(), *ids)
    assert "and 250 more" in outcome.failure
    assert all(item in outcome.all_failures for item in ids)


def test_what_the_server_refuses_is_sent_once_more(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add("COMPLETED")
    refusal = (404, "application/json", b'{"message": "Workflow is non-restartable","status":404, "retryable": false}')
    conductor.instead = lambda request: refusal if request.path.endswith("/restart") else None
    outcome = do(commands.restart(), one)
    assert outcome.refusals[one].kind is Kind.DUE
    assert "COMPLETED, and the server refused" in outcome.failure
    assert "Workflow is non-restartable" in outcome.failure
    assert requests(conductor).count(f"POST /workflow/{one}/restart") == 2


def test_what_the_server_refuses_in_passing_is_no_failure(conductor: ConductorStandIn, do: Do) -> None:
    ids = [conductor.add("FAILED") for _ in range(3)]
    busy = {"bulkErrorResults": dict.fromkeys(ids, "database is locked"), "bulkSuccessfulResults": []}
    at_first(conductor, "/restart", lambda: (200, "application/json", json.dumps(busy).encode()))
    assert do(commands.restart(), *ids).done == ids


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_accepted_and_has_no_effect_is_a_failure(conductor: ConductorStandIn, do: Do, count: int) -> None:
    ids = [conductor.add() for _ in range(count)]

    def accept(request: Request) -> Answer:
        if request.path == "/workflow/bulk/pause":
            return 200, "application/json", b'{"bulkErrorResults":{},"bulkSuccessfulResults":["whatever"]}'
        return (200, "application/json", b"") if request.path.endswith("/pause") else None

    conductor.instead = accept
    outcome = do(commands.pause(), *ids)
    assert outcome.done == []
    assert [refusal.why for refusal in outcome.refusals.values()] == [
        "RUNNING: the server accepted the request to pause it, but it had no effect"
    ] * count
    assert len(requests(conductor)) == 5  # it is looked at three times, not forever


@pytest.mark.parametrize("count", [1, 2])
def test_a_retry_that_does_nothing_is_refused_with_what_would_do(
    conductor: ConductorStandIn, do: Do, count: int
) -> None:
    """No task has failed: the server accepts it one by one, and refuses it in bulk."""
    ids = [conductor.add("FAILED", tasks=[{"referenceTaskName": "pack", "status": "COMPLETED"}]) for _ in range(count)]
    refusals = do(commands.retry(), *ids).refusals
    assert {refusals[item].kind for item in ids} == {Kind.CANNOT}
    for item in ids:
        assert "none of its tasks has failed" in refusals[item].why
        assert "ConductorRestartWorkflowOperator" in refusals[item].why
        assert conductor.status(item) == "FAILED"


def test_of_many_only_those_are_read_closely_that_may_have_ended_themselves(
    conductor: ConductorStandIn, do: Do
) -> None:
    ids = [conductor.add("FAILED") for _ in range(3)]
    conductor.workflows[ids[1]]["workflowDefinition"]["tasks"] = [{"type": "TERMINATE"}]
    assert do(commands.retry(), *ids).done == ids
    assert [path for path in requests(conductor) if path.startswith("GET")] == [f"GET /workflow/{ids[1]}"] * 2


JOINED = {"tasks": [{"type": "JOIN"}]}

OLD = {"taskId": "1", "referenceTaskName": "pack", "status": "FAILED", "seq": 1, "retried": True}

JOIN = {"taskId": "9", "referenceTaskName": "join", "taskType": "JOIN", "status": "FAILED", "seq": 2}


def new(number: int, **fields: Any) -> dict[str, Any]:
    attempt = {"referenceTaskName": "pack", "status": "CANCELED", "retriedTaskId": "1"}
    return attempt | {"taskId": f"1{number}", "seq": 2 + number, "retried": False} | fields


def undo(
    conductor: ConductorStandIn, workflow_id: str, times: int, *, left_open: bool = False, breaks: bool = False
) -> None:
    """Let the server undo so many retries, as 3.32.2 does when its JOIN is evaluated too early.

    With ``left_open``, the new attempts stay open, and it refuses further retries until they are canceled. With
    ``breaks``, they have no place in the order, so that no further retry replaces them.
    """
    attempts: list[dict[str, Any]] = []
    retry = conductor._control

    def control(verb: str, item: str, query: Any) -> Any:
        tasks = conductor.workflows[item]["tasks"]
        if verb == "POST retry" and any(task["status"] == "SCHEDULED" for task in tasks):
            return 409, "application/json", b'{"message": "There are no retryable tasks!", "status": 409}'
        if verb == "DELETE ":
            for task in tasks:
                task["status"] = task["status"].replace("SCHEDULED", "CANCELED")
        answer = retry(verb, item, query)
        if verb == "POST retry" and len(attempts) < times:
            attempts.append(new(len(attempts) + 1, status="SCHEDULED" if left_open else "CANCELED"))
            attempts[-1] |= {"seq": 0} if breaks else {}
            conductor.has_tasks(item, OLD, *({**one, "retried": True} for one in attempts[:-1]), attempts[-1], JOIN)
            conductor.end(item, "FAILED")
        return answer

    conductor._control = control  # type: ignore[method-assign]
    conductor.has_tasks(workflow_id, {**OLD, "retried": False}, {**JOIN, "status": "CANCELED"})
    conductor.workflows[workflow_id]["workflowDefinition"] = JOINED


@pytest.mark.parametrize("left_open", [False, True])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_retry_that_the_server_has_undone_is_sent_again(
    conductor: ConductorStandIn, do: Do, said: list[str], times: int, left_open: bool
) -> None:
    one = conductor.add("FAILED")
    undo(conductor, one, times, left_open=left_open)
    assert do(commands.retry(), one).done == [one]
    assert conductor.status(one) == "RUNNING"
    assert len([request for request in conductor.requests if request.path.endswith("/retry")]) == times + 1
    assert len([line for line in said if "has undone the retry" in line]) == times
    assert len(conductor.sent("DELETE")) == (times if left_open else 0)


def test_a_retry_that_the_server_always_undoes_has_no_effect(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add("FAILED")
    undo(conductor, one, 9)
    (refusal,) = do(commands.retry(), one).refusals.values()
    assert "it had no effect" in refusal.why


def test_a_retry_that_breaks_the_workflow_is_no_success(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add("FAILED")
    undo(conductor, one, 1, breaks=True)
    outcome = do(commands.retry(), one)
    assert outcome.done == []
    assert "undone by the server itself" in outcome.refusals[one].why
    assert len([request for request in conductor.requests if request.path.endswith("/retry")]) == 1


def test_a_workflow_that_an_undone_retry_has_broken_is_refused_with_what_would_help(
    conductor: ConductorStandIn, do: Do
) -> None:
    one = conductor.add("FAILED", tasks=[new(1, seq=0), OLD, JOIN])
    conductor.workflows[one]["workflowDefinition"] = JOINED
    (refusal,) = do(commands.retry(), one).refusals.values()
    assert refusal.kind is Kind.CANNOT
    for part in ("undone by the server itself", "'pack'", "ConductorRestartWorkflowOperator"):
        assert part in refusal.why
    assert [request.method for request in conductor.requests] == ["GET", "GET"]


def test_an_effect_may_show_a_little_later(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add()
    looks: list[int] = []

    def late(request: Request) -> Answer:
        if request.path.endswith("/pause"):
            return 200, "application/json", b""
        looks.append(1)
        if len(looks) == 3:
            conductor.workflows[one]["status"] = "PAUSED"
        return None

    conductor.instead = late
    assert do(commands.pause(), one).done == [one]


# Somebody else acts between the look and the call


@pytest.mark.parametrize("count", [1, 2])
def test_what_ends_meanwhile_is_looked_at_again(conductor: ConductorStandIn, do: Do, count: int) -> None:
    ids = [conductor.add() for _ in range(count)]

    def complete() -> None:
        for item in ids:
            conductor.end(item, "COMPLETED")

    at_first(conductor, "/pause", complete)
    outcome = do(commands.pause(), *ids)
    assert [(item, refusal.kind) for item, refusal in outcome.refusals.items()] == [(item, Kind.CANNOT) for item in ids]
    assert "COMPLETED: there is nothing to pause" in outcome.failure


@pytest.mark.parametrize(
    ("command", "before", "then", "path"),
    [
        (commands.resume(), "PAUSED", "RUNNING", "/resume"),
        (commands.restart(), "FAILED", "RUNNING", "/restart"),
        (commands.retry(), "FAILED", "COMPLETED", "/retry"),
        (commands.terminate("why"), "RUNNING", "COMPLETED", ""),
    ],
    ids=lambda value: value.verb if isinstance(value, Command) else None,
)
def test_what_somebody_else_has_done_meanwhile_is_a_success_and_not_ours(
    conductor: ConductorStandIn, do: Do, command: Command, before: str, then: str, path: str
) -> None:
    one = conductor.add(before)

    def act(request: Request) -> None:
        if request.method != "GET" and request.path.endswith(f"{one}{path}"):
            conductor.end(one, then)

    conductor.instead = act
    outcome = do(command, one)
    assert (outcome.done, list(outcome.already), outcome.refusals) == ([], [one], {})
    assert conductor.status(one) == then


def test_what_is_due_still_after_a_change_is_sent_again(conductor: ConductorStandIn, do: Do) -> None:
    """Somebody restarts it, and terminates that."""
    one = conductor.add("FAILED")

    def meanwhile() -> Answer:
        conductor.end(one, "TERMINATED")
        return 409, "application/json", b'{"message": "not in terminal state","status":409, "retryable": false}'

    at_first(conductor, "/restart", meanwhile)
    assert do(commands.restart(), one).done == [one]
    assert conductor.status(one) == "RUNNING"


def test_what_is_deleted_meanwhile_is_missing(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add()
    at_first(conductor, "/pause", lambda: conductor.workflows.clear())
    assert do(commands.pause(), one).refusals[one].kind is Kind.MISSING


# The answer is lost


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_carried_out_is_not_sent_again(conductor: ConductorStandIn, do: Do, count: int) -> None:
    ids = [conductor.add("FAILED") for _ in range(count)]

    def carry_out() -> Answer:
        for item in ids:
            conductor.workflows[item].update(status="RUNNING", createTime=1)
        return LOST

    at_first(conductor, "/restart", carry_out)
    assert do(commands.restart(), *ids).done == ids
    assert sum(path.endswith("/restart") for path in requests(conductor)) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_not_is_sent_again(conductor: ConductorStandIn, do: Do, count: int) -> None:
    ids = [conductor.add("FAILED") for _ in range(count)]
    at_first(conductor, "/restart", lambda: LOST)
    assert do(commands.restart(), *ids).done == ids
    assert {conductor.status(item) for item in ids} == {"RUNNING"}
    assert sum(path.endswith("/restart") for path in requests(conductor)) == 2


def test_it_is_not_sent_for_ever(conductor: ConductorStandIn, do: Do) -> None:
    one = conductor.add("FAILED")
    conductor.instead = lambda request: LOST if request.path.endswith("/restart") else None
    outcome = do(commands.restart(), one)
    assert outcome.refusals[one].kind is Kind.DUE
    assert requests(conductor).count(f"POST /workflow/{one}/restart") == ROUNDS
