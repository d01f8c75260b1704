"""When a wait is over though the workflow has not ended, and when users are warned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_conductor.polling.blocker import Phase
from airflow_provider_conductor.polling.progress import Progress
from airflow_provider_conductor.polling.server_clock import ServerClock
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState

UNPOLLED_WARNING = 600.0
"""Seconds for which no worker has polled a task's queue after which users are warned, unless ``stall_timeout`` acts."""


class Verdict(StrEnum):
    KEEP_WAITING = "keep waiting"
    WARN = "warn"
    """Keep waiting, and warn users (once) that no worker polls."""
    STALLED = "stalled"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict; ``since`` when the workflow has stood still, and the latest moment for the next poll."""

    verdict: Verdict
    since: float | None = None
    poll_by: float = math.inf


def judge(spec: WaitSpec, progress: Progress | None, now: float, clock: ServerClock, *, warned: str = "") -> Judgement:
    """Whether to continue to wait after a poll at ``now``.

    ==============================================  ========================================================
    at the poll                                     verdict
    ==============================================  ========================================================
    the workflow has ended, whatever the time       KEEP_WAITING (the caller has what it waited for)
    the deadline has passed                         TIMED_OUT
    no progress for ``stall_timeout``               STALLED
    no ``stall_timeout``, and no worker has polled  WARN, unless ``warned`` has the progress's fingerprint
    for ten minutes
    else                                            KEEP_WAITING
    ==============================================  ========================================================

    ``poll_by`` is exactly the moment of the nearest limit: the last poll happens then, so a workflow that has just
    ended is not a timeout. If it is not known whether the workflow progresses (``progress`` is None), only the deadline
    counts.
    """
    if progress is not None and progress.phase is Phase.ENDED:
        return Judgement(Verdict.KEEP_WAITING)
    if now >= spec.end:
        return Judgement(Verdict.TIMED_OUT)
    standstill, limit, verdict = None, UNPOLLED_WARNING, Verdict.WARN
    if progress is not None and spec.stall_timeout is not None:
        standstill, limit, verdict = progress.stalled_since, spec.stall_timeout, Verdict.STALLED
    elif progress is not None and warned != progress.fingerprint:
        unpolled = (blocker.unpolled_since for blocker in progress.blockers)
        standstill = min((since for since in unpolled if since is not None), default=None)
    if standstill is None:
        return Judgement(Verdict.KEEP_WAITING, poll_by=spec.end)
    since = max(clock.ours(standstill), spec.started_at)
    if now < since + limit:
        return Judgement(Verdict.KEEP_WAITING, poll_by=min(spec.end, since + limit))
    return Judgement(verdict, since=since, poll_by=spec.end)


def slow_at(spec: WaitSpec, state: WaitState, progress: Progress | None, clock: ServerClock) -> float:
    """When users are to be warned that the run takes long; infinity for never, or not any more."""
    if spec.warn_after is None or state.slow or progress is None:
        return math.inf
    return clock.ours(progress.started) + spec.warn_after
