"""How long a wait may take. Moments are seconds since the epoch on our clock, as is everything stored here,
so a deadline means the same after a deferral, on another machine and after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from airflow_provider_conductor.polling.progress import Phase, Progress
from airflow_provider_conductor.polling.server_clock import ServerClock

__all__ = ["UNATTENDED_WARNING", "Deadline", "Judgement", "Verdict", "judge"]

UNATTENDED_WARNING = 600.0
"""Seconds without a poller after which people are told, where no ``stall_timeout`` does more than that."""


class Verdict(StrEnum):
    KEEP_WAITING = "keep waiting"
    WARN = "warn"
    """Keep waiting, and tell people (once) that nobody polls."""
    STALLED = "stalled"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """The limits of one wait.

    Attributes:
        began: when this wait began; time before it never counts.
        timeout: seconds for the whole wait, the earlier of ours and Airflow's; None for no limit.
        stall_timeout: seconds without progress; None for no limit.
        warned: the fingerprint of the standstill that people have been warned about.
    """

    began: float
    timeout: float | None = None
    stall_timeout: float | None = None
    warned: str = ""

    @property
    def end(self) -> float | None:
        """When the whole wait is over."""
        return None if self.timeout is None else self.began + self.timeout

    def after_warning(self, progress: Progress) -> Deadline:
        """The same limits, with the warning about this standstill given."""
        return replace(self, warned=progress.fingerprint)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Deadline:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict; ``since`` is when the standstill began that it speaks of, ``poll_by`` the latest moment for
    the next look (None: no limit comes nearer)."""

    verdict: Verdict
    since: float | None = None
    poll_by: float | None = None


def judge(deadline: Deadline, progress: Progress | None, now: float, clock: ServerClock) -> Judgement:
    """Whether to go on waiting after a look at ``now``.

    ==============================================  =============
    at the look                                     verdict
    ==============================================  =============
    the workflow has ended, whatever the time       KEEP_WAITING (the caller has what it waited for)
    the whole time is over                          TIMED_OUT
    nothing got ahead for ``stall_timeout``         STALLED
    no limit, nobody polls for ten minutes, first   WARN
    else                                            KEEP_WAITING
    ==============================================  =============

    ``poll_by`` is exactly the moment a limit falls, so the last look happens then and a workflow that has
    just ended is seen. ``progress`` is None where the server could not be reached: then only the whole
    time counts, for nobody knows whether anything stalls.
    """
    if progress is not None and progress.phase is Phase.ENDED:
        return Judgement(Verdict.KEEP_WAITING)
    if deadline.end is not None and now >= deadline.end:
        return Judgement(Verdict.TIMED_OUT, since=deadline.began)
    limits = [deadline.end]
    if progress is not None and deadline.stall_timeout is not None and progress.stalled_since is not None:
        since = max(clock.ours(progress.stalled_since), deadline.began)
        if now >= since + deadline.stall_timeout:
            return Judgement(Verdict.STALLED, since=since)
        limits.append(since + deadline.stall_timeout)
    if progress is not None and deadline.stall_timeout is None and deadline.warned != progress.fingerprint:
        unattended = [h.unpolled_since for h in progress.blockers if h.unpolled_since is not None]
        if unattended:
            since = max(clock.ours(min(unattended)), deadline.began)
            if now >= since + UNATTENDED_WARNING:
                return Judgement(Verdict.WARN, since=since, poll_by=deadline.end)
            limits.append(since + UNATTENDED_WARNING)
    return Judgement(Verdict.KEEP_WAITING, poll_by=min((limit for limit in limits if limit is not None), default=None))
