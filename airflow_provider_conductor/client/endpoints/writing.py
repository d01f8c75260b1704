"""How ids, names, parameters and inputs are written into a request; wrong ones are refused before anything is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.models import StartWorkflowRequest
from airflow_provider_conductor.client.plain import path_part, to_plain

T = TypeVar("T")

MAX_BULK_IDS = 1_000
"""Ids a bulk endpoint takes in one request (1,001 gives a 400, seen on 3.32)."""

_LISTED = re.compile(r"\w*[\[({]")
"""How the text of a list, or of one of Airflow's lazy sequences, begins."""


def call(
    route: str,
    parse: Callable[[Answer], T],
    *parts: object,
    query: Mapping[str, object] | None = None,
    body: Any = None,
    safe_to_repeat: bool | None = None,
    hold: float = 0.0,
) -> Call[T]:
    """A request.

    Args:
        route: method and path; its ``{name}`` places are filled in order with ``parts``, quoted.
        query: the parameters; unset ones are left out, and a list gives one for each of its values.
        safe_to_repeat: by default, a GET is.
    """
    method, template = route.split()
    filled = {name: _part(value, name) for name, value in zip(re.findall(r"{(\w+)}", template), parts, strict=True)}
    params = [
        (name, str(item).lower() if isinstance(item, bool) else str(item))
        for name, value in (query or {}).items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    return Call(
        method,
        template.format_map(filled),
        parse,
        params=tuple(params),
        body=body,
        safe_to_repeat=method == "GET" if safe_to_repeat is None else safe_to_repeat,
        hold=hold,
        template=template,
    )


def search(
    route: str, parse: Callable[[Answer], T], query: str | None, free_text: str, start: int, size: int, sort: str | None
) -> Call[T]:
    wanted = {"start": start, "size": size, "sort": sort, "freeText": free_text, "query": query}
    return call(route, parse, query=wanted)


def _part(value: object, name: str) -> str:
    text = one_workflow_id(value) if name == "workflow_id" else path_part(given(value, name), name)
    return quote(text, safe="", errors="surrogatepass")


def given(value: object, what: str) -> str:
    """``value`` as text; refused where it is empty."""
    text = "" if value is None else str(value)
    if not text.strip():
        raise ConductorInputError(f"{what} must not be empty: nothing was sent")
    return text


def whole(value: Any, what: str) -> int:
    try:
        return int(value)
    except (ValueError, TypeError):
        raise ConductorInputError(f"{what} must be a whole number, not {value!r}: nothing was sent") from None


def one_of(kind: type[StrEnum], value: str) -> str:
    if value not in kind.__members__:
        raise ConductorInputError(f"{value!r} is none of {', '.join(kind)}: nothing was sent")
    return str(value)


def one_workflow_id(value: object, what: str = "workflow_id") -> str:
    """The id of one workflow as text, without blanks around it.

    Raises:
        ConductorInputError: nothing, a list of ids or the text of such a list, or what no path can carry.
    """
    listed = not isinstance(value, str) and isinstance(value, (Sequence, Mapping, set, frozenset))
    text = "" if listed else given(value, what).strip()
    if listed or _LISTED.match(text):
        raise ConductorInputError(
            f"{what} must be the id of one workflow, not a list: {value!r:.80}; nothing was sent. Pass the task's "
            ".output, where xcom_pull in a template gets the ids of all map indexes, or map this task over the ids"
        )
    if text == "None":
        raise ConductorInputError(
            f"{what} must not be empty, but was rendered to 'None': nothing was sent. Check that the task that it "
            f"comes from has pushed an XCom"
        )
    return path_part(text, what)


def several(values: Iterable[str], what: str) -> list[str]:
    """``values`` as a list of texts, at least one and none empty; a lone text is no list of its letters."""
    if isinstance(values, str):
        raise ConductorInputError(f"{what} must be a list, not the text {values!r}: nothing was sent")
    texts = [given(value, f"one of the {what}") for value in values]
    if not texts:
        raise ConductorInputError(f"no {what} were given: nothing was sent")
    return texts


def plain_input(workflow_input: Mapping[str, Any] | None, what: str = "workflow_input") -> dict[str, Any]:
    if workflow_input is None:
        return {}
    if not isinstance(workflow_input, Mapping):
        raise ConductorInputError(f"{what} must be a mapping of names to values, not {type(workflow_input).__name__}")
    return _plain(workflow_input, what)  # type: ignore[no-any-return]


def _plain(value: Any, what: str) -> Any:
    """``value`` as JSON's own types; anything that JSON cannot express (NaN included) is refused."""
    try:
        converted = to_plain(value.to_json() if isinstance(value, StartWorkflowRequest) else value)
        json.dumps(converted, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConductorInputError(f"{what}: {error}") from error
    return converted


def without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}


class StartBody(dict[str, Any]):
    """The body of a start that :func:`start_body` has made: what takes one does not check or convert it again."""


def start_body(request: StartWorkflowRequest | Mapping[str, Any] | Any) -> StartBody:
    """The body of a start: of our request, a dict with the server's names, or the SDK's StartWorkflowRequest.

    Raises:
        ConductorInputError: no name, an input that is no mapping, or something that is not JSON (NaN included).
    """
    if isinstance(request, StartBody):
        return request
    body = _plain(request, "the start request")
    if not isinstance(body, dict):
        raise ConductorInputError(f"a start request must be an object, not {type(request).__name__}")
    given(body.get("name"), "the workflow's name")
    if not isinstance(body.get("input") or {}, dict):
        raise ConductorInputError(f"the input must be a mapping of names to values, not {type(body['input']).__name__}")
    return StartBody(body)


def definition_list(given_definitions: Sequence[Any] | Any, what: str) -> list[dict[str, Any]]:
    """One definition or several (dicts or SDK objects) as a list of objects that have a name."""
    several = isinstance(given_definitions, (list, tuple))
    converted = [_plain(item, what) for item in (given_definitions if several else [given_definitions])]
    if not converted:
        raise ConductorInputError(f"no {what} was given: nothing was sent")
    for item in converted:
        if not isinstance(item, dict):
            raise ConductorInputError(f"a {what} must be an object, not {type(item).__name__}")
        given(item.get("name"), f"the name of a {what}")
    return converted
