"""DAGs on a real Conductor server, run by Airflow's own runner: what a user sees in Airflow, and in Conductor."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, Workflow
from dev.examples import airflow_environment, make_database, running

pytestmark = [pytest.mark.airflow, pytest.mark.integration]

HERE = Path(__file__).parent
PREFIX = f"dags_{uuid.uuid4().hex[:8]}"

WAIT = {"name": "wait", "taskReferenceName": "wait", "type": "WAIT"}
PACK = {"name": f"{PREFIX}_pack", "taskReferenceName": "pack", "type": "SIMPLE"}
PACK_PATIENTLY = {"name": f"{PREFIX}_pack_patiently", "taskReferenceName": "pack", "type": "SIMPLE"}


def ends(status: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "end",
        "taskReferenceName": "end",
        "type": "TERMINATE",
        "inputParameters": {"terminationStatus": status, **more},
    }


WORKFLOWS = {
    "quick": ends("COMPLETED", workflowOutput={"order": "${workflow.input.order}"}),
    "echo": ends("COMPLETED", workflowOutput={key: f"${{workflow.input.{key}}}" for key in ("order", "airflow")}),
    "timed": {**WAIT, "inputParameters": {"duration": "2 seconds"}},
    "long": {**WAIT, "inputParameters": {"duration": "15 seconds"}},
    "endless": WAIT,
    "to_be_killed": WAIT,
    "broken": ends("FAILED", terminationReason="no tea left"),
    "failing_once": PACK,
    "patient": PACK_PATIENTLY,
}


def define(client: ConductorClient) -> None:
    common = {"ownerEmail": "a@example.com", "timeoutSeconds": 0}
    client.register_task_defs([{**common, "name": PACK["name"], "retryCount": 0}])
    patient = {"retryCount": 1, "retryLogic": "FIXED", "retryDelaySeconds": 2}
    client.register_task_defs([{**common, "name": PACK_PATIENTLY["name"], **patient}])
    for name, task in WORKFLOWS.items():
        client.register_workflow_defs(
            {
                **common,
                "name": f"{PREFIX}_{name}",
                "version": 1,
                "schemaVersion": 2,
                "tasks": [task],
                "outputParameters": {"order": "${workflow.input.order}"},
            }
        )


def work(clients: Sequence[ConductorClient], stop: threading.Event) -> None:
    """A worker that fails its first attempt of each workflow."""
    attempts: Counter[str] = Counter()
    while not stop.wait(0.2):
        for client, definition in product(clients, (PACK, PACK_PATIENTLY)):
            task = client.poll_task(definition["name"], worker_id="the_worker")
            if task is None:
                continue
            workflow_id = task.data["workflowInstanceId"]
            attempts[workflow_id] += 1
            if attempts[workflow_id] == 1:
                client.update_task(workflow_id, task.task_id, "FAILED", reason="out of boxes")
            else:
                client.update_task(workflow_id, task.task_id, "COMPLETED")


@pytest.fixture(scope="module")
def client(conductor_server: Any) -> Iterator[ConductorClient]:
    with ConductorClient(conductor_server.api_url) as client:
        define(client)
        yield client


@pytest.fixture(scope="module")
def oldest(old_conductor_server: Any) -> Iterator[ConductorClient]:
    with ConductorClient(old_conductor_server.api_url) as client:
        define(client)
        yield client


@pytest.fixture(scope="module")
def ran(client: ConductorClient, oldest: ConductorClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All DAGs, run once: {dag: {task: state, tries, xcoms, link}}, and what their functions have written down."""
    home = tmp_path_factory.mktemp("airflow")
    make_database(home)
    environment = airflow_environment(home, client.settings.api_url) | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW_CONN_CONDUCTOR_OLDEST": json.dumps({"conn_type": "conductor", "host": oldest.settings.api_url}),
        "WORKFLOW_PREFIX": PREFIX,
        "CONDUCTOR_API": client.settings.api_url,
        "CALLBACK_FILE": str(home / "callback.json"),
        "CALLS_FILE": str(home / "calls"),
    }
    stop = threading.Event()
    worker = threading.Thread(target=work, args=([client, oldest], stop), daemon=True)
    worker.start()
    log = home / "run.log"
    command = [sys.executable, str(HERE / "run_dags.py"), str(home / "outcomes.json")]
    with log.open("w") as output, running(command, log=output, env=environment) as process:
        assert process.wait(900) == 0, log.read_text()
    stop.set()
    worker.join()
    outcomes: dict[str, Any] = json.loads((home / "outcomes.json").read_text())
    assert outcomes["import errors"] == {}
    for dag_log in log.read_text().split("=== DAG ")[1:]:
        for task in outcomes[dag_log.partition("\n")[0]].values():
            task["log of the DAG"] = dag_log
    outcomes["callback"] = json.loads((home / "callback.json").read_text())
    outcomes["calls"] = (home / "calls").read_text().splitlines()
    return outcomes


def states(dag: dict[str, Any]) -> dict[str, str]:
    return {task: found["state"] for task, found in dag.items()}


def assert_success(dag: dict[str, Any]) -> None:
    """Every task has succeeded; otherwise the test fails with the DAG's log."""
    if set(states(dag).values()) != {"success"}:
        pytest.fail(f"{states(dag)}\n{next(iter(dag.values()))['log of the DAG']}")


def result(task: dict[str, Any]) -> Any:
    """What the task has returned; without a result, the test fails with the task's state and the DAG's log."""
    if "return_value" not in task["xcoms"]:
        log = task.pop("log of the DAG")
        pytest.fail(f"no result: {task}\n{log}")
    return task["xcoms"]["return_value"]


def workflow_of(client: ConductorClient, task: dict[str, Any]) -> Workflow:
    return client.get_workflow(task["xcoms"]["workflow_id"])


def test_every_way_to_wait_succeeds(ran: dict[str, Any]) -> None:
    assert_success(ran["waiting"])
    assert len(ran["waiting"]) == 9


def test_execute_returns_the_output_of_what_its_templates_said(ran: dict[str, Any]) -> None:
    assert result(ran["waiting"]["execute"]) == {"order": "waiting"}


def test_a_deferred_execute_sits_out_a_retry_delay(ran: dict[str, Any], client: ConductorClient) -> None:
    task = ran["waiting"]["execute_deferred"]
    assert result(task) == {"order": "waiting"}
    attempts = workflow_of(client, task).tasks
    assert [attempt.status for attempt in attempts] == ["FAILED", "COMPLETED"]
    assert task["tries"] == 1


@pytest.mark.parametrize("way", ["poke", "reschedule", "deferrable"])
def test_the_sensor_waits_in_each_mode(ran: dict[str, Any], way: str) -> None:
    assert result(ran["waiting"][f"sense_{way}"]) == {"order": way}


def test_a_rescheduled_sensor_gives_its_worker_back_between_looks(ran: dict[str, Any]) -> None:
    assert ran["reschedules"] >= 1


def test_start_returns_the_id_of_a_workflow_that_is_there(ran: dict[str, Any], client: ConductorClient) -> None:
    task = ran["waiting"]["start"]
    assert result(task) == task["xcoms"]["workflow_id"]
    assert workflow_of(client, task).input == {"order": "waiting"}


@pytest.mark.parametrize("task", ["start", "execute", "execute_deferred", "sense_poke", "sense_deferrable"])
def test_the_button_leads_to_the_workflow(ran: dict[str, Any], conductor_server: Any, task: str) -> None:
    found = ran["waiting"][task]
    where = conductor_server.api_url.removesuffix("/api")
    assert found["link"] == f"{where}/execution/{found['xcoms']['workflow_id']}"
    assert found["link"] == found["xcoms"]["workflow_url"]


def test_the_oldest_server_serves_as_well(ran: dict[str, Any]) -> None:
    task = ran["oldest"]["execute"]
    assert (task["state"], result(task)) == ("success", {"order": 7})


def test_terminate_and_retry_go_back_and_forth(ran: dict[str, Any], client: ConductorClient) -> None:
    dag = ran["control"]
    assert_success(dag)
    workflow_id = result(dag["start"])
    assert result(dag["terminate"]) == [workflow_id]
    assert result(dag["terminate_again"]) == []
    assert result(dag["retry"]) == workflow_id
    assert result(dag["terminate_for_good"]) == [workflow_id]
    workflow = client.get_workflow(workflow_id)
    assert workflow.status == "TERMINATED"
    assert "control.terminate_for_good" in workflow.reason


def test_retry_runs_a_failed_workflow_on_under_its_id(ran: dict[str, Any], client: ConductorClient) -> None:
    dag = ran["failing_once"]
    assert (dag["execute"]["state"], dag["retry"]["state"]) == ("failed", "success")
    assert dag["retry"]["xcoms"]["workflow_id"] == dag["execute"]["xcoms"]["workflow_id"]
    assert workflow_of(client, dag["retry"]).status == "COMPLETED"


def test_a_failed_workflow_fails_its_task_and_what_comes_after(ran: dict[str, Any], client: ConductorClient) -> None:
    dag = ran["failing"]
    assert (dag["execute"]["state"], dag["never"]["state"]) == ("failed", "upstream_failed")
    assert workflow_of(client, dag["execute"]).status == "FAILED"


def test_a_failure_callback_gets_the_workflow_and_the_reason(ran: dict[str, Any]) -> None:
    task = ran["failing"]["execute"]
    told = ran["callback"]
    assert told["kind"].startswith("ConductorWorkflowFailedError")
    assert (told["workflow_id"], told["status"]) == (task["xcoms"]["workflow_id"], "FAILED")
    assert told["url"] == task["xcoms"]["workflow_url"]
    assert "no tea left" in told["reason"]


def test_an_unknown_definition_is_not_retried(ran: dict[str, Any]) -> None:
    task = ran["failing"]["unknown"]
    assert (task["state"], task["tries"]) == ("failed", 1)


def test_a_timeout_terminates_what_the_task_started(ran: dict[str, Any], client: ConductorClient) -> None:
    task = ran["failing"]["too_slow"]
    assert task["state"] == "failed"
    workflow = workflow_of(client, task)
    assert workflow.status == "TERMINATED"
    assert "failing.too_slow" in workflow.reason


def test_an_airflow_retry_goes_on_with_the_same_workflow(ran: dict[str, Any], client: ConductorClient) -> None:
    task = ran["failing_once"]["second_try"]
    assert (task["state"], task["tries"]) == ("success", 2)
    workflow = workflow_of(client, task)
    assert [attempt.status for attempt in workflow.tasks] == ["FAILED", "COMPLETED"]
    found = client.get_by_correlation_ids(workflow.name, [workflow.correlation_id])
    assert [item.workflow_id for item in found[workflow.correlation_id]] == [workflow.workflow_id]


def test_a_killed_task_takes_its_workflow_along(ran: dict[str, Any], client: ConductorClient) -> None:
    task = ran["killed"]["execute"]
    assert task["state"] != "success"
    workflow = workflow_of(client, task)
    assert workflow.status == "TERMINATED"
    assert "killed.execute" in workflow.reason


def test_mapped_tasks_have_a_workflow_each(ran: dict[str, Any], client: ConductorClient) -> None:
    dag = ran["mapped"]
    assert_success(dag)
    ids = [result(dag[f"start[{index}]"]) for index in (0, 1)]
    assert len(set(ids)) == 2
    assert [result(dag[f"sense[{index}]"]) for index in (0, 1)] == [{"order": 1}, {"order": 2}]
    assert result(dag["terminate"]) == []


def calls_of(ran: dict[str, Any], task_id: str) -> list[str]:
    """Each call of a task's function: task, map index, try."""
    return sorted(call for call in ran["calls"] if call.startswith(f"{task_id}["))


def test_what_the_function_returns_becomes_the_workflows_input_and_its_output_the_result(ran: dict[str, Any]) -> None:
    task = ran["taskflow"]["place_order"]
    assert (task["state"], result(task)["order"]) == ("success", 7)
    assert calls_of(ran, "place_order") == ["place_order[-1] try 1"]


def test_the_workflow_was_told_which_task_that_is(ran: dict[str, Any]) -> None:
    told = result(ran["taskflow"]["place_order"])["airflow"]
    assert (told["dag_id"], told["task_id"], told["map_index"], told["try_number"]) == (
        "taskflow",
        "place_order",
        -1,
        1,
    )
    assert told["run_id"]
    assert told["logical_date"]
    assert "place_order" in told["url"]


def test_a_deferred_one_goes_on_without_its_function(ran: dict[str, Any]) -> None:
    dag = ran["taskflow"]
    assert result(dag["listed_one"]) == ["us 9"]
    assert calls_of(ran, "place_one") == ["place_one[-1] try 1"]


def test_mapped_ones_have_a_workflow_each_and_pass_a_part_of_its_output_on(
    ran: dict[str, Any], conductor_server: Any
) -> None:
    dag = ran["taskflow"]
    assert sorted(result(dag["listed"])) == ["eu 1", "eu 2"]
    assert calls_of(ran, "place_many") == ["place_many[0] try 1", "place_many[1] try 1"]
    ids = [dag[f"place_many[{index}]"]["xcoms"]["workflow_id"] for index in (0, 1)]
    assert len(set(ids)) == 2
    where = conductor_server.api_url.removesuffix("/api")
    assert [dag[f"place_many[{index}]"]["link"] for index in (0, 1)] == [f"{where}/execution/{item}" for item in ids]


@pytest.mark.parametrize("task_id", ["place_again", "place_again_deferred"])
def test_a_retry_calls_the_function_again_and_stays_with_its_workflow(
    ran: dict[str, Any], client: ConductorClient, task_id: str
) -> None:
    task = ran["taskflow"][task_id]
    assert (task["state"], task["tries"]) == ("success", 2)
    assert calls_of(ran, task_id) == [f"{task_id}[-1] try 1", f"{task_id}[-1] try 2"]
    workflow = workflow_of(client, task)
    assert workflow.input == {"order": "try 1"}
    found = client.get_by_correlation_ids(workflow.name, [workflow.correlation_id])
    assert [item.workflow_id for item in found[workflow.correlation_id]] == [workflow.workflow_id]


def test_one_that_returns_nothing_fails_at_once_and_starts_nothing(ran: dict[str, Any]) -> None:
    task = ran["taskflow"]["return_nothing"]
    assert (task["state"], task["tries"]) == ("failed", 1)
    assert "workflow_id" not in task["xcoms"]
    assert calls_of(ran, "return_nothing") == ["return_nothing[-1] try 1"]


def test_a_mapped_tasks_results_are_lists_wherever_they_are_passed(ran: dict[str, Any]) -> None:
    dag = ran["mapped_results"]
    assert_success(dag)
    parcels = [{"parcel": 1}, {"parcel": 2}]
    for task_id in ("place_all", "inside"):
        assert result(dag[task_id])["order"] == parcels
    assert result(dag["changed"])["order"] == [{"order": parcel} for parcel in parcels]
    assert [output["order"] for output in result(dag["batch"])] == parcels
    assert [result(dag[f"each[{index}]"])["order"] for index in (0, 1)] == parcels
    assert [output["order"] for output in result(dag["listed_inputs"])] == [7, parcels]
