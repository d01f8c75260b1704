"""What an event has of a workflow's end."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.watching.ends import End
from airflow_provider_conductor.watching.payload import payload

SUMMARY = {
    "workflowId": "w",
    "workflowType": "orders",
    "version": 3,
    "correlationId": "7",
    "status": "COMPLETED",
    "startTime": "2026-11-26T21:37:59.133Z",
    "updateTime": "2026-11-26T21:38:05.733Z",
    "endTime": "2026-11-26T21:38:05.732Z",
}

END = 1795729085732

WHOLE = {"workflowId": "w", "status": "COMPLETED", "endTime": END}


def test_everything_is_in_it() -> None:
    whole = Workflow({**WHOLE, "output": {"n": 1}})
    assert payload(End.of(Workflow(SUMMARY)), whole, url="http://c/execution/w", max_output_bytes=100) == {
        "event_id": f"w:{END}",
        "workflow_id": "w",
        "workflow_name": "orders",
        "workflow_version": 3,
        "status": "COMPLETED",
        "correlation_id": "7",
        "start_time": "2026-11-26T21:37:59.133+00:00",
        "end_time": "2026-11-26T21:38:05.732+00:00",
        "url": "http://c/execution/w",
        "output": {"n": 1},
        "output_omitted": None,
    }


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (None, "could not be read"),
        ({**WHOLE, "status": "RUNNING"}, "retried"),
        ({**WHOLE, "endTime": END + 1}, "retried"),
        ({**WHOLE, "externalOutputPayloadStoragePath": "a/b"}, "external storage"),
        ({**WHOLE, "output": {"n": "x" * 101}}, "110 bytes, more than max_output_bytes=100"),
        ({**WHOLE, "output": {"n": float("nan")}}, "databases refuse"),
        ({**WHOLE, "output": {"n": "a\x00"}}, "databases refuse"),
        ({**WHOLE, "output": {"n": "\ud800"}}, "databases refuse"),
    ],
)
def test_an_output_that_is_left_out_says_why(whole: dict[str, Any] | None, why: str) -> None:
    event = payload(End.of(Workflow(SUMMARY)), whole and Workflow(whole), url="", max_output_bytes=100)
    assert event["output"] is None
    assert why in event["output_omitted"]
