"""A batch's inputs: a list of dicts, and what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["checked", "keys_of"]


def checked(inputs: Any) -> list[Mapping[str, Any]]:
    """The inputs as a list; text is read as JSON, which a template may render.

    Raises:
        TypeError, ValueError: they are no list of dicts; the message says which is not.
    """
    if isinstance(inputs, str):
        try:
            inputs = json.loads(inputs)
        except ValueError:
            raise ValueError(
                "workflow_inputs was rendered to text that is no JSON list: use `| tojson`, another task's .output, or "
                "render_template_as_native_obj=True on the DAG"
            ) from None
    if isinstance(inputs, Mapping) or not isinstance(inputs, Iterable):
        raise TypeError(f"workflow_inputs must be a list of dicts, one a workflow, not {type(inputs).__name__}")
    found = list(inputs)
    for index, item in enumerate(found):
        if not isinstance(item, Mapping):
            raise TypeError(f"workflow_inputs[{index}] must be a dict, not {type(item).__name__} ({item!r:.80})")
    return found


def keys_of(inputs: Sequence[Mapping[str, Any]], item_key: str | None) -> list[str]:
    """What tells the items apart: the field ``item_key`` of each, or its place in the list.

    Raises:
        ValueError: a field that is missing, is no text or number, or is the same in two items.
    """
    if item_key is None:
        return [str(index) for index in range(len(inputs))]
    places: dict[str, int] = {}
    for index, item in enumerate(inputs):
        value = item.get(item_key)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise ValueError(
                f"workflow_inputs[{index}][{item_key!r}] must be text or a whole number, to tell the items apart, "
                f"not {value!r}"
            )
        if str(value) in places:
            raise ValueError(
                f"workflow_inputs[{places[str(value)]}] and [{index}] have the same {item_key!r}: {value!r}; the "
                "items must differ in it"
            )
        places[str(value)] = index
    return list(places)
