"""Which skips and reruns leave a workflow waiting forever, by the task's place in the definition. No I/O.

Servers accept to skip every task that is not scheduled yet, and to rerun a workflow from each task that it has had. But
some then wait forever: RUNNING, with no open task. The lines of the tables were seen on 3.32.2, and on 3.13.8 except
DECISION, a WAIT with a time, branches of a dynamic fork, a skip of the first of several tasks of a branch, and reruns
in loops, which showed nothing certain there. EXCLUSIVE_JOIN and a skip of a dynamic fork were not seen at all: they are
refused since they resemble a JOIN and a FORK_JOIN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.client.models import Task, TaskStatus, Workflow
from airflow_provider_conductor.client.task_types import JOINS, SWITCHES, without_iterations
from airflow_provider_conductor.definitions.task_tree import DefinedTask, defined_tasks


def _find(definition: Mapping[str, Any], ref: str) -> DefinedTask | None:
    """None if the definition has no such task: a task of a dynamic fork's branch, or one that does not exist."""
    tasks = defined_tasks(definition.get("tasks"))
    return next((item for item in tasks if item.task.get("taskReferenceName") == ref), None)


def hangs_after_skip(definition: Mapping[str, Any], ref: str) -> str:
    """Why the workflow would wait forever if this task were skipped before it is scheduled; "" if it would continue.

    ==============================================  =============================================
    task                                            after a skip
    ==============================================  =============================================
    of the workflow, also SWITCH, DO_WHILE, JOIN    continues behind it
    FORK_JOIN                                       its JOIN waits for tasks that never come
    in a DO_WHILE, at any depth                     the loop never continues
    the first of a case or a branch                 nothing after it is scheduled
    named in a JOIN's ``joinOn``                    the JOIN waits forever
    another of a case or a branch                   continues behind it
    ==============================================  =============================================
    """
    found = _find(definition, ref)
    if found is None:
        return ""
    if loop := found.innermost("DO_WHILE"):
        return f"it is in the loop {loop!r}, which would wait for it forever"
    if str(found.task.get("type")).startswith("FORK_JOIN"):
        return "its JOIN would wait forever for the tasks of its branches"
    for item in defined_tasks(definition.get("tasks")):
        if item.task.get("type") in JOINS and ref in (item.task.get("joinOn") or ()):
            return f"the JOIN {item.task.get('taskReferenceName')!r} would wait for it forever"
    if found.first and found.within:
        around, kind = found.within[-1]
        what = "case of the switch" if kind in SWITCHES else "branch of the fork"
        return f"it is the first task of a {what} {around!r}, and the server would schedule nothing after it"
    return ""


def hangs_after_rerun(workflow: Workflow, task: Task) -> str:
    """Why the workflow would wait forever if it were rerun from this task of it; "" if it would continue.

    ==============================================  =============================================
    task                                            after a rerun from it
    ==============================================  =============================================
    of the workflow itself, or in a case            continues behind it
    SWITCH, DECISION, FORK_JOIN, JOIN               is done, and nothing after it is scheduled
    WAIT with a duration or a time (3.32)           waits until somebody completes it
    in a branch, also of a dynamic fork             the JOIN, or what is behind it, never comes
    in a DO_WHILE that is COMPLETED                 the iteration ends, and nothing after it
    in a DO_WHILE that has failed                   continues with the loop
    ==============================================  =============================================
    """
    definition = workflow.data.get("workflowDefinition") or {}
    if not definition.get("tasks"):
        return ""
    found = _find(definition, task.reference_name) or _find(definition, without_iterations(task.reference_name))
    if found is None:
        return "a dynamic fork has created it, and the server would run that branch alone"
    kind = found.task.get("type")
    if kind in (*SWITCHES, *JOINS, "FORK_JOIN"):
        return f"a {kind} would run again, and the server would schedule nothing after it"
    if kind == "WAIT" and ("duration" in task.input or "until" in task.input):
        return "a WAIT that runs again no longer ends at its time"
    if fork := found.innermost("FORK_JOIN"):
        return f"it is in a branch of the fork {fork!r}, whose other branches and JOIN the server would not run again"
    for ref, around in found.within:
        loop = _run_of_loop(workflow, ref, task) if around == "DO_WHILE" else None
        if loop is not None and loop.known_status is TaskStatus.COMPLETED:
            return f"it is in the loop {ref!r}, which is completed, and the server would schedule nothing after it"
    return ""


def _run_of_loop(workflow: Workflow, loop_ref: str, task: Task) -> Task | None:
    """The run of a loop that a task belongs to: the last before it. A loop in a loop has an iteration in its name."""
    runs = (
        item
        for item in workflow.tasks
        if item.seq <= task.seq and loop_ref in (item.reference_name, without_iterations(item.reference_name))
    )
    return max(runs, key=lambda run: run.seq, default=None)
