"""How the operators' arguments become conditions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorInputError, Workflow
from airflow_provider_conductor.control.conditions import Fit, canonical, conditions_of_arguments, moment, texts

NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z"""


def sent(**given: Any) -> str:
    return canonical(conditions_of_arguments(given, NOW))


def test_arguments_are_joined_by_and() -> None:
    assert sent(workflow_name="orders", status=["FAILED", "TIMED_OUT"], started_before="2026-01-01") == (
        "workflowType IN (orders) AND status IN (FAILED,TIMED_OUT) AND startTime < 1767225600000"
    )


@pytest.mark.parametrize(
    "value",
    [
        datetime(2025, 12, 31, 12, tzinfo=UTC),
        datetime(2025, 12, 31, 14, tzinfo=timezone(timedelta(hours=2))),
        datetime(2025, 12, 31, 12),
        "2025-12-31T12:00:00Z",
        "2025-12-31T14:00:00+02:00",
        "2025-12-31 12:00:00",
        " 2025-12-31T12:00 ",
        timedelta(hours=12),
    ],
    ids=str,
)
def test_a_time_is_a_datetime_or_an_iso_text_or_so_long_ago_and_utc_unless_it_says(value: Any) -> None:
    assert moment(value, "started_before", NOW) == 1_767_182_400_000


@pytest.mark.parametrize("value", ["2026-01-01", date(2026, 1, 1)])
def test_a_date_is_its_first_moment_in_utc(value: Any) -> None:
    assert moment(value, "started_before", NOW) == NOW * 1000


def test_intervals_that_follow_each_other_miss_and_share_nothing() -> None:
    at = "2026-01-01T00:00:00Z"
    begun = Workflow({"workflowId": "w", "status": "RUNNING", "startTime": int(NOW * 1000)})
    before, after = (conditions_of_arguments({name: at}, NOW)[0] for name in ("started_before", "started_after"))
    assert (before.fit(begun), after.fit(begun)) == (Fit.NEARLY, Fit.YES)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"status": "failed"}, "write FAILED"),
        ({"status": ["FAILED", "GONE"]}, "'GONE' is not a workflow status"),
        ({"status": []}, "status must not be empty"),
        ({"status": None}, "status must not be empty"),
        ({"workflow_name": ""}, "workflow_name must not be empty"),
        ({"workflow_name": "None"}, "workflow_name must not be empty"),
        ({"workflow_name": ["orders", None]}, "workflow_name must not be empty"),
        ({"correlation_id": {"a": 1}}, "correlation_id must not be empty, and takes a text"),
        ({"started_before": 1_767_182_400_000}, "started_before takes a datetime"),
        ({"started_before": "yesterday"}, "started_before takes a datetime"),
        ({"started_before": None}, "started_before takes a datetime"),
        ({"ended_after": timedelta(0)}, "timedelta must be positive"),
        ({"started_after": "2026-01-02", "started_before": "2026-01-01"}, "no workflow can match"),
        ({"ended_after": timedelta(days=1), "ended_before": timedelta(days=2)}, "no workflow can match"),
    ],
    ids=str,
)
def test_an_argument_that_says_nothing_certain_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConductorInputError, match=why):
        conditions_of_arguments(given, NOW)


@pytest.mark.parametrize("value", ["order*", "a,b", "o'clock", "a AND b", "(a)", "a\nb"])
def test_a_value_that_an_index_reads_otherwise_is_not_sent(value: str) -> None:
    conditions = conditions_of_arguments({"workflow_name": value, "status": "FAILED"}, NOW)
    with pytest.raises(ConductorInputError, match="cannot search for"):
        canonical(conditions)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        (20260101, ("20260101",)),
        (iter(["a"]), ("a",)),
    ],
)
def test_texts_are_one_or_several_and_a_number_where_a_template_made_one(value: Any, found: tuple[str, ...]) -> None:
    assert texts(value, "correlation_id") == found
