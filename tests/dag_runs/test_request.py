from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.dag_runs.request import DagRunRequest, RequestError, XCom


def test_a_dag_id_is_enough() -> None:
    assert DagRunRequest.of({"dag_id": " etl ", "more": 1}) == DagRunRequest("etl")
    nothing = dict.fromkeys(("conf", "logical_date", "note", "xcoms"))
    assert DagRunRequest.of({"dag_id": "etl", **nothing}) == DagRunRequest("etl")


def test_everything_is_read() -> None:
    xcoms = ["count", {"task_id": "count", "key": "label"}, {"task_id": "double", "map_index": 2, "name": "third"}]
    read = DagRunRequest.of(
        {"dag_id": "etl", "conf": {"a": 1}, "logical_date": "2026-01-01T00:00:00Z", "note": "n", "xcoms": xcoms}
    )
    assert (read.conf, read.logical_date, read.note) == ({"a": 1}, "2026-01-01T00:00:00Z", "n")
    assert read.xcoms == (
        XCom("count", name="count"),
        XCom("count", "label", name="label"),
        XCom("double", map_index=2, name="third"),
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dag_id": None}, "dag_id must be the id of a DAG, not None"),
        ({"dag_id": ""}, "dag_id must"),
        ({"dag_id": ["etl"]}, "dag_id must"),
        ({"conf": "{}"}, "conf must be an object"),
        ({"conf": [1]}, "conf must be an object"),
        ({"logical_date": "tomorrow"}, "logical_date must be a date and time in ISO 8601 with a time zone"),
        ({"logical_date": "2026-01-01T00:00:00"}, "with a time zone"),
        ({"logical_date": 7}, "logical_date"),
        ({"note": 7}, "note must be a text"),
        ({"note": "x" * 1001}, "up to 1,000 characters"),
        ({"xcoms": "count"}, "xcoms must be a list"),
        ({"xcoms": [7]}, "task ids or objects"),
        ({"xcoms": [{}]}, "task_id, key and name must be texts"),
        ({"xcoms": [{"task_id": "a", "index": 1}]}, "unknown key 'index'"),
        ({"xcoms": [{"task_id": "a", "map_index": -2}]}, "map_index must be a whole number"),
        ({"xcoms": [{"task_id": "a", "map_index": True}]}, "map_index must be a whole number"),
        ({"xcoms": ["a", {"task_id": "a", "map_index": 1}]}, "'a' twice"),
    ],
)
def test_what_cannot_be_used_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        DagRunRequest.of({"dag_id": "etl", **wrong})
