"""What differs between a definition and the server's, apart from what servers add to every definition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

__all__ = ["difference", "essence"]

ADDED = frozenset(
    {"accessPolicy", "createTime", "createdBy", "overwriteTags", "ownerApp", "tags", "updateTime", "updatedBy"}
)
"""Fields that servers (3.13 to 3.32, and Orkes') fill in by themselves."""

WORKFLOW_DEFAULTS: Mapping[str, Any] = {
    "enforceSchema": True,
    "restartable": True,
    "schemaVersion": 2,
    "timeoutPolicy": "ALERT_ONLY",
    "timeoutSeconds": 0,
    "version": 1,
    "workflowStatusListenerEnabled": False,
}

IN_WORKFLOW_DEFAULTS: Mapping[str, Any] = {
    "asyncComplete": False,
    "optional": False,
    "permissive": False,
    "startDelay": 0,
    "type": "SIMPLE",
}

TASK_DEFAULTS: Mapping[str, Any] = {
    "backoffJitterMs": 0,
    "backoffScaleFactor": 1,
    "enforceSchema": False,
    "maxRetryDelaySeconds": 0,
    "rateLimitFrequencyInSeconds": 1,
    "rateLimitPerFrequency": 0,
    "responseTimeoutSeconds": 3600,
    "retryCount": 3,
    "retryDelaySeconds": 60,
    "retryLogic": "FIXED",
    "taskStatusListenerEnabled": True,
    "timeoutPolicy": "TIME_OUT_WF",
    "timeoutSeconds": 0,
    "totalTimeoutSeconds": 0,
}
"""What a field is that was not given, as servers answer it (seen on 3.13.8 and 3.32.2)."""

CONTEXT_LINES = 2
LONGEST = 400


def essence(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition without what every server adds, and without fields that say what is so anyway.

    Two definitions with the same essence are the same to the server. What authors put into input and output
    parameters is kept as it is: there null and "" mean something.
    """
    if "tasks" not in definition:
        return _kept(definition, TASK_DEFAULTS)
    kept = _kept(definition, WORKFLOW_DEFAULTS)
    return kept | {"tasks": _tasks(definition["tasks"])}


def _kept(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if name not in ADDED and value not in (None, "", [], {}) and not (name in defaults and value == defaults[name])
    }


def _tasks(tasks: Any) -> list[Any]:
    return [_task(task) if isinstance(task, Mapping) else task for task in tasks or ()]


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task of a workflow; tasks and definitions within it are treated alike."""
    kept = _kept(task, IN_WORKFLOW_DEFAULTS)
    for name in ("defaultCase", "loopOver"):
        if isinstance(kept.get(name), list):
            kept[name] = _tasks(kept[name])
    if isinstance(kept.get("decisionCases"), Mapping):
        kept["decisionCases"] = {case: _tasks(branch) for case, branch in kept["decisionCases"].items()}
    if isinstance(kept.get("forkTasks"), list):
        kept["forkTasks"] = [_tasks(branch) for branch in kept["forkTasks"]]
    if isinstance(kept.get("taskDefinition"), Mapping):
        kept["taskDefinition"] = essence(kept["taskDefinition"])
    below = kept.get("subWorkflowParam")
    if isinstance(below, Mapping):
        below = _kept(below, {})
        if isinstance(below.get("workflowDefinition"), Mapping):
            below["workflowDefinition"] = essence(below["workflowDefinition"])
        kept["subWorkflowParam"] = below
    return kept


def difference(present: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> str:
    """What registering ``wanted`` would change, as a unified diff of the essences; "" where nothing would."""
    before = [] if present is None else _lines(essence(present))
    after = _lines(essence(wanted))
    lines = list(unified_diff(before, after, "on the server", "to register", n=CONTEXT_LINES, lineterm=""))
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], f"… and {len(lines) - LONGEST} more lines"]
    return "\n".join(lines)


def _lines(value: Mapping[str, Any]) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
