"""Reading and terminating many: nothing that runs is passed over, nothing that has ended is changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_conductor.client import ConductorAuthError, ConductorClient, ConductorSettings
from airflow_provider_conductor.client.flows import READ_AT_ONCE, read_many
from airflow_provider_conductor.client.termination import TERMINATED_AT_ONCE, Termination, terminate
from airflow_provider_conductor.testing import ConductorStandIn, Request
from airflow_provider_conductor.testing.server import Answer, no_route

LOST = (0, "", b"")
"""No answer."""


@pytest.fixture
def client(conductor: ConductorStandIn) -> Iterator[ConductorClient]:
    with ConductorClient(ConductorSettings(conductor.url, max_attempts=1)) as client:
        yield client


def add(conductor: ConductorStandIn, count: int) -> list[str]:
    """So many running workflows."""
    return [conductor.add() for _ in range(count)]


def asked(conductor: ConductorStandIn) -> Counter[str]:
    """How many requests of each kind have arrived."""
    return Counter(
        f"bulk {request.path.rpartition('/')[2]}" if "/bulk/" in request.path else request.method
        for request in conductor.requests
    )


def statuses(conductor: ConductorStandIn) -> list[str]:
    return [conductor.status(workflow_id) for workflow_id in conductor.workflows]


def ended(done: Termination) -> dict[str, str]:
    return {workflow_id: str(workflow.status) for workflow_id, workflow in done.ended.items()}


def without_bulk(request: Request) -> Answer | None:
    return no_route(request) if "/bulk/" in request.path else None


both_ways = pytest.mark.parametrize("instead", [lambda request: None, without_bulk], ids=["in bulk", "one by one"])
Instead = Callable[[Request], Answer | None]


@both_ways
def test_all_are_read_and_the_unknown_left_out(
    conductor: ConductorStandIn, client: ConductorClient, instead: Instead
) -> None:
    conductor.instead = instead
    ids = add(conductor, 150)
    found = client.run(read_many([*ids, "nobody"]))
    assert sorted(found) == sorted(ids)
    assert all(workflow.workflow_id == workflow_id for workflow_id, workflow in found.items())


@pytest.mark.parametrize(
    ("instead", "requests"),
    [
        (lambda request: None, {"bulk search": -(-250 // READ_AT_ONCE)}),
        (without_bulk, {"bulk search": 1, "GET": 250}),
        (lambda request: LOST if "/bulk/" in request.path and len(request.body) > 60 else None, {"GET": 200}),
    ],
    ids=["many in one answer", "no such route: asked for once", "an answer too large to arrive"],
)
def test_many_are_read_with_few_requests(
    conductor: ConductorStandIn, client: ConductorClient, instead: Instead, requests: dict[str, int]
) -> None:
    conductor.instead = instead
    assert len(client.run(read_many(add(conductor, 250)))) == 250
    assert requests.items() <= asked(conductor).items()


def unreadable(conductor: ConductorStandIn, workflow_id: str) -> None:
    """From now on a bulk answer lacks this workflow."""

    def instead(request: Request) -> Answer | None:
        if request.path != "/workflow/bulk/search" or workflow_id not in request.body:
            return None
        found = [conductor.workflows[item] for item in request.body if item != workflow_id]
        answer = {"bulkSuccessfulResults": found, "bulkErrorResults": {workflow_id: "an error"}}
        return 200, "application/json", json.dumps(answer).encode()

    conductor.instead = instead


def test_what_a_bulk_answer_lacks_is_read_and_terminated_too(
    conductor: ConductorStandIn, client: ConductorClient
) -> None:
    ids = add(conductor, 3)
    unreadable(conductor, ids[1])
    assert client.run(read_many(ids)).keys() == set(ids)
    assert asked(conductor) == {"bulk search": 1, "GET": 1}
    assert sorted(client.run(terminate(ids, "enough")).terminated) == sorted(ids)
    assert statuses(conductor) == ["TERMINATED"] * 3


def test_a_server_that_refuses_is_not_asked_for_each(conductor: ConductorStandIn, client: ConductorClient) -> None:
    conductor.instead = lambda request: (401, "application/json", b'{"message": "go away", "retryable": false}')
    with pytest.raises(ConductorAuthError):
        client.run(read_many(add(conductor, 150)))
    assert len(conductor.requests) == 1


@both_ways
def test_what_runs_is_terminated_and_what_has_ended_is_left(
    conductor: ConductorStandIn, client: ConductorClient, instead: Instead
) -> None:
    conductor.instead = instead
    had_ended = {conductor.add(status): status for status in ("COMPLETED", "FAILED", "TIMED_OUT")}
    running = [conductor.add("PAUSED"), *add(conductor, 110)]
    done = client.run(terminate([*had_ended, *running, "nobody"], "enough"))
    assert (sorted(done.terminated), ended(done), done.unknown) == (sorted(running), had_ended, ["nobody"])
    assert {conductor.status(workflow_id) for workflow_id in running} == {"TERMINATED"}
    assert {conductor.reason(workflow_id) for workflow_id in running} == {"enough"}
    assert {workflow_id: conductor.status(workflow_id) for workflow_id in had_ended} == had_ended


@pytest.mark.parametrize(
    ("status", "words"),
    [("RUNNING", "it was terminated"), ("FAILED", "ended as FAILED"), (None, "does not have it")],
)
def test_what_became_of_one_can_be_logged(
    conductor: ConductorStandIn, client: ConductorClient, status: str | None, words: str
) -> None:
    workflow_id = "nobody" if status is None else conductor.add(status)
    assert words in client.run(terminate([workflow_id], "enough")).describe(workflow_id)
    assert asked(conductor) == ({"GET": 1, "DELETE": 1} if status == "RUNNING" else {"GET": 1})


def test_many_are_terminated_by_one_request(conductor: ConductorStandIn, client: ConductorClient) -> None:
    client.run(terminate(add(conductor, 450), "enough"))
    assert asked(conductor) == {"bulk search": -(-450 // READ_AT_ONCE), "bulk terminate": -(-450 // TERMINATED_AT_ONCE)}


@pytest.mark.parametrize("count", [1, 3])
@both_ways
def test_what_completes_between_the_read_and_the_termination_has_ended(
    conductor: ConductorStandIn, client: ConductorClient, instead: Instead, count: int
) -> None:
    ids = add(conductor, count)

    def completes(request: Request) -> Answer | None:
        if request.method == "DELETE" or request.path == "/workflow/bulk/terminate":
            conductor.end(ids[0], "COMPLETED")
        return instead(request)

    conductor.instead = completes
    done = client.run(terminate(ids, "enough"))
    assert (sorted(done.terminated), ended(done)) == (sorted(ids[1:]), {ids[0]: "COMPLETED"})
    assert statuses(conductor) == ["COMPLETED", *["TERMINATED"] * (count - 1)]


@pytest.mark.parametrize(("count", "carried_out"), [(5, 0), (5, 2), (5, 5), (1, 0), (1, 1)])
def test_a_lost_answer_leaves_nothing_running(
    conductor: ConductorStandIn, client: ConductorClient, count: int, carried_out: int
) -> None:
    """And what it did terminate counts as terminated."""
    ids = add(conductor, count)
    lost: list[str] = []

    def loses_one_answer(request: Request) -> Answer | None:
        if lost or (request.method != "DELETE" and request.path != "/workflow/bulk/terminate"):
            return None
        lost.append(request.path)
        for workflow_id in ids[:carried_out]:
            conductor.end(workflow_id, "TERMINATED", reason="enough")
        return LOST

    conductor.instead = loses_one_answer
    done = client.run(terminate(ids, "enough"))
    assert (sorted(done.terminated), done.ended, done.unknown) == (sorted(ids), {}, [])
    assert statuses(conductor) == ["TERMINATED"] * count


@pytest.mark.parametrize("count", [1, 2])
def test_a_refusal_is_raised(conductor: ConductorStandIn, client: ConductorClient, count: int) -> None:
    refusal = (403, "application/json", b'{"message": "read only", "retryable": false}')
    conductor.instead = lambda request: refusal if "terminate" in request.path or request.method == "DELETE" else None
    with pytest.raises(ConductorAuthError):
        client.run(terminate(add(conductor, count), "enough"))
