"""The text and the form of a question: a workflow's data stays data."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.control.question import (
    code_block,
    default_subject,
    form_of,
    question_body,
    refuse_unanswerable,
)
from airflow_provider_conductor.control.task_choice import CompletionRefusedError


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_nothing_in_a_value_ends_its_code_block(value: Any) -> None:
    first, *lines, last = code_block({"value": value}).split("\n")
    fence = first.removesuffix("json")
    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert last == fence
    assert fence not in "\n".join(lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("ticks", ["`", "```", "\n```\n", "`" * 40, "~~~", "</code></pre><script>alert(1)</script>"])
def test_a_hostile_text_stays_inside(ticks: str) -> None:
    block = code_block({"note": f"{ticks}[click](javascript:alert(1))"})
    lines = block.split("\n")
    assert len(lines) == 5
    assert json.loads("\n".join(lines[1:-1]))["note"].startswith(ticks[:1])
    assert len(re.findall(f"(?m)^{re.escape(lines[-1])}", block)) == 2


def test_a_long_input_is_cut_and_its_block_closed() -> None:
    block = code_block({"rows": ["`" * 9] * 10_000}, limit=500)
    assert len(block) < 600
    assert block.split("\n")[-1] == block.split("\n")[0].removesuffix("json") == "`" * 10


def test_the_body_has_the_authors_text_the_input_and_the_page() -> None:
    body = question_body("**Pay?**", {"amount": 7}, url="https://conductor/execution/1")
    assert body == (
        '**Pay?**\n\nInput of the task:\n\n```json\n{\n  "amount": 7\n}\n```\n\n'
        "[Open the workflow in Conductor](<https://conductor/execution/1>)"
    )
    assert question_body(None, {}, url="") == ""
    assert question_body(None, {}, url="javascript:alert(1)") == ""
    assert question_body(None, {}, url="https://a/)[b](c") == ""


def test_the_subject_is_one_readable_line() -> None:
    workflow = Workflow({"workflowId": "1", "workflowName": "price\n# change\x1b[31m" + "x" * 500})
    subject = default_subject(workflow, Task({"referenceTaskName": "approve"}))
    assert subject.startswith("approve of Conductor workflow price # changexxx")
    assert len(subject) < 300
    assert subject.isprintable()


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"taskType": "HUMAN"}, ""),
        ({"taskType": "WAIT"}, ""),
        ({"taskType": "WAIT", "inputData": {"duration": ""}}, ""),
        ({"taskType": "WAIT", "inputData": {"duration": "2 days"}}, "ends at a time of its own"),
        ({"taskType": "WAIT", "inputData": {"until": "2026-01-01"}}, "ends at a time of its own"),
        ({"taskType": "pack", "workflowTask": {"type": "SIMPLE"}}, "is of type SIMPLE"),
        ({"taskType": "SUB_WORKFLOW"}, "is of type SUB_WORKFLOW"),
    ],
)
def test_only_what_waits_for_somebody_can_be_answered(task: dict[str, Any], says: str) -> None:
    asked = Task({"referenceTaskName": "approve", "workflowInstanceId": "1", **task})
    if not says:
        refuse_unanswerable(asked)
        return
    with pytest.raises(CompletionRefusedError, match=says):
        refuse_unanswerable(asked)


def test_the_form_takes_over_what_is_harmless_of_a_schema() -> None:
    schema = {
        "type": "object",
        "required": ["amount"],
        "properties": {
            "amount": {"type": "integer", "minimum": 1, "default": 5, "title": "How\nmuch", "pattern": "(a+)+$"},
            "note": {"description": "Why", "description_md": "[x](http://evil)", "format": "multiline"},
            "speed": {"type": "string", "enum": ["slow", "fast"], "format": "made up"},
            "_options": {"type": "string"},
            "<b>": {"type": "string"},
            "odd": "text",
        },
    }
    task = Task({"taskDefinition": {"outputSchema": {"name": "s", "type": "JSON", "data": schema}}})
    assert form_of(task) == {
        "amount": {
            "value": 5,
            "description": None,
            "schema": {"type": "integer", "title": "How much", "minimum": 1},
        },
        "note": {"value": None, "description": "Why", "schema": {"type": ["string", "null"], "format": "multiline"}},
        "speed": {
            "value": None,
            "description": None,
            "schema": {"type": ["string", "null"], "enum": ["slow", "fast", None]},
        },
    }


@pytest.mark.parametrize("schema", [None, "s", {}, {"data": None}, {"data": {"properties": []}}])
def test_there_is_no_form_without_a_schema(schema: Any) -> None:
    assert form_of(Task({"taskDefinition": {"outputSchema": schema}})) == {}
