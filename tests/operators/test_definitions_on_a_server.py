"""Registering definitions, and what real servers make of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.exceptions import ConductorDefinitionRefusedError
from airflow_provider_conductor.operators import ConductorRegisterDefinitionsOperator
from tests.integration.client_lab import Lab
from tests.waiting_modes.modes import Outcome, run_task

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def api_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param).api_url


@pytest.fixture
def lab(api_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Names of its own for each test."""
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps({"conn_type": "conductor", "host": api_url}))
    lab = Lab(api_url)
    yield lab
    lab.client.close()


def register(*definitions: Any, **arguments: Any) -> Outcome:
    return run_task(ConductorRegisterDefinitionsOperator, definitions=list(definitions), **arguments)


def every_kind_of_task(lab: Lab) -> dict[str, Any]:
    """A definition in which fields that servers fill in, and values that look like it, stand everywhere."""
    simple = {"name": lab.name("pack"), "taskReferenceName": "pack"}

    def system(kind: str, ref: str, **fields: Any) -> dict[str, Any]:
        return {"name": ref, "taskReferenceName": ref, "type": kind, **fields}

    odd = {"v": "${workflow.input.v}", "nothing": None, "empty": "", "zero": 0, "false": False}
    which = {"evaluatorType": "value-param", "expression": "v", "inputParameters": odd}
    again = simple | {"taskReferenceName": "packed_again", "optional": True}
    forked = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    inside = {"name": "x", "tasks": [simple | {"taskReferenceName": "inside"}]}
    tasks = [
        system("SWITCH", "which", **which, decisionCases={"a": [simple | {"retryCount": 2}]}),
        system("DO_WHILE", "loop", loopCondition="false", loopOver=[again]),
        system("FORK_JOIN", "fork", forkTasks=[[simple | {"taskReferenceName": ref}] for ref in ("left", "right")]),
        system("JOIN", "join", joinOn=["left", "right"]),
        system("SUB_WORKFLOW", "below", subWorkflowParam={"name": "x", "version": 1}),
        system("SUB_WORKFLOW", "inline", subWorkflowParam={"name": "x", "workflowDefinition": inside}),
        simple | {"taskReferenceName": "defined", "taskDefinition": {"name": simple["name"], "retryCount": 7}},
        system("WAIT", "wait", inputParameters={"duration": "1 seconds"}),
        system("DYNAMIC", "dynamic", dynamicTaskNameParam="a"),
        system("FORK_JOIN_DYNAMIC", "forked", **forked),
        system("JOIN", "joined"),
        system("EVENT", "event", sink="conductor"),
        system("HUMAN", "human"),
    ]
    return lab.definition("everything", *tasks, description="", inputParameters=[], outputParameters={"a": None})


def task(lab: Lab, **fields: Any) -> dict[str, Any]:
    return {"name": lab.name("charge"), "ownerEmail": "tests@example.com"} | fields


@pytest.mark.covers("POST /metadata/taskdefs", "PUT /metadata/workflow")
def test_what_is_new_is_registered_and_then_unchanged(lab: Lab) -> None:
    workflow, charge = every_kind_of_task(lab), task(lab, retryCount=5)
    labels = [f"workflow {workflow['name']} 1", f"task {charge['name']}"]
    first = register(workflow, charge)
    assert (first.error, first.result) == (None, {"registered": labels, "unchanged": []})
    assert "+" in first.told(f"{labels[0]} is new")
    assert first.xcoms["definition_url"].endswith(f"/workflowDef/{workflow['name']}/1")
    again = register(workflow, charge)
    assert (again.error, again.result) == (None, {"registered": [], "unchanged": labels})
    assert again.told(f"{labels[1]} is unchanged")


def test_what_only_newer_servers_keep_is_unchanged_too(conductor_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps({"conn_type": "conductor", "host": conductor_server.api_url})
    )
    lab = Lab(conductor_server.api_url)
    schema = {"name": "order", "version": 1, "type": "JSON", "data": {"type": "object"}}
    pack = lab.simple("pack") | {
        "cacheConfig": {"key": "${a}", "ttlInSecond": 60},
        "onStateChange": {"onStart": [{"type": "audit", "payload": {"a": 1}}]},
        "taskDefinition": {"name": lab.name("pack"), "inputSchema": schema},
    }
    below = {
        "name": "below",
        "taskReferenceName": "below",
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": "x", "idempotencyKey": "k", "idempotencyStrategy": "FAIL", "priority": 3},
    }
    workflow = lab.definition(
        "newer",
        pack,
        below,
        rateLimitConfig={"rateLimitKey": "k", "concurrentExecLimit": 3},
        inputSchema=schema,
        outputSchema=schema,
        maskedFields=["card"],
        metadata={"team": "orders"},
    )
    charge = task(lab, inputSchema=schema)
    assert len(register(workflow, charge).result["registered"]) == 2
    again = register(workflow, charge)
    assert len(again.result["unchanged"]) == 2
    del workflow["rateLimitConfig"]
    assert register(workflow, charge).result["registered"] == [f"workflow {workflow['name']} 1"]
    lab.client.close()


def test_what_the_server_answers_is_what_it_has(lab: Lab) -> None:
    """A definition that was copied from the server, with all that servers add."""
    workflow, charge = every_kind_of_task(lab), task(lab)
    register(workflow, charge)
    copies = [lab.client.get_workflow_def(workflow["name"]), lab.client.get_task_def(charge["name"])]
    assert len(register(*copies).result["unchanged"]) == 2


def test_a_change_is_registered_with_the_difference_in_the_log(lab: Lab) -> None:
    workflow, charge = every_kind_of_task(lab), task(lab, retryCount=5, timeoutSeconds=4000)
    register(workflow, charge)
    workflow["tasks"][2]["forkTasks"][0][0]["startDelay"] = 7
    done = register(workflow, task(lab, retryCount=6))
    assert (done.error, len(done.result["registered"])) == (None, 2)
    assert '+            "startDelay": 7' in done.told(f"workflow {workflow['name']} 1 differs")
    told = done.told(f"task {charge['name']} differs")
    assert '-  "retryCount": 5' in told
    assert '+  "retryCount": 6' in told
    assert '-  "timeoutSeconds": 4000' in told
    assert "createTime" not in told
    stored = lab.client.get_task_def(charge["name"])
    assert (stored["retryCount"], stored["timeoutSeconds"]) == (6, 0)
    fork = lab.client.get_workflow_def(workflow["name"])["tasks"][2]
    assert fork["forkTasks"][0][0]["startDelay"] == 7


def test_what_the_server_does_not_keep_is_told_and_no_change(lab: Lab) -> None:
    charge = task(lab, colour="red")
    assert register(charge).result["registered"]
    again = register(charge)
    assert again.result == {"registered": [], "unchanged": [f"task {charge['name']}"]}
    assert '+  "colour": "red"' in again.told("the server does not keep all of it")


# Versions


def test_a_higher_version_leaves_the_lower_one(lab: Lab) -> None:
    pack = lab.simple("pack")
    register(lab.definition("orders", pack))
    assert register(lab.definition("orders", pack, lab.simple("ship"), version=2)).result["registered"]
    assert len(lab.client.get_workflow_def(lab.name("orders"), 1)["tasks"]) == 1
    assert lab.client.get_workflow_def(lab.name("orders"))["version"] == 2


def test_a_version_below_the_latest_is_refused_unless_allowed(lab: Lab) -> None:
    pack = lab.simple("pack")
    register(lab.definition("orders", pack, version=3))
    older = lab.definition("orders", pack, version=2)
    error = register(older).error
    assert isinstance(error, ConductorDefinitionRefusedError)
    assert "version 2 is below the server's latest, 3" in str(error)
    assert "allow_lower_version=True" in str(error)
    assert register(older, allow_lower_version=True).result["registered"] == [f"workflow {lab.name('orders')} 2"]
    assert register(older).result["unchanged"] == [f"workflow {lab.name('orders')} 2"]


def test_an_old_version_may_be_registered_together_with_the_latest(lab: Lab) -> None:
    pack = lab.simple("pack")
    both = [lab.definition("orders", pack, version=1), lab.definition("orders", pack, version=2)]
    register(both[1])
    assert register(*both).result == {
        "registered": [f"workflow {lab.name('orders')} 1"],
        "unchanged": [f"workflow {lab.name('orders')} 2"],
    }


# Refusals


def test_one_that_is_wrong_keeps_all_from_being_registered(lab: Lab) -> None:
    charge, workflow = task(lab), lab.definition("orders", lab.simple("pack"))
    broken = {**lab.definition("broken", lab.simple("pack")), "tasks": [{"name": "x", "type": "SIMPLE"}]}
    with pytest.raises(ValueError, match=r"tasks\[0\] must have a taskReferenceName"):
        ConductorRegisterDefinitionsOperator(task_id="register", definitions=[charge, workflow, broken])
    found = {item["name"] for item in lab.client.get_task_defs()}
    assert charge["name"] not in found


def test_what_only_the_server_knows_to_be_wrong_is_refused_by_it(lab: Lab) -> None:
    charge = task(lab)
    switch = {"name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "javascript", "expression": ""}
    error = register(charge, lab.definition("broken", switch)).error
    assert isinstance(error, ConductorDefinitionRefusedError)
    assert f"workflow {lab.name('broken')} 1: the server answered: " in str(error)
    assert charge["name"] not in {item["name"] for item in lab.client.get_task_defs()}


def test_a_task_definition_that_only_the_server_refuses_is_told_by_name(lab: Lab) -> None:
    charge, refund = task(lab), task(lab, name=lab.name("refund"), retryLogic="SOMETIMES")
    error = register(charge, refund).error
    assert isinstance(error, ConductorDefinitionRefusedError)
    names = (f"one of task {charge['name']}, task {refund['name']}", f"task {refund['name']}")
    assert any(f"- {name}: the server answered: JSON parse error" in str(error) for name in names)
    refund |= {"retryLogic": "FIXED", "responseTimeoutSeconds": 0}
    error = register(charge, refund).error
    assert isinstance(error, ConductorDefinitionRefusedError)
    assert f"- task {refund['name']}: the server answered: " in str(error)
    assert charge["name"] not in {item["name"] for item in lab.client.get_task_defs()}


# Where they come from


def test_objects_of_the_sdk_are_definitions(lab: Lab) -> None:
    from conductor.client.http.models.task_def import TaskDef
    from conductor.client.workflow.conductor_workflow import ConductorWorkflow
    from conductor.client.workflow.task.simple_task import SimpleTask

    workflow = ConductorWorkflow(executor=None, name=lab.name("from_sdk"), version=1)
    workflow >> SimpleTask(lab.name("pack"), "pack")
    workflow.owner_email("tests@example.com")
    charge = TaskDef(name=lab.name("charge"), retry_count=4, owner_email="tests@example.com")
    assert register(workflow, charge).error is None
    assert lab.client.get_task_def(charge.name)["retryCount"] == 4
    assert len(register(workflow, charge).result["unchanged"]) == 2


def test_files_beside_the_dag(lab: Lab, tmp_path: Path) -> None:
    from airflow.providers.common.compat.sdk import DAG

    (tmp_path / "definitions").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "definitions" / "orders.json").write_text(json.dumps(lab.definition("orders", lab.simple("pack"))))
    (tmp_path / "more" / "tasks.yaml").write_text(
        f"- name: {lab.name('charge')}\n  ownerEmail: tests@example.com\n- name: {lab.name('ship')}\n"
        "  ownerEmail: tests@example.com\n  retryCount: 1\n"
    )
    with DAG("orders", template_searchpath=[str(tmp_path / "more")], schedule=None) as dag:
        dag.fileloc = str(tmp_path / "dag.py")
        done = register("definitions/*.json", Path("tasks.yaml"))
    assert done.error is None
    assert done.result["registered"] == [
        f"workflow {lab.name('orders')} 1",
        f"task {lab.name('charge')}",
        f"task {lab.name('ship')}",
    ]
