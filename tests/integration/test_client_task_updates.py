"""Task updates by name, the server's own signals, validation and the dry run, on a real server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorBadRequestError,
    ConductorClient,
    ConductorInputError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorTimeoutError,
)
from airflow_provider_conductor.client.errors import ConductorDryRunIncompleteError
from airflow_provider_conductor.definitions.dry_run import dry_run
from tests.integration.client_lab import Lab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab(newest: Lab) -> Lab:
    return newest


def waits(lab: Lab) -> str:
    """A workflow of two WAITs that stands at the first."""
    tasks = [lab.system("WAIT", ref) for ref in ("one", "two")]
    workflow_id = lab.client.start_workflow_by_name(lab.define("waits", *tasks))
    lab.eventually(lambda: lab.status_of(workflow_id, "one"))
    return workflow_id


@pytest.mark.covers(
    "POST /tasks/{workflowId}/{taskRefName}/{status}", "POST /tasks/{workflowId}/{taskRefName}/{status}/sync"
)
def test_a_task_is_updated_by_its_name(lab: Lab) -> None:
    workflow_id = waits(lab)
    task = lab.client.get_workflow(workflow_id).latest_attempt("one")
    assert task is not None
    assert lab.client.update_task_by_ref_name(workflow_id, "one", "COMPLETED", {"a": 1}, "Ana") == task.task_id
    done = lab.client.get_task(task.task_id)
    assert done is not None
    assert (done.status, done.output, done.worker_id) == ("COMPLETED", {"a": 1}, "Ana")
    assert lab.client.update_task_by_ref_name(workflow_id, "one", "COMPLETED") == ""
    assert lab.client.update_task_sync(workflow_id, "two", "COMPLETED", {"b": 2}).workflow_id == workflow_id
    assert lab.ended(workflow_id).status == "COMPLETED"
    with pytest.raises(ConductorNotFoundError, match="no running task two"):
        lab.client.update_task_sync(workflow_id, "two", "COMPLETED")


@pytest.mark.needs("POST /tasks/{workflowId}/{status}/signal")
@pytest.mark.covers("POST /tasks/{workflowId}/{status}/signal", "POST /tasks/{workflowId}/{status}/signal/sync")
def test_a_signal_reaches_the_first_wait(lab: Lab) -> None:
    workflow_id = waits(lab)
    lab.client.signal_workflow_task_async(workflow_id, "COMPLETED", {"a": 1})
    assert lab.status_of(workflow_id, "one") == "COMPLETED"
    lab.eventually(lambda: lab.status_of(workflow_id, "two"))
    found = lab.client.signal_workflow_task_sync(workflow_id, "COMPLETED", {"b": 2})
    assert (found.workflow_id, found.status) == (workflow_id, "COMPLETED")
    lab.client.signal_workflow_task_async(workflow_id, "COMPLETED")
    with pytest.raises(ConductorNotFoundError, match="no blocked task"):
        lab.client.signal_workflow_task_sync(workflow_id, "COMPLETED")


def test_old_servers_have_neither(oldest: Lab) -> None:
    for verb in (oldest.client.signal_workflow_task_async, oldest.client.signal_workflow_task_sync):
        with pytest.raises(ConductorMissingRouteError):
            verb("abc", "COMPLETED")
    for verb in (oldest.client.update_task_by_ref_name, oldest.client.update_task_sync):
        with pytest.raises(ConductorMissingRouteError):
            verb("abc", "one", "COMPLETED")


@pytest.mark.covers("POST /metadata/workflow/validate")
def test_the_server_validates_a_definition_without_keeping_it(lab: Lab) -> None:
    lab.client.validate_workflow_def(lab.definition("checked", lab.simple("pack")))
    with pytest.raises(ConductorBadRequestError, match="list cannot be empty"):
        lab.client.validate_workflow_def({**lab.definition("checked"), "tasks": []})
    with pytest.raises(ConductorNotFoundError):
        lab.client.get_workflow_def(lab.name("checked"))


# The dry run


def approval(lab: Lab) -> dict[str, Any]:
    """Ship what is approved; a refusal ends it."""
    verdict = lab.system(
        "SWITCH",
        "verdict",
        evaluatorType="value-param",
        expression="ok",
        inputParameters={"ok": "${approve.output.ok}"},
        decisionCases={"true": [lab.simple("ship")]},
        defaultCase=[],
    )
    approve = lab.system("HUMAN", "approve")
    return lab.definition("approval", approve, verdict, outputParameters={"parcel": "${ship.output.parcel}"})


def test_a_dry_run_takes_the_branch_that_the_outputs_lead_to(lab: Lab) -> None:
    outputs = {"approve": {"ok": "true"}, "ship": {"parcel": "B6"}}
    done = lab.client.run(dry_run(approval(lab), workflow_input={"a": 1}, task_outputs=outputs))
    assert (done.status, done.output, done.input["a"]) == ("COMPLETED", {"parcel": "B6"}, 1)
    refused = lab.client.run(dry_run(approval(lab), task_outputs={"approve": {"ok": "false"}}))
    assert [task.reference_name for task in refused.tasks] == ["approve", "verdict"]


def test_a_registered_definition_is_run_by_its_name(lab: Lab) -> None:
    lab.client.register_workflow_defs(approval(lab))
    outputs = {"approve": {"status": "FAILED", "output": {"why": "too dear"}}}
    done = lab.client.run(dry_run(lab.name("approval"), version=1, task_outputs=outputs))
    assert (done.status, done.tasks[0].output) == ("FAILED", {"why": "too dear"})


def test_a_task_may_fail_and_be_tried_again(lab: Lab) -> None:
    name = lab.define("packing", lab.simple("pack"))
    lab.client.register_task_defs(
        {"name": lab.name("pack"), "retryCount": 1, "retryDelaySeconds": 600, "ownerEmail": "tests@example.com"}
    )
    outputs = {"pack": [{"status": "FAILED", "output": {}}, {"boxes": 2}]}
    done = lab.client.run(dry_run(name, task_outputs=outputs))
    assert [(str(task.status), task.output) for task in done.tasks] == [("FAILED", {}), ("COMPLETED", {"boxes": 2})]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({}, r"RUNNING: .* for 'approve' \(HUMAN\); it has .* no task$"),
        ({"approve": {"ok": "true"}}, r"RUNNING: .* for 'ship' \(ship_\w+\); it has outputs for 'approve'$"),
    ],
)
def test_a_task_without_an_output_is_named_and_nothing_runs_on(lab: Lab, outputs: Any, says: str) -> None:
    before = set(lab.client.get_running_workflows(lab.name("approval")))
    with pytest.raises(ConductorDryRunIncompleteError, match=says):
        lab.client.run(dry_run(approval(lab), task_outputs=outputs))
    assert set(lab.client.get_running_workflows(lab.name("approval"))) == before


def fork(lab: Lab) -> list[dict[str, Any]]:
    branches = [[lab.simple("left")], [lab.simple("right")]]
    return [
        lab.system("FORK_JOIN", "fork", forkTasks=branches),
        lab.system("JOIN", "join", joinOn=["left", "right"]),
    ]


def twice(*tasks: dict[str, Any]) -> dict[str, Any]:
    condition = "if ($.loop['iteration'] < 2) { true; } else { false; }"
    return Lab.system("DO_WHILE", "loop", loopCondition=condition, loopOver=list(tasks))


def below(name: str, ref: str = "below") -> dict[str, Any]:
    return Lab.system("SUB_WORKFLOW", ref, subWorkflowParam={"name": name})


def test_only_the_tasks_that_want_an_output_are_named(lab: Lab) -> None:
    with pytest.raises(ConductorDryRunIncompleteError, match=r"for 'right' \(right_\w+\); it has outputs for 'left'$"):
        lab.client.run(dry_run(lab.definition("forked", *fork(lab)), task_outputs={"left": {}}))


def test_each_iteration_of_a_loop_has_an_output_of_its_own(lab: Lab) -> None:
    counted = lab.definition("counted", twice(lab.simple("step")))
    done = lab.client.run(dry_run(counted, task_outputs={"step__1": {"a": 1}, "step__2": {"a": 2}}))
    assert (done.status, done.output) == ("COMPLETED", {"a": 2})
    with pytest.raises(ConductorDryRunIncompleteError, match=r"for 'step__2' \(step_\w+\); it has .* 'step__1'$"):
        lab.client.run(dry_run(counted, task_outputs={"step__1": {"a": 1}}))


def test_the_tasks_of_sub_workflows_have_outputs_at_any_depth(lab: Lab) -> None:
    inner = lab.define("inner", lab.simple("pack"), outputParameters={"boxes": "${pack.output.boxes}"})
    boxes = {"boxes": "${below.output.boxes}"}
    middle = lab.define("middle", below(inner), lab.simple("label"), outputParameters=boxes)
    outer = lab.definition("outer", below(middle, "top"), lab.simple("ship"))
    outputs = {"top": {"below": {"pack": {"boxes": 3}}, "label": {}}, "ship": {"parcel": 7}}
    done = lab.client.run(dry_run(outer, task_outputs=outputs))
    assert [(task.reference_name, str(task.status)) for task in done.tasks] == [
        ("top", "COMPLETED"),
        ("ship", "COMPLETED"),
    ]
    alone = lab.definition("alone", below(inner), outputParameters=boxes)
    assert lab.client.run(dry_run(alone, task_outputs={"below": {"pack": {"boxes": 3}}})).output == {"boxes": 3}
    in_a_loop = lab.definition("in_a_loop", twice(below(inner)))
    outputs = {f"below__{number}": {"pack": {"boxes": number}} for number in (1, 2)}
    assert lab.client.run(dry_run(in_a_loop, task_outputs=outputs)).status == "COMPLETED"


def test_a_task_of_a_sub_workflow_without_an_output_is_named_and_nothing_runs_on(lab: Lab) -> None:
    inner = lab.define("inner", lab.simple("pack"))
    with pytest.raises(ConductorDryRunIncompleteError, match=r"for 'below → pack' \(pack_\w+\); it has .* no task$"):
        lab.client.run(dry_run(lab.definition("alone", below(inner))))
    assert lab.client.get_running_workflows(inner) == []


def run_that_does_not_end(lab: Lab, error: type[Exception], match: str = "") -> tuple[str, str]:
    """Names of a workflow and its sub-workflow, whose dry run fails with this error.

    3.32.2 works for minutes on a run with an output left and a sub-workflow that lacks one.
    """
    inner = lab.define("inner", lab.simple("pack"))
    outer = lab.define("stuck", below(inner), lab.simple("ship"))
    with (
        ConductorClient(replace(lab.client.settings, read_timeout=3)) as impatient,
        pytest.raises(error, match=match or None),
    ):
        impatient.run(dry_run(outer, task_outputs={"ship": {}}))
    return outer, inner


@pytest.mark.needs("look-up", "index")
def test_a_run_that_the_server_does_not_end_is_started_once_and_ended(lab: Lab) -> None:
    says = r"for 'below → pack' \(pack_\w+\); it has .* 'ship'$"
    outer, inner = run_that_does_not_end(lab, ConductorDryRunIncompleteError, says)
    query = f"workflowType IN ({outer})"
    lab.eventually(
        lambda: [found.status for found in lab.client.search_workflows(query=query).results] == ["TERMINATED"]
    )
    assert lab.client.get_running_workflows(inner) == []


@pytest.mark.lacks("look-up")
def test_a_run_that_is_not_ended_and_cannot_be_found_is_left_with_the_timeouts_error(lab: Lab) -> None:
    outer, _ = run_that_does_not_end(lab, ConductorTimeoutError)
    assert len(lab.client.get_running_workflows(outer)) == 1
    lab.end("stuck", "inner")


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"step": [{}, {}]}, "'step' is in a loop, .* 'step__1', 'step__2'"),
        ({"step__1": {}, "join": {}}, r"'join' \(JOIN\) is done by the server itself"),
        ({"stp__1": {}}, r"has 'stp__1', and the definition has no such task \(it has 'loop', 'step'"),
        ({"below": {"x": 1}}, "has 'below → x', and the definition has no such task .it has 'pack'"),
        ({"below": 7}, "task 'below' is a sub-workflow: give the outputs of its tasks"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_output_that_no_task_would_take_is_refused(lab: Lab, outputs: Any, says: str) -> None:
    inner = lab.define("inner", lab.simple("pack"))
    tasks = (twice(lab.simple("step")), *fork(lab), below(inner))
    with pytest.raises(ConductorInputError, match=f"{says}.*nothing was sent"):
        lab.client.run(dry_run(lab.definition("all", *tasks), task_outputs=outputs))


def test_an_output_that_is_not_a_mapping_is_refused(lab: Lab) -> None:
    with pytest.raises(ConductorInputError, match="task 'approve' must be a mapping, not 'yes'"):
        lab.client.run(dry_run(approval(lab), task_outputs={"approve": "yes"}))


def test_the_oldest_server_runs_dry_too(oldest: Lab) -> None:
    done = oldest.client.run(dry_run(approval(oldest), task_outputs={"approve": {"ok": "false"}}))
    assert (done.status, done.tasks[0].output) == ("COMPLETED", {"ok": "false"})
