"""Which workflows are meant, and that never more are taken than that."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.sync import ConductorClient
from airflow_provider_conductor.steering.selection import Selection, TooManyFound, given_ids, select
from tests.operators.conductor_standin import ConductorStandIn


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
    with pytest.raises(ConductorInputError, match=r"workflow_id looks like a list|no workflow id"):
        given_ids(value)


def found(conductor: ConductorStandIn, limit: int = 100, **how: str) -> list[str]:
    with ConductorClient(conductor.url) as client:
        return client.run(select(Selection(limit=limit, **how)))


def test_a_name_with_a_correlation_id_finds_ended_ones_too(conductor: ConductorStandIn) -> None:
    ours = [conductor.add(status, correlation_id="monday") for status in ("FAILED", "RUNNING")]
    conductor.add(correlation_id="tuesday")
    conductor.add(correlation_id="monday", name="invoices")
    assert found(conductor, workflow_name="orders", correlation_id="monday") == ours


def test_a_query_finds_what_the_index_says(conductor: ConductorStandIn) -> None:
    failed = [conductor.add("FAILED") for _ in range(3)]
    conductor.add("COMPLETED")
    conductor.add("FAILED", name="invoices")
    assert found(conductor, query="workflowType IN (orders) AND status IN (FAILED, TIMED_OUT)") == failed


@pytest.mark.parametrize("limit", [1, 2])
def test_more_than_the_bound_is_told_with_the_count(conductor: ConductorStandIn, limit: int) -> None:
    for _ in range(3):
        conductor.add("FAILED", correlation_id="monday")
    for how in ({"query": "status IN (FAILED)"}, {"workflow_name": "orders", "correlation_id": "monday"}):
        with pytest.raises(TooManyFound, match=rf"selects 3 workflows, over max_workflows={limit}"):
            found(conductor, limit, **how)


def test_as_many_as_the_bound_are_no_more(conductor: ConductorStandIn) -> None:
    for _ in range(3):
        conductor.add("FAILED")
    assert len(found(conductor, 3, query="status IN (FAILED)")) == 3


def test_more_than_a_page_is_read_page_by_page(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_conductor.steering.selection.PAGE", 2)
    ids = [conductor.add("FAILED") for _ in range(5)]
    assert found(conductor, query="status IN (FAILED)") == ids


@pytest.mark.parametrize(
    "query",
    [
        "nonsense = 'x'",
        "status IN (RUNNING) AND version = 3",
        "input='a'",
        "status IN (RUNNING) AND (version = 3)",
        "(status = RUNNING) AND (input = 'a')",
        "status IN (RUNNING) AND createTime = 1767222000000",
    ],
)
def test_a_condition_that_the_server_would_ignore_is_refused(conductor: ConductorStandIn, query: str) -> None:
    conductor.add()
    with pytest.raises(ConductorInputError, match=r"knows no field '(nonsense|version|input|createTime)'"):
        found(conductor, query=query)


@pytest.mark.parametrize("query", ["", " ", "everything", "'status = RUNNING'"])
def test_a_query_without_a_condition_is_refused(conductor: ConductorStandIn, query: str) -> None:
    conductor.add()
    with pytest.raises(ConductorInputError, match="has no condition"):
        found(conductor, query=query)
    assert conductor.requests == []


def test_an_equals_sign_in_a_value_is_no_field(conductor: ConductorStandIn) -> None:
    ours = conductor.add(correlation_id="day=monday")
    assert found(conductor, query="correlationId='day=monday'") == [ours]


@pytest.mark.parametrize(("name", "label"), [("", "monday"), ("orders", ""), ("orders", " ")])
def test_an_empty_name_or_label_selects_nothing(conductor: ConductorStandIn, name: str, label: str) -> None:
    with pytest.raises(ConductorInputError, match="an empty text selects nothing"):
        found(conductor, workflow_name=name, correlation_id=label)
    assert conductor.requests == []
