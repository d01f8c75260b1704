"""When a wait is over though the workflow has not ended, and when users are warned."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_conductor.polling.progress import Phase, Progress
from airflow_provider_conductor.polling.server_clock import ServerClock
from airflow_provider_conductor.polling.wait_spec import WaitSpec

__all__ = ["UNPOLLED_WARNING", "Judgement", "Verdict", "judge"]

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
    """A verdict.

    Attributes:
        since: when the standstill, or the wait that has timed out, began.
        poll_by: the latest moment for the next poll; None if no limit comes nearer.
    """

    verdict: Verdict
    since: float | None = None
    poll_by: float | None = None


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
    ended is not a timeout. ``progress`` is None if Conductor was unreachable: then only the deadline counts, since it
    is not known whether the workflow progresses.
    """
    if progress is not None and progress.phase is Phase.ENDED:
        return Judgement(Verdict.KEEP_WAITING)
    if spec.deadline is not None and now >= spec.deadline:
        return Judgement(Verdict.TIMED_OUT, since=spec.started_at)
    limits = [spec.deadline]
    if progress is None:
        return Judgement(Verdict.KEEP_WAITING, poll_by=spec.deadline)
    if spec.stall_timeout is not None:
        if progress.stalled_since is not None:
            since = max(clock.ours(progress.stalled_since), spec.started_at)
            if now >= since + spec.stall_timeout:
                return Judgement(Verdict.STALLED, since=since)
            limits.append(since + spec.stall_timeout)
    elif warned != progress.fingerprint:
        unpolled = [blocker.unpolled_since for blocker in progress.blockers if blocker.unpolled_since is not None]
        if unpolled:
            since = max(clock.ours(min(unpolled)), spec.started_at)
            if now >= since + UNPOLLED_WARNING:
                return Judgement(Verdict.WARN, since=since, poll_by=spec.deadline)
            limits.append(since + UNPOLLED_WARNING)
    return Judgement(Verdict.KEEP_WAITING, poll_by=min((limit for limit in limits if limit is not None), default=None))
