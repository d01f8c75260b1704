"""What an event says of a workflow's end: plain JSON that every database of Airflow takes. No I/O."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.control.conditions import time_in
from airflow_provider_conductor.watching.ends import End

NAME_LIMIT = 500
"""Characters of foreign texts in an event."""


def payload(end: End, workflow: Workflow | None, *, url: str, max_output_bytes: int) -> dict[str, Any]:
    """The event's payload.

    Args:
        workflow: as it was read after the end; None where it was not, or is gone.
        url: its page in Conductor's UI.
    """
    summary = end.summary
    started = time_in(summary.data, "startTime")
    output, omitted = _output(end, workflow, max_output_bytes)
    return {
        "event_id": f"{end.workflow_id}:{end.time}",
        "workflow_id": end.workflow_id,
        "workflow_name": one_line(summary.name, NAME_LIMIT),
        "workflow_version": summary.version,
        "status": str(summary.status),
        "correlation_id": one_line(summary.correlation_id, NAME_LIMIT) or None,
        "start_time": _iso(started) if started else None,
        "end_time": _iso(end.time),
        "url": url,
        "output": output,
        "output_omitted": omitted,
    }


def _output(end: End, workflow: Workflow | None, limit: int) -> tuple[dict[str, Any] | None, str | None]:
    """The output, or None and why not.

    ==============================================  =========================================
    the workflow                                    the output
    ==============================================  =========================================
    has not been read, or is gone                   left out
    has been retried since, or ended otherwise      left out: it is not this end's
    keeps its output in external storage            left out
    has one that is larger than the limit           left out
    has one that not every database stores: NUL,    left out
    NaN, half a character
    has another one                                 as it is
    ==============================================  =========================================
    """
    where = "read it by the workflow's id, for example with ConductorHook().client.get_workflow"
    if limit <= 0:
        return None, f"max_output_bytes is 0: {where}"
    if workflow is None:
        return None, f"the output is large, or could not be read with the event: {where}"
    if workflow.status != end.summary.status or workflow.end_time != end.time:
        return None, "the workflow was retried, or ended otherwise, after this end"
    if workflow.external_output_path:
        return None, f"the output is in Conductor's external storage: {where}"
    output = dict(workflow.output)
    try:
        text = json.dumps(output, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (ValueError, RecursionError):
        return None, f"the output has numbers or characters that databases refuse: {where}"
    if size > limit:
        return None, f"the output has {size:,} bytes, more than max_output_bytes={limit:,}: {where}"
    if "\\u0000" in text:
        return None, f"the output has numbers or characters that databases refuse: {where}"
    return output, None


def _iso(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
