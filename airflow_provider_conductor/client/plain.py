"""Definitions and requests as plain JSON, from dicts and from objects of the Python SDK.

The Python SDK's objects are read by their own attributes, without importing the SDK: its models name their
fields in ``swagger_types`` and the JSON names in ``attribute_map``; ``ConductorWorkflow`` makes such a model
with ``to_workflow_def()``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from airflow_provider_conductor.client.errors import ConductorInputError


def to_plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists, strings, numbers, booleans and None.

    ==============================================  ==============================================
    given                                           returned
    ==============================================  ==============================================
    None, str, int, float, bool                     itself
    Enum                                            its value
    mapping                                         dict with text keys, values converted
    list, tuple, set, any other sequence            list, items converted
    an SDK model (``swagger_types``)                dict with its JSON names, unset fields left out
    an SDK ``ConductorWorkflow``                    its ``to_workflow_def()``, converted
    ==============================================  ==============================================

    Raises:
        TypeError: anything else; the message names the type and what would do.
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    # Airflow's lazy sequences (the results of a mapped task, of ``.map()``, ``.zip()``) among them.
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [to_plain(item) for item in value]
    if not isinstance(value, type):
        if callable(getattr(value, "to_workflow_def", None)):
            return to_plain(value.to_workflow_def())
        fields = model_fields(value)
        if fields is not None:
            return {wire: to_plain(item) for wire, item in fields.items()}
    raise TypeError(
        f"cannot turn {type(value).__module__}.{type(value).__qualname__} into JSON; "
        "give plain dicts, lists, strings, numbers and booleans, or an object of the Conductor Python SDK"
    )


def plain_inside(value: Any) -> Any:
    """``value`` with the SDK's objects in it as plain dicts; all else, templates and other tasks' results, as it is.

    What a DAG keeps of an argument must be the same each time that its file is read; the text of an object has its
    address.
    """
    if type(value) is dict:
        return {key: plain_inside(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [plain_inside(item) for item in value]
    if callable(getattr(type(value), "to_workflow_def", None)):
        return to_plain(value)
    fields = model_fields(value)
    return value if fields is None else {wire: plain_inside(item) for wire, item in fields.items()}


def is_sdk_configuration(value: Any) -> bool:
    """Whether ``value`` is (as good as) a ``Configuration`` of the Python SDK."""
    return (
        not isinstance(value, type)
        and hasattr(value, "authentication_settings")
        and isinstance(getattr(value, "host", None), str)
    )


def model_fields(value: Any) -> dict[str, Any] | None:
    """The fields an SDK model has set, by their JSON names, values as they are; None for anything else."""
    names = getattr(value, "attribute_map", None)
    if isinstance(value, type) or not hasattr(value, "swagger_types") or not isinstance(names, Mapping):
        return None
    pairs = ((wire, getattr(value, name, None)) for name, wire in names.items())
    return {wire: item for wire, item in pairs if item is not None}


def read_json(value: Any, name: str, kind: type[dict[str, Any]] | type[list[Any]] = dict) -> Any:
    """``value`` where it is not text; text as the JSON object (or list, or null) that a template has rendered.

    Args:
        name: the argument, for the message.
        kind: ``dict`` or ``list``.

    Raises:
        ConductorInputError: text of anything else.
    """
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        found = value
    if found is None or isinstance(found, kind):
        return found
    what = "object" if kind is dict else "list"
    raise ConductorInputError(
        f"{name} is text that is not a JSON {what}: {value!r:.60}; nothing was sent. Pass another task's result "
        "as .output, add `| tojson` to the template, or set render_template_as_native_obj=True on the DAG"
    )


def path_part(text: str, what: str) -> str:
    """``text`` where it can be a part of a path.

    Raises:
        ConductorInputError: ``.`` and ``..``, which clients and proxies resolve away; ``/`` and ``\\``, to which
            servers answer 400 even when they are quoted (seen on 3.13.8 and 3.32.2; all else works).
    """
    if text in (".", ".."):
        raise ConductorInputError(f"{what} must not be {text!r}: nothing was sent")
    if "/" in text or "\\" in text:
        raise ConductorInputError(
            f"{what} must not contain '/' or '\\', and is {text!r}: nothing was sent. Conductor's API answers 400 to "
            "every path with such a name"
        )
    return text
