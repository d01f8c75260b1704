"""A workflow as a task group, on a real server: each step's task ends as the step does, and runs again when cleared."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.client.errors import ConductorUnreachableError
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.exceptions import ConductorWorkflowFailedError
from airflow_provider_conductor.polling import missing_workflow as ask_once
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup
from tests.integration.client_lab import Lab
from tests.task_groups.group_run import GroupRun
from tests.task_groups.worker import Worker, define, group_of

pytestmark = pytest.mark.integration


def test_a_failed_step_runs_again_after_a_clear(lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    output = {"by": "${ship.output.by}"}
    definition = define(lab, worker, "orders", *map(lab.simple, ("pack", "charge", "ship")), outputParameters=output)
    worker.fails = {"charge"}
    run = GroupRun(group_of(definition, workflow_input={"a": 1}), monkeypatch)
    assert run.go() == {
        "start": "success",
        "pack": "success",
        "charge": "failed",
        "ship": "upstream_failed",
        "finish": "upstream_failed",
    }
    message = str(run.errors["charge"])
    for part in ("charge failed", "out of boxes", "packer-1", "no more boxes", "clear this Airflow task"):
        assert part in message
    first = run.workflow_id
    assert run.store["flow.charge", "workflow_url"].endswith(f"/execution/{first}?taskReferenceName=charge")
    worker.fails = set()
    run.clear("charge")
    assert set(run.go().values()) == {"success"}
    assert (run.workflow_id, run.output) == (first, {"by": "ship"})
    assert worker.done == ["pack", "charge", "charge", "ship"]


def test_a_completed_step_runs_again_with_all_after_it(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "orders", *map(lab.simple, ("pack", "charge", "ship")))
    run = GroupRun(group_of(definition), monkeypatch)
    run.go()
    first = run.workflow_id
    run.clear("charge")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["pack", "charge", "ship", "charge", "ship"]
    run.clear("charge")
    run.go()
    assert (run.workflow_id, worker.done[5:]) == (first, ["charge", "ship"])
    run.clear("start")
    assert set(run.go().values()) == {"success"}
    assert run.workflow_id != first
    assert worker.done[7:] == ["pack", "charge", "ship"]


def test_a_try_after_airflow_lost_a_task_follows_its_step(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "orders", *map(lab.simple, ("pack", "charge")))
    group = group_of(definition)
    run = GroupRun(group, monkeypatch)
    run.go()
    retries = {task.task_id: task.retries for task in group.steps.values()}
    assert retries == {"flow.pack": 2, "flow.charge": 2}
    assert group.finish.retries == 2
    run.lose("pack")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["pack", "charge"]


def fork(*branches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = [branch[-1]["taskReferenceName"] for branch in branches]
    return [
        Lab.system("FORK_JOIN", "both", forkTasks=[list(branch) for branch in branches]),
        Lab.system("JOIN", "together", joinOn=last),
    ]


def switch(cases: dict[str, list[dict[str, Any]]], default: list[dict[str, Any]]) -> dict[str, Any]:
    given = {"way": "${workflow.input.way}"}
    choice = {"evaluatorType": "value-param", "expression": "way", "decisionCases": cases, "defaultCase": default}
    return Lab.system("SWITCH", "choose", inputParameters=given, **choice)


def test_branches_of_a_fork_are_retried_where_they_failed(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [lab.simple("pack"), *fork([lab.simple("ship")], [lab.simple("bill")]), lab.simple("thank")]
    definition = define(lab, worker, "forked", *tasks)
    worker.fails = {"bill"}
    run = GroupRun(group_of(definition), monkeypatch)
    states = run.go()
    assert (states["bill"], states["thank"], states["finish"]) == ("failed", "upstream_failed", "upstream_failed")
    worker.fails = set()
    failed = [name for name, state in states.items() if state == "failed"]
    assert set(run.go_again(lab.client, *failed).values()) == {"success"}
    run.clear("ship")
    states = run.go()
    assert states["ship"] == "failed"
    assert "it is in a branch of the fork 'both'" in str(run.errors["ship"])
    assert "Clear the task of an earlier step" in str(run.errors["ship"])
    assert set(run.go_again(lab.client, "pack").values()) == {"success"}


@pytest.mark.parametrize(
    ("way", "skipped"), [("air", {"ship"}), ("sea", {"fly", "land"}), ("rail", {"fly", "land", "ship"})]
)
def test_branches_that_are_not_taken_are_skipped(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, way: str, skipped: set[str]
) -> None:
    choice = switch({"air": [lab.simple("fly"), lab.simple("land")], "sea": [lab.simple("ship")]}, [])
    definition = define(lab, worker, "switched", lab.simple("pack"), choice, lab.simple("thank"))
    run = GroupRun(group_of(definition, workflow_input={"way": way}), monkeypatch)
    states = run.go()
    assert {name for name, state in states.items() if state == "skipped"} == skipped
    assert states["thank"] == states["finish"] == "success"
    for name in skipped:
        assert "SWITCH 'choose' chose" in str(run.errors[name])


def test_a_join_on_a_switch_does_not_wait_for_its_case(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = switch({"sea": [lab.simple("ship")]}, [])
    branches = fork([lab.simple("bill")], [choice])
    definition = define(lab, worker, "joined", *branches, lab.simple("thank"))
    worker.names.remove(lab.name("ship"))
    run = GroupRun(group_of(definition, workflow_input={"way": "sea"}), monkeypatch)
    assert run.tasks["thank"].upstream_task_ids == {"flow.bill"}

    def ship_late(name: str) -> None:
        if name == "ship":
            lab.eventually(lambda: str(lab.status_of(run.workflow_id, "thank")) == "COMPLETED")
            assert str(lab.status_of(run.workflow_id, "ship")) == "SCHEDULED"
            worker.names.add(lab.name("ship"))

    run.before = ship_late
    assert set(run.go().values()) == {"success"}
    assert worker.done.index("thank") < worker.done.index("ship")


def test_an_optional_step_that_fails_is_a_success(lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = define(lab, worker, "optional", lab.simple("pack", optional=True), lab.simple("ship"))
    worker.fails = {"pack"}
    run = GroupRun(group_of(definition), monkeypatch)
    assert set(run.go().values()) == {"success"}


def test_a_terminate_ends_what_would_come_after_it(lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = lab.system("TERMINATE", "enough", inputParameters={"terminationStatus": "COMPLETED"})
    choice = switch({"none": [ends]}, [lab.simple("ship")])
    definition = define(lab, worker, "ended", lab.simple("pack"), choice, lab.simple("thank"))
    run = GroupRun(group_of(definition, workflow_input={"way": "none"}), monkeypatch)
    states = run.go()
    assert states == {"start": "success", "pack": "success", "ship": "skipped", "thank": "skipped", "finish": "success"}


def test_what_is_open_when_a_terminate_completes_the_workflow_is_skipped(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = lab.system("TERMINATE", "enough", inputParameters={"terminationStatus": "COMPLETED"})
    tasks = fork([lab.simple("slow"), lab.simple("slower")], [lab.simple("quick"), switch({"way": [ends]}, [])])
    definition = define(lab, worker, "ended", *tasks, lab.simple("thank"))
    worker.names.remove(lab.name("slow"))
    run = GroupRun(group_of(definition, workflow_input={"way": "way"}), monkeypatch)
    states = run.go()
    assert {name for name, state in states.items() if state == "skipped"} == {"slow", "slower", "thank"}
    assert states["finish"] == "success"
    assert "the workflow completed before this step had ended" in str(run.errors["slow"])


def test_a_task_begins_when_conductor_is_reachable_again(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "outage", lab.simple("pack"), lab.simple("ship"))
    run = GroupRun(group_of(definition), monkeypatch)
    asked: list[str] = []
    read = ask_once.once

    def away(call: Call[Any], *more: Any, **options: Any) -> Call[Any]:
        asked.append(call.path)
        if len(asked) < 3:
            raise ConductorUnreachableError("no answer", method="GET", path=call.path, server="", repeatable=True)
        return read(call, *more, **options)

    def before(name: str) -> None:
        if name == "ship":
            monkeypatch.setattr(ask_once, "once", away)

    run.before = before
    assert set(run.go().values()) == {"success"}
    assert len(asked) > 2


def test_a_workflow_that_somebody_has_deleted_is_gone(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "deleted", lab.simple("pack"), lab.simple("ship"))
    run = GroupRun(group_of(definition), monkeypatch)

    def before(name: str) -> None:
        if name == "ship":
            lab.ended(run.workflow_id)
            lab.client.delete_workflow(run.workflow_id)

    run.before = before
    assert run.go()["ship"] == "failed"
    assert isinstance(run.errors["ship"], ConductorWorkflowFailedError)
    assert f"Conductor workflow {run.workflow_id} is gone" in str(run.errors["ship"])


def test_the_connection_of_the_default_args_is_taken() -> None:
    definition = {"name": "orders", "tasks": [{"name": "a", "taskReferenceName": "a", "type": "SIMPLE"}]}
    given = {"conductor_conn_id": "production"}
    with DAG("orders", start_date=datetime(2026, 1, 1), schedule=None, default_args=given) as dag:
        ConductorWorkflowTaskGroup(definition, group_id="theirs")
        ConductorWorkflowTaskGroup(definition, group_id="own", conductor_conn_id="test")
    found = {task.task_id: task.conductor_conn_id for task in dag.tasks}
    assert {found[f"theirs.{name}"] for name in ("start", "a", "finish")} == {"production"}
    assert {found[f"own.{name}"] for name in ("start", "a", "finish")} == {"test"}


def test_a_loop_is_one_task(lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = "if ($.again['iteration'] < 2) { true; } else { false; }"
    loop = lab.system("DO_WHILE", "again", loopCondition=twice, loopOver=[lab.simple("pack")])
    loop["inputParameters"] = {"again": "${again.output}"}
    definition = define(lab, worker, "looped", loop, lab.simple("ship"))
    run = GroupRun(group_of(definition), monkeypatch)
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["pack__1", "pack__2", "ship"]
    worker.fails = {"pack__1"}
    run.clear("start")
    states = run.go()
    assert (states["again"], states["ship"]) == ("failed", "upstream_failed")
    assert "pack__1 failed" in str(run.errors["again"])
    worker.fails = set()
    assert set(run.go_again(lab.client, "again").values()) == {"success"}


def test_a_dynamic_fork_is_one_task(lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.names.add(lab.name("piece"))
    define(lab, worker, "pieces", lab.simple("piece"))
    made = [{"name": lab.name("piece"), "taskReferenceName": f"piece_{number}", "type": "SIMPLE"} for number in (1, 2)]
    fan_out = lab.system(
        "FORK_JOIN_DYNAMIC",
        "fan_out",
        inputParameters={"tasks": "${workflow.input.tasks}", "inputs": "${workflow.input.inputs}"},
        dynamicForkTasksParam="tasks",
        dynamicForkTasksInputParamName="inputs",
    )
    definition = define(lab, worker, "fanned", fan_out, lab.system("JOIN", "fan_in"), lab.simple("ship"))
    given = {"tasks": made, "inputs": {"piece_1": {}, "piece_2": {}}}
    worker.fails = {"piece_2"}
    run = GroupRun(group_of(definition, workflow_input=given), monkeypatch)
    states = run.go()
    assert (states["fan_out"], states["ship"]) == ("failed", "upstream_failed")
    assert "piece_2 failed" in str(run.errors["fan_out"])
    worker.fails = set()
    assert set(run.go_again(lab.client, "fan_out").values()) == {"success"}


def test_a_sub_workflow_is_a_group_where_its_definition_is_given(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = define(lab, worker, "parcel", lab.simple("wrap"), lab.simple("label"))
    sub = lab.system("SUB_WORKFLOW", "parcel", subWorkflowParam={"name": below["name"], "version": 1})
    definition = define(lab, worker, "parent", lab.simple("pack"), sub, lab.simple("ship"))
    worker.fails = {"label"}
    run = GroupRun(group_of(definition, sub_workflows=[below]), monkeypatch)

    def begin(name: str) -> None:
        if name == "parcel.wrap":
            lab.sub_workflow_at(run.workflow_id, "parcel", "wrap")

    run.before = begin
    states = run.go()
    assert states == {
        "start": "success",
        "pack": "success",
        "parcel.wrap": "success",
        "parcel.label": "failed",
        "parcel.finish": "upstream_failed",
        "ship": "upstream_failed",
        "finish": "upstream_failed",
    }
    assert "label failed" in str(run.errors["parcel.label"])
    below_id = lab.client.get_workflow(run.workflow_id).latest_attempt("parcel").sub_workflow_id
    page = run.store["flow.parcel.label", "workflow_url"]
    assert page.endswith(f"/execution/{below_id}?taskReferenceName=label")
    worker.fails = set()
    run.clear("parcel.label")
    assert set(run.go().values()) == {"success"}
    alone = GroupRun(group_of(definition), monkeypatch)
    assert "parcel" in alone.tasks


def test_a_step_of_a_running_workflow_is_not_run_again(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "running", lab.simple("pack"), lab.system("WAIT", "hold"))
    run = GroupRun(group_of(definition, timeout=2), monkeypatch)
    states = run.go()
    assert (states["pack"], states["hold"]) == ("success", "failed")
    run.clear("pack")
    assert run.go()["pack"] == "failed"
    message = str(run.errors["pack"])
    assert "step 'pack' has ended" in message
    assert "is still RUNNING" in message
    assert "clear the task group 'flow'" in message
    lab.client.terminate_workflow(run.workflow_id, "that is enough")
    run.clear("pack")
    states = run.go()
    assert (states["pack"], worker.done) == ("success", ["pack", "pack"])
    lab.end("running")


def test_a_definition_with_other_steps_starts_nothing(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "changed", lab.simple("pack"), lab.simple("ship"))
    run = GroupRun(group_of(definition), monkeypatch)
    lab.client.register_workflow_defs({**definition, "tasks": [lab.simple("pack"), lab.simple("fly")]})
    assert run.go()["start"] == "failed"
    message = str(run.errors["start"])
    assert "has other steps" in message
    assert '-      "taskReferenceName": "fly"' in message
    assert '+      "taskReferenceName": "ship"' in message
    lab.client.register_workflow_defs({**definition, "description": "only words"})
    run.clear("start")
    assert set(run.go().values()) == {"success"}


def test_a_definition_that_the_server_lacks_starts_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run = GroupRun(group_of(lab.definition("nowhere", lab.simple("pack"))), monkeypatch)
    assert run.go()["start"] == "failed"
    assert "the server has no definition" in str(run.errors["start"])
