"""Each example DAG runs to its end: Airflow's own runner, a real Conductor server, the SDK's worker."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from airflow_provider_conductor._required_actions import required_actions_exist
from airflow_provider_conductor.client import ConductorClient, ConductorError, ConductorNotFoundError
from dev.examples import (
    DAGS,
    ROOT,
    airflow_environment,
    make_database,
    register_definitions,
    running,
    running_worker,
)

pytestmark = pytest.mark.integration

PATIENCE = 900

SCHEDULED = ("book_finished_orders", "restock_after_orders")
"""By the end of a workflow, which takes a triggerer that watches: see ``tests/faults/test_events.py``."""

FROM_AIRFLOW_3_1 = () if required_actions_exist() else ("approval_from_airflow",)
"""Its DAG can be read before, and its task refuses."""

EXAMPLES = sorted(path.stem for path in DAGS.glob("*.py") if path.stem not in (*SCHEDULED, *FROM_AIRFLOW_3_1))


@pytest.fixture(scope="module")
def client(conductor_server) -> Iterator[ConductorClient]:
    register_definitions(conductor_server.api_url)
    with ConductorClient(conductor_server.api_url) as client:
        yield client


@pytest.fixture(scope="module")
def log(conductor_server, client, tmp_path_factory) -> str:
    """What Airflow said while it ran all examples, in one process: its start takes longer than most of them."""
    home = tmp_path_factory.mktemp("airflow")
    make_database(home)
    env = airflow_environment(home, conductor_server.url)
    command = [sys.executable, str(ROOT / "dev" / "run_dags.py"), *EXAMPLES]
    with (
        (home / "log").open("w") as log,
        running_worker(client.settings.api_url, log=log),
        running(command, log=log, env=env) as airflow,
    ):
        approve(client, airflow)
        airflow.wait(PATIENCE)
    return (home / "log").read_text()


@pytest.fixture(scope="module")
def results(log) -> dict[str, dict]:
    """By DAG and task; a mapped task has a list of results."""
    outcomes = [json.loads(line)["outcome"] for line in log.splitlines() if line.startswith('{"outcome"')]
    assert [(outcome["dag_id"], outcome["state"]) for outcome in outcomes] == [(n, "success") for n in EXAMPLES], log
    results: dict[str, dict] = {}
    for outcome in outcomes:
        found = results.setdefault(outcome["dag_id"], {})
        for task in sorted(outcome["tasks"], key=lambda task: task["map_index"]):
            if task["map_index"] < 0:
                found[task["task_id"]] = task["result"]
            else:
                found.setdefault(task["task_id"], []).append(task["result"])
    return results


def test_order_pipeline_survives_a_failed_attempt(results, client):
    done = results["order_pipeline"]
    assert done["fulfil_order"] == {"order_id": "A-1007", "charged": 129.9, "parcel": "B6-A-1007"}
    assert done["book_revenue"] == "order A-1007: 129.90 charged, parcel B6-A-1007"
    # Other tests, and the run on the other Airflow, have hundreds of orders on the same server.
    done_orders = "workflowType IN (order_fulfilment) AND status IN (COMPLETED)"
    pages = (client.search_workflows(done_orders, start=at, sort="startTime:DESC") for at in itertools.count(0, 100))
    found = itertools.chain.from_iterable(itertools.takewhile(len, pages))
    newest = next(order for order in found if ":order_pipeline:" in order.correlation_id)
    attempts = [t for t in client.get_workflow(newest.workflow_id).tasks if t.reference_name == "charge_card"]
    assert [str(task.status) for task in attempts] == ["FAILED", "COMPLETED"]


def test_order_steps_shows_each_step(results):
    done = results["order_steps"]
    assert done["order_fulfilment.finish"] == {"order_id": "A-1007", "charged": 129.9, "parcel": "B6-A-1007"}
    assert done["book_revenue"] == "order A-1007: 129.90 charged, parcel B6-A-1007"
    assert "order_fulfilment.charge_card" in done


def test_order_pipeline_tells_why_it_waits(results, log):
    assert "charge_card failed (attempt 1 of 4: card service down); Conductor will retry it at" in log


def test_conductor_taskflow_passes_on_a_part_of_each_orders_output(results, client):
    done = results["conductor_taskflow"]
    assert done["fulfil"] == ["B3-B-1", "B4-B-22"]
    assert done["list_parcels"] == "B3-B-1, B4-B-22"


def test_nightly_model_training_promotes_the_best_model(results):
    done = results["nightly_model_training"]
    assert len(set(done["start_training"])) == 2
    assert [model["model"] for model in done["wait_for_training"]] == ["demand-eu", "demand-us"]
    assert done["promote"] == "demand-us (accuracy 0.961)"


def test_stop_and_retry_goes_on_from_where_it_stopped(results, client):
    done = results["stop_and_retry"]
    workflow_id = done["try_load"]["workflow_id"]
    assert done["try_load"]["status"] == "RUNNING"
    assert done["stop_load"] == [workflow_id]
    assert done["retry_load"] == {"table": "orders", "rows_loaded": 1200}
    attempts = [task.reference_name for task in client.get_workflow(workflow_id).tasks]
    assert attempts == ["extract_orders", "load_table", "load_table"]


def test_approval_waits_for_a_person(results):
    done = results["approval"]
    assert done["wait_for_approval"]["workflow_id"] == done["propose_prices"]
    assert done["wait_for_approval"]["output"]["approved_by"] == "Ana"
    assert done["note_approver"] == "approved by Ana"
    assert done["wait_until_live"] == {"published": "spring, approved by Ana"}


@pytest.mark.airflow_versions(since="3.1")
def test_approval_from_airflow_takes_the_answer_of_conductor(results):
    done = results["approval_from_airflow"]
    answer = done["approve"]
    assert (answer["approved"], answer["answered_in"], answer["workflow_id"]) == (
        True,
        "conductor",
        done["propose_prices"],
    )
    assert done["note_answer"] == "Approve in conductor"
    assert done["wait_until_live"] == {"published": "summer, approved by Ana"}


def test_conductor_approval_is_given_by_airflow(results):
    done = results["conductor_approval"]
    assert done["give_verdict"]["workflow_id"] == done["propose_prices"]
    assert (done["give_verdict"]["task_reference_name"], done["give_verdict"]["status"]) == ("approve", "COMPLETED")
    assert done["wait_until_live"] == {"published": "autumn, approved by conductor_approval"}


def test_conductor_callbacks_act_when_a_task_fails(results, client):
    workflow = client.get_workflow(results["conductor_callbacks"]["propose_prices"])
    approval = workflow.latest_attempt("approve")
    assert (str(workflow.status), str(approval.status)) == ("FAILED", "FAILED_WITH_TERMINAL_ERROR")
    assert approval.reason == "try_in_shop failed: the shop knows no prices of 12 % more"
    run_id = workflow.correlation_id.partition(":conductor_callbacks:")[2].removesuffix(":propose_prices:-1:1")
    (restored,) = client.get_by_correlation_ids("price_change", [run_id])[run_id]
    assert restored.input == {"catalogue": "winter, restored", "change_percent": 0}


def test_conductor_traces_gives_the_workflow_its_task(results):
    done = results["conductor_traces"]
    assert done["fulfil_order"] == {"order_id": "A-1008", "charged": 12.5, "parcel": "B6-A-1008"}
    assert done["show_trace"] == {"task_id": "fulfil_order", "try_number": 1}


def test_conductor_definitions_runs_what_it_has_registered(results, client):
    done = results["conductor_definitions"]
    registered = done["register_definitions"]
    assert "workflow stock_report 1" in registered["registered"] + registered["unchanged"]
    assert "task reserve_stock" in registered["unchanged"]
    assert done["report_stock"] == {"shelf": "B6"}
    assert client.get_workflow_def("stock_report")["outputParameters"] == {"shelf": "${reserve_stock.output.shelf}"}


def test_count_stock_counts_without_a_workflow_too(results):
    assert results["count_stock"]["count_parcels"] == 7


def test_code_of_the_sdk_runs_as_it_is(results):
    done = results["conductor_sdk"]
    assert done["fulfil_order"] == {"order_id": "A-1007", "charged": 129.9, "parcel": "B6-A-1007"}
    assert done["send_replacement"] == {"parcel": "B6-A-1007"}
    assert done["list_steps"] == ["reserve_stock: COMPLETED", "ship_order: COMPLETED"]


def test_conductor_control_does_each_verb(results, client):
    done = results["conductor_control"]
    spring, summer, autumn = done["propose"]
    assert set(done["freeze"]) == set(done["thaw"]) == set(done["archive"]) == {spring, summer, autumn}
    assert (done["withdraw"], done["publish_by_hand"]) == ([autumn], [spring])
    assert done["wait_for_summer"] == {"published": "summer, approved by An"}
    assert done["publish_again"] == {"published": "summer, approved by Ana"}
    with pytest.raises(ConductorNotFoundError):
        client.get_workflow(spring)


def approve(client: ConductorClient, airflow: subprocess.Popen[str]) -> None:
    """Be the person the DAGs wait for, until Airflow has ended: another test run may share the server."""
    deadline = time.monotonic() + PATIENCE
    while airflow.poll() is None and time.monotonic() < deadline:
        for workflow_id in client.get_running_workflows("price_change"):
            workflow = client.get_workflow(workflow_id)
            task = workflow.latest_attempt("approve")
            asked = any(name in workflow.correlation_id for name in (":approval:", ":approval_from_airflow:"))
            if asked and task and not task.status.ended:
                # The other run's person may have been quicker.
                with contextlib.suppress(ConductorError):
                    client.update_task(workflow_id, task.task_id, "COMPLETED", output={"approved_by": "Ana"})
        time.sleep(0.5)
