"""What is done where a server lacks an endpoint, as a conversation: no server, no time."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorInputError,
    ConductorMissingRouteError,
    ConductorServerError,
    Workflow,
)
from airflow_provider_conductor.client.flow import Call, Flow, Now, Sleep, Step, drive
from airflow_provider_conductor.client.flows import Capabilities, execute_workflow, get_workflow_status, reached
from tests.client import fault_server as faults
from tests.client.transports import Connect, Serve

MISSING = ConductorMissingRouteError("this server has no such endpoint")


def workflow(status: str = "RUNNING", **tasks: str) -> Workflow:
    attempts = [{"referenceTaskName": name, "status": state, "seq": i} for i, (name, state) in enumerate(tasks.items())]
    return Workflow({"workflowId": "w1", "status": status, "tasks": attempts})


class Talk:
    """Plays the driver and the server: calls are answered in order, time passes only in sleeps."""

    def __init__(self, flow: Flow[Any], *answers: Any) -> None:
        self.calls: list[Call[Any]] = []
        self.slept = 0.0
        waiting = list(answers)

        def do(step: Step) -> Any:
            if isinstance(step, Now):
                return 1_000.0 + self.slept
            if isinstance(step, Sleep):
                self.slept += step.seconds
                return None
            self.calls.append(step)
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.result = drive(flow, do)

    @property
    def asked(self) -> list[str]:
        return [f"{call.method} {call.path}" for call in self.calls]


def executing(capabilities: Capabilities, seconds: float, task: str | None = None) -> Flow[Workflow]:
    body = {"name": "orders", "version": 2, "correlationId": "c1"}
    return execute_workflow(capabilities, body, request_id="r1", wait_until_task_ref=task, wait_for_seconds=seconds)


def test_an_execution_that_ends_in_time_is_one_request() -> None:
    talk = Talk(executing(Capabilities(), 10), workflow("COMPLETED"))
    assert talk.result.status == "COMPLETED"
    (call,) = talk.calls
    assert (call.path, call.body["correlationId"]) == ("/workflow/execute/orders/2", "c1")
    assert dict(call.params) == {"requestId": "r1", "waitForSeconds": "10"}


@pytest.mark.parametrize(("seconds", "hold"), [(1, 1), (10.7, 10), (25, 25), (26, 25), (70, 25), (86_400, 25)])
def test_no_hold_is_longer_than_a_stock_server_allows(seconds: float, hold: int) -> None:
    talk = Talk(executing(Capabilities(), seconds), workflow("RUNNING"), workflow("COMPLETED"))
    assert talk.calls[0].hold == hold
    assert dict(talk.calls[0].params)["waitForSeconds"] == str(hold)


def test_after_the_hold_the_workflow_is_polled_until_it_ends() -> None:
    running = workflow("RUNNING")
    talk = Talk(executing(Capabilities(), 70), running, running, running, workflow("COMPLETED"))
    assert talk.result.status == "COMPLETED"
    assert talk.asked == ["POST /workflow/execute/orders/2", *["GET /workflow/w1"] * 3]


def test_still_running_at_the_end_of_the_wait_is_an_answer() -> None:
    talk = Talk(executing(Capabilities(), 70), workflow("RUNNING"))
    assert talk.result.status == "RUNNING"
    assert talk.slept == pytest.approx(70)
    assert len(talk.calls) < 100


def test_on_a_server_without_execute_the_workflow_is_started_and_polled() -> None:
    capabilities = Capabilities()
    talk = Talk(executing(capabilities, 10), MISSING, "w1", workflow("RUNNING"), workflow("COMPLETED"))
    assert talk.asked == ["POST /workflow/execute/orders/2", "POST /workflow", "GET /workflow/w1", "GET /workflow/w1"]
    assert talk.calls[1].body == {"name": "orders", "version": 2, "correlationId": "c1"}
    assert Talk(executing(capabilities, 10), "w2", workflow("COMPLETED")).asked[0] == "POST /workflow"


def test_a_wait_of_zero_seconds_starts_and_polls_once() -> None:
    talk = Talk(executing(Capabilities(), 0), "w1", workflow("RUNNING"))
    assert talk.asked == ["POST /workflow", "GET /workflow/w1"]


@pytest.mark.parametrize("seconds", [float("nan"), -1, float("-inf"), float("inf")])
def test_an_invalid_wait_is_refused_before_anything_is_sent(seconds: float) -> None:
    with pytest.raises(ConductorInputError, match="wait_for_seconds"):
        next(executing(Capabilities(), seconds))


def test_an_execution_whose_fate_is_unknown_is_not_started_again() -> None:
    error = ConductorServerError("boom", status=500, fate_unknown=True)
    with pytest.raises(ConductorServerError):
        Talk(executing(Capabilities(), 10), error)


@pytest.mark.parametrize(
    ("found", "done"),
    [
        (workflow("RUNNING"), False),
        (workflow("PAUSED"), False),
        (workflow("FAILED"), True),
        (workflow("TERMINATED"), True),
        (workflow("RUNNING", pack="IN_PROGRESS"), False),
        (workflow("RUNNING", pack="COMPLETED"), True),
        (workflow("RUNNING", pack="SKIPPED"), True),
        (workflow("RUNNING", ship="COMPLETED"), False),
        (workflow("RUNNING", pack="FAILED"), True),
    ],
)
def test_a_wait_until_a_task_ends_with_the_task_or_the_workflow(found: Workflow, done: bool) -> None:
    assert reached(found, "pack") is done


def test_the_failure_of_an_optional_task_is_not_its_end_while_the_workflow_runs() -> None:
    optional = {"referenceTaskName": "pack", "status": "FAILED", "workflowTask": {"optional": True}}
    found = {"workflowId": "w1", "tasks": [optional]}
    assert not reached(Workflow(found | {"status": "RUNNING"}), "pack")
    assert reached(Workflow(found | {"status": "COMPLETED"}), "pack")
    done = {"workflowId": "w1", "status": "RUNNING", "tasks": [optional | {"status": "COMPLETED_WITH_ERRORS"}]}
    assert reached(Workflow(done), "pack")


def test_a_failed_attempt_with_a_successor_is_not_the_end_of_its_task() -> None:
    first = {"referenceTaskName": "pack", "status": "FAILED", "seq": 1, "retried": True}
    second = {"referenceTaskName": "pack", "status": "SCHEDULED", "seq": 2}
    running = {"workflowId": "w1", "status": "RUNNING"}
    assert not reached(Workflow(running | {"tasks": [first]}), "pack")
    assert not reached(Workflow(running | {"tasks": [first, second]}), "pack")
    assert not reached(Workflow(running | {"tasks": [second, first]}), "pack")


def test_status_is_one_small_request() -> None:
    talk = Talk(get_workflow_status(Capabilities(), "w1", include_output=True), workflow("RUNNING"))
    assert talk.asked == ["GET /workflow/w1/status"]
    assert dict(talk.calls[0].params) == {"includeOutput": "true", "includeVariables": "false"}


def test_a_server_without_status_is_read_without_tasks_and_not_asked_again() -> None:
    capabilities = Capabilities()
    talk = Talk(get_workflow_status(capabilities, "w1"), MISSING, workflow("RUNNING"))
    assert talk.asked == ["GET /workflow/w1/status", "GET /workflow/w1"]
    assert dict(talk.calls[1].params) == {"includeTasks": "false"}
    assert Talk(get_workflow_status(capabilities, "w1"), workflow("RUNNING")).asked == ["GET /workflow/w1"]


def test_what_a_server_lacks_is_found_out_once_a_connection(serve: Serve, connect: Connect) -> None:
    server = serve(
        lambda exchange: (
            faults.no_route if exchange.request.path.endswith("/status") else faults.workflow("w1", "COMPLETED")
        )(exchange)
    )
    client = connect(server)
    for _ in range(3):
        assert client.run(get_workflow_status(client.client.capabilities, "w1")).status == "COMPLETED"
    assert len(server.sent_to("/workflow/w1/status")) == 1
    assert len(server.sent_to("/workflow/w1")) == 3
