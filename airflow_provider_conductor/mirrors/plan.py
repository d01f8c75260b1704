"""The steps of a workflow's definition that become tasks, and what comes before what. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from airflow_provider_conductor.client.task_types import CONTAINERS, FORKS, JOINS, SWITCHES
from airflow_provider_conductor.definitions.task_tree import defined_tasks

NO_WORK = CONTAINERS - {"DO_WHILE", "FORK_JOIN_DYNAMIC"} | {"NOOP", "SET_VARIABLE", "TERMINATE"}
"""Types that only direct the workflow: they have edges and no task."""

Definitions = Mapping[str, Mapping[str, Any]]
"""Workflow name → definition."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a workflow that becomes a task.

    Attributes:
        ref: its reference name.
        kind: its type in the definition.
        awaits: the task whose end is the step's end: of a fork, its JOIN; else the same as ``ref``.
        upstream: the steps before it; none: it comes first.
        cases: the SWITCH tasks around it, outermost first, each with the case that it is in; None: the default case.
        inside: the reference names of the tasks that it stands for, of a loop or a fork.
        sub_workflow: the plan of its sub-workflow, where its definition is given.
        optional: whether the workflow goes on after its failure.
    """

    ref: str
    kind: str
    awaits: str
    upstream: tuple[str, ...] = ()
    cases: tuple[tuple[str, str | None], ...] = ()
    inside: tuple[str, ...] = ()
    sub_workflow: Plan | None = None
    optional: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a definition in its order, those before others first; the version is None for the latest."""

    workflow_name: str
    version: int | None
    steps: tuple[Step, ...]

    @property
    def size(self) -> int:
        """How many steps it has, with those of its sub-workflows."""
        return sum(1 + (step.sub_workflow.size if step.sub_workflow else 0) for step in self.steps)

    @property
    def has_optional_groups(self) -> bool:
        """Whether a sub-workflow with a plan of its own, at any depth, is optional."""
        below = [step for step in self.steps if step.sub_workflow]
        return any(step.optional or (step.sub_workflow and step.sub_workflow.has_optional_groups) for step in below)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which steps become tasks.

    Attributes:
        select, exclude: patterns of reference names, as in a shell: only those of the first, without those of the
            second. A step that has no task passes its edges on.
        depth: how many SWITCH, fork and sub-workflow tasks a step may be in; None: any number. A fork at the limit is
            one step, and what is in a SWITCH at the limit has no task.
    """

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    depth: int | None = None

    def has(self, ref: str) -> bool:
        wanted = not self.select or any(fnmatchcase(ref, pattern) for pattern in self.select)
        return wanted and not any(fnmatchcase(ref, pattern) for pattern in self.exclude)


ALL = Selection()


def make_plan(
    definition: Mapping[str, Any], selection: Selection = ALL, sub_workflows: Definitions | None = None
) -> Plan:
    """The plan of a definition.

    ===================  ===========================================================================
    task                 in the plan
    ===================  ===========================================================================
    FORK_JOIN, JOIN      edges to each branch, and from those that the JOIN waits for; a SWITCH is
                         done when it has chosen, before its case is
    FORK_JOIN_DYNAMIC    one step, which ends with its JOIN
    SWITCH, DECISION     edges to each case; past it only where no case has steps and goes on
    DO_WHILE             one step
    SUB_WORKFLOW         one step; with a plan of its own, where its definition is inline or given
    TERMINATE            the end of its branch
    SET_VARIABLE, NOOP   nothing
    any other            one step
    ===================  ===========================================================================

    Args:
        definition: as the server has it; :func:`~airflow_provider_conductor.definitions.definition.check` accepts it.
        selection: which steps become tasks.
        sub_workflows: definitions of sub-workflows by name.

    Raises:
        ValueError: two steps of a workflow have the same reference name.
    """
    walk = _Walk(selection, sub_workflows or {}, above=(str(definition.get("name")),))
    walk.through(definition.get("tasks") or (), _Place(frozenset([""])))
    version = definition.get("version")
    return Plan(str(definition.get("name") or ""), 1 if version is None else int(version), tuple(walk.steps))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the definition: the steps just before (``""``: the start; none: never reached), and what is around."""

    before: frozenset[str]
    cases: tuple[tuple[str, str | None], ...] = ()
    depth: int = 0


@dataclass(slots=True)
class _Walk:
    selection: Selection
    sub_workflows: Definitions
    above: tuple[str, ...]
    depth: int = 0
    steps: list[Step] = field(default_factory=list)
    done_after: dict[str, frozenset[str]] = field(default_factory=dict)
    """Reference name of a task → the steps after which it is done. A SWITCH is done before its cases are."""
    refs: set[str] = field(default_factory=set)

    def through(self, tasks: Sequence[Mapping[str, Any]], place: _Place) -> frozenset[str]:
        """Add the steps of these tasks, one after the other; returns those just before what follows."""
        for number, task in enumerate(tasks):
            if not place.before:  # a TERMINATE comes before it
                break
            follows = tasks[number + 1] if number + 1 < len(tasks) else {}
            after = self._task(task, follows, place)
            ref = str(task.get("taskReferenceName"))
            self.done_after[ref] = place.before if task.get("type") in SWITCHES else after
            place = replace(place, before=after)
        return place.before

    def _task(self, task: Mapping[str, Any], follows: Mapping[str, Any], place: _Place) -> frozenset[str]:
        kind, ref = str(task.get("type") or "SIMPLE"), str(task.get("taskReferenceName"))
        at_limit = self.selection.depth is not None and self.depth + place.depth >= self.selection.depth
        if kind == "TERMINATE":
            return frozenset()
        if kind in SWITCHES and at_limit:
            return frozenset() if _ends(task) else place.before
        if kind in SWITCHES:
            return self._switch(task, ref, place)
        if kind in FORKS and not at_limit:
            return self._fork(task, follows, place)
        if kind in (*FORKS, "FORK_JOIN_DYNAMIC"):
            awaits = str(follows.get("taskReferenceName")) if follows.get("type") in JOINS else ref
            return self._step(task, kind, ref, place, awaits=awaits)
        if kind in NO_WORK:
            return place.before
        return self._step(task, kind, ref, place, awaits=ref, at_limit=at_limit)

    def _switch(self, task: Mapping[str, Any], ref: str, place: _Place) -> frozenset[str]:
        cases: list[tuple[str | None, Sequence[Mapping[str, Any]]]] = [
            (str(case), listed) for case, listed in (task.get("decisionCases") or {}).items() if listed
        ]
        cases.append((None, task.get("defaultCase") or ()))  # also where a case has no tasks
        after: frozenset[str] = frozenset()
        for case, listed in cases:
            inside = replace(place, cases=(*place.cases, (ref, case)), depth=place.depth + 1)
            after |= self.through(listed, inside)
        # A step of a case comes after those before the SWITCH, and is skipped where another case is taken.
        return after - place.before or after

    def _fork(self, task: Mapping[str, Any], join: Mapping[str, Any], place: _Place) -> frozenset[str]:
        joined = set(map(str, join.get("joinOn") or ())) if join.get("type") in JOINS else set()
        after: frozenset[str] = frozenset()
        ended = True
        for branch in task.get("forkTasks") or ():
            before = self.through(branch, replace(place, depth=place.depth + 1))
            within = {str(item.task.get("taskReferenceName")) for item in defined_tasks(branch)}
            if joined and not joined & within:
                continue
            ended = ended and not before
            awaited = [self.done_after.get(ref, before) for ref in joined & within]
            after = after.union(*awaited or [before])
        return after or (frozenset() if ended and task.get("forkTasks") else place.before)

    def _step(
        self, task: Mapping[str, Any], kind: str, ref: str, place: _Place, *, awaits: str, at_limit: bool = False
    ) -> frozenset[str]:
        below = None if at_limit or kind != "SUB_WORKFLOW" else self._sub_workflow(task, place)
        if not self.selection.has(ref) and not (below and below.steps):
            return place.before
        if ref in self.refs:
            raise ValueError(
                f"workflow {self.above[-1]!r}: taskReferenceName {ref!r} occurs twice, and must be unique: give one of "
                "the tasks another"
            )
        self.refs.add(ref)
        inside = tuple(_refs(task)) if kind in (*FORKS, "DO_WHILE") else ()
        upstream = tuple(sorted(place.before - {""}))
        nested = below if below and below.steps else None
        optional = task.get("optional") is True
        self.steps.append(Step(ref, kind, awaits, upstream, place.cases, inside, nested, optional))
        return frozenset([ref])

    def _sub_workflow(self, task: Mapping[str, Any], place: _Place) -> Plan | None:
        wanted = task.get("subWorkflowParam") or {}
        name, inline = str(wanted.get("name") or ""), wanted.get("workflowDefinition")
        definition = inline if isinstance(inline, Mapping) else self.sub_workflows.get(name)
        if definition is None or name in self.above or not definition.get("tasks"):
            return None
        walk = _Walk(self.selection, self.sub_workflows, (*self.above, name), self.depth + place.depth + 1)
        walk.through(definition["tasks"], _Place(frozenset([""])))
        version = str(wanted.get("version") or "")
        return Plan(name, int(version) if version.isdecimal() else None, tuple(walk.steps))  # it may be a template


def _refs(task: Mapping[str, Any]) -> Iterator[str]:
    for item in defined_tasks([task]):
        if item.within:
            yield str(item.task.get("taskReferenceName"))


def _ends(task: Mapping[str, Any]) -> bool:
    """Whether nothing comes after a SWITCH, since each of its cases ends the workflow."""
    cases: Collection[Any] = [*(task.get("decisionCases") or {}).values(), task.get("defaultCase") or ()]
    return all(any(item.get("type") == "TERMINATE" for item in case) for case in cases)
