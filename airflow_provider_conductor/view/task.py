"""One task of a workflow in detail: what it got, what it gave, what its worker logged, and what can be done."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.client.text import one_line, readable
from airflow_provider_conductor.definitions.task_tree import defined_tasks
from airflow_provider_conductor.polling.observation import once
from airflow_provider_conductor.view.actions import task_actions
from airflow_provider_conductor.view.graph import attempt_json
from airflow_provider_conductor.view.workflow import PATIENCE, Mask

PAYLOAD_LIMIT = 100_000
"""Characters of an input or output that are shown."""

LOG_LINES = 1_000
"""The newest lines of a worker's log that are shown."""


class NoSuchTaskError(Exception):
    """The workflow and its definition have no such task."""


@dataclass(frozen=True, slots=True)
class Details:
    """A task of a workflow; ``task`` is None if it has not been reached."""

    workflow: Workflow
    ref: str
    task: Task | None
    defined: dict[str, Any]
    log: tuple[str, ...]
    log_error: str

    def to_json(self, mask: Mask) -> dict[str, Any]:
        """As the front end reads it, with secrets masked."""
        task = self.task
        definition = dict(task.definition) if task is not None else {}
        return {
            "attempt": attempt_json(task) if task is not None else None,
            "name": str(self.defined.get("name") or (task.task_type if task is not None else self.ref)),
            "type": task.kind if task is not None else str(self.defined.get("type") or "SIMPLE"),
            "description": one_line(
                mask(definition.get("description") or self.defined.get("description") or ""), 1_000
            ),
            "reason": readable(task.reason) if task is not None else "",
            "input": _payload(task.input if task is not None else self.defined.get("inputParameters"), mask),
            "output": _payload(task.output if task is not None else {}, mask),
            "definition": _payload(definition, mask),
            "log": [readable(mask(line)) for line in self.log[-LOG_LINES:]],
            "log_error": mask(self.log_error),
            "actions": task_actions(self.workflow, self.ref, task),
        }


def read_details(workflow: Workflow, ref: str, task_id: str = "") -> Flow[Details]:
    """The task's details, with the log of its worker.

    Args:
        workflow: with its tasks, whose reasons have been masked.
        task_id: one attempt; the newest without.

    Raises:
        NoSuchTaskError: neither the workflow nor its definition has it.
    """
    task = workflow.latest_attempt(ref)
    if task_id:
        task = next((item for item in workflow.tasks if item.task_id == task_id and item.reference_name == ref), None)
    defined = dict(task.workflow_task) if task is not None else _defined(workflow, ref)
    if task is None and (task_id or not defined):
        raise NoSuchTaskError(f"workflow {workflow.workflow_id} has no task {one_line(ref)!r} {one_line(task_id)}")
    log: tuple[str, ...] = ()
    log_error = ""
    if task is not None:
        try:
            log = yield from ask(once(endpoints.get_task_logs(task.task_id), 0, PATIENCE))
        except ConductorRequestError as error:
            log_error = f"the log cannot be read: {one_line(error)}"
    return Details(workflow, ref, task, defined, log, log_error)


def _defined(workflow: Workflow, ref: str) -> dict[str, Any]:
    """The task in the workflow's definition, whose name has no iteration; {} if it has none."""
    definition = workflow.data.get("workflowDefinition") or {}
    plain = ref.partition("__")[0]
    found: dict[str, Any] = {}
    with suppress(TypeError, AttributeError, ValueError):  # of a shape that no server accepts
        for item in defined_tasks(definition.get("tasks")):
            name = item.task.get("taskReferenceName") if isinstance(item.task, dict) else None
            if name == ref:
                return dict(item.task)
            if name == plain:
                found = dict(item.task)
    return found


def _payload(value: Any, mask: Mask) -> dict[str, Any]:
    """JSON as text, with its secrets masked, and cut to what a page can show."""
    text = json.dumps(mask(value or {}), indent=2, ensure_ascii=False, default=str)
    return {"text": text[:PAYLOAD_LIMIT], "bytes": len(text.encode(errors="replace")), "cut": len(text) > PAYLOAD_LIMIT}
