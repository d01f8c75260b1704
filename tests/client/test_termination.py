"""Reading and terminating many: nothing that runs is passed over, nothing that has ended is touched."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorConflictError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorTimeoutError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Step, drive
from airflow_provider_conductor.client.flows import READ_AT_ONCE, read_many
from airflow_provider_conductor.client.termination import TERMINATED_AT_ONCE, terminate


@dataclass
class Server:
    """Id → status.

    Attributes:
        bulk: whether it has bulk endpoints.
        unreadable: ids that it cannot read in bulk.
        answers_at_most: so many in bulk; a larger answer does not arrive.
        loses_answer: the next bulk termination ends so many, and no answer comes.
        completes_meanwhile: ids that complete just before they would be terminated.
        fails: raised by every request.
    """

    workflows: dict[str, str]
    bulk: bool = True
    unreadable: set[str] = field(default_factory=set)
    answers_at_most: int = 1_000
    loses_answer: int | None = None
    completes_meanwhile: set[str] = field(default_factory=set)
    fails: Exception | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def run(self, flow: Flow[Any]) -> Any:
        return drive(flow, self._do)

    def _do(self, call: Step) -> Any:
        assert isinstance(call, Call)
        kind = f"{call.method} bulk" if "/bulk/" in call.path else call.method
        self.asked[kind] += 1
        if self.fails is not None:
            raise self.fails
        match call.path.split("/")[2:]:
            case ["bulk", _] if not self.bulk:
                raise ConductorMissingRouteError("no such endpoint", status=404)
            case ["bulk", "search"]:
                if len(call.body) > self.answers_at_most:
                    raise ConductorTimeoutError("too large to arrive in time")
                found = [item for item in call.body if item in self.workflows and item not in self.unreadable]
                body: Any = {
                    "bulkSuccessfulResults": [self._whole(item) for item in found],
                    "bulkErrorResults": {item: "an error" for item in call.body if item not in found},
                }
            case ["bulk", "terminate"]:
                body = self._terminate_many(call)
            case [workflow_id] if workflow_id not in self.workflows:
                raise ConductorNotFoundError("No such workflow", status=404)
            case [workflow_id] if call.method == "DELETE":
                self._terminate(workflow_id, dict(call.params)["reason"])
                return None
            case [workflow_id]:
                body = self._whole(workflow_id)
            case _:
                raise AssertionError(call.path)
        return call.parse(Answer(200, {}, json.dumps(body).encode()))

    def _whole(self, workflow_id: str) -> dict[str, Any]:
        reason = self.reasons.get(workflow_id)
        return {"workflowId": workflow_id, "status": self.workflows[workflow_id], "reasonForIncompletion": reason}

    def _terminate_many(self, call: Call[Any]) -> dict[str, Any]:
        reason, errors = dict(call.params)["reason"], {}
        for number, workflow_id in enumerate(call.body):
            if self.loses_answer == number:
                self.loses_answer = None
                raise ConductorTimeoutError("no answer", fate_unknown=True)
            try:
                self._terminate(workflow_id, reason)
            except ConductorConflictError as error:
                errors[workflow_id] = str(error)
        done = [item for item in call.body if item not in errors]
        return {"bulkSuccessfulResults": done, "bulkErrorResults": errors}

    def _terminate(self, workflow_id: str, reason: str) -> None:
        if workflow_id in self.completes_meanwhile:
            self.workflows[workflow_id] = "COMPLETED"
        if self.workflows[workflow_id] == "COMPLETED":
            raise ConductorConflictError("cannot terminate a COMPLETED workflow", status=409)
        self.workflows[workflow_id], self.reasons[workflow_id] = "TERMINATED", reason


def running(count: int) -> dict[str, str]:
    return {f"w{number}": "RUNNING" for number in range(count)}


ways = pytest.mark.parametrize("bulk", [True, False], ids=["in bulk", "one by one"])


@ways
def test_all_are_read_and_the_unknown_left_out(bulk: bool) -> None:
    server = Server(running(250), bulk=bulk)
    found = server.run(read_many([*server.workflows, "nobody"]))
    assert found.keys() == server.workflows.keys()
    assert found["w7"].workflow_id == "w7"


def test_so_many_are_in_one_answer() -> None:
    server = Server(running(250))
    server.run(read_many(list(server.workflows)))
    assert server.asked == {"POST bulk": -(-250 // READ_AT_ONCE)}


def test_a_server_without_the_route_is_asked_for_it_once() -> None:
    server = Server(running(250), bulk=False)
    server.run(read_many(list(server.workflows)))
    assert server.asked == {"POST bulk": 1, "GET": 250}


def test_what_cannot_be_read_in_bulk_is_read_by_itself() -> None:
    server = Server(running(3), unreadable={"w1"})
    assert server.run(read_many(list(server.workflows))).keys() == server.workflows.keys()
    assert server.asked["GET"] == 1


def test_an_answer_too_large_to_arrive_is_read_one_by_one() -> None:
    server = Server(running(150), answers_at_most=60)
    assert len(server.run(read_many(list(server.workflows)))) == 150
    assert server.asked == {"POST bulk": 2, "GET": 100}


@pytest.mark.parametrize("error", [ConductorUnreachableError("away"), ConductorAuthError("go away", status=401)])
def test_a_server_that_cannot_be_asked_is_not_asked_for_each(error: Exception) -> None:
    server = Server(running(150), fails=error)
    with pytest.raises(type(error)):
        server.run(read_many(list(server.workflows)))
    assert sum(server.asked.values()) == 1


@ways
def test_what_runs_is_terminated_and_what_has_ended_is_returned(bulk: bool) -> None:
    ended = {"c": "COMPLETED", "f": "FAILED", "t": "TIMED_OUT"}
    server = Server({**ended, "p": "PAUSED", **running(250)}, bulk=bulk)
    done = server.run(terminate([*server.workflows, "nobody"], "enough"))
    assert {workflow_id: str(workflow.status) for workflow_id, workflow in done.ended.items()} == ended
    assert {status for item, status in server.workflows.items() if item not in ended} == {"TERMINATED"}
    assert set(server.reasons.values()) == {"enough"}


def test_so_many_are_terminated_by_one_request() -> None:
    server = Server(running(450))
    server.run(terminate(list(server.workflows), "enough"))
    assert server.asked == {"POST bulk": -(-450 // TERMINATED_AT_ONCE) + 5}


def test_one_that_could_not_be_read_with_the_others_is_terminated_too() -> None:
    server = Server(running(3), unreadable={"w1"})
    server.run(terminate(list(server.workflows), "enough"))
    assert set(server.workflows.values()) == {"TERMINATED"}


@ways
def test_what_completes_between_the_look_and_the_call_has_ended(bulk: bool) -> None:
    server = Server(running(3), bulk=bulk, completes_meanwhile={"w1"})
    done = server.run(terminate(list(server.workflows), "enough"))
    assert {workflow_id: str(workflow.status) for workflow_id, workflow in done.ended.items()} == {"w1": "COMPLETED"}
    assert server.workflows == {"w0": "TERMINATED", "w1": "COMPLETED", "w2": "TERMINATED"}


@pytest.mark.parametrize("carried_out", [0, 2, 4])
def test_a_lost_answer_leaves_nothing_running(carried_out: int) -> None:
    """And what it did terminate has not ended before by itself."""
    server = Server(running(5), loses_answer=carried_out)
    done = server.run(terminate(list(server.workflows), "enough"))
    assert (done.terminated, done.ended, done.unknown) == (list(server.workflows), {}, [])
    assert set(server.workflows.values()) == {"TERMINATED"}


def test_a_refusal_is_raised() -> None:
    server = Server(running(2))
    flow = terminate(list(server.workflows), "enough")

    def refuse(call: Step) -> Any:
        if isinstance(call, Call) and call.path.endswith("/terminate"):
            raise ConductorAuthError("read only", status=403)
        return server._do(call)

    with pytest.raises(ConductorAuthError):
        drive(flow, refuse)
