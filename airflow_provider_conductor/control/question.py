"""The question that a HUMAN or WAIT task asks: its text and its form, from data that nobody may trust."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.text import one_line, readable
from airflow_provider_conductor.control.task_choice import CompletionRefusedError

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Task, Workflow

INPUT_LIMIT = 20_000
"""Characters of a task's input in the text of a question, as JSON."""

NAME_LIMIT = 200

FIELDS = 50
"""Fields of a form that are taken over from a schema."""

CHOICES = 200
"""Values of a field's ``enum`` that are taken over."""

TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object"})

BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")

FORMATS = frozenset({"date", "date-time", "time", "email", "idn-email", "multiline"})


def refuse_unanswerable(task: Task) -> None:
    """Refuse a task that nobody can answer.

    ====================================  =======================================================
    the task                              result
    ====================================  =======================================================
    HUMAN                                 can be answered
    WAIT without duration and date        can be answered
    WAIT until a time                     refused: that it ends by itself would count as approved
    anything else                         refused: a worker or the server does it
    ====================================  =======================================================

    Raises:
        CompletionRefusedError: with what to do instead.
    """
    what = f"task {task.reference_name!r} of workflow {task.workflow_id}"
    kinds = (task.kind, task.task_type)
    if "HUMAN" in kinds:
        return
    if "WAIT" not in kinds:
        raise CompletionRefusedError(
            f"{what} is of type {task.kind}, so nobody can approve it: name a HUMAN task, or a WAIT task without "
            "duration and date"
        )
    if any(str(task.input.get(key) or "").strip() for key in ("duration", "until")):
        raise CompletionRefusedError(
            f"{what} is a WAIT that ends at a time of its own, which would count as an approval: use a HUMAN task, or "
            "a WAIT without duration and date"
        )


def default_subject(workflow: Workflow, task: Task) -> str:
    """The headline, for a question without one."""
    name = one_line(workflow.name or workflow.workflow_id, NAME_LIMIT)
    return f"{one_line(task.reference_name, NAME_LIMIT)} of Conductor workflow {name}"


def code_block(value: Any, limit: int = INPUT_LIMIT) -> str:
    """A value as JSON in a Markdown code block, which nothing in the value can end.

    The fence has one backtick more than the longest row of them in the value; control characters and the like, which
    a browser may treat in its own way, are blanks.
    """
    text = readable(json.dumps(value, indent=2, ensure_ascii=False, default=str), limit)
    longest = max((len(row) for row in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}json\n{text}\n{fence}"


def question_body(body: str | None, shown: Mapping[str, Any], *, url: str) -> str:
    """The text of the question: the DAG author's Markdown, the part of the input that is shown, and the page."""
    parts = [body.strip()] if body and body.strip() else []
    if shown:
        parts.append("Input of the task:\n\n" + code_block(dict(shown)))
    if re.fullmatch(r"https?://[^\s<>()\[\]`\"'\\]+", url):
        parts.append(f"[Open the workflow in Conductor](<{url}>)")
    return "\n\n".join(parts)


def form_of(task: Task) -> dict[str, dict[str, Any]]:
    """The form that the task's definition asks for: its output schema, where it has one with its JSON schema in it.

    Only what a form needs is taken over, and no text of it that Airflow would render as Markdown.

    Returns:
        name → ``{"value", "description", "schema"}``, as Airflow stores params; empty without such a schema.
    """
    schema = task.definition.get("outputSchema")
    data = schema.get("data") if isinstance(schema, Mapping) else None
    fields = data.get("properties") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(fields, Mapping):
        return {}
    required = data.get("required")
    names = set(required) if isinstance(required, list) else set()
    form = {}
    for name, field in list(fields.items())[:FIELDS]:
        if isinstance(field, Mapping) and re.fullmatch(r"\w[\w .-]{0,99}", name) and name != "_options":
            form[name] = _param(field, required=name in names)
    return form


def _param(field: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    kinds = field.get("type", "string")
    known = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind in TYPES] or ["string"]
    schema: dict[str, Any] = {"type": known if required else [*known, "null"]}
    if len(schema["type"]) == 1:
        schema["type"] = schema["type"][0]
    if title := field.get("title"):
        schema["title"] = one_line(title, NAME_LIMIT)
    choices = field.get("enum")
    if isinstance(choices, list) and all(isinstance(choice, (str, int, float)) for choice in choices):
        schema["enum"] = choices[:CHOICES] + ([] if required else [None])
    schema |= {name: field[name] for name in BOUNDS if isinstance(field.get(name), (int, float))}
    if field.get("format") in FORMATS:
        schema["format"] = field["format"]
    description = field.get("description")
    return {
        "value": field.get("default"),
        "description": one_line(description, 1_000) if isinstance(description, str) else None,
        "schema": schema,
    }
