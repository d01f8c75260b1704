"""Resting between two looks: what a wait asks of whoever drives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_provider_conductor.client.flow import Sleep
from airflow_provider_conductor.client.models import WorkflowStatus

__all__ = ["Mark", "Rest", "Sighting"]

MAX_TIME = 1e16
"""Milliseconds: far beyond any time that a server may tell, and infinity is beyond it."""


class Mark(NamedTuple):
    """What a look saw of a workflow; as long as it is the same, nothing has got ahead.

    ``update_time`` is the server's ``updateTime`` in ms, 0 where it was not told. It moves when a task ends or fails,
    and at a pause, resume, retry or skip; not when a worker takes a task, nor in a parent when its sub-workflow gets
    ahead (seen on 3.32).
    """

    status: str
    update_time: int = 0

    @classmethod
    def of(cls, status: str, update_time: object) -> Mark:
        """As an answer has it: a time that is none counts as not told."""
        known = isinstance(update_time, (int, float)) and 0 < update_time < MAX_TIME
        return cls(str(status), int(update_time) if known else 0)  # type: ignore[call-overload]

    def matches(self, seen: Mark) -> bool:
        """Whether nothing has changed, as far as both can tell."""
        if self.status != seen.status:
            return False
        return not self.update_time or not seen.update_time or self.update_time == seen.update_time


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a driver that looks in a wait's stead hands to it.

    Attributes:
        mark: what is there now.
        changed: False where it is what the wait knows; then there is nothing to look at.
        reason: the server's ``reasonForIncompletion`` where the answer carries it.
    """

    mark: Mark
    changed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rest(Sleep):
    """Let ``seconds`` pass before the next look.

    To a plain driver that is a sleep, whose result is None. A driver that serves many waits looks in the wait's stead,
    many at once, and lets it rest on, past ``seconds``, while the workflow is as ``mark`` says, up to ``wake_at``.
    It hands over the :class:`Sighting` where it has one, and None where the wait is to look for itself.

    Attributes:
        workflow_id: the workflow that is waited for.
        mark: what the last look saw; None where there was none.
        started: when the workflow was started, on our clock: the looks' distance grows with its age.
        poll_interval: seconds between looks where the user has set them, else None.
        wake_at: seconds since the epoch at which the wait must look for itself, whatever has changed.
        blind_wake_at: the same for a driver that cannot see ``updateTime``.
        away: True where the wait has logged that Conductor is unreachable, and will log that it is reachable again.
    """

    workflow_id: str = ""
    mark: Mark | None = None
    started: float = 0.0
    poll_interval: float | None = None
    wake_at: float = 0.0
    blind_wake_at: float = 0.0
    away: bool = False

    def to_json(self) -> dict[str, Any]:
        """What a wait that goes on elsewhere needs to begin at rest."""
        return {
            "mark": None if self.mark is None else list(self.mark),
            "started": self.started,
            "poll_interval": self.poll_interval,
            "wake_at": self.wake_at,
            "blind_wake_at": self.blind_wake_at,
        }

    @classmethod
    def from_json(cls, workflow_id: str, data: Mapping[str, Any]) -> Rest | None:
        """Read it back; None where it is of an unknown kind (another version's)."""
        try:
            status, update_time = data["mark"]
            return cls(
                0.0,
                workflow_id=workflow_id,
                mark=Mark(str(WorkflowStatus(status)), int(update_time)),
                started=float(data["started"]),
                poll_interval=None if data["poll_interval"] is None else float(data["poll_interval"]),
                wake_at=float(data["wake_at"]),
                blind_wake_at=float(data["blind_wake_at"]),
            )
        except (KeyError, TypeError, ValueError):
            return None
