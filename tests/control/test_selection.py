"""Which workflows are meant, and that never more are taken than that."""

from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorInputError, ConductorRequestError
from airflow_provider_conductor.control.selection import Selection, given_ids, select
from airflow_provider_conductor.testing import ConductorStandIn, Request


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("abc", ["abc"]),
        (" abc ", ["abc"]),
        (["abc", "def"], ["abc", "def"]),
        (("abc", "def", "abc"), ["abc", "def"]),
        ("['abc', 'def']", ["abc", "def"]),
        ('["abc"]', ["abc"]),
        ([], []),
        ("[]", []),
    ],
)
def test_ids_are_given_as_one_or_a_list_or_such_a_list_as_text(value: Any, ids: list[str]) -> None:
    assert given_ids(value) == ids


@pytest.mark.parametrize(
    "value", ["", " ", "None", None, ["abc", ""], ["abc", None], 7, [["abc"]], "[abc", {"a": 1}["a"]]
)
def test_what_is_no_id_is_refused(value: Any) -> None:
    with pytest.raises(ConductorInputError, match=r"workflow_id looks like a list|not a workflow id"):
        given_ids(value)


def found(conductor: ConductorStandIn, limit: int = 100, query: str | None = None, **arguments: Any) -> list[str]:
    with ConductorClient(conductor.url, sleep=lambda seconds: None) as client:
        return client.run(select(Selection(limit, arguments, query), log=conductor.journal.append))


def sent(conductor: ConductorStandIn) -> list[str]:
    """The queries of the index that were sent."""
    return [request.query["query"] for request in conductor.requests if request.path == "/workflow/search"]


def test_the_canonical_form_is_sent(conductor: ConductorStandIn) -> None:
    ours = [conductor.add(status) for status in ("FAILED", "TIMED_OUT")]
    assert found(conductor, query="status IN (FAILED, TIMED_OUT)  AND  workflowType = 'orders'") == ours
    assert sent(conductor) == ["status IN (FAILED,TIMED_OUT) AND workflowType IN (orders)"]


def ended(conductor: ConductorStandIn, *days_ago: float) -> list[str]:
    """A completed workflow for each, that ended so many days ago, an hour after its start."""
    ids = [conductor.add("COMPLETED") for _ in days_ago]
    for workflow_id, days in zip(ids, days_ago, strict=True):
        end = int((time.time() - days * 86_400) * 1000)
        conductor.workflows[workflow_id].update(startTime=end - 3_600_000, createTime=end - 3_600_000, endTime=end)
    return ids


def test_an_index_without_end_times_selects_nothing_by_them(conductor: ConductorStandIn) -> None:
    """It drops the condition, so that everything is found: a retention would delete it all."""
    conductor.indexed.discard("endTime")
    ended(conductor, 40, 0.1)
    with pytest.raises(ConductorInputError, match=r"whose endTime is .* up to 3\.32\.0 have no end times"):
        found(conductor, ended_before=timedelta(days=30))
    (odd,) = ended(conductor, 1)
    conductor.workflows[odd].update(endTime=0, startTime=1)
    with pytest.raises(ConductorInputError, match="without its endTime, so it cannot be verified"):
        found(conductor, workflow_name="orders", ended_before=timedelta(days=30))


def test_what_has_not_ended_has_not_ended_in_1970(conductor: ConductorStandIn) -> None:
    conductor.add()
    (old,) = ended(conductor, 40)
    assert found(conductor, ended_before=timedelta(days=30)) == [old]


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("workflowType", "workflowType = orders"),
        ("correlationId", "correlationId = monday"),
        ("status", "status = RUNNING"),
        ("startTime", "startTime > 1767222000000"),
    ],
)
def test_an_index_that_drops_a_condition_selects_nothing(conductor: ConductorStandIn, field: str, query: str) -> None:
    conductor.indexed.discard(field)
    conductor.add(correlation_id="monday")
    other = conductor.add("FAILED", name="invoices", correlation_id="tuesday")
    conductor.workflows[other].update(startTime=1_700_000_000_000)
    with pytest.raises(ConductorInputError, match=f"whose {field} is .* for the condition {field} .*No workflow was"):
        found(conductor, query=query)


def test_what_misses_a_time_by_the_index_s_rounding_is_left_out(conductor: ConductorStandIn) -> None:
    conductor.indexed.discard("startTime")
    ours, other = conductor.add(), conductor.add()
    began = conductor.workflows[ours]["startTime"]
    conductor.workflows[other].update(startTime=began + 900, createTime=began + 900)
    assert found(conductor, query=f"startTime < {began + 1}") == [ours]


def test_what_has_moved_on_since_it_was_indexed_is_left_out(conductor: ConductorStandIn) -> None:
    ours, moved, gone = (conductor.add("FAILED") for _ in range(3))

    def instead(request: Request) -> None:
        if request.path.endswith("/bulk/search"):
            conductor.workflows[moved].update(status="RUNNING")
            conductor.workflows.pop(gone, None)

    conductor.instead = instead
    assert found(conductor, status="FAILED") == [ours]
    assert "2 of the 3 workflows that the index found no longer match" in conductor.journal


def test_what_moves_up_between_two_pages_is_found(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_conductor.control.selection.PAGE", 2)
    ids = [conductor.add() for _ in range(5)]
    for second, item in enumerate(ids):
        conductor.workflows[item]["startTime"] += second * 1000

    def instead(request: Request) -> None:
        if request.query.get("start") == "2":
            conductor.workflows[ids[0]]["status"] = "COMPLETED"

    conductor.instead = instead
    assert found(conductor, status="RUNNING") == ids[1:]


def test_a_label_with_conditions_needs_no_index(conductor: ConductorStandIn) -> None:
    failed = conductor.add("FAILED", correlation_id="it's (monday), *")
    conductor.add("COMPLETED", correlation_id="it's (monday), *")
    how = {"workflow_name": "orders", "correlation_id": "it's (monday), *"}
    assert found(conductor, status=["FAILED", "TIMED_OUT"], **how) == [failed]
    assert sent(conductor) == []


def test_what_a_look_up_returns_beside_what_was_asked_is_left_out(conductor: ConductorStandIn) -> None:
    """A database whose collation ignores case."""
    ours, other = conductor.add(correlation_id="monday"), conductor.add(correlation_id="Monday")
    both = [conductor.workflows[item] for item in (ours, other)]
    answer = json.dumps({"monday": both}).encode()
    conductor.instead = lambda request: (
        (200, "application/json", answer) if request.path.endswith("/correlated") else None
    )
    assert found(conductor, workflow_name="orders", correlation_id="monday") == [ours]


def leave_out(conductor: ConductorStandIn, workflow_id: str, times: float) -> None:
    """Let so many look-ups leave this workflow out, as PostgreSQL's do while its row is written."""
    left = [times]

    def instead(request: Request) -> Any:
        if not request.path.endswith("/correlated") or left[0] <= 0:
            return None
        left[0] -= 1
        others = [item for item in conductor.workflows.values() if item["workflowId"] != workflow_id]
        return 200, "application/json", json.dumps({"monday": others}).encode()

    conductor.instead = instead


def test_what_the_look_up_leaves_out_is_found_in_the_index(conductor: ConductorStandIn) -> None:
    ours = conductor.add(correlation_id="monday")
    leave_out(conductor, ours, math.inf)
    assert found(conductor, workflow_name="orders", correlation_id="monday") == [ours]


@pytest.mark.parametrize("others", [[], ["COMPLETED"]])
def test_without_an_index_a_look_up_without_a_match_is_repeated(conductor: ConductorStandIn, others: list[str]) -> None:
    for status in others:
        conductor.add(status, correlation_id="monday")
    ours = conductor.add(correlation_id="monday")
    conductor.indexed.clear()
    leave_out(conductor, ours, 2)
    assert found(conductor, workflow_name="orders", correlation_id="monday", status="RUNNING") == [ours]


@pytest.mark.parametrize("who", [{"message": "no"}, {"message": "no", "instance": "conductor-1", "retryable": False}])
def test_an_index_that_refuses_is_no_index_and_one_that_is_away_proves_nothing(
    conductor: ConductorStandIn, who: dict[str, Any]
) -> None:
    ours = conductor.add(correlation_id="monday")
    status = [403]

    def instead(request: Request) -> Any:
        return (status[0], "application/json", json.dumps(who).encode()) if request.path == "/workflow/search" else None

    conductor.instead = instead
    how = {"workflow_name": "orders", "correlation_id": "monday"}
    assert found(conductor, **how) == [ours]
    with pytest.raises(ConductorRequestError, match="403"):
        found(conductor, workflow_name="orders", correlation_id="tuesday")
    who.pop("retryable", None)
    status[0] = 503
    with pytest.raises(ConductorRequestError, match="503"):
        found(conductor, **how)


def test_an_index_that_refuses_end_times_is_an_error_with_what_to_select_by(conductor: ConductorStandIn) -> None:
    """So 3.21.14 does on PostgreSQL."""
    conductor.add("COMPLETED")
    refused = json.dumps({"message": "no such column", "status": 500, "retryable": False}).encode()
    conductor.instead = lambda request: (
        (500, "application/json", refused) if request.path == "/workflow/search" else None
    )
    for arguments, advised in (({"ended_after": "2026-01-01"}, True), ({"status": "COMPLETED"}, False)):
        conductor.journal.clear()
        with pytest.raises(ConductorRequestError, match="no such column"):
            found(conductor, **arguments)
        assert any("select by status and by started_before" in line for line in conductor.journal) is advised


@pytest.mark.parametrize("arguments", [{"workflow_name": "orders", "correlation_id": "monday"}, {"status": "FAILED"}])
def test_nothing_is_found_only_by_a_server_that_knows_of_something(
    conductor: ConductorStandIn, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ConductorInputError, match=r"index has no workflow at all.*indexing\.enabled.*none was changed"):
        found(conductor, **arguments)
    conductor.add(correlation_id="tuesday")
    assert found(conductor, **arguments) == []
