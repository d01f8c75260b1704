"""A start's arguments, as an operator takes them, and a start request in place of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.client.definitions import model_fields, to_plain
from airflow_provider_conductor.client.errors import ConductorInputError

__all__ = ["ARGUMENTS", "given_later", "start_arguments"]

ARGUMENTS: Mapping[str, str] = {
    "workflow_name": "name",
    "version": "version",
    "workflow_input": "input",
    "workflow_def": "workflowDef",
    "correlation_id": "correlationId",
    "priority": "priority",
    "task_to_domain": "taskToDomain",
}
"""Argument → field of a start request."""

NOT_OURS: Mapping[str, str] = {
    "idempotencyKey": "the operator sends one of its own, by which a retried task finds its workflow",
    "externalInputPayloadStoragePath": "give the input itself",
    "createdBy": "servers keep the name of the key",
}
"""Fields of a start request that a start from a task cannot carry, and why."""


def given_later(value: Any) -> bool:
    """Whether this is known only when the task runs: a template, or another task's result."""
    return isinstance(value, str) or callable(getattr(value, "resolve", None))


def start_arguments(request: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a start; those not ``given`` are the request's, the name at last the definition's.

    ==========  ================  =================================
    argument    request's field   taken
    ==========  ================  =================================
    unset       unset             unset, as it was
    set         unset             the argument
    unset       set               the request's
    set         set, the same     the argument
    set         set, another      error
    ==========  ================  =================================

    None, 0, and what is empty are unset. Values stay as they are, templates among them; only objects of the SDK
    become plain.

    Args:
        request: an SDK ``StartWorkflowRequest``, ours, a mapping with the server's names, or None.
        given: argument → value, for each of :data:`ARGUMENTS`.

    Raises:
        ConductorInputError: no request, one with a field that a start cannot carry, a contradiction, or no name.
    """
    fields = _fields(request)
    taken = dict(given)
    taken["workflow_def"] = _plain_definition(given["workflow_def"])
    for name, wire in ARGUMENTS.items():
        asked = fields.get(wire)
        if wire == "workflowDef":
            asked = _plain_definition(asked)
        if not asked:
            continue
        if taken[name] and taken[name] != asked:
            raise ConductorInputError(
                f"{name} contradicts the request: {_shown(taken[name])} and {_shown(asked)}; leave one of them out"
            )
        taken[name] = asked
    definition = taken["workflow_def"]
    if isinstance(definition, Mapping):
        _check_name(taken["workflow_name"], definition.get("name"))
        taken["workflow_name"] = taken["workflow_name"] or definition.get("name")
    if not taken["workflow_name"] and not given_later(definition):
        raise ConductorInputError(
            "workflow_name is missing: give the name of a workflow, or a request or workflow_def that has one"
        )
    return taken


def _fields(request: Any) -> Mapping[str, Any]:
    if request is None:
        return {}
    fields = dict(request) if isinstance(request, Mapping) else model_fields(request)
    if fields is None:
        from airflow_provider_conductor.client.models import StartWorkflowRequest

        if not isinstance(request, StartWorkflowRequest):
            raise ConductorInputError(
                f"a start request cannot be a {type(request).__name__}: give a StartWorkflowRequest, "
                "or a dict with the server's names"
            )
        fields = request.to_json()
    unknown = [name for name in fields if name not in (*ARGUMENTS.values(), *NOT_OURS, "idempotencyStrategy")]
    if unknown:
        raise ConductorInputError(
            f"a start request has no {', '.join(map(repr, unknown))}; it may have {', '.join(ARGUMENTS.values())}"
        )
    for name, why in NOT_OURS.items():
        if fields.get(name):
            raise ConductorInputError(f"a request with {name} cannot be started from here: {why}")
    return fields


def _plain_definition(definition: Any) -> Any:
    """An object of the SDK as a dict; what may hold templates as it is."""
    if definition is None or isinstance(definition, Mapping) or given_later(definition):
        return definition
    try:
        return to_plain(definition)
    except TypeError as error:
        raise ConductorInputError(f"workflow_def: {error}") from error


def _check_name(name: Any, defined: Any) -> None:
    """The server starts an inline definition under its own name, whatever name the request has (seen on 3.32)."""
    known = all(isinstance(text, str) and text and "{{" not in text and "{%" not in text for text in (name, defined))
    if known and name != defined:
        raise ConductorInputError(
            f"workflow_name is {name!r} and the definition's name {defined!r}, which the server would silently take"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
