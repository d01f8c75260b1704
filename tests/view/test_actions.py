"""Which buttons a workflow and a task allow, and what the texts beside them say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_conductor
from airflow_provider_conductor.client.statuses import WorkflowStatus
from airflow_provider_conductor.control.eligibility import Verb, decide
from airflow_provider_conductor.view.actions import BUTTONS, Action, beside_buttons, task_actions, workflow_actions
from tests.docs.pages import ROOT
from tests.polling.builders import failed, task, workflow
from tests.polling.recordings import load, recordings

CLASS = re.compile(r"Conductor\w+(?:Operator|Sensor)|[a-z]+_[a-z]+=")
"""A name of a DAG's world: a class, or an argument."""


def allowed(actions: dict[str, dict[str, Any]]) -> set[str]:
    for action in actions.values():
        assert action["allowed"] is (action["why"] == "")
    return {str(name) for name, action in actions.items() if action["allowed"]}


@pytest.mark.parametrize(
    ("status", "tasks", "buttons"),
    [
        ("RUNNING", [task()], {"pause", "terminate"}),
        ("PAUSED", [task()], {"resume", "terminate"}),
        ("COMPLETED", [task(status="COMPLETED", ended=1)], {"restart"}),
        ("FAILED", [failed()], {"retry", "restart"}),
        ("TIMED_OUT", [task(status="TIMED_OUT", ended=1)], {"retry", "restart"}),
        ("TERMINATED", [task(status="CANCELED", ended=1)], {"retry", "restart"}),
        ("FAILED", [task(status="COMPLETED", ended=1)], {"restart"}),
    ],
)
def test_the_buttons_of_a_workflow(status: str, tasks: list[dict[str, Any]], buttons: set[str]) -> None:
    assert allowed(workflow_actions(workflow(*tasks, status=status))) == buttons


OPEN = {"status": "IN_PROGRESS", "started": 0.0}


@pytest.mark.parametrize(
    ("status", "the_task", "buttons"),
    [
        ("RUNNING", task("t", kind="HUMAN", **OPEN), {"complete", "fail"}),
        ("RUNNING", task("t", kind="WAIT", **OPEN), {"complete", "fail"}),
        ("PAUSED", task("t", kind="HUMAN", **OPEN), {"complete", "fail"}),
        ("RUNNING", task("t", **OPEN), set()),
        ("RUNNING", task("t", kind="JOIN", **OPEN), set()),
        ("RUNNING", None, {"skip"}),
        ("PAUSED", None, set()),
        ("FAILED", failed("t"), {"rerun"}),
        ("FAILED", task("t", "CANCELED", kind="HUMAN", ended=1), {"rerun"}),
        ("COMPLETED", task("t", "COMPLETED", ended=1), {"rerun"}),
        ("COMPLETED", task("t", "SKIPPED", ended=1), set()),
        ("FAILED", None, set()),
    ],
)
def test_the_buttons_of_a_task(status: str, the_task: dict[str, Any] | None, buttons: set[str]) -> None:
    tasks = [] if the_task is None else [the_task]
    defined = {"tasks": [{"name": "t", "taskReferenceName": "t", "type": "SIMPLE"}]}
    whole = workflow(*tasks, status=status, workflowDefinition=defined)
    assert allowed(task_actions(whole, "t", whole.latest_attempt("t"))) == buttons


@pytest.mark.parametrize("name", recordings())
def test_no_reason_beside_a_button_names_a_class(name: str) -> None:
    recorded = load(name).workflow
    texts = [action["why"] for action in workflow_actions(recorded).values()]
    for one in recorded.tasks:
        texts += [action["why"] for action in task_actions(recorded, one.reference_name, one).values()]
    assert [text for text in texts if CLASS.search(text)] == []


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.DELETE])
@pytest.mark.parametrize("status", [*WorkflowStatus, None])
def test_no_decision_beside_a_button_names_a_class(verb: Verb, status: WorkflowStatus | None) -> None:
    assert not CLASS.search(beside_buttons(decide(verb, status).why))


def test_the_reasons_and_the_docs_call_the_buttons_by_their_names() -> None:
    front_end = (Path(airflow_provider_conductor.__file__).parent / "ui" / "static" / "assets" / "app.js").read_text()
    docs = (ROOT / "docs" / "airflow_ui.md").read_text()
    for name in re.findall('"([^"]+)"', beside_buttons(" ".join(BUTTONS))):
        assert re.search(f"[`'\"]{re.escape(name)}[`'\"]", front_end), name
        assert re.search(rf"^\| (\w+, )*{re.escape(name)}(, \w+)* \|", docs, re.MULTILINE), name


def test_every_button_has_a_verb_of_the_operators_or_completes_a_task() -> None:
    assert {str(action) for action in Action} - {"complete", "fail"} == {str(verb) for verb in Verb} - {"delete"}
