"""Which of the workflows that a look-up finds the task itself has started.

Conductor gives the correlation id of a workflow to all that the workflow starts: its sub-workflows, those of its
START_WORKFLOW tasks, and its failure workflow (seen on 3.32.2 and 3.13.8). A workflow that runs itself as a
sub-workflow, or starts its own successor, has children of its own name, and a look-up by name and correlation id finds
these, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.task_types import may_contain

SERVER_CLOCKS = 5_000
"""Milliseconds by which the clocks of one server's nodes may differ: a child may appear that much older."""


def is_child(workflow: Workflow) -> bool:
    """Whether the server has started it for a SUB_WORKFLOW task or for an event, and no Airflow task has."""
    return bool(workflow.parent_workflow_id or workflow.data.get("event"))


def own_of(
    workflows: Iterable[Workflow],
    known: Collection[str] = (),
    *,
    eldest: str | None = None,
    started_so: Callable[[Workflow], bool | None] = lambda workflow: None,
) -> tuple[tuple[Workflow, ...], tuple[Workflow, ...]]:
    """Of the workflows under the correlation id of one start: those that certainly are ours, and those in doubt.

    Children by START_WORKFLOW and failure workflows carry no mark, and may have their parent's input. But a child is
    younger than its parent, and its parent's definition shows whether that can have children. A restart gives the
    parent a new time, though (3.32, source: ``WorkflowExecutorOps.restart``), so what has our input counts as older
    than what has not.

    ===================================================================  ========
    workflow                                                             is
    ===================================================================  ========
    started for a SUB_WORKFLOW task or an event                          not ours
    its id was in an answer to our start (``known``)                     ours
    the oldest of the others (where one is known: clearly older)         ours
    younger, and nothing that is ours and older can start workflows      ours
    younger, and something that is ours and older can                    in doubt
    ===================================================================  ========

    ``eldest`` is one of ``known`` that may have been restarted since, and so counts as older than all others;
    ``started_so`` returns whether a workflow has the input that we send.
    """
    roots = [workflow for workflow in workflows if not is_child(workflow)]
    if len(roots) > 1:
        rank = {
            workflow.workflow_id: 0 if workflow.workflow_id == eldest else 1 if started_so(workflow) else 2
            for workflow in roots
        }
        roots.sort(key=lambda workflow: (rank[workflow.workflow_id], workflow.create_time, workflow.workflow_id))
    answered = [workflow for workflow in roots if workflow.workflow_id in known]
    ours: list[Workflow] = []
    doubtful: list[Workflow] = []
    for workflow in roots:
        elders = [*ours, *(a for a in answered if a.create_time - workflow.create_time <= SERVER_CLOCKS)]
        if workflow.workflow_id in known or not any(map(_can_start_workflows, elders)):
            ours.append(workflow)
        else:
            doubtful.append(workflow)
    return tuple(ours), tuple(doubtful)


def _can_start_workflows(workflow: Workflow) -> bool:
    """By its definition: its tasks do not show it, since a restart clears them."""
    definition = workflow.data.get("workflowDefinition")
    if not isinstance(definition, Mapping) or definition.get("failureWorkflow"):
        return True
    return may_contain(definition, "START_WORKFLOW", "SUB_WORKFLOW")


def has_input(
    workflow: Workflow, sent: Mapping[str, Any], path: str | None, besides: Collection[str] = ()
) -> bool | None:
    """Whether a workflow was started with this input, to the letter; None where its input cannot be read.

    The server fills in what the definition's ``inputTemplate`` has and a start has not, or has as null; but not where
    a start has no input at all (seen on 3.32.2). ``path`` is the place of an input that was stored outside before the
    start; the names ``besides`` may be added by a start, and are not compared.
    """
    stored = workflow.data.get("externalInputPayloadStoragePath")
    if stored:
        return stored == path if path else None
    found = workflow.data.get("input") or {}
    if not isinstance(found, Mapping):  # a summary of the search index has it as text
        return None
    template = (workflow.data.get("workflowDefinition") or {}).get("inputTemplate") or {}
    filled = {**sent, **{name: value for name, value in template.items() if sent.get(name) is None}}
    found = {name: value for name, value in found.items() if name not in besides}
    return _text(found) in (_text(sent), _text(filled))


def _text(value: Any) -> str:
    """Plain JSON values, and no two that differ alike: to Python 1, 1.0 and True are equal."""
    return json.dumps(value, sort_keys=True)
