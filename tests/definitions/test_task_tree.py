"""Where a task stands in a definition."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.definitions.task_tree import DefinedTask, defined_tasks


def task(ref: str, kind: str = "SIMPLE", **more: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **more}


def test_a_place_has_the_path_and_what_is_around_it() -> None:
    a, b, c, d = map(task, "abcd")
    switch = task("s", "SWITCH", decisionCases={"yes": [a, b]}, defaultCase=[c])
    fork = task("f", "FORK_JOIN", forkTasks=[[d], [switch]])
    loop = task("l", "DO_WHILE", loopOver=[fork])
    in_loop = (("l", "DO_WHILE"),)
    in_fork = (*in_loop, ("f", "FORK_JOIN"))
    in_switch = (*in_fork, ("s", "SWITCH"))
    branch = "tasks[0].loopOver[0].forkTasks[1][0]"
    found = list(defined_tasks([loop]))
    assert found == [
        DefinedTask(loop, "tasks[0]", (), True),
        DefinedTask(fork, "tasks[0].loopOver[0]", in_loop, True),
        DefinedTask(d, "tasks[0].loopOver[0].forkTasks[0][0]", in_fork, True),
        DefinedTask(switch, branch, in_fork, True),
        DefinedTask(a, f"{branch}.decisionCases['yes'][0]", in_switch, True),
        DefinedTask(b, f"{branch}.decisionCases['yes'][1]", in_switch, False),
        DefinedTask(c, f"{branch}.defaultCase[0]", in_switch, True),
    ]
    assert (found[5].innermost("FORK_JOIN"), found[5].innermost("DO_WHILE", "SWITCH")) == ("f", "s")
    assert found[0].innermost("SWITCH") == ""


@pytest.mark.parametrize("value", [7, "pack", None, {"a": 1}, [[7]]], ids=str)
@pytest.mark.parametrize("field", ["forkTasks", "decisionCases", "defaultCase", "loopOver"])
def test_what_is_not_a_list_has_no_tasks(field: str, value: Any) -> None:
    paths = [item.path for item in defined_tasks([{field: value}])]
    assert paths[0] == "tasks[0]"
    assert all(path.startswith(f"tasks[0].{field}[") for path in paths[1:])
