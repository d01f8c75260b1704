"""Where a step stands in a workflow, and what a cleared task does about it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.mirrors.plan import Step, make_plan
from airflow_provider_conductor.mirrors.report import report
from airflow_provider_conductor.mirrors.step_state import (
    Action,
    Kind,
    StepState,
    action,
    attempts,
    below,
    mark,
    step_state,
)
from tests.polling.builders import failed, task, workflow
from tests.polling.recordings import load, recordings

PACK = Step("pack", "SIMPLE", "pack")
IN_CASE = Step("fly", "SIMPLE", "fly", cases=(("choose", "air"),))
IN_DEFAULT = Step("ship", "SIMPLE", "ship", cases=(("choose", None),))
OPTIONAL = failed("pack", in_workflow={"optional": True})
FORK = Step("fan_out", "FORK_JOIN_DYNAMIC", "fan_in")


def choice(status: str = "COMPLETED", chosen: str = "air", field: str = "evaluationResult") -> dict[str, Any]:
    cases = {"decisionCases": {"air": [{}], "none": []}}
    value: Any = chosen if field == "selectedCase" else [chosen]
    return task("choose", status, kind="SWITCH", in_workflow=cases, outputData={field: value})


@pytest.mark.parametrize(
    ("step", "status", "tasks", "kind", "waits_for"),
    [
        (PACK, "RUNNING", [task("pack", "COMPLETED")], Kind.SUCCEEDED, ""),
        (PACK, "FAILED", [task("pack", "COMPLETED")], Kind.SUCCEEDED, ""),
        (PACK, "RUNNING", [task("pack", "COMPLETED_WITH_ERRORS")], Kind.WARNED, ""),
        (PACK, "RUNNING", [task("pack", "SKIPPED")], Kind.SKIPPED, ""),
        (PACK, "TERMINATED", [task("pack", "CANCELED")], Kind.CANCELED, ""),
        (PACK, "COMPLETED", [task("pack", "CANCELED")], Kind.SKIPPED, ""),
        (PACK, "COMPLETED", [task("pack", "IN_PROGRESS")], Kind.SKIPPED, ""),
        (PACK, "FAILED", [failed("pack")], Kind.FAILED, ""),
        (PACK, "RUNNING", [failed("pack")], Kind.FAILED, ""),
        (PACK, "RUNNING", [OPTIONAL], Kind.OPEN, "pack"),
        (PACK, "COMPLETED", [OPTIONAL], Kind.WARNED, ""),
        (PACK, "FAILED", [OPTIONAL], Kind.WARNED, ""),
        (PACK, "RUNNING", [failed("pack", retried=True), task("pack", attempt=2, seq=2)], Kind.OPEN, "pack"),
        (PACK, "RUNNING", [task("pack", "IN_PROGRESS")], Kind.OPEN, "pack"),
        (PACK, "PAUSED", [task("pack", "SCHEDULED")], Kind.OPEN, "pack"),
        (PACK, "RUNNING", [], Kind.OPEN, "pack"),
        (PACK, "COMPLETED", [], Kind.SKIPPED, ""),
        (PACK, "FAILED", [], Kind.NOT_REACHED, ""),
        (IN_CASE, "RUNNING", [], Kind.OPEN, "choose"),
        (IN_CASE, "RUNNING", [choice("IN_PROGRESS")], Kind.OPEN, "choose"),
        (IN_CASE, "RUNNING", [choice()], Kind.OPEN, "fly"),
        (IN_CASE, "RUNNING", [choice(field="caseOutput")], Kind.OPEN, "fly"),
        (IN_CASE, "RUNNING", [choice(field="selectedCase")], Kind.OPEN, "fly"),
        (IN_CASE, "RUNNING", [choice(chosen="sea")], Kind.SKIPPED, ""),
        (IN_CASE, "RUNNING", [choice(chosen="none")], Kind.SKIPPED, ""),
        (IN_CASE, "FAILED", [], Kind.NOT_REACHED, ""),
        (IN_DEFAULT, "RUNNING", [choice()], Kind.SKIPPED, ""),
        (IN_DEFAULT, "RUNNING", [choice(chosen="rail")], Kind.OPEN, "ship"),
        (IN_DEFAULT, "RUNNING", [choice(chosen="none")], Kind.OPEN, "ship"),
        (FORK, "RUNNING", [task("fan_out", "COMPLETED")], Kind.OPEN, "fan_in"),
        (FORK, "RUNNING", [task("fan_out", "COMPLETED"), task("fan_in", "COMPLETED")], Kind.SUCCEEDED, ""),
        (FORK, "FAILED", [failed("fan_out")], Kind.FAILED, ""),
    ],
)
def test_where_a_step_stands(step: Step, status: str, tasks: list[Any], kind: Kind, waits_for: str) -> None:
    state = step_state(step, workflow(*tasks, status=status))
    assert (state.kind, state.wait_for) == (kind, waits_for)


@pytest.mark.parametrize(
    ("state", "above", "began", "becomes"),
    [
        (Kind.FAILED, "FAILED", False, Kind.NOT_REACHED),
        (Kind.CANCELED, "FAILED", False, Kind.NOT_REACHED),
        (Kind.CANCELED, "COMPLETED", False, Kind.NOT_REACHED),
        (Kind.WARNED, "RUNNING", False, Kind.SKIPPED),
        (Kind.OPEN, "RUNNING", False, Kind.OPEN),
        (Kind.SKIPPED, "RUNNING", False, Kind.SKIPPED),
        (Kind.FAILED, "FAILED", True, Kind.FAILED),
        (Kind.FAILED, "COMPLETED", True, Kind.FAILED),
        (Kind.CANCELED, "TERMINATED", True, Kind.CANCELED),
        (Kind.CANCELED, "COMPLETED", True, Kind.SKIPPED),
        (Kind.NOT_REACHED, "COMPLETED", True, Kind.SKIPPED),
        (Kind.WARNED, "RUNNING", True, Kind.WARNED),
    ],
)
def test_a_step_of_a_sub_workflow_stands_as_the_workflows_around_it(
    state: Kind, above: str, began: bool, becomes: Kind
) -> None:
    levels = [workflow(status=above), workflow(status="TERMINATED")]
    assert below(levels, StepState(state), began=began).kind is becomes


SEEN = StepState(Kind.SUCCEEDED, workflow(task("pack", "COMPLETED")).tasks[0])
BAD = StepState(Kind.FAILED, workflow(failed("pack")).tasks[0])
GONE_ON = StepState(Kind.OPEN, workflow(task("pack", "SCHEDULED")).tasks[0])


@pytest.mark.parametrize(
    ("state", "ended", "seen", "does"),
    [
        (SEEN, True, None, Action.FOLLOW),
        (SEEN, True, ["an earlier run", 0], Action.FOLLOW),
        (GONE_ON, False, mark(GONE_ON), Action.FOLLOW),
        (StepState(Kind.NOT_REACHED), True, None, Action.FOLLOW),
        (SEEN, False, mark(SEEN), Action.REFUSE),
        (SEEN, True, mark(SEEN), Action.RERUN),
        (BAD, True, mark(BAD), Action.RETRY),
    ],
)
def test_what_a_cleared_task_does(state: StepState, ended: bool, seen: object, does: Action) -> None:
    assert action(state, workflow_ended=ended, seen=seen) is does


def test_a_name_that_ends_like_an_iteration_is_a_step_of_its_own() -> None:
    """Only the tasks of a loop have iterations."""
    other = task("pack__2", "COMPLETED", seq=2)
    looped = task("pack__1", "COMPLETED", seq=3, iteration=1)
    run = workflow(task("pack", "COMPLETED"), other, looped)
    loop = Step("again", "DO_WHILE", "again", inside=("pack",))
    assert [one.reference_name for one in attempts(PACK, workflow(task("pack", "COMPLETED"), other))] == ["pack"]
    assert [one.reference_name for one in attempts(Step("pack__2", "SIMPLE", "pack__2"), run)] == ["pack__2"]
    assert "pack__1" in [one.reference_name for one in attempts(loop, run)]
    assert "pack__2" not in [one.reference_name for one in attempts(loop, run)]


def plan_of(recorded: Workflow) -> tuple[Step, ...]:
    return make_plan(recorded.data["workflowDefinition"]).steps


@pytest.mark.parametrize("name", recordings())
def test_each_step_of_what_the_server_recorded_stands_somewhere(name: str) -> None:
    recorded = load(name).workflow
    steps = plan_of(recorded)
    refs = {step.ref for step in steps}
    for step in steps:
        state = step_state(step, recorded)
        assert set(step.upstream) < refs
        assert (state.kind is Kind.OPEN) is bool(state.wait_for)
        assert not (recorded.status.ended and state.kind is Kind.OPEN)
        if state.kind is not Kind.NOT_REACHED and state.task is not None:
            assert state.task in attempts(step, recorded)
        assert len(report(step.ref, attempts(step, recorded)).splitlines()) >= len(
            {task.reference_name for task in attempts(step, recorded)}
        )


DIRECTS = {"FORK", "FORK_JOIN", "JOIN", "EXCLUSIVE_JOIN", "SWITCH", "DECISION", "SET_VARIABLE", "TERMINATE", "NOOP"}


@pytest.mark.parametrize("name", recordings())
def test_each_task_that_the_server_ran_belongs_to_one_step(name: str) -> None:
    recorded = load(name).workflow
    steps = plan_of(recorded)
    for one in recorded.tasks:
        owners = [step.ref for step in steps if one in attempts(step, recorded)]
        assert len(owners) == 1 or (not owners and one.kind in DIRECTS), (one.reference_name, one.kind, owners)
