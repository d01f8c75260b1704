"""How long runs of a workflow usually take, by the last of them in the search index."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Flow, ask
from airflow_provider_conductor.control.conditions import Condition, canonical, time_in

LAST_RUNS = 100

FEWEST_RUNS = 20
"""With fewer, one single slow run would be the 95 % that others are compared with."""


@dataclass(frozen=True, slots=True)
class UsualDuration:
    """Of the last ``runs`` of a workflow that completed, ``percent`` took at most ``seconds``.

    Attributes:
        seconds: None where there are too few runs.
    """

    percent: int
    runs: int
    seconds: float | None


def usual_duration(name: str, percent: int) -> Flow[UsualDuration]:
    """Find out how long ``percent`` of the workflow's last completed runs took, in one search.

    Raises:
        ConductorInputError: no index can be asked for a workflow of this name.
        ConductorRequestError: the search failed.
    """
    query = canonical([Condition("workflowType", "IN", (name,)), Condition("status", "IN", ("COMPLETED",))])
    found = yield from ask(endpoints.search_workflows(query=query, size=LAST_RUNS, sort="updateTime:DESC"))
    took = []
    for summary in found:
        started, ended = time_in(summary.data, "startTime"), time_in(summary.data, "endTime")
        ended = ended or time_in(summary.data, "updateTime")  # indexes up to 3.32.0 have no end
        if summary.name == name and summary.data.get("status") == "COMPLETED" and started and ended:
            took.append(max(0, ended - started) / 1000)
    if len(took) < FEWEST_RUNS:
        return UsualDuration(percent, len(took), None)
    return UsualDuration(percent, len(took), sorted(took)[math.ceil(len(took) * percent / 100) - 1])
