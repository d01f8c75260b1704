"""What differs between a definition and the server's, apart from what servers add to every definition. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

ADDED = frozenset(
    {"accessPolicy", "createTime", "createdBy", "overwriteTags", "ownerApp", "tags", "updateTime", "updatedBy"}
)
"""Fields that servers (3.13 to 3.32, and Orkes') fill in themselves."""

_IN_WORKFLOW = {"asyncComplete": False, "optional": False, "permissive": False, "startDelay": 0, "type": "SIMPLE"}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "workflowDefinition": {
        "enforceSchema": True,
        "restartable": True,
        "schemaVersion": 2,
        "timeoutPolicy": "ALERT_ONLY",
        "timeoutSeconds": 0,
        "version": 1,
        "workflowStatusListenerEnabled": False,
    },
    "taskDefinition": {
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
    },
    **dict.fromkeys(("tasks", "defaultCase", "loopOver", "forkTasks", "decisionCases"), _IN_WORKFLOW),
    "rateLimitConfig": {"policy": "QUEUE"},
    "inputSchema": {},
    "outputSchema": {},
    "subWorkflowParam": {},
}
"""The defaults of what is in these fields, as servers answer them (seen on 3.13.8 and 3.32.2)."""

_AUTHORED = """
asyncComplete backoffJitterMs backoffScaleFactor baseType cacheConfig caseExpression caseValueParam
concurrentExecLimit data decisionCases defaultCase defaultExclusiveJoinTask description dynamicForkJoinTasksParam
dynamicForkTasksInputParamName dynamicForkTasksParam dynamicTaskNameParam enforceSchema evaluatorType
executionNameSpace expression externalRef failureWorkflow failureWorkflowVersion forkTasks idempotencyKey
idempotencyStrategy inputKeys inputParameters inputSchema inputTemplate isolationGroupId joinOn joinStatus key
loopCondition loopOver maskedFields maxRetryDelaySeconds metadata name onStateChange optional outputKeys
outputParameters outputSchema ownerEmail payload permissive policy pollTimeoutSeconds priority rateLimitConfig
rateLimitFrequencyInSeconds rateLimitKey rateLimitPerFrequency rateLimited responseTimeoutSeconds restartable
retryCount retryDelaySeconds retryLogic schemaVersion scriptExpression sink startDelay subWorkflowParam taskDefinition
taskReferenceName taskStatusListenerEnabled taskToDomain tasks timeoutPolicy timeoutSeconds totalTimeoutSeconds
ttlInSecond type variables version workflowDefinition workflowStatusListenerEnabled workflowStatusListenerSink
"""

AUTHORED = frozenset(_AUTHORED.split())
"""Fields that authors set, in definitions and inside them (the models of Conductor 3.32). One of them that only the
server has was removed by an author; any other field that only the server has was added by the server."""

FREE = frozenset(
    {"data", "inputParameters", "inputTemplate", "metadata", "outputParameters", "payload", "taskToDomain", "variables"}
)
"""Fields whose keys are the author's own."""

CONTEXT_LINES = 2
MAX_LINES = 400


def normalized(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition without what every server adds, and without fields that only repeat a default.

    Two definitions that are equal after this are equal to the server. Input and output parameters are kept as they are:
    there null and "" have a meaning.
    """
    if "tasks" in definition:
        return {"tasks": []} | _kept(definition, "workflowDefinition")
    return _kept(definition, "taskDefinition")


def _kept(fields: Mapping[str, Any], inside: str) -> dict[str, Any]:
    defaults = DEFAULTS[inside]
    inline = fields.get("workflowDefinition")
    if inside == "subWorkflowParam" and isinstance(inline, Mapping):  # whose name and version servers repeat here
        defaults = {"name": inline.get("name"), "version": inline.get("version") or 1}
    kept = {
        name: _value(value, name)
        for name, value in fields.items()
        if name not in ADDED and value not in (None, "", [], {})
    }
    return {name: value for name, value in kept.items() if name not in defaults or value != defaults[name]}


def _value(value: Any, name: str) -> Any:
    """The value of a field, normalized with all tasks and definitions inside it."""
    if name not in DEFAULTS:
        return value
    if isinstance(value, list):
        return [_value(item, name) for item in value]
    if name == "decisionCases" and isinstance(value, Mapping):
        return {case: _value(branch, "tasks") for case, branch in value.items()}
    return _kept(value, name) if isinstance(value, Mapping) else value


def difference(present: Mapping[str, Any] | None, wanted: Mapping[str, Any], wanted_is: str = "to register") -> str:
    """What registering ``wanted`` would change, as a unified diff of the normalized definitions, or ""."""
    wanted = normalized(wanted)
    before = [] if present is None else _lines(_without_additions(normalized(present), wanted))
    after = _lines(wanted)
    lines = list(unified_diff(before, after, "on the server", wanted_is, n=CONTEXT_LINES, lineterm=""))
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"… and {len(lines) - MAX_LINES} more lines"]
    return "\n".join(lines)


def _without_additions(present: Any, wanted: Any, *, cases: bool = False) -> Any:
    """The server's value without the fields that only it has and that no author sets, at any depth.

    With ``cases``, the keys are cases of a SWITCH or events, not fields.
    """
    if isinstance(present, list) and isinstance(wanted, list) and len(present) == len(wanted):
        return [_without_additions(*pair) for pair in zip(present, wanted, strict=True)]
    if not isinstance(present, Mapping) or not isinstance(wanted, Mapping):
        return present
    return {
        name: (
            _without_additions(value, wanted[name], cases=not cases and name in ("decisionCases", "onStateChange"))
            if name in wanted and (cases or name not in FREE)
            else value
        )
        for name, value in present.items()
        if cases or name in wanted or name in AUTHORED
    }


def _lines(value: Mapping[str, Any]) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
