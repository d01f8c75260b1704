"""Where a task stands in a workflow's definition, and what that means for a skip and a rerun. No I/O.

Servers accept to skip every task that is not scheduled yet, and to run a workflow again from each task that it has had.
But some then wait forever: RUNNING, with no open task. The lines of the tables were seen on 3.32.2, and on 3.13.8 but
for DECISION, a WAIT with a time, branches of a dynamic fork, a skip of the first of several tasks of a branch, and
reruns in loops, which showed nothing certain there. EXCLUSIVE_JOIN, and a skip of a dynamic fork, were not seen at all:
they are refused for being like a JOIN and a FORK_JOIN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow

__all__ = ["Place", "place_of", "rerun_hangs", "skip_hangs"]

SWITCHES = ("SWITCH", "DECISION")
JOINS = ("JOIN", "EXCLUSIVE_JOIN")


@dataclass(frozen=True, slots=True)
class Place:
    """A task of the definition, and the tasks around it.

    Attributes:
        within: reference name and type of each SWITCH, DECISION, FORK_JOIN and DO_WHILE around it, from the outside in.
        first: whether it is the first task of its case, branch or loop; of the workflow, where nothing is around it.
        joined_by: reference name of the JOIN that waits for it, or "".
    """

    kind: str
    within: tuple[tuple[str, str], ...] = ()
    first: bool = False
    joined_by: str = ""

    def innermost(self, *kinds: str) -> str:
        """The reference name of the innermost task of these types around it, or ""."""
        return next((ref for ref, kind in reversed(self.within) if kind in kinds), "")


def place_of(definition: Mapping[str, Any], ref: str) -> Place | None:
    """None where the definition has no such task: that of a dynamic fork's branch, or of nowhere."""
    everything = list(_walk(definition.get("tasks") or (), ()))
    joined_by = next(
        (
            str(task.get("taskReferenceName"))
            for task, _, _ in everything
            if task.get("type") in JOINS and ref in (task.get("joinOn") or ())
        ),
        "",
    )
    for task, within, first in everything:
        if task.get("taskReferenceName") == ref:
            return Place(str(task.get("type")), within, first, joined_by)
    return None


def _walk(
    tasks: Sequence[Mapping[str, Any]], within: tuple[tuple[str, str], ...]
) -> Iterator[tuple[Mapping[str, Any], tuple[tuple[str, str], ...], bool]]:
    for number, task in enumerate(tasks):
        yield task, within, number == 0
        inner = (*within, (str(task.get("taskReferenceName")), str(task.get("type"))))
        for below in (
            *(task.get("decisionCases") or {}).values(),
            task.get("defaultCase") or (),
            *(task.get("forkTasks") or ()),
            task.get("loopOver") or (),
        ):
            yield from _walk(below, inner)


def skip_hangs(definition: Mapping[str, Any], ref: str) -> str:
    """Why the workflow would wait forever if this task were skipped before it is scheduled; "" where it goes on.

    ==============================================  =============================================
    task                                            after a skip
    ==============================================  =============================================
    of the workflow itself, also a SWITCH,          goes on behind it
    DO_WHILE or JOIN
    FORK_JOIN                                       its JOIN waits for tasks that never come
    in a DO_WHILE, at whatever depth                the loop never goes on
    the first of a case                             nothing after it is scheduled
    another of a case                               goes on behind it
    the first of a branch                           nothing after it is scheduled
    named in a JOIN's ``joinOn``                    the JOIN waits forever
    another of a branch                             goes on behind it
    ==============================================  =============================================
    """
    place = place_of(definition, ref)
    if place is None:
        return ""
    loop = place.innermost("DO_WHILE")
    if loop:
        return f"it is in the loop {loop!r}, which would wait for it forever"
    if place.kind.startswith("FORK_JOIN"):
        return "its JOIN would wait forever for the tasks of its branches"
    if place.joined_by:
        return f"the JOIN {place.joined_by!r} would wait for it forever"
    if place.first and place.within:
        around, kind = place.within[-1]
        what = "case of the switch" if kind in SWITCHES else "branch of the fork"
        return f"it is the first task of a {what} {around!r}, and the server would schedule nothing after it"
    return ""


def rerun_hangs(workflow: Workflow, task: Task) -> str:
    """Why the workflow would wait forever if it were run again from this task of it; "" where it goes on.

    ==============================================  =============================================
    task                                            after a rerun from it
    ==============================================  =============================================
    of the workflow itself, or in a case            goes on behind it
    SWITCH, DECISION, FORK_JOIN, JOIN               is done, and nothing after it is scheduled
    WAIT with a duration or a time (3.32)           waits until somebody completes it
    in a branch, at whatever depth, also of a       the JOIN, or what is behind it, is never
    dynamic fork                                    scheduled
    in a DO_WHILE that is COMPLETED                 the iteration ends, and nothing after it
    in a DO_WHILE that has failed                   goes on with the loop
    ==============================================  =============================================
    """
    definition = workflow.data.get("workflowDefinition") or {}
    if not definition.get("tasks"):
        return ""
    place = place_of(definition, task.reference_name)
    if place is None:  # an iteration's
        place = place_of(definition, re.sub(r"(?:__\d+)+$", "", task.reference_name))
    if place is None:
        return "a dynamic fork has made it, and the server would run that branch alone"
    if place.kind in (*SWITCHES, *JOINS, "FORK_JOIN"):
        return f"a {place.kind} would run again, and the server would schedule nothing after it"
    if place.kind == "WAIT" and ("duration" in task.input or "until" in task.input):
        return "a WAIT that runs again no longer ends at its time"
    fork = place.innermost("FORK_JOIN")
    if fork:
        return f"it is in a branch of the fork {fork!r}, whose other branches and JOIN the server would not run again"
    for ref, kind in place.within:
        loop = workflow.latest_attempt(ref) if kind == "DO_WHILE" else None
        if loop is not None and loop.known_status is TaskStatus.COMPLETED:
            return f"it is in the loop {ref!r}, which is completed, and the server would schedule nothing after it"
    return ""
