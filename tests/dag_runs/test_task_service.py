"""One pass over a task: what is asked of Airflow, and what is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from airflow_provider_conductor.client import AsyncConductorClient
from airflow_provider_conductor.client.models import Task
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.dag_runs.airflow_client import AirflowClient
from airflow_provider_conductor.dag_runs.report import ENDED_BY_WORKER
from airflow_provider_conductor.dag_runs.task_service import TaskService
from airflow_provider_conductor.testing import Request
from tests.dag_runs.fake_airflow import FakeAirflow
from tests.dag_runs.task_queue import TaskQueue

T = TypeVar("T")

UNAVAILABLE = (503, "text/plain", b"no server is available")


class Served:
    """The service on both fakes, for one call at a time."""

    def __init__(self, airflow: FakeAirflow, queue: TaskQueue) -> None:
        self.airflow, self.queue = airflow, queue
        self.max_active_runs = 100
        self.open_runs: set[str] = set()

    def do(self, what: Callable[[TaskService], Awaitable[T]]) -> T:
        async def run() -> T:
            settings = ConductorSettings(f"{self.queue.server.url}/api", max_attempts=1)
            async with (
                AsyncConductorClient(settings) as conductor,
                AirflowClient(self.airflow.settings()) as airflow,
            ):
                api = await airflow.find_api()
                service = TaskService(conductor, airflow, api, 5, self.max_active_runs, self.open_runs)
                done = await what(service)
                self.open_runs = service.open_runs
                return done

        return asyncio.run(run())

    def serve(self) -> dict[str, Any]:
        """Take the task that is due, and report on it: the update."""
        (data,) = self.queue.take(1)
        task = Task(dict(data))

        async def one(service: TaskService) -> None:
            await service.send(task, await service.report_on(task))

        self.do(one)
        return self.queue.updates[-1]

    def end_orphans(self) -> None:
        self.do(lambda service: service.end_orphans(set()))

    def state(self, task_id: str, dag_id: str = "etl") -> str:
        state: str = self.airflow.runs[dag_id, f"conductor__{task_id}"]["state"]
        return state


@pytest.fixture
def served(airflow: FakeAirflow, queue: TaskQueue) -> Served:
    return Served(airflow, queue)


PARENT = {
    "parentRunId": "01900000-0000-7000-8000-000000000001",
    "parentJobName": "shop.order",
    "parentJobNamespace": "airflow",
}


def test_the_workflow_is_the_runs_parent_in_openlineage(served: Served) -> None:
    own = {"openlineage": {"own": True}}
    served.queue.add("t1", {"dag_id": "etl", "airflow": {"openlineage": PARENT}}, workflowType="orders")
    served.serve()
    served.queue.add("t2", {"dag_id": "etl", "airflow": {"openlineage": PARENT}, "conf": own}, workflowType="orders")
    served.serve()
    served.queue.add("t3", {"dag_id": "etl", "airflow": None})
    served.serve()
    given, kept, none = (served.airflow.runs["etl", f"conductor__{task_id}"]["conf"] for task_id in ("t1", "t2", "t3"))
    lineage = given["openlineage"]
    assert lineage["parentJobName"] == "orders"
    assert lineage["parentJobNamespace"] == f"conductor://127.0.0.1:{served.queue.server.port}"
    assert lineage["rootParentRunId"] == PARENT["parentRunId"]
    assert kept == own
    assert none == {}


def test_a_run_is_started_and_returned_to_the_queue(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl", "conf": {"a": 1}, "note": "n"})
    update = served.serve()
    assert served.airflow.starts == ["conductor__t1"]
    run = served.airflow.runs["etl", "conductor__t1"]
    assert (run["conf"], run["note"], run["logical_date"]) == ({"a": 1}, "n", None)
    assert (update["status"], update["callbackAfterSeconds"]) == ("IN_PROGRESS", 5)
    assert (update["outputData"]["dag_run_id"], update["outputData"]["state"]) == ("conductor__t1", "queued")


def test_it_is_read_until_it_ends(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl", "xcoms": ["count", {"task_id": "rows", "map_index": 3}, "none"]})
    served.serve()
    served.airflow.runs["etl", "conductor__t1"]["state"] = "running"
    served.queue.pass_time(600)
    assert served.serve()["callbackAfterSeconds"] == 30
    assert served.queue.take(1) == []
    served.airflow.xcoms = {("etl", "count", "return_value", -1): {"n": 42}, ("etl", "rows", "return_value", 3): 7}
    served.airflow.end("conductor__t1", "success")
    served.queue.pass_time(30)
    update = served.serve()
    assert update["status"] == "COMPLETED"
    assert update["outputData"]["xcoms"] == {"count": {"n": 42}, "rows": 7, "none": None}
    assert served.airflow.starts == ["conductor__t1"]
    assert served.open_runs == set()


def test_a_failed_run_names_its_tasks(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.serve()
    served.airflow.failed_tasks = [{"task_id": "load", "state": "failed", "map_index": -1, "try_number": 3}]
    served.airflow.end("conductor__t1", "failed")
    served.queue.pass_time(5)
    update = served.serve()
    assert update["status"] == "FAILED"
    assert "DAG run conductor__t1 of etl failed: load (failed, try 3)" in update["reasonForIncompletion"]


def test_a_start_whose_answer_was_lost_is_found(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    original = served.airflow._route
    lost = iter([True])

    def lose(request: Request) -> Any:
        if request.method == "POST" and request.path.endswith("/dagRuns") and next(lost, False):
            original(request, request.path.strip("/").split("/")[1:])
            return 0, "", b""
        return None

    served.airflow.instead = lose
    update = served.serve()
    assert (update["status"], update["callbackAfterSeconds"]) == ("IN_PROGRESS", 10)
    assert "the connection broke" in update["outputData"]["waiting_for"]
    served.queue.pass_time(10)
    assert served.serve()["outputData"]["dag_run_id"] == "conductor__t1"
    assert served.airflow.starts == ["conductor__t1"]


@pytest.mark.parametrize("stage", ["start", "read"])
def test_an_outage_of_airflow_fails_no_task(served: Served, stage: str) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    if stage == "read":
        served.serve()
        served.queue.pass_time(5)
    served.airflow.instead = lambda request: None if request.path.endswith("version") else UNAVAILABLE
    if served.airflow.version == 2 and stage == "read":
        served.airflow.withdraw_tokens()
    for _ in range(3):
        update = served.serve()
        assert update["status"] == "IN_PROGRESS"
        served.queue.pass_time(10)
    if stage == "read":
        assert update["outputData"]["dag_run_id"] == "conductor__t1"
    served.airflow.instead = lambda request: None
    served.serve()
    served.airflow.end("conductor__t1", "success")
    served.queue.pass_time(10)
    assert served.serve()["status"] == "COMPLETED"
    assert served.airflow.starts == ["conductor__t1"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_lack_of_credentials_or_rights_fails_no_task(served: Served, status: int) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.airflow.instead = lambda request: (
        None if request.path.endswith("version") else (status, "application/json", b'{"detail": "Forbidden"}')
    )
    update = served.serve()
    assert update["status"] == "IN_PROGRESS"
    assert str(status) in update["outputData"]["waiting_for"]


@pytest.mark.parametrize(
    ("task_input", "reason"),
    [
        ({"dag_id": "unknown"}, "Airflow refused: DAG with dag_id: 'unknown' not found"),
        ({"dag_id": "etl", "conf": 7}, "wrong input: conf must be an object"),
        ({}, "wrong input: dag_id must be"),
    ],
)
def test_what_a_retry_cannot_help_is_final(served: Served, task_input: dict[str, Any], reason: str) -> None:
    served.queue.add("t1", task_input)
    update = served.serve()
    assert update["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert update["reasonForIncompletion"].startswith(reason)
    assert served.airflow.starts == []
    assert served.open_runs == set()


def test_the_logical_date_of_another_run_is_refused(served: Served) -> None:
    date = "2026-01-01T00:00:00+00:00"
    served.queue.add("t1", {"dag_id": "etl", "logical_date": date})
    served.serve()
    served.queue.add("t2", {"dag_id": "etl", "logical_date": date})
    update = served.serve()
    assert update["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "is that of another run of etl" in update["reasonForIncompletion"]


def test_a_gateways_404_is_no_refusal(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.airflow.instead = lambda request: (
        (404, "application/json", b'{"detail": "Not Found"}') if request.path.endswith("/dagRuns") else None
    )
    assert served.serve()["status"] == "IN_PROGRESS"


def test_a_deleted_run_fails_its_task(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.serve()
    served.airflow.runs.clear()
    served.queue.pass_time(5)
    update = served.serve()
    assert (update["status"], served.airflow.starts) == ("FAILED", ["conductor__t1"])
    assert "was deleted in Airflow" in update["reasonForIncompletion"]


def test_an_output_that_cannot_be_stored_is_final(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl", "xcoms": ["share"]})
    served.serve()
    served.airflow.xcoms = {("etl", "share", "return_value", -1): float("nan")}
    served.airflow.end("conductor__t1", "success")
    served.queue.pass_time(5)
    update = served.serve()
    assert update["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "the output cannot be stored" in update["reasonForIncompletion"]


def test_what_only_explains_may_be_forbidden(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.airflow.instead = lambda request: (
        (403, "application/json", b'{"detail": "Forbidden"}')
        if request.path.endswith(("/dags/etl", "/taskInstances"))
        else None
    )
    update = served.serve()
    assert update["status"] == "IN_PROGRESS"
    served.airflow.end("conductor__t1", "failed")
    served.queue.pass_time(5)
    assert served.serve()["status"] == "FAILED"


def test_a_paused_dag_is_waited_for(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "step_paused"})
    assert "is paused in Airflow: unpause it" in served.serve()["outputData"]["waiting_for"]
    served.airflow.dags["step_paused"] = False
    served.queue.pass_time(5)
    assert "waiting_for" not in served.serve()["outputData"]


def test_no_more_runs_are_open_than_may_be(served: Served) -> None:
    served.max_active_runs = 1
    served.queue.add("t1", {"dag_id": "etl"})
    served.serve()
    served.queue.add("t2", {"dag_id": "etl"})
    update = served.serve()
    assert (update["status"], update["outputData"]) == ("IN_PROGRESS", {"waiting_for": "1 DAG runs are open already"})
    served.airflow.end("conductor__t1", "success")
    served.queue.pass_time(5)
    assert served.serve()["status"] == "COMPLETED"
    served.queue.pass_time(5)
    served.serve()
    assert served.airflow.starts == ["conductor__t1", "conductor__t2"]


LOST = "responseTimeout: 2 exceeded for the taskId: t1"


def test_the_attempt_after_a_lost_one_goes_on_with_its_run(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.serve()
    served.queue.end("t1", "TIMED_OUT", LOST)
    served.queue.add("t2", {"dag_id": "etl"}, retriedTaskId="t1", workflowInstanceId="workflow-of-t1")
    served.end_orphans()
    assert served.state("t1") == "queued"
    assert served.serve()["outputData"]["dag_run_id"] == "conductor__t1"
    served.airflow.end("conductor__t1", "success")
    served.queue.pass_time(5)
    assert served.serve()["status"] == "COMPLETED"
    assert served.airflow.starts == ["conductor__t1"]


@pytest.mark.parametrize(
    ("status", "reason", "state"),
    [
        ("FAILED", "DAG run conductor__t1 of etl failed", "failed"),
        ("TIMED_OUT", "Task timed out after 6 seconds.", "running"),
        ("TIMED_OUT", LOST, "failed"),
        ("CANCELED", "", "running"),
    ],
)
def test_any_other_attempt_starts_a_run_of_its_own(served: Served, status: str, reason: str, state: str) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.serve()
    served.airflow.runs["etl", "conductor__t1"]["state"] = state
    served.queue.end("t1", status, reason)
    served.queue.add("t2", {"dag_id": "etl"}, retriedTaskId="t1", workflowInstanceId="workflow-of-t1")
    served.serve()
    assert served.airflow.starts == ["conductor__t1", "conductor__t2"]


def test_the_run_of_a_terminated_workflow_is_ended(served: Served) -> None:
    served.queue.add("t1", {"dag_id": "etl", "note": "n"})
    served.serve()
    served.queue.terminate("t1")
    served.end_orphans()
    assert served.state("t1") == "failed"
    assert served.airflow.runs["etl", "conductor__t1"]["note"].startswith(f"n\n\n{ENDED_BY_WORKER}")
    # Whoever clears it has it for himself.
    served.airflow.runs["etl", "conductor__t1"]["state"] = "running"
    served.end_orphans()
    assert served.state("t1") == "running"


@pytest.mark.parametrize("why", ["open", "foreign", "cleared"])
def test_other_runs_are_left_alone(served: Served, why: str) -> None:
    served.queue.add("t1", {"dag_id": "etl"})
    served.serve()
    if why == "foreign":
        served.queue.tasks.clear()
    if why == "cleared":
        served.queue.end("t1", "FAILED", "DAG run conductor__t1 of etl failed")
    served.airflow.runs["etl", "manual__1"] = {**served.airflow.runs["etl", "conductor__t1"], "dag_run_id": "manual__1"}
    served.end_orphans()
    assert {run["state"] for run in served.airflow.runs.values()} == {"queued"}


def test_all_pages_of_open_runs_are_read(served: Served) -> None:
    run = {
        "dag_id": "etl",
        "state": "running",
        "logical_date": None,
        "start_date": None,
        "end_date": None,
        "note": None,
    }
    for number in range(250):
        served.airflow.runs["etl", f"conductor__{number}"] = {**run, "dag_run_id": f"conductor__{number}"}
    served.queue.add("249", {"dag_id": "etl"}, status="CANCELED")
    served.end_orphans()
    assert served.state("249") == "failed"
    assert len(served.open_runs) == 249
