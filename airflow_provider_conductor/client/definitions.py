"""Definitions and requests as plain JSON, whoever made them.

The Python SDK's objects are read by their own attributes, without importing the SDK: its models name their
fields in ``swagger_types`` and the JSON names in ``attribute_map``; ``ConductorWorkflow`` makes such a model
with ``to_workflow_def()``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

__all__ = ["model_fields", "to_plain"]


def to_plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists, strings, numbers, booleans and None.

    ==============================================  ==============================================
    given                                           returned
    ==============================================  ==============================================
    None, str, int, float, bool                     itself
    Enum                                            its value
    mapping                                         dict with text keys, values converted
    list, tuple, set                                list, items converted
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
    if isinstance(value, (list, tuple, set, frozenset)):
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


def model_fields(value: Any) -> dict[str, Any] | None:
    """The fields an SDK model has set, by their JSON names, values as they are; None for anything else."""
    names = getattr(value, "attribute_map", None)
    if isinstance(value, type) or not hasattr(value, "swagger_types") or not isinstance(names, Mapping):
        return None
    pairs = ((wire, getattr(value, name, None)) for name, wire in names.items())
    return {wire: item for wire, item in pairs if item is not None}
