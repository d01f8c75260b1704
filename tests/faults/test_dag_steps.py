"""DAG runs as steps of workflows: a real Conductor, a real Airflow, the worker in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Task, Workflow
from airflow_provider_conductor.dag_runs.report import ENDED_BY_WORKER, run_id_of
from dev.examples import airflow_environment, end, register_definitions
from tests.faults import dying_worker
from tests.faults.real_airflow import AIRFLOW_2, RealAirflow, real_airflow

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

COMMAND = [sys.executable, "-m", "airflow", "conductor", "worker"]
CONSOLE_SCRIPT = [sys.executable, "-c", "from airflow_provider_conductor.cli import main; main()", "worker"]


class Workers:
    """Starts workers and ends what is left of them."""

    def __init__(self, home: Path, conductor_url: str, airflow_connection: str, **extra: object) -> None:
        self.domain = f"steps_{uuid.uuid4().hex[:8]}"
        """Only these workers serve this test's tasks: the server may be shared."""
        self.log_file = home / "worker.txt"
        conductor = {"conn_type": "conductor", "host": conductor_url, "extra": extra}
        self._env = airflow_environment(home, conductor_url) | {
            "AIRFLOW_CONN_CONDUCTOR_DEFAULT": json.dumps(conductor),
            "AIRFLOW_CONN_AIRFLOW_DEFAULT": json.dumps({**json.loads(airflow_connection), "extra": extra}),
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, dying_at: str | None = None, **options: object) -> subprocess.Popen[bytes]:
        options = {"status_interval": 1, "reconcile_interval": 2, "domain": self.domain, **options}
        arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        command = CONSOLE_SCRIPT if AIRFLOW_2 else COMMAND
        if dying_at:
            command = [sys.executable, dying_worker.__file__, dying_at, "worker"]
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [*command, *arguments], env=self._env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in self._processes:
            end(process)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


def define_step(client: ConductorClient) -> str:
    """Define a workflow of one task that runs a DAG, with a name of its own."""
    name = f"steps_{uuid.uuid4().hex[:8]}"
    step = {
        "name": "airflow_dag",
        "taskReferenceName": "run_dag",
        "type": "SIMPLE",
        "inputParameters": {key: f"${{workflow.input.{key}}}" for key in ("dag_id", "conf", "xcoms", "note")},
    }
    definition = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "a@example.com"}
    client.register_workflow_defs([{**definition, "tasks": [step]}])
    return name


class Steps:
    """Workflows of one task, which runs a DAG."""

    def __init__(self, client: ConductorClient, airflow: RealAirflow, workers: Workers) -> None:
        self.client, self.airflow, self.workers = client, airflow, workers
        self.name = define_step(client)

    def start(self, dag_id: str, **task_input: Any) -> str:
        domains = {"airflow_dag": self.workers.domain}
        return self.client.start_workflow(
            {"name": self.name, "input": {"dag_id": dag_id, **task_input}, "taskToDomain": domains}
        )

    def task(self, workflow_id: str) -> Task:
        task = self.client.get_workflow(workflow_id).latest_attempt("run_dag")
        assert task is not None
        return task

    def ended(self, workflow_id: str) -> Workflow:
        def read() -> Workflow | None:
            found = self.client.get_workflow(workflow_id)
            return found if found.status.ended else None

        try:
            found: Workflow = self.airflow.wait_until(read)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.workers.log()}") from None
        return found

    def runs(self, dag_id: str) -> list[tuple[str, str, str | None]]:
        """Id, state and note of each run of a DAG."""
        notes = "left join dag_run_note n on n.dag_run_id = r.id"
        found = self.airflow.query(f"select run_id, state, content from dag_run r {notes} where dag_id = ?", dag_id)
        return [tuple(row) for row in found]


@pytest.fixture(scope="module")
def steps(direct: ConductorClient, conductor_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    home = tmp_path_factory.mktemp("steps")
    with real_airflow(home, conductor_server.url, triggerer=False, rest_api=True, STEP_DAGS="1") as airflow:
        airflow.wait_until(lambda: len(airflow.query("select 1 from dag where dag_id like 'step_%'")) == 5)
        workers = Workers(home, conductor_server.url, airflow.api_connection())
        try:
            yield Steps(direct, airflow, workers)
        finally:
            workers.stop()


@pytest.fixture
def worker(steps: Steps) -> Iterator[subprocess.Popen[bytes]]:
    worker = steps.workers.start()
    yield worker
    end(worker)


@pytest.mark.usefixtures("worker")
def test_a_run_succeeds_with_its_xcoms(steps: Steps) -> None:
    xcoms = ["count", {"task_id": "count", "key": "label"}, {"task_id": "double", "map_index": 2}, "nobody"]
    workflow_id = steps.start("step_counts", conf={"first": 41}, xcoms=xcoms, note="from a workflow")
    workflow = steps.ended(workflow_id)
    assert workflow.status == "COMPLETED", workflow.reason
    task = steps.task(workflow_id)
    run_id = run_id_of(task.task_id)
    assert steps.runs("step_counts") == [(run_id, "success", "from a workflow")]
    assert task.output["xcoms"] == {"count": {"count": 42}, "label": "first 41", "double": 6, "nobody": None}
    assert (task.output["dag_run_id"], task.output["state"]) == (run_id, "success")
    assert task.output["url"].startswith(f"{steps.airflow.url}/dags/step_counts/")


@pytest.mark.usefixtures("worker")
def test_the_example_is_a_step_of_its_workflow(steps: Steps) -> None:
    register_definitions(steps.client.settings.api_url)
    domains = {"airflow_dag": steps.workers.domain}
    steps.airflow.command("dags", "unpause", "count_stock")
    request = {"name": "restock", "input": {"shelf": "C7"}, "taskToDomain": domains}
    workflow = steps.ended(steps.client.start_workflow(request))
    assert (workflow.status, workflow.output["parcels"]) == ("COMPLETED", 7)
    assert workflow.output["names"][0] == "C7-1"


@pytest.mark.usefixtures("worker")
def test_a_run_fails_with_its_reason(steps: Steps) -> None:
    workflow_id = steps.start("step_fails")
    assert steps.ended(workflow_id).status == "FAILED"
    task = steps.task(workflow_id)
    assert task.status == "FAILED"
    assert "of step_fails failed: load (failed, try 1), show (upstream_failed)" in task.reason
    assert [found["task_id"] for found in task.output["failed_tasks"]] == ["load", "show"]
    # A retry is another run.
    steps.client.retry_workflow(workflow_id)
    assert steps.ended(workflow_id).status == "FAILED"
    assert len(steps.runs("step_fails")) == 2


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("task_input", "reason"),
    [
        ({"dag_id": "step_unknown"}, "Airflow refused: DAG with dag_id: 'step_unknown' not found"),
        ({"dag_id": ""}, "wrong input: dag_id must be the id of a DAG"),
        ({"dag_id": "step_counts", "conf": [1]}, "wrong input: conf must be an object"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_started_fails_at_once(steps: Steps, task_input: dict[str, Any], reason: str) -> None:
    before = steps.runs("step_counts")
    workflow_id = steps.start(**task_input)
    assert steps.ended(workflow_id).status == "FAILED"
    task = steps.task(workflow_id)
    assert task.status == "FAILED_WITH_TERMINAL_ERROR"
    assert reason.lower() in task.reason.lower()
    assert steps.runs("step_counts") == before


@pytest.mark.usefixtures("worker")
def test_a_terminated_workflow_ends_its_run(steps: Steps, tmp_path: Path) -> None:
    workflow_id = steps.start("step_holds", conf={"until": str(tmp_path / "never")})
    run_id = run_id_of(steps.task(workflow_id).task_id)
    steps.airflow.wait_until(lambda: (seen := steps.airflow.task("step_holds")) and seen.state == "running")
    steps.client.terminate_workflow(workflow_id, "not wanted any more")

    def run() -> tuple[str, str, str | None]:
        (found,) = [found for found in steps.runs("step_holds") if found[0] == run_id]
        return found

    steps.airflow.wait_until(lambda: run()[1] == "failed")
    steps.airflow.wait_until(lambda: run()[2])
    assert run()[2].startswith(ENDED_BY_WORKER)
    states = "select state from task_instance where run_id = ?"
    steps.airflow.wait_until(lambda: steps.airflow.query(states, run_id) == [("failed",)])
    (pid,) = (seen.pid for seen in steps.airflow.tasks() if seen.run_id == run_id)
    steps.airflow.wait_until(lambda: not Path(f"/proc/{pid}").exists())  # it would fail the next try on 2.11
    # A user who runs it again has it for himself.
    steps.airflow.command("tasks", "clear", "--yes", "step_holds")
    steps.airflow.wait_until(lambda: run()[1] == "running")
    time.sleep(10)
    assert run()[1] == "running"
    (tmp_path / "never").write_text("over")
    steps.airflow.wait_until(lambda: run()[1] == "success")


@pytest.mark.usefixtures("worker")
def test_a_paused_dag_is_waited_for(steps: Steps) -> None:
    workflow_id = steps.start("step_paused")
    steps.airflow.wait_until(lambda: "is paused" in str(steps.task(workflow_id).output.get("waiting_for")))
    steps.airflow.command("dags", "unpause", "step_paused")
    assert steps.ended(workflow_id).status == "COMPLETED"


@pytest.mark.parametrize("point", dying_worker.POINTS)
def test_a_killed_worker_starts_nothing_twice(steps: Steps, point: str, report: Callable[[str], None]) -> None:
    before = len(steps.runs("step_counts"))
    workflow_id = steps.start("step_counts", conf={"first": 1})
    dying = steps.workers.start(dying_at=point)
    steps.airflow.wait_until(lambda: dying.poll() is not None)
    assert dying.returncode == -signal.SIGKILL, steps.workers.log()
    began = time.monotonic()
    worker = steps.workers.start()
    assert steps.ended(workflow_id).status == "COMPLETED"
    report(
        f"SIGKILL when {point}: {time.monotonic() - began:.0f} s after the next worker's start the task was COMPLETED"
    )
    end(worker)
    assert len(steps.runs("step_counts")) == before + 1
    assert len(steps.client.get_workflow(workflow_id).tasks) == 1


def test_a_worker_is_killed_while_the_run_goes_on(steps: Steps, tmp_path: Path) -> None:
    workflow_id = steps.start("step_holds", conf={"until": str(tmp_path / "go")})
    run_id = run_id_of(steps.task(workflow_id).task_id)
    first = steps.workers.start()
    steps.airflow.wait_until(lambda: steps.task(workflow_id).poll_count >= 3)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (tmp_path / "go").write_text("went on")
    states = "select state from dag_run where run_id = ?"
    steps.airflow.wait_until(lambda: steps.airflow.query(states, run_id) == [("success",)])
    worker = steps.workers.start()
    assert steps.ended(workflow_id).status == "COMPLETED"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert "stopped" in steps.workers.log()


def http_step(airflow: RealAirflow) -> dict[str, Any]:
    """An HTTP task that starts a run, which completes it."""
    version, logical_date = (1, {}) if AIRFLOW_2 else (2, {"logical_date": None})
    conf = {"conductor": {"workflow_id": "${workflow.workflowId}", "task_reference_name": "run_dag"}}
    request = {
        "uri": f"{airflow.url}/api/v{version}/dags/step_reports/dagRuns",
        "method": "POST",
        "headers": {"Authorization": airflow.authorization()},
        "body": {
            "dag_run_id": "conductor-http__${CPEWF_TASK_ID}",
            "conf": {**conf, "fail": "${workflow.input.fail}"},
            **logical_date,
        },
    }
    task = {"name": "run_dag", "taskReferenceName": "run_dag", "type": "HTTP", "asyncComplete": True}
    return {**task, "inputParameters": {"http_request": request, "asyncComplete": True}}


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_without_a_worker_the_run_completes_the_task(steps: Steps, fails: bool) -> None:
    name = f"http_step_{uuid.uuid4().hex[:8]}"
    definition = {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "a@example.com"}
    steps.client.register_workflow_defs([{**definition, "tasks": [http_step(steps.airflow)]}])
    workflow_id = steps.client.start_workflow({"name": name, "input": {"fail": fails}})
    workflow = steps.ended(workflow_id)
    task = workflow.latest_attempt("run_dag")
    assert task is not None
    run_id = f"conductor-http__{task.task_id}"
    assert run_id in [run[0] for run in steps.runs("step_reports")]
    if fails:
        assert (workflow.status, task.reason) == ("FAILED", f"DAG run {run_id} failed")
    else:
        assert (workflow.status, task.output["dag_run_id"]) == ("COMPLETED", run_id)
