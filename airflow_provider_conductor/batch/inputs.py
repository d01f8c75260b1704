"""A batch's inputs: a list of dicts, and what identifies each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client.plain import read_json, to_plain


def checked(inputs: Any, *, later: Callable[[Any], bool] = lambda item: False) -> list[Any]:
    """The inputs as a list of plain dicts; text is read as JSON, which a template may render.

    Nothing lazy is left in them: Airflow 2 reads a mapped task's result only in the thread that runs the task.

    Args:
        later: whether an item is known only when the task runs; it is left as it is.

    Raises:
        TypeError, ValueError: they are not a list of dicts; the message names the item.
    """
    inputs = read_json(inputs, "workflow_inputs", list)
    if isinstance(inputs, Mapping) or not isinstance(inputs, Iterable):
        raise TypeError(f"workflow_inputs must be a list of dicts, one for each workflow, not {type(inputs).__name__}")
    found = list(inputs)
    for index, item in enumerate(found):
        if later(item):
            continue
        item = read_json(item, f"workflow_inputs[{index}]")
        if not isinstance(item, Mapping):
            raise TypeError(f"workflow_inputs[{index}] must be a dict, not {type(item).__name__} ({item!r:.80})")
        try:
            found[index] = to_plain(item)
        except TypeError as error:
            raise TypeError(f"workflow_inputs[{index}]: {error}") from None
    return found


def keys_of(inputs: Sequence[Mapping[str, Any]], item_key: str | None) -> list[str]:
    """What identifies each item: the field ``item_key`` of each, or its place in the list.

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
                f"workflow_inputs[{index}][{item_key!r}] must be text or a whole number, to identify the item, "
                f"not {value!r}"
            )
        if str(value) in places:
            raise ValueError(
                f"workflow_inputs[{places[str(value)]}] and [{index}] have the same {item_key!r}: {value!r}; the "
                "items must differ in it"
            )
        places[str(value)] = index
    return list(places)
