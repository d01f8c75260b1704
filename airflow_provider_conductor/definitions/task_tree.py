"""The tasks of a workflow's definition, with those inside other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HOLDS = frozenset({"decisionCases", "forkTasks", "defaultCase", "loopOver"})
"""Fields of a task that have other tasks."""


@dataclass(frozen=True, slots=True)
class DefinedTask:
    """A task of a definition and its place, ``path``, such as ``tasks[0].decisionCases['a'][1]``.

    Attributes:
        task: as the author gave it; not checked, so it may be anything.
        within: reference name and type of each SWITCH, DECISION, FORK_JOIN and DO_WHILE around it, outermost first.
        first: whether it is the first task of its case, branch, loop or workflow.
    """

    task: Any
    path: str
    within: tuple[tuple[str, str], ...] = ()
    first: bool = False

    def innermost(self, *types: str) -> str:
        """The reference name of the innermost task of these types around it, or ""."""
        return next((ref for ref, kind in reversed(self.within) if kind in types), "")


def defined_tasks(tasks: Any, path: str = "tasks", within: tuple[tuple[str, str], ...] = ()) -> Iterator[DefinedTask]:
    """Each task of a list of tasks, followed by those inside it; what is not a list has none."""
    for number, task in enumerate(tasks if isinstance(tasks, list) else []):
        place = f"{path}[{number}]"
        yield DefinedTask(task, place, within, number == 0)
        if not isinstance(task, Mapping) or HOLDS.isdisjoint(task):
            continue
        around = (*within, (str(task.get("taskReferenceName")), str(task.get("type"))))
        cases, branches = task.get("decisionCases"), task.get("forkTasks")
        inside = {f"decisionCases[{key!r}]": case for key, case in cases.items()} if isinstance(cases, Mapping) else {}
        if isinstance(branches, list):
            inside |= {f"forkTasks[{index}]": branch for index, branch in enumerate(branches)}
        inside |= {field: task.get(field) for field in ("defaultCase", "loopOver")}
        for field, listed in inside.items():
            yield from defined_tasks(listed, f"{place}.{field}", around)
