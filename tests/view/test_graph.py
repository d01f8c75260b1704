"""A workflow as a tree: what the server recorded, and what no server gave."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.view.graph import MAX_DEPTH, Node, graph
from tests.polling.builders import failed, sub, task, workflow
from tests.polling.recordings import load, recordings


def drawn(nodes: list[Node]) -> list[Any]:
    """The tree in short: ``ref:STATUS``, with branches in a pair; these are ``?`` undecided, or ``-`` not taken."""
    marks = {True: "", False: "-", None: "?"}
    shown: list[Any] = []
    for node in nodes:
        name = f"{node.ref}:{node.status}"
        branches = {marks[branch.taken] + branch.label: drawn(branch.nodes) for branch in node.branches}
        shown.append((name, branches) if branches else name)
    return shown


RECORDED = {
    "do_while": [
        ("loop:IN_PROGRESS", {"iteration 1": ["step__1:COMPLETED"], "iteration 2": ["step__2:SCHEDULED"]}),
    ],
    "dynamic_fork": [
        (
            "fan_out:COMPLETED",
            {
                "branch 1": ["piece_0:IN_PROGRESS"],
                "branch 2": ["piece_1:SCHEDULED"],
                "branch 3": ["piece_2:SCHEDULED"],
            },
        ),
        "fan_in:IN_PROGRESS",
    ],
    "switch": [("choice:COMPLETED", {"case left": ["left:IN_PROGRESS"]})],
    "fork_mixed": [
        (
            "fork:COMPLETED",
            {
                "branch 1": ["live:IN_PROGRESS"],
                "branch 2": ["dead:SCHEDULED"],
                "branch 3": ["cool_down:IN_PROGRESS"],
                "branch 4": ["sign_off:IN_PROGRESS"],
            },
        ),
        "join:IN_PROGRESS",
    ],
    "ended_failed_two_levels_down": ["to_middle:FAILED"],
    "optional_failed": ["nice_to_have:COMPLETED_WITH_ERRORS", "must:IN_PROGRESS"],
}


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_server_recorded(name: str) -> None:
    assert drawn(graph(load(f"conductor-3.32.2/{name}.json").workflow)) == RECORDED[name]


def numbers(nodes: list[Node]) -> list[int]:
    inside = [number for node in nodes for branch in node.branches for number in numbers(branch.nodes)]
    return [number for node in nodes for number in node.attempts] + inside


@pytest.mark.parametrize("name", recordings())
def test_each_attempt_is_drawn_once(name: str) -> None:
    recorded = load(name).workflow
    assert sorted(numbers(graph(recorded))) == list(range(len(recorded.tasks)))


def defined(*tasks: dict[str, Any], ran: tuple[dict[str, Any], ...] = ()) -> Workflow:
    return workflow(*ran, workflowDefinition={"tasks": list(tasks)})


def simple(ref: str, kind: str = "SIMPLE", **more: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **more}


def test_before_anything_has_run_the_whole_definition_is_there() -> None:
    switch = simple("sw", "SWITCH", decisionCases={"a": [simple("x")], "b": []}, defaultCase=[simple("y")])
    loop = simple("loop", "DO_WHILE", loopOver=[simple("step")])
    fork = simple("fork", "FORK_JOIN", forkTasks=[[simple("l")], [simple("r")]])
    dynamic = simple("dyn", "FORK_JOIN_DYNAMIC", forkTasks=[])
    assert drawn(graph(defined(switch, loop, fork, dynamic))) == [
        ("sw:", {"?case a": ["x:"], "?default": ["y:"]}),
        ("loop:", {"?each iteration": ["step:"]}),
        ("fork:", {"?branch 1": ["l:"], "?branch 2": ["r:"]}),
        "dyn:",
    ]


@pytest.mark.parametrize(
    ("output", "taken"),
    [
        ({"evaluationResult": ["a"], "selectedCase": "a"}, "case a"),
        ({"caseOutput": ["a"]}, "case a"),
        ({"selectedCase": "a"}, "case a"),
        ({"evaluationResult": ["something else"]}, "default"),
        ({}, "default"),
        ({"evaluationResult": [None]}, "default"),
        ({"evaluationResult": "a"}, "default"),
    ],
)
def test_the_case_that_a_switch_chose_is_taken(output: dict[str, Any], taken: str) -> None:
    switch = simple("sw", "SWITCH", decisionCases={"a": [simple("x")]}, defaultCase=[simple("y")])
    ran = task("sw", "COMPLETED", kind="SWITCH", ended=1, outputData=output)
    (node,) = graph(defined(switch, ran=(ran,)))
    assert [branch.label for branch in node.branches if branch.taken] == [taken]
    assert [branch.taken for branch in node.branches if branch.label != taken] == [False]


def test_an_empty_case_is_there_only_if_it_was_taken() -> None:
    switch = simple("sw", "SWITCH", decisionCases={"a": [], "b": [simple("x")]})
    ran = task("sw", "COMPLETED", kind="SWITCH", ended=1, outputData={"evaluationResult": ["a"]})
    assert drawn(graph(defined(switch, ran=(ran,)))) == [("sw:COMPLETED", {"case a": [], "-case b": ["x:"]})]


def test_attempts_are_in_their_order_and_the_newest_decides() -> None:
    again = task(attempt=2, status="IN_PROGRESS", seq=2)
    first = failed(seq=1)
    (node,) = graph(defined(simple("charge_card"), ran=(again, first)))
    assert (node.attempts, node.status) == ([1, 0], "IN_PROGRESS")


def test_a_sub_workflow_can_be_opened() -> None:
    (node,) = graph(defined(simple("ship", "SUB_WORKFLOW"), ran=(sub("ship", "wf-2"),)))
    assert (node.kind, node.sub_workflow_id) == ("sub_workflow", "wf-2")


def test_what_the_definition_lacks_follows_at_the_end() -> None:
    ran = (task("known", "COMPLETED", ended=1), task("new", "IN_PROGRESS"), sub("below"))
    nodes = graph(defined(simple("known"), ran=ran))
    assert drawn(nodes) == ["known:COMPLETED", "new:IN_PROGRESS", "below:IN_PROGRESS"]
    assert [node.kind for node in nodes] == ["task", "task", "sub_workflow"]
    assert drawn(graph(workflow(*ran))) == drawn(nodes)


def test_a_loop_in_a_loop_has_only_the_inner_iteration_in_its_names() -> None:
    inner = simple("inner", "DO_WHILE", loopOver=[simple("step")])
    outer = simple("outer", "DO_WHILE", loopOver=[simple("before"), inner])
    ran = (
        task("outer", "IN_PROGRESS", kind="DO_WHILE", iteration=1),
        task("before__1", "COMPLETED", ended=1, iteration=1),
        task("inner__1", "IN_PROGRESS", kind="DO_WHILE", iteration=1),
        task("step__1", "COMPLETED", ended=1, iteration=1),
        task("step__2", "IN_PROGRESS", iteration=2),
    )
    inside = ("inner__1:IN_PROGRESS", {"iteration 1": ["step__1:COMPLETED"], "iteration 2": ["step__2:IN_PROGRESS"]})
    assert drawn(graph(defined(outer, ran=ran))) == [
        ("outer:IN_PROGRESS", {"iteration 1": ["before__1:COMPLETED", inside]}),
    ]


def loops(*ran: dict[str, Any]) -> list[Any]:
    """The iterations of a loop that has a loop in it, as they are drawn after these tasks."""
    inner = simple("inner", "DO_WHILE", loopOver=[simple("step"), simple("check")])
    outer = simple("outer", "DO_WHILE", loopOver=[simple("before"), inner, simple("after")])
    begin = task("outer", "IN_PROGRESS", kind="DO_WHILE", iteration=1)
    ((_, iterations),) = drawn(graph(defined(outer, ran=(begin, *ran))))
    return list(iterations.values())


def completed(ref: str, iteration: int, **more: Any) -> dict[str, Any]:
    return task(ref, "COMPLETED", ended=1, iteration=iteration, **more)


def test_the_order_tells_in_which_iteration_of_the_outer_loop_an_inner_task_has_run() -> None:
    first, second, third = loops(
        completed("before__1", 1),
        completed("inner__1", 1, kind="DO_WHILE"),
        completed("step__1", 1),
        completed("check__1", 1),
        completed("step__2", 2),
        completed("check__2", 2),
        completed("after", 0),
        completed("before__2", 2),
        completed("inner__2", 1, kind="DO_WHILE"),
        failed("step__1", iteration=1),
        completed("step__1", 1, attempt=2),
        task("check__1", "SCHEDULED", iteration=1),
        completed("before__3", 3),
        task("inner__3", "IN_PROGRESS", kind="DO_WHILE", iteration=1),
    )
    assert first == [
        "before__1:COMPLETED",
        (
            "inner__1:COMPLETED",
            {
                "iteration 1": ["step__1:COMPLETED", "check__1:COMPLETED"],
                "iteration 2": ["step__2:COMPLETED", "check__2:COMPLETED"],
            },
        ),
        "after:COMPLETED",
    ]
    assert second == [
        "before__2:COMPLETED",
        ("inner__2:COMPLETED", {"iteration 1": ["step__1:COMPLETED", "check__1:SCHEDULED"]}),
        "after:",
    ]
    waits = ("inner__3:IN_PROGRESS", {"?each iteration": ["step__3:", "check__3:"]})
    assert third == ["before__3:COMPLETED", waits, "after:"]


def test_an_inner_loop_that_the_server_passes_over_shows_no_tasks_of_another_iteration() -> None:
    """As 3.32.2 does it, from the second iteration of the outer loop on."""
    _, second = loops(
        completed("before__1", 1),
        completed("inner__1", 1, kind="DO_WHILE"),
        completed("step__1", 1),
        completed("check__1", 1),
        completed("before__2", 2),
        completed("inner__2", 1, kind="DO_WHILE"),
    )
    assert second[1] == ("inner__2:COMPLETED", {"?each iteration": ["step__2:", "check__2:"]})


@pytest.mark.parametrize(
    "definition",
    [
        None,
        [],
        {"tasks": None},
        {"tasks": "text"},
        {"tasks": [None, 7, "x", []]},
        {"tasks": [{"type": 7, "taskReferenceName": None}]},
        {"tasks": [simple("f", "FORK_JOIN", forkTasks=[None, {}, 3])]},
        {"tasks": [simple("s", "SWITCH", decisionCases=[1], defaultCase="x")]},
        {"tasks": [simple("l", "DO_WHILE", loopOver={"a": 1})]},
    ],
)
def test_no_definition_breaks_it(definition: Any) -> None:
    assert isinstance(drawn(graph(workflow(task(), workflowDefinition=definition))), list)


def test_what_is_nested_too_deep_is_left_out() -> None:
    inside = simple("innermost")
    for level in range(MAX_DEPTH * 3):
        inside = simple(f"loop_{level}", "DO_WHILE", loopOver=[inside])
    nodes, depth = graph(defined(inside)), 0
    while nodes:
        nodes, depth = [node for one in nodes for branch in one.branches for node in branch.nodes], depth + 1
    assert depth == MAX_DEPTH + 1


def test_what_the_workflow_waits_for_is_marked() -> None:
    nodes = graph(defined(simple("a"), simple("b"), ran=(task("a"), task("b"))), blocked={"b"})
    assert [node.blocked for node in nodes] == [False, True]
