"""Workflows in shapes from public repositories as task groups, on a real server: failed, cleared and run to the end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from airflow_provider_conductor.client import Task, Workflow
from airflow_provider_conductor.task_groups.step import ConductorStepOperator
from tests.integration.client_lab import Lab
from tests.task_groups.group_run import GroupRun
from tests.task_groups.real_life import CASES, note
from tests.task_groups.worker import Worker, define, group_of

pytestmark = pytest.mark.integration

AIRFLOW_STATES = {
    **{"COMPLETED": "success", "COMPLETED_WITH_ERRORS": "success", "SKIPPED": "skipped", None: "skipped"},
    "FAILED": "failed",
}
"""Of a step in a workflow that completed; in an optional sub-workflow one may have failed."""


def ran(run: GroupRun, lab: Lab) -> Mapping[str, Task | None]:
    """The task of the workflow that each task of the group stands for; None: it never ran."""
    found: dict[str, Task | None] = {}
    read: dict[str, Workflow] = {}
    for name, task in run.tasks.items():
        if not isinstance(task, ConductorStepOperator):
            continue
        workflow_id, last = run.workflow_id, None
        for step in task.steps:
            if workflow_id and workflow_id not in read:
                read[workflow_id] = lab.client.get_workflow(workflow_id)
            last = read[workflow_id].latest_attempt(step.awaits) if workflow_id else None
            workflow_id = last.sub_workflow_id if last else ""
        found[name] = last
    return found


def check_order(run: GroupRun, tasks: Mapping[str, Task | None]) -> None:
    """Each edge of the graph is an order in which the server has run its tasks.

    Not of SUB_WORKFLOW tasks: those that a retry has resumed keep the time at which they failed (seen on 3.32.2).
    """
    for name, after in tasks.items():
        for upstream in run.tasks[name].upstream_task_ids:
            before = tasks.get(run.name(upstream))
            if before is None or after is None or before.sub_workflow_id or after.sub_workflow_id:
                continue
            assert before.end_time <= (after.end_time if after.kind == "JOIN" else after.start_time), (upstream, name)


def answer(run: GroupRun, lab: Lab, name: str) -> None:
    """Complete a HUMAN task before the task that follows it, as somebody may who is quick."""
    task = run.tasks[name]
    if not isinstance(task, ConductorStepOperator) or task.step.kind != "HUMAN":
        return
    ref = task.step.ref
    found = lab.eventually(
        lambda: lab.client.get_workflow(run.workflow_id),
        lambda workflow: workflow.status.ended or workflow.latest_attempt(ref) is not None,
    ).latest_attempt(ref)
    if found is not None and found.is_open:
        lab.client.update_task(run.workflow_id, found.task_id, "COMPLETED")


def said(run: GroupRun, lab: Lab) -> str:
    """What the tasks have raised, and how the workflow is, for a failure's message."""
    workflow = lab.client.get_workflow(run.workflow_id)
    tasks = [(task.seq, task.reference_name, task.data.get("status"), task.retried) for task in workflow.tasks]
    return "\n".join(
        [*(f"{name}: {error}" for name, error in run.errors.items()), str(workflow.status), *map(str, tasks)]
    )


@pytest.mark.parametrize("name", CASES)
def test_it_fails_is_cleared_and_completes(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    below = [define(lab, worker, "below", *case.below(lab))] if case.below else []
    undo = {"failureWorkflow": define(lab, worker, "undo", note("undone"))["name"]} if case.undone else {}
    definition = define(lab, worker, name, *case.tasks(lab), **undo)
    worker.fails = {case.fails}
    given = {**case.given, "site": worker.site}
    run = GroupRun(group_of(definition, workflow_input=given, sub_workflows=below, poll_interval=0.1), monkeypatch)
    run.before = lambda task: answer(run, lab, task)
    states = run.go()
    first = run.workflow_id
    failed = [one for one, state in states.items() if state == "failed"]
    if case.undone:
        undone_by = lab.client.get_workflow(first).failure_workflow_id
        assert any(f"Its failure workflow is {undone_by}" in str(run.errors[one]) for one in failed)
    if case.survives:
        assert case.fails in worker.done
    else:
        assert any(case.fails in str(run.errors[one]) for one in failed)
        assert states["finish"] == "upstream_failed"
        worker.fails = set()
        states = run.go_again(lab.client, *failed)
    assert states["finish"] == "success", said(run, lab)
    assert (run.workflow_id == first) is not run.begun_anew
    tasks = ran(run, lab)
    # An optional task in a fork stays FAILED if the JOIN is quicker (seen on 3.32.2).
    optional = {one for one, task in tasks.items() if task and task.workflow_task.get("optional") is True}
    expected = {
        one: "success" if one in optional else AIRFLOW_STATES[task and str(task.status)] for one, task in tasks.items()
    }
    assert states == expected | {"finish": "success", "start": "success"}
    assert {one for one, state in states.items() if state == "skipped"} == set(case.skipped)
    assert {one for one, state in states.items() if state == "failed"} == set(case.failed)
    check_order(run, tasks)


def test_each_names_the_file_that_gave_its_shape() -> None:
    shapes = [case.shape.split() for case in CASES.values()]
    assert len(CASES) >= 30
    assert all(repository.count("/") == 1 and path.endswith(".json") for repository, path in shapes)
    assert len({repository for repository, _ in shapes}) >= 10
