"""The pause between two polls: what a wait asks of its driver, and what the driver may answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from airflow_provider_conductor.client.flow import Sleep

MAX_TIME = 1e16
"""Milliseconds: far beyond any time that a server may tell, and infinity is beyond it."""


class Revision(NamedTuple):
    """The revision of a workflow, as far as a poll can read it: while it is the same, nothing has progressed.

    ``update_time`` is the server's ``updateTime`` in ms, 0 if the answer has none. It changes when a task ends or
    fails, and with a pause, resume, retry or skip; not when a worker takes a task, nor in a parent when its
    sub-workflow progresses (seen on 3.32).
    """

    status: str
    update_time: int = 0

    @classmethod
    def of(cls, status: str, update_time: object) -> Revision:
        """Read it from an answer; an invalid time counts as a missing one."""
        if isinstance(update_time, (int, float)) and 0 < update_time < MAX_TIME:
            return cls(str(status), int(update_time))
        return cls(str(status))

    def matches(self, other: Revision) -> bool:
        """Whether nothing has changed, as far as both have the time."""
        if self.status != other.status:
            return False
        return not self.update_time or not other.update_time or self.update_time == other.update_time


@dataclass(frozen=True, slots=True)
class PollResult:
    """What a poll of many workflows read of one; ``reason`` is its ``reasonForIncompletion``, if the server sent it."""

    revision: Revision
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PollPause(Sleep):
    """Let ``seconds`` pass before the next poll.

    For a plain driver this is a sleep; it answers None. A driver that serves many waits polls on their behalf, many
    workflows at once, and extends the pause beyond ``seconds`` while the workflow is at ``revision``, until
    ``wake_at``. It answers with a :class:`PollResult`, or with None where the wait has to poll by itself.

    Attributes:
        workflow_id: the workflow that is waited for.
        revision: what the last poll read; None if there was none.
        started: when the workflow was started, on our clock: the pauses grow with its age.
        poll_interval: seconds between polls if the user has set them, else None.
        wake_at: seconds since the epoch at which the wait must poll by itself, whether anything has changed or not.
        blind_wake_at: the same for a driver that cannot read ``updateTime``.
        away: whether the wait has logged that Conductor is unreachable, and will log that it is reachable again.
    """

    workflow_id: str = ""
    revision: Revision | None = None
    started: float = 0.0
    poll_interval: float | None = None
    wake_at: float = 0.0
    blind_wake_at: float = 0.0
    away: bool = False
