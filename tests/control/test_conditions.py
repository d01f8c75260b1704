"""The conditions of a selection: as arguments, as a query, and which workflows match them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorInputError, Workflow
from airflow_provider_conductor.control.conditions import (
    Fit,
    canonical,
    conditions_of_arguments,
    conditions_of_query,
    moment,
    texts,
)

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


ENDED = "COMPLETED,FAILED,TIMED_OUT,TERMINATED"

READ = {
    "workflowType IN (orders) AND status IN (FAILED)": "workflowType IN (orders) AND status IN (FAILED)",
    "status IN (FAILED, TIMED_OUT)": "status IN (FAILED,TIMED_OUT)",
    "status IN(FAILED ,TIMED_OUT )": "status IN (FAILED,TIMED_OUT)",
    "  status = FAILED  AND   workflowType=orders ": "status IN (FAILED) AND workflowType IN (orders)",
    "status = 'FAILED'": "status IN (FAILED)",
    "correlationId IN (\"a:b\", 'c')": "correlationId IN (a:b,c)",
    "correlationId='day=monday'": "correlationId IN (day=monday)",
    "workflowType = pick and pack": None,
    "workflowType = 'pick and pack'": "workflowType IN (pick and pack)",
    "startTime>1767222000000 AND startTime < 1767222000001": "startTime > 1767222000000 AND startTime < 1767222000001",
    "endTime < 1767222000000": f"endTime < 1767222000000 AND status IN ({ENDED})",
    "endTime < 1767222000000 AND status = FAILED": "endTime < 1767222000000 AND status IN (FAILED)",
    "status IN (RUNNING,FAILED) AND endTime > 1767222000000": (
        f"status IN (RUNNING,FAILED) AND endTime > 1767222000000 AND status IN ({ENDED})"
    ),
}


@pytest.mark.parametrize("query", [query for query, sent in READ.items() if sent])
def test_a_query_is_sent_as_every_index_reads_it(query: str) -> None:
    assert canonical(conditions_of_query(query)) == READ[query]


REFUSED = {
    "workflowType IN (orders)\nAND status IN (FAILED)": "line break",
    "workflowType IN (orders) AND\tstatus IN (FAILED)": "a tab",
    "workflowType IN (orders) and status IN (FAILED)": "write AND in capitals",
    "workflowType in (orders)": "write IN in capitals",
    "workflowType = pick and pack": "write AND in capitals",
    "workflowType IN (orders) OR status IN (FAILED)": "do not read OR",
    "status = FAILED or status = TIMED_OUT": "do not read OR",
    "status != COMPLETED": "the operator !=",
    "status <> COMPLETED": "the operator <>",
    "startTime >= 1767222000000": "the operator >=",
    "status == COMPLETED": "the operator ==",
    "NOT status IN (COMPLETED)": "do not read NOT",
    "status NOT IN (COMPLETED)": "do not read NOT",
    "workflowType LIKE orders": "do not read LIKE",
    "status IS null": "not all servers read IS",
    "startTime BETWEEN 1767222000000 AND 1767222000001": "read BETWEEN",
    "workflowType:orders": "the operator :",
    "workflowType = order*": "wildcard",
    "workflowType IN (orders,inv*)": "wildcard",
    "workflowType = 'pick,pack'": "commas",
    "workflowType = o'clock": "a quote within a value",
    "status IN ('FAILED)": "a quote within a value",
    "workflowType = 'pick AND pack'": "a quote within a value",
    "(status IN (FAILED))": "parentheses",
    "status IN (FAILED": "parentheses",
    "status IN FAILED": r"status IN \(FAILED\)",
    "version = 3": "the field 'version'",
    "stauts IN (FAILED)": "the field 'stauts'",
    "Status IN (FAILED)": "the field 'Status'",
    "parentWorkflowId = abc": "the field 'parentWorkflowId'",
    "status = failed": "write FAILED",
    "status IN (FAILED, GONE)": "'GONE' is not a workflow status",
    "status > FAILED": "status is a text",
    "startTime = 1767222000000": "startTime is a time",
    "startTime IN (1767222000000)": "startTime is a time",
    "startTime > 1767222000": "milliseconds",
    "startTime > 2026-01-01": "milliseconds",
    "startTime > now": "milliseconds",
    "status IN ()": "nothing next to",
    "status IN (FAILED,)": "nothing next to",
    "status =": "nothing next to",
    "status = FAILED AND": "nothing next to",
    "AND status = FAILED": "nothing next to",
    "status = FAILED AND AND workflowType = orders": "nothing next to",
    "status = ''": "an empty value",
    "everything": "not a condition",
    "": "must not be empty",
    "  ": "must not be empty",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_servers_would_drop_or_read_otherwise_is_refused_by_name(query: str) -> None:
    with pytest.raises(ConductorInputError, match=REFUSED[query]):
        conditions_of_query(query)


SUMMARY = {
    "workflowId": "w1",
    "workflowType": "orders",
    "correlationId": "Monday",
    "status": "FAILED",
    "startTime": "2026-01-01T00:00:00.500Z",
    "updateTime": "1970-01-01T00:00:00.000Z",
    "endTime": "2026-01-01T00:01:00.000Z",
}
WORKFLOW = {
    "workflowId": "w1",
    "workflowName": "orders",
    "correlationId": "Monday",
    "status": "FAILED",
    "createTime": 1_767_225_600_500,
    "updatedTime": 0,
    "endTime": 1_767_225_660_000,
}


@pytest.mark.parametrize("data", [SUMMARY, WORKFLOW], ids=["a summary", "a workflow"])
@pytest.mark.parametrize(
    ("query", "fit"),
    [
        ("workflowType = orders", Fit.YES),
        ("workflowType = Orders", Fit.NO),
        ("workflowId IN (w0,w1)", Fit.YES),
        ("correlationId = monday", Fit.NO),
        ("status IN (FAILED,TERMINATED)", Fit.YES),
        ("status = RUNNING", Fit.NO),
        ("startTime < 1767225600501", Fit.YES),
        ("startTime < 1767225600500", Fit.NEARLY),
        ("startTime < 1767225599500", Fit.NEARLY),
        ("startTime < 1767225599499", Fit.NO),
        ("startTime > 1767225600499", Fit.YES),
        ("startTime > 1767225600500", Fit.NEARLY),
        ("startTime > 1767225601501", Fit.NO),
        ("endTime < 1767225660001", Fit.YES),
        ("endTime < 1767222000000", Fit.NO),
        # Never changed, so as old as its start, not as 1970.
        ("updateTime < 1767222000000", Fit.NEARLY),
        ("updateTime < 1767225600501", Fit.YES),
    ],
)
def test_what_fits_a_condition(data: dict[str, Any], query: str, fit: Fit) -> None:
    condition, *_ = conditions_of_query(query)
    assert condition.fit(Workflow(data)) is fit


@pytest.mark.parametrize(
    ("query", "without"),
    [
        ("workflowType = orders", ("workflowType",)),
        ("correlationId = Monday", ("correlationId",)),
        ("startTime > 1767222000000", ("startTime",)),
        ("endTime < 1767222000000", ("endTime",)),
        ("updateTime < 1767222000000", ("updateTime",)),
    ],
)
def test_what_is_missing_fits_nothing_for_certain(query: str, without: tuple[str, ...]) -> None:
    condition, *_ = conditions_of_query(query)
    for value in (None, ""):
        assert condition.fit(Workflow(SUMMARY | dict.fromkeys(without, value))) is Fit.UNKNOWN


@pytest.mark.parametrize("value", ["soon", "2026-01-01T00:00:00", 0, True])
def test_a_time_that_cannot_be_read_is_missing(value: Any) -> None:
    condition, *_ = conditions_of_query("endTime < 1767222000000")
    assert condition.fit(Workflow({**SUMMARY, "endTime": value})) is Fit.UNKNOWN
