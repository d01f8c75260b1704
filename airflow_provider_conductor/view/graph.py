"""A workflow as a tree of nodes: its definition, with what has become of each task. No I/O.

Conductor's workflows are series-parallel: sequences of tasks, with forks, switches and loops that hold sequences
themselves. So the tree has the whole structure, and whoever draws it needs no layout algorithm.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.blocker import attempts_of

REASON_LIMIT = 200
"""Characters of a reason beside a node; the details have all of it."""

MAX_DEPTH = 40
"""Levels of forks, switches and loops inside each other; deeper ones are left out."""

KINDS = {
    "FORK_JOIN": "fork",
    "FORK_JOIN_DYNAMIC": "fork",
    "FORK": "fork",
    "SWITCH": "switch",
    "DECISION": "switch",
    "DO_WHILE": "loop",
    "SUB_WORKFLOW": "sub_workflow",
}
"""How a type is drawn; all others are single tasks."""

_ITERATION = re.compile(r"__\d+$")


@dataclass(slots=True)
class Branch:
    """One way through a fork, a switch or a loop; ``taken`` is None while that is not decided."""

    label: str
    taken: bool | None
    nodes: list[Node]

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "taken": self.taken, "nodes": [node.to_json() for node in self.nodes]}


@dataclass(slots=True, kw_only=True)
class Node:
    """A task of the definition.

    Attributes:
        kind: ``task``, ``fork``, ``switch``, ``loop`` or ``sub_workflow``.
        ref: its reference name; in a loop with the iteration.
        attempts: indexes of its attempts among the workflow's tasks, oldest first; empty if it has not been reached.
        status: the newest attempt's, as the server wrote it; "" if it has not been reached.
        blocked: whether the workflow waits for it.
        sub_workflow_id: the workflow that its newest attempt runs, or "".
    """

    kind: str
    ref: str
    name: str
    type: str
    attempts: list[int] = field(default_factory=list)
    status: str = ""
    blocked: bool = False
    optional: bool = False
    sub_workflow_id: str = ""
    branches: list[Branch] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "branches": [branch.to_json() for branch in self.branches]}


def graph(workflow: Workflow, blocked: Collection[str] = ()) -> list[Node]:
    """The workflow's sequence of nodes.

    ======================  =========================================================================
    in the definition       its branches
    ======================  =========================================================================
    FORK_JOIN               its branches, all of them taken once it has been reached
    FORK_JOIN_DYNAMIC       a branch for each task that it has created
    SWITCH, DECISION        its cases and the default; the one that it chose is taken
    DO_WHILE                its iterations that have tasks; before the first, the tasks of one
    another                 none
    ======================  =========================================================================

    Tasks that the definition does not have (it was changed, or the server does not give it) follow at the end.

    Args:
        workflow: with its tasks.
        blocked: the reference names of the tasks that the workflow waits for.
    """
    definition = workflow.data.get("workflowDefinition")
    drawing = _Drawing(workflow.tasks, frozenset(blocked))
    nodes = drawing.sequence(definition.get("tasks") if isinstance(definition, Mapping) else None)
    return nodes + list(drawing.others())


def attempt_json(task: Task) -> dict[str, Any]:
    """One attempt, without its input and output."""
    number, of = attempts_of(task)
    return {
        "id": task.task_id,
        "ref": task.reference_name,
        "status": str(task.data.get("status") or ""),
        "attempt": number,
        "max_attempts": of,
        "scheduled": task.scheduled_time,
        "started": task.start_time,
        "ended": task.end_time,
        "worker": task.worker_id,
        "domain": task.domain,
        "iteration": task.iteration,
        "poll_count": task.poll_count,
        "reason": one_line(task.reason, REASON_LIMIT) if task.reason else "",
    }


Span: TypeAlias = tuple[float, float]
"""The ``seq`` of the first task of an iteration, and of the first task after it."""

WHOLE: Span = (0, math.inf)


class _Drawing:
    """The tree under construction."""

    def __init__(self, tasks: Sequence[Task], blocked: frozenset[str]) -> None:
        self._tasks = tasks
        self._blocked = blocked
        self._by_ref: dict[str, list[int]] = {}
        for index in sorted(range(len(tasks)), key=lambda index: tasks[index].seq):
            self._by_ref.setdefault(tasks[index].reference_name, []).append(index)
        self._iterations = _iterations(tasks)
        self._drawn: set[str] = set()

    def sequence(self, defined: Any, suffix: str = "", depth: int = 0, span: Span = WHOLE) -> list[Node]:
        if not isinstance(defined, list) or depth > MAX_DEPTH:
            return []
        return [self._node(task, suffix, depth, span) for task in defined if isinstance(task, Mapping)]

    def others(self) -> Iterator[Node]:
        """What the server has run and the definition does not have."""
        for ref, indexes in self._by_ref.items():
            if ref not in self._drawn:
                newest = self._tasks[indexes[-1]]
                yield self._filled(Node(kind=_kind(newest.kind), ref=ref, name=newest.task_type, type=newest.kind))

    def _node(self, defined: Mapping[str, Any], suffix: str, depth: int, span: Span) -> Node:
        ref, kind = _text(defined, "taskReferenceName"), _text(defined, "type") or "SIMPLE"
        node = Node(
            kind=_kind(kind),
            ref=self._name_of(ref, suffix),
            name=_text(defined, "name") or ref,
            type=kind,
            optional=defined.get("optional") is True,
        )
        self._filled(node, WHOLE if node.ref == ref + suffix else span)
        newest = self._tasks[node.attempts[-1]] if node.attempts else None
        match node.kind:
            case "fork":
                node.branches = list(self._fork(defined, newest, suffix, depth + 1, span))
            case "switch":
                node.branches = list(self._switch(defined, newest, suffix, depth + 1, span))
            case "loop":
                node.branches = list(self._loop(defined, suffix, depth + 1, span))
        return node

    def _name_of(self, ref: str, suffix: str) -> str:
        """The name that the server has given it: in a loop inside a loop, only the inner iteration (seen on 3.32).

        So the order of the tasks tells the outer iteration. That version runs the tasks of the inner loop in the first
        outer iteration only, and a workflow whose inner loop has two iterations never ends there.
        """
        _, mark, last = suffix.rpartition("__")
        names = (ref + suffix, ref + mark + last, ref)
        return next((name for name in names if name in self._by_ref), ref + suffix)

    def _filled(self, node: Node, span: Span = WHOLE) -> Node:
        """The node with what has become of it, in this span where its name does not tell the iteration."""
        self._drawn.add(node.ref)
        every = self._by_ref.get(node.ref, [])
        node.attempts = every if span is WHOLE else [index for index in every if _is_in(span, self._tasks[index].seq)]
        node.blocked = node.ref in self._blocked and (bool(node.attempts) or not every)
        if node.attempts:
            newest = self._tasks[node.attempts[-1]]
            node.status = str(newest.data.get("status") or "")
            node.sub_workflow_id = newest.sub_workflow_id if node.kind == "sub_workflow" else ""
        return node

    def _fork(
        self, defined: Mapping[str, Any], newest: Task | None, suffix: str, depth: int, span: Span
    ) -> Iterator[Branch]:
        written = defined.get("forkTasks")
        branches = written if isinstance(written, list) and written else _created(newest)
        taken = True if newest is not None else None
        for number, branch in enumerate(branches, 1):
            nodes = self.sequence(branch if isinstance(branch, list) else [branch], suffix, depth, span)
            yield Branch(f"branch {number}", taken, nodes)

    def _switch(
        self, defined: Mapping[str, Any], newest: Task | None, suffix: str, depth: int, span: Span
    ) -> Iterator[Branch]:
        cases = defined.get("decisionCases")
        branches = {f"case {key}": case for key, case in cases.items()} if isinstance(cases, Mapping) else {}
        chosen = _chosen(newest)
        taken = None if chosen is None else f"case {chosen}" if f"case {chosen}" in branches else "default"
        for label, case in (branches | {"default": defined.get("defaultCase")}).items():
            nodes = self.sequence(case, suffix, depth, span)
            if nodes or label == taken:
                yield Branch(label, None if taken is None else label == taken, nodes)

    def _loop(self, defined: Mapping[str, Any], suffix: str, depth: int, span: Span) -> Iterator[Branch]:
        inside = defined.get("loopOver")
        first = next(iter(inside), None) if isinstance(inside, list) else None
        begins = _text(first, "taskReferenceName") if isinstance(first, Mapping) else ""
        begun = self._iterations.get(begins + suffix) or {}
        if not begun:
            # In each iteration of the loop around it, its tasks have the same names: those that ran in this one.
            ran = self._iterations.get(begins, {}).items()
            begun = {number: within for number, seqs in ran if (within := [seq for seq in seqs if _is_in(span, seq)])}
        numbers = sorted(begun)
        edges = [*(begun[number][0] for number in numbers), span[1]]
        for number, inner in zip(numbers, itertools.pairwise(edges), strict=True):
            yield Branch(f"iteration {number}", True, self.sequence(inside, f"{suffix}__{number}", depth, inner))
        if not begun:
            yield Branch("each iteration", None, self.sequence(inside, suffix, depth, span))


def _is_in(span: Span, seq: int) -> bool:
    return span[0] <= seq < span[1]


def _iterations(tasks: Sequence[Task]) -> dict[str, dict[int, list[int]]]:
    """By reference name without its last iteration: the iterations that there are of it, and each task's ``seq``."""
    found: dict[str, dict[int, list[int]]] = {}
    for task in sorted(tasks, key=lambda task: task.seq):
        match = _ITERATION.search(task.reference_name)
        if match and task.iteration:
            found.setdefault(task.reference_name[: match.start()], {}).setdefault(int(match[0][2:]), []).append(
                task.seq
            )
    return found


def _created(fork: Task | None) -> list[Any]:
    """The tasks that a dynamic fork has created, as definitions."""
    created = fork.input.get("forkedTaskDefs") if fork is not None else None
    if not created and fork is not None and isinstance(names := fork.input.get("forkedTasks"), list):
        created = [{"taskReferenceName": name, "name": name} for name in names]
    return created if isinstance(created, list) else []


def _chosen(switch: Task | None) -> str | None:
    """The case that a switch chose; None before that, and where it failed."""
    if switch is None or switch.known_status not in (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_ERRORS):
        return None
    for name in ("evaluationResult", "caseOutput"):
        result = switch.output.get(name)
        if isinstance(result, list) and result:
            return str(result[0])
    return str(switch.output.get("selectedCase") or switch.input.get("case") or "")


def _kind(task_type: str) -> str:
    return KINDS.get(task_type, "task")


def _text(defined: Mapping[str, Any], name: str) -> str:
    value = defined.get(name)
    return value if isinstance(value, str) else ""
