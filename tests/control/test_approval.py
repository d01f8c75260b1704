"""What the end of a task means as an answer, and who was first."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.models import Task
from airflow_provider_conductor.control.approval import Answer, Question, answer_in

QUESTION = Question(options=["Ship", "Hold", "Drop"], reject_options=["Drop"], params=["amount"])
PLAIN = Question(options=["Approve", "Reject"], reject_options=["Reject"])


def task(status: str, output: dict[str, Any] | None = None, worker: str = "") -> Task:
    return Task(
        {"taskId": "7", "status": status, "outputData": output or {}, "workerId": worker, "endTime": 1767322800000}
    )


def answer(of: Task, question: Question = PLAIN, ours: str = "us") -> Answer | None:
    return answer_in(of, question, is_ours=lambda worker_id: worker_id == ours)


@pytest.mark.parametrize("status", ["SCHEDULED", "IN_PROGRESS", "TIMED_OUT", "CANCELED", "SKIPPED", "NEW_ONE"])
def test_what_nobody_has_ended_is_no_answer(status: str) -> None:
    assert answer(task(status, {"approved": True})) is None


@pytest.mark.parametrize(
    ("question", "status", "output", "approved", "chosen"),
    [
        (PLAIN, "COMPLETED", {}, True, ["Approve"]),
        (PLAIN, "COMPLETED", {"approved": False}, False, ["Reject"]),
        (PLAIN, "COMPLETED", {"approved": "No"}, False, ["Reject"]),
        (PLAIN, "COMPLETED", {"approved": "sure"}, True, ["Approve"]),
        (PLAIN, "COMPLETED", {"chosen_options": "Reject"}, False, ["Reject"]),
        (PLAIN, "COMPLETED", {"chosen_options": ["Reject"], "approved": True}, False, ["Reject"]),
        (PLAIN, "COMPLETED", {"chosen_options": ["<b>", 7]}, True, ["Approve"]),
        (PLAIN, "FAILED", {}, False, ["Reject"]),
        (PLAIN, "FAILED_WITH_TERMINAL_ERROR", {"chosen_options": ["Approve"]}, False, ["Reject"]),
        (PLAIN, "COMPLETED_WITH_ERRORS", {"approved": True}, False, ["Reject"]),
        (QUESTION, "COMPLETED", {}, True, []),
        (QUESTION, "COMPLETED", {"chosen_options": ["Hold"]}, True, ["Hold"]),
        (QUESTION, "COMPLETED", {"chosen_options": ["Hold", "Drop"]}, False, ["Hold", "Drop"]),
        (QUESTION, "FAILED", {}, False, ["Drop"]),
    ],
)
def test_the_end_says_whether_it_was_approved(
    question: Question, status: str, output: dict[str, Any], approved: bool, chosen: list[str]
) -> None:
    found = answer(task(status, output), question)
    assert found is not None
    assert (found.approved, found.chosen_options) == (approved, chosen)


@pytest.mark.parametrize(
    ("output", "worker", "where", "who"),
    [
        ({}, "", "conductor", None),
        ({}, "console", "conductor", {"id": "console", "name": "console"}),
        ({"responded_by": "Ana"}, "console", "conductor", {"id": "Ana", "name": "Ana"}),
        ({"responded_by": {"id": "4", "name": "Ana"}}, "", "conductor", {"id": "4", "name": "Ana"}),
        ({"responded_by": {"name": "Ana\x00\n"}}, "", "conductor", {"id": "Ana", "name": "Ana"}),
        (
            {"responded_by": {"id": "4", "name": "Ana"}, "answered_in": "airflow"},
            "x",
            "conductor",
            {"id": "4", "name": "Ana"},
        ),
        ({"responded_by": {"id": "4", "name": "Ana"}}, "us", "airflow", {"id": "4", "name": "Ana"}),
        ({"responded_by": None}, "us", "airflow", None),
    ],
)
def test_who_and_where(output: dict[str, Any], worker: str, where: str, who: dict[str, str] | None) -> None:
    found = answer(task("COMPLETED", output, worker))
    assert found is not None
    assert (found.answered_in, found.responded_by) == (where, who)
    assert found.responded_at == "2026-01-02T03:00:00+00:00"


def test_the_moment_is_that_of_the_answer_where_it_is_ours() -> None:
    found = answer(task("COMPLETED", {"responded_at": "2026-01-01T00:00:00+00:00"}, "us"))
    assert found is not None
    assert found.responded_at == "2026-01-01T00:00:00+00:00"


def test_the_form_is_read_from_where_people_put_it() -> None:
    output = {"params_input": {"note": "ok"}, "amount": 7, "other": 8}
    found = answer(task("COMPLETED", output), QUESTION)
    assert found is not None
    assert found.params_input == {"note": "ok", "amount": 7}


def test_an_answer_is_read_as_it_was_written() -> None:
    given = Answer(approved=True, chosen_options=["Hold"], params_input={"amount": 3}, responded_at="2026-01-01")
    assert answer(task("COMPLETED", given.to_json(), "us"), QUESTION) == given
