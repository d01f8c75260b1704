"""Which workflows match a condition."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.control.conditions import Fit, conditions_of_query

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
