"""Thirty workflows as task groups, on a real server: parsed, failed, cleared and run to their ends."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from airflow_provider_conductor.client import Task, Workflow
from airflow_provider_conductor.task_groups.step import ConductorStepOperator
from tests.integration.client_lab import Lab
from tests.task_groups.group_run import GroupRun
from tests.task_groups.real_life import CASES
from tests.task_groups.test_on_a_server import Worker, define, group_of, lab, worker

__all__ = ["lab", "worker"]

pytestmark = pytest.mark.integration

AIRFLOW_STATES = {"COMPLETED": "success", "COMPLETED_WITH_ERRORS": "success", "SKIPPED": "skipped", None: "skipped"}
"""Of a step in a workflow that completed."""


def ran(run: GroupRun, lab: Lab) -> Mapping[str, Task | None]:
    """The task of the workflow that each task of the group stands for; None: it never ran."""
    found: dict[str, Task | None] = {}
    for name, task in run.tasks.items():
        if not isinstance(task, ConductorStepOperator):
            continue
        workflow: Workflow | None = lab.client.get_workflow(run.workflow_id)
        last: Task | None = None
        for step in task.steps:
            last = workflow.latest_attempt(step.awaits) if workflow is not None else None
            workflow = lab.client.get_workflow(last.sub_workflow_id) if last and last.sub_workflow_id else None
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


@pytest.mark.parametrize("name", CASES)
def test_it_fails_is_cleared_and_completes(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    worker.names |= {lab.name(piece) for piece in ("do_it", "resize", "train", "mail", "item")}
    below = [define(lab, worker, "below", *case.below(lab))] if case.below else []
    definition = define(lab, worker, name, *case.tasks(lab))
    own = [{"name": one, "ownerEmail": "tests@example.com", "retryCount": 0} for one in worker.names]
    lab.client.register_task_defs(own)
    worker.fails = {case.fails}
    group = group_of(definition, workflow_input=case.given, sub_workflows=below, poll_interval=0.2)
    run = GroupRun(group, monkeypatch)
    states = run.go()
    failed = [one for one, state in states.items() if state == "failed"]
    assert failed
    assert states["finish"] == "upstream_failed"
    assert any(case.fails in str(run.errors[one]) for one in failed)
    first = run.workflow_id

    worker.fails = set()
    run.clear(*failed)
    states = run.go()
    assert states["finish"] == "success", (run.errors, lab.client.get_workflow(first).data["tasks"])
    assert run.workflow_id == first
    skipped = {"finish": "success", "start": "success"}
    tasks = ran(run, lab)
    expected = {one: AIRFLOW_STATES[task and str(task.status)] for one, task in tasks.items()}
    assert states == expected | skipped
    assert {one for one, state in states.items() if state == "skipped"} == set(case.skipped)
    check_order(run, tasks)


def test_there_are_thirty() -> None:
    assert len(CASES) >= 30
