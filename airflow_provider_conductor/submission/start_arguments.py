"""A start's arguments, as an operator takes them, and a start request in place of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.plain import model_fields, path_part, plain_inside, read_json, to_plain

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

OBJECTS = ("workflow_input", "workflow_def", "task_to_domain")
"""Arguments that are objects; a template may render them to JSON text."""

TEXTS = ("workflow_name", "correlation_id", "task_to_domain")
"""Arguments that are text to the server, also where a function or a native template returns a number."""

FURTHER = ("createdBy", "externalInputPayloadStoragePath")
"""Fields of a start request that are no arguments, and are sent as they are."""

_KEYS = ("idempotencyKey", "idempotencyStrategy")
"""Not sent: the SDK's request has FAIL by default, which would make an error of a lost answer's repetition."""


def given_later(value: Any) -> bool:
    """Whether the value is known only when the task runs: a template, or another task's result."""
    return isinstance(value, str) or callable(getattr(value, "resolve", None))


def as_text(value: Any) -> Any:
    """A number as the text that the server has in its place, also in a list or a mapping; anything else as it is."""
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_text(item) for item in value]
    return value


def plain_request(request: Any) -> Any:
    """A request as a dict with the server's names and without objects of the SDK; one that is given later is unchanged.

    Raises:
        ConductorInputError: it is not a request.
    """
    if request is None or given_later(request):
        return request
    return _fields(request)


def read_request(request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that a request sets, by name, and its other fields, by the server's names.

    Args:
        request: an SDK ``StartWorkflowRequest``, ours, a mapping with the server's names, or None.

    Raises:
        ConductorInputError: no request, or one with a field that a start from a task cannot carry.
    """
    fields = _fields(request)
    unknown = [name for name in fields if name not in (*ARGUMENTS.values(), *FURTHER, *_KEYS)]
    if unknown:
        raise ConductorInputError(
            f"a start request has no {', '.join(map(repr, unknown))}; it may have "
            f"{', '.join((*ARGUMENTS.values(), *FURTHER))}"
        )
    if fields.get("idempotencyKey"):
        raise ConductorInputError(
            "a request with idempotencyKey cannot be started from here: each start of a task sends a key of its own. "
            "With one that never changes, servers that enforce it would answer a cleared or killed task, and "
            "retry_from='new', with the old workflow. Leave it out, or start the request with "
            "ConductorHook().client.start_workflow"
        )
    arguments = {name: fields[wire] for name, wire in ARGUMENTS.items() if wire in fields}
    return arguments, {name: fields[name] for name in FURTHER if fields.get(name)}


def start_arguments(
    request: Any, given: Mapping[str, Any], *, rendered: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All arguments of a start, merged with its request; and what else of the request is sent.

    The workflow's name may come from the definition.

    ==========  ================  =================================
    argument    request's field   taken
    ==========  ================  =================================
    unset       unset             unset, as it was
    set         unset             the argument
    unset       set               the request's
    set         set, the same     the argument
    set         set, another      error
    ==========  ================  =================================

    None, 0, and what is empty are unset.

    Args:
        given: argument → value, for each of :data:`ARGUMENTS`.
        rendered: the task runs, so text where an object is expected is JSON, no longer a template.

    Raises:
        ConductorInputError: no request, one with a field that a start cannot carry, a contradiction, no name, or text
            that is not JSON.
    """
    asked, further = read_request(read_json(request, "request") if rendered else request)
    taken = dict(given)
    if rendered:
        for name in OBJECTS:
            taken[name] = read_json(taken[name], name)
            if name in asked:
                asked[name] = read_json(asked[name], f"{name} of the request")
    for arguments in (asked, taken):
        arguments |= {name: as_text(arguments[name]) for name in TEXTS if name in arguments}
        arguments |= {"workflow_def": _plain_definition(arguments.get("workflow_def"))}
    further = {name: as_text(value) for name, value in further.items()}
    for name, value in asked.items():
        if not value:
            continue
        if taken[name] and taken[name] != value:
            raise ConductorInputError(
                f"{name} contradicts the request: {_shown(taken[name])} and {_shown(value)}; leave one of them out"
            )
        taken[name] = value
    if taken["workflow_input"] and further.get("externalInputPayloadStoragePath"):
        raise ConductorInputError(
            "there is an input beside the request's externalInputPayloadStoragePath, which the server would silently "
            "ignore; leave one of them out"
        )
    definition = taken["workflow_def"]
    if isinstance(definition, Mapping):
        _check_name(taken["workflow_name"], definition.get("name"))
        taken["workflow_name"] = taken["workflow_name"] or definition.get("name")
    name = taken["workflow_name"]
    if not name and not given_later(definition):
        raise ConductorInputError(
            "workflow_name is missing: give the name of a workflow, or a request or workflow_def that has one"
        )
    if isinstance(name, str) and (rendered or not _templated(name)):
        # It would start, and could not be looked up after a lost answer.
        path_part(name, "workflow_name")
    return taken, further


def _fields(request: Any) -> dict[str, Any]:
    """The fields it has set, by the server's names; only objects of the SDK in them become plain."""
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
        try:
            fields = request.to_json()
        except TypeError as error:
            raise ConductorInputError(f"the start request: {error}") from error
    return {name: plain_inside(value) for name, value in fields.items() if value is not None}


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
    known = all(isinstance(text, str) and text and not _templated(text) for text in (name, defined))
    if known and name != defined:
        raise ConductorInputError(
            f"workflow_name is {name!r} and the definition's name {defined!r}, which the server would silently take"
        )


def _templated(text: str) -> bool:
    return "{{" in text or "{%" in text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
