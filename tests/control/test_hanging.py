"""Which skips and reruns would leave a workflow waiting forever: the tables, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.control import commands
from airflow_provider_conductor.control.eligibility import Kind
from airflow_provider_conductor.control.hanging import hangs_after_rerun, hangs_after_skip


def task(ref: str, kind: str = "SIMPLE", **more: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **more}


def switch(ref: str, *case: dict[str, Any], default: tuple[dict[str, Any], ...] = (), kind: str = "SWITCH") -> Any:
    return task(ref, kind, decisionCases={"yes": list(case)}, defaultCase=list(default))


def fork(ref: str, *branches: list[dict[str, Any]]) -> dict[str, Any]:
    return task(ref, "FORK_JOIN", forkTasks=list(branches))


def loop(ref: str, *body: dict[str, Any]) -> dict[str, Any]:
    return task(ref, "DO_WHILE", loopOver=list(body))


A, B, C, D, X = map(task, "abcdx")
JOIN_BC = task("j", "JOIN", joinOn=["b", "c"])

SKIPS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    # The tasks, the task that is skipped, why it would hang ("" if it was seen to continue).
    "of the workflow": ([A, B, C], "b", ""),
    "behind a switch": ([A, switch("s", B), D], "d", ""),
    "behind a loop": ([A, loop("l", B), D], "d", ""),
    "behind a join": ([A, fork("f", [B], [C]), JOIN_BC, D], "d", ""),
    "a switch": ([A, switch("s", B), D], "s", ""),
    "a loop": ([A, loop("l", B), D], "l", ""),
    "a join": ([A, fork("f", [B], [C]), JOIN_BC, D], "j", ""),
    "a fork": ([A, fork("f", [B], [C]), JOIN_BC, D], "f", "its JOIN would wait"),
    "first of a case": ([A, switch("s", B, C), D], "b", "first task of a case of the switch 's'"),
    "first of the default": ([A, switch("s", X, default=(B, C)), D], "b", "first task of a case of the switch 's'"),
    "first of a decision's case": ([A, switch("s", B, kind="DECISION"), D], "b", "first task of a case"),
    "second of a case": ([A, switch("s", B, C), D], "c", ""),
    "second of a case in a case": ([A, switch("s", switch("t", B, C)), D], "c", ""),
    "first of a loop": ([A, loop("l", B, C), D], "b", "in the loop 'l'"),
    "second of a loop": ([A, loop("l", B, C), D], "c", "in the loop 'l'"),
    "second of a case in a loop": ([A, loop("l", switch("s", C, B)), D], "b", "in the loop 'l'"),
    "the only one of a branch": ([A, fork("f", [B], [C]), JOIN_BC], "b", "the JOIN 'j' would wait"),
    "first of a branch": (
        [A, fork("f", [B, X], [C]), task("j", "JOIN", joinOn=["x", "c"])],
        "b",
        "first task of a branch of the fork 'f'",
    ),
    "in the middle of a branch": ([A, fork("f", [X, B, D], [C]), task("j", "JOIN", joinOn=["d", "c"])], "b", ""),
    "last of a branch": ([A, fork("f", [X, B], [C]), JOIN_BC], "b", "the JOIN 'j' would wait"),
    "a joined switch": (
        [A, fork("f", [switch("s", B)], [C]), task("j", "JOIN", joinOn=["s", "c"])],
        "s",
        "the JOIN 'j' would wait",
    ),
    "joined in a case": ([A, fork("f", [switch("s", X, B)], [C]), JOIN_BC], "b", "the JOIN 'j' would wait"),
    "nowhere": ([A, B], "z", ""),
}


@pytest.mark.parametrize("case", SKIPS)
def test_a_skip_that_would_hang_is_refused(case: str) -> None:
    tasks, ref, why = SKIPS[case]
    found = hangs_after_skip({"tasks": tasks}, ref)
    assert why in found
    assert bool(found) == bool(why)
    workflow = Workflow({"workflowId": "w", "status": "RUNNING", "tasks": [], "workflowDefinition": {"tasks": tasks}})
    assert commands.skip(ref).decide(workflow).kind is (Kind.CANNOT if why else Kind.DUE)


RERUNS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "of the workflow": ([A, B, C], "b", ""),
    "first of a case": ([A, switch("s", B, C), D], "b", ""),
    "second of a case in a case": ([A, switch("s", switch("t", B, C)), D], "c", ""),
    "behind a switch": ([A, switch("s", B), D], "d", ""),
    "behind a join": ([A, fork("f", [B], [C]), JOIN_BC, D], "d", ""),
    "before a fork": ([A, fork("f", [B], [C]), JOIN_BC, D], "a", ""),
    "a loop": ([A, loop("l", B), D], "l", ""),
    "a dynamic fork": ([A, task("f", "FORK_JOIN_DYNAMIC"), task("j", "JOIN"), D], "f", ""),
    "a switch": ([A, switch("s", B), D], "s", "a SWITCH would run again"),
    "a decision": ([A, switch("s", B, kind="DECISION"), D], "s", "a DECISION would run again"),
    "a fork": ([A, fork("f", [B], [C]), JOIN_BC, D], "f", "a FORK_JOIN would run again"),
    "a join": ([A, fork("f", [B], [C]), JOIN_BC, D], "j", "a JOIN would run again"),
    "in a branch": ([A, fork("f", [B], [C]), JOIN_BC, D], "b", "in a branch of the fork 'f'"),
    "in a case in a branch": ([A, fork("f", [switch("s", B)], [C]), JOIN_BC], "b", "in a branch of the fork 'f'"),
    "in a branch in a case": ([A, switch("s", fork("f", [B], [C]), JOIN_BC)], "b", "in a branch of the fork 'f'"),
    "in a dynamic branch": (
        [A, task("f", "FORK_JOIN_DYNAMIC"), task("j", "JOIN"), D],
        "t",
        "a dynamic fork has created it",
    ),
}


def ended(tasks: list[dict[str, Any]], *attempts: tuple[str, str]) -> Workflow:
    listed = [{"referenceTaskName": ref, "status": status, "taskId": ref} for ref, status in attempts]
    return Workflow(
        {
            "workflowId": "w",
            "status": "FAILED",
            "tasks": listed,
            "workflowDefinition": {"tasks": tasks, "name": "orders"},
        }
    )


@pytest.mark.parametrize("case", RERUNS)
def test_a_rerun_that_would_hang_is_refused(case: str) -> None:
    tasks, ref, why = RERUNS[case]
    workflow = ended(tasks, (ref, "COMPLETED"))
    found = hangs_after_rerun(workflow, workflow.tasks[0])
    assert why in found
    assert bool(found) == bool(why)
    assert commands.rerun(from_task_ref=ref).decide(workflow).kind is (Kind.CANNOT if why else Kind.DUE)


@pytest.mark.parametrize("body", [[B], [switch("s", B)]], ids=["body", "case"])
@pytest.mark.parametrize(("status", "hangs"), [("COMPLETED", True), ("FAILED", False), ("CANCELED", False)])
def test_a_rerun_from_within_a_loop_depends_on_whether_that_has_completed(
    body: list[dict[str, Any]], status: str, hangs: bool
) -> None:
    workflow = ended([A, loop("l", *body), D], ("l", status), ("b__1", "COMPLETED"))
    assert bool(hangs_after_rerun(workflow, workflow.tasks[1])) is hangs


@pytest.mark.parametrize(
    ("given", "hangs"), [({"duration": "3 seconds"}, True), ({"until": "2026-01-01 00:00"}, True), ({}, False)]
)
def test_a_rerun_from_a_wait_depends_on_whether_it_is_timed(given: dict[str, str], hangs: bool) -> None:
    workflow = ended([A, task("w", "WAIT"), D], ("w", "COMPLETED"))
    workflow.data["tasks"][0]["inputData"] = given
    assert bool(hangs_after_rerun(workflow, workflow.tasks[0])) is hangs


def test_without_a_definition_nothing_is_known() -> None:
    workflow = ended([], ("b", "COMPLETED"))
    assert hangs_after_rerun(workflow, workflow.tasks[0]) == ""
    assert hangs_after_skip({}, "b") == ""


@pytest.mark.parametrize(("status", "hangs"), [("COMPLETED", True), ("FAILED", False)])
def test_a_loop_in_a_loop_has_an_iteration_in_its_name(status: str, hangs: bool) -> None:
    """Seen on 3.32.2; the run of the inner loop counts that the task was in."""
    tasks = [loop("outer", loop("inner", B), C)]
    attempts = ("outer", "FAILED"), ("inner__1", status), ("b__1", "COMPLETED"), ("inner__2", "IN_PROGRESS")
    workflow = ended(tasks, *attempts)
    for seq, attempt in enumerate(workflow.data["tasks"]):
        attempt["seq"] = seq
    why = hangs_after_rerun(workflow, workflow.tasks[2])
    assert ("in the loop 'inner'" in why) is hangs
    assert bool(why) is hangs
