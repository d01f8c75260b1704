"""The steps that become tasks, and their edges, for each type of task that Conductor has."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.mirrors.plan import Selection, make_plan


def task(ref: str, kind: str = "SIMPLE", **fields: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **fields}


def tasks(*refs: str) -> list[dict[str, Any]]:
    return [task(ref) for ref in refs]


def fork(*branches: list[dict[str, Any]], join_on: tuple[str, ...] = (), ref: str = "fork") -> list[dict[str, Any]]:
    return [
        task(ref, "FORK_JOIN", forkTasks=list(branches)),
        task(f"{ref}_join", "JOIN", joinOn=list(join_on or [branch[-1]["taskReferenceName"] for branch in branches])),
    ]


def switch(default: list[dict[str, Any]], ref: str = "switch", **cases: list[dict[str, Any]]) -> dict[str, Any]:
    return task(ref, "SWITCH", decisionCases=cases, defaultCase=default)


def plan(*listed: Any, select: Any = (), exclude: Any = (), depth: int | None = None, **below: Any) -> Any:
    flat = [item for given in listed for item in (given if isinstance(given, list) else [given])]
    return make_plan({"name": "orders", "tasks": flat}, Selection(tuple(select), tuple(exclude), depth), below)


def edges(*listed: Any, **more: Any) -> dict[str, str]:
    """Each step and what is before it."""
    return {step.ref: " ".join(step.upstream) for step in plan(*listed, **more).steps}


def test_tasks_in_a_row() -> None:
    assert edges(tasks("a", "b", "c")) == {"a": "", "b": "a", "c": "b"}


WORK = (
    *("SIMPLE", "HTTP", "HTTP_POLL", "WAIT", "HUMAN", "EVENT", "INLINE", "LAMBDA", "JSON_JQ_TRANSFORM", "DYNAMIC"),
    *(
        "KAFKA_PUBLISH",
        "START_WORKFLOW",
        "SUB_WORKFLOW",
        "DO_WHILE",
        "FORK_JOIN_DYNAMIC",
        "USER_DEFINED",
        "WAIT_FOR_WEBHOOK",
    ),
    *("BUSINESS_RULE", "LLM_TEXT_COMPLETE", "GET_DOCUMENT", "PUBLISH_EVENT", "GRPC", "A_LATER_TYPE"),
)


@pytest.mark.parametrize("kind", WORK)
def test_what_does_work_is_one_step(kind: str) -> None:
    assert edges(tasks("a"), task("b", kind), tasks("c")) == {"a": "", "b": "a", "c": "b"}


@pytest.mark.parametrize("kind", ["SET_VARIABLE", "NOOP", "JOIN", "EXCLUSIVE_JOIN"])
def test_what_does_none_passes_its_edges_on(kind: str) -> None:
    assert edges(tasks("a"), task("b", kind), tasks("c")) == {"a": "", "c": "a"}


def test_a_task_without_a_type_is_a_simple_one() -> None:
    assert plan({"name": "a", "taskReferenceName": "a"}).steps[0].kind == "SIMPLE"


def test_a_fork_and_its_join() -> None:
    assert edges(tasks("a"), fork(tasks("b", "c"), tasks("d")), tasks("e")) == {
        **{"a": "", "b": "a", "c": "b", "d": "a", "e": "c d"}
    }


def test_a_join_waits_for_some() -> None:
    found = edges(fork(tasks("b", "c"), tasks("d"), tasks("f"), join_on=("b", "d")), tasks("e"))
    assert found == {"b": "", "c": "b", "d": "", "f": "", "e": "b d"}


def test_a_join_on_a_switch_does_not_wait_for_its_cases() -> None:
    """The server completes a SWITCH when it has chosen: see ``tests/task_groups/test_on_a_server.py``."""
    branch = [*tasks("b"), switch(tasks("c"), x=tasks("d"))]
    found = edges(fork(branch, tasks("f")), tasks("e"))
    assert found == {"b": "", "c": "b", "d": "b", "f": "", "e": "b f"}


def test_a_join_on_a_join_waits_for_all_that_it_does() -> None:
    inner = fork(tasks("b"), tasks("c"), ref="inner")
    assert edges(fork(inner, tasks("f")), tasks("e"))["e"] == "b c f"


def test_forks_in_forks() -> None:
    inner = fork(tasks("b"), tasks("c"), ref="inner")
    assert edges(tasks("a"), fork([*inner, *tasks("d")], tasks("e")), tasks("g")) == {
        **{"a": "", "b": "a", "c": "a", "d": "b c", "e": "a", "g": "d e"}
    }


def test_a_switch_has_an_edge_past_it_only_where_no_case_goes_on() -> None:
    assert edges(tasks("a"), switch([], x=tasks("b"), y=tasks("c")), tasks("d"))["d"] == "b c"
    assert edges(tasks("a"), switch(tasks("e"), x=tasks("b"), y=[]), tasks("d"))["d"] == "b e"
    assert edges(tasks("a"), switch([], x=[]), tasks("d"))["d"] == "a"
    assert edges(tasks("a"), switch([], x=[*tasks("b"), task("end", "TERMINATE")]), tasks("d"))["d"] == "a"


def test_a_step_knows_the_cases_around_it() -> None:
    nested = switch([], "outer", x=[switch(tasks("a"), "inner", y=tasks("b"))])
    cases = {step.ref: step.cases for step in plan(nested).steps}
    assert cases == {"b": (("outer", "x"), ("inner", "y")), "a": (("outer", "x"), ("inner", None))}


def test_a_decision_is_a_switch() -> None:
    decision = task("choose", "DECISION", decisionCases={"x": tasks("b")}, defaultCase=[])
    assert edges(tasks("a"), decision, tasks("c")) == {"a": "", "b": "a", "c": "b"}


def test_a_loop_is_one_step_with_what_is_in_it() -> None:
    loop = task("again", "DO_WHILE", loopOver=[*tasks("a"), switch([], x=tasks("b"))])
    (step,) = plan(loop).steps
    assert (step.ref, set(step.inside)) == ("again", {"a", "switch", "b"})


def test_a_dynamic_fork_ends_with_its_join() -> None:
    first, second = plan(task("fan_out", "FORK_JOIN_DYNAMIC"), task("fan_in", "JOIN"), tasks("a")).steps
    assert (first.ref, first.awaits, second.upstream) == ("fan_out", "fan_in", ("fan_out",))


def test_a_terminate_ends_its_branch() -> None:
    ends = task("end", "TERMINATE")
    assert edges(tasks("a"), ends, tasks("b")) == {"a": ""}
    assert edges(tasks("a"), switch(tasks("b"), x=[*tasks("c"), ends]), tasks("d")) == {
        **{"a": "", "c": "a", "b": "a", "d": "b"}
    }
    assert edges(tasks("a"), switch([ends], x=[ends]), tasks("d")) == {"a": ""}


def test_a_sub_workflow_with_its_definition_has_a_plan() -> None:
    inline = {"name": "parcel", "tasks": tasks("wrap")}
    sub = task("sub", "SUB_WORKFLOW", subWorkflowParam={"name": "parcel", "version": 3})
    assert plan(sub).steps[0].sub_workflow is None
    below = plan(sub, parcel=inline).steps[0].sub_workflow
    assert (below.version, [step.ref for step in below.steps]) == (3, ["wrap"])
    sub["subWorkflowParam"] = {"name": "parcel", "workflowDefinition": inline}
    assert plan(sub).steps[0].sub_workflow.version is None
    assert plan(sub).size == 2
    sub["subWorkflowParam"] = {"name": "parcel", "version": "${workflow.input.version}"}
    assert plan(sub, parcel=inline).steps[0].sub_workflow.version is None


def test_an_optional_sub_workflow_is_known_at_any_depth() -> None:
    def sub(ref: str, *below: Any, **fields: Any) -> dict[str, Any]:
        inline = {"name": ref, "workflowDefinition": {"name": ref, "tasks": list(below)}}
        return task(ref, "SUB_WORKFLOW", subWorkflowParam=inline, **fields)

    assert not plan(sub("parcel", *tasks("wrap")), task("label", optional=True)).has_optional_groups
    assert plan(sub("parcel", *tasks("wrap"), optional=True)).has_optional_groups
    assert plan(sub("parcel", sub("box", *tasks("wrap"), optional=True))).has_optional_groups


def test_a_workflow_in_itself_is_one_step() -> None:
    sub = task("sub", "SUB_WORKFLOW", subWorkflowParam={"name": "orders"})
    assert plan(sub, orders={"name": "orders", "tasks": [sub]}).steps[0].sub_workflow is None


def test_a_name_that_occurs_twice_in_a_workflow_is_refused() -> None:
    inline = {"name": "parcel", "workflowDefinition": {"name": "parcel", "tasks": tasks("pack", "pack")}}
    with pytest.raises(ValueError, match=r"workflow 'parcel': taskReferenceName 'pack' occurs twice.* give one of the"):
        plan(task("sub", "SUB_WORKFLOW", subWorkflowParam=inline))
    inline["workflowDefinition"] = {"name": "parcel", "tasks": tasks("pack")}
    assert edges(tasks("pack"), task("sub", "SUB_WORKFLOW", subWorkflowParam=inline)) == {"pack": "", "sub": "pack"}


def test_a_step_that_is_not_selected_passes_its_edges_on() -> None:
    assert edges(tasks("a", "b", "c"), exclude=["b"]) == {"a": "", "c": "a"}
    assert edges(tasks("load_a", "b", "load_c"), select=["load_*"]) == {"load_a": "", "load_c": "load_a"}
    assert edges(fork(tasks("a"), tasks("b")), tasks("c"), exclude=["a", "b"]) == {"c": ""}


def test_a_fork_at_the_depth_is_one_step() -> None:
    _, second, third = plan(tasks("a"), fork(tasks("b", "c"), tasks("d")), tasks("e"), depth=0).steps
    assert (second.ref, second.awaits, set(second.inside)) == ("fork", "fork_join", {"b", "c", "d"})
    assert third.upstream == ("fork",)


def test_what_is_in_a_switch_at_the_depth_has_no_step() -> None:
    assert edges(tasks("a"), switch([], x=tasks("b")), tasks("c"), depth=0) == {"a": "", "c": "a"}
    inner = switch([], "inner", x=tasks("b"))
    assert edges(switch(tasks("a"), y=[inner]), tasks("c"), depth=1) == {"a": "", "c": "a"}


def test_a_sub_workflow_at_the_depth_is_one_step() -> None:
    sub = task("sub", "SUB_WORKFLOW", subWorkflowParam={"name": "parcel"})
    below = {"parcel": {"name": "parcel", "tasks": tasks("wrap")}}
    assert plan(sub, depth=0, **below).steps[0].sub_workflow is None
    assert plan(sub, depth=1, **below).steps[0].sub_workflow is not None
