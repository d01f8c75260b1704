"""A wait as plain data: what is waited for, and what has been observed and logged so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from airflow_provider_conductor.client.models import WorkflowStatus
from airflow_provider_conductor.polling.messages import NOTHING_LOGGED, Logged
from airflow_provider_conductor.polling.poll_pause import PollPause, Revision
from airflow_provider_conductor.polling.user_actions import Lifecycle

__all__ = ["WaitSpec", "WaitState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSpec:
    """What is waited for, and until when; the same in each process that the wait passes through.

    Moments are seconds since the epoch on Airflow's clock, durations are seconds.

    Attributes:
        workflow_id: the workflow.
        started_at: when the wait began, earlier processes included.
        deadline: when the whole wait is over, the earlier of ours and Airflow's; None for never.
        stall_timeout: time without progress after which the wait is over; None for a warning only.
        poll_interval: between polls; None adapts to the workflow.
        exponential_backoff, max_wait: Airflow's sensor arguments, applied to ``poll_interval``.
        wait_until_task_ref: wait only until this task has ended, or has one of
        wait_until_task_status: these statuses, joined by commas.
    """

    workflow_id: str
    started_at: float
    deadline: float | None = None
    stall_timeout: float | None = None
    poll_interval: float | None = None
    exponential_backoff: bool = False
    max_wait: float | None = None
    wait_until_task_ref: str | None = None
    wait_until_task_status: str = ""

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults; the names are arguments of the trigger."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) != item.default}


@dataclass(slots=True, kw_only=True)
class WaitState:
    """What a wait has observed and logged so far. The wait updates it; with it, another process continues the wait.

    Attributes:
        logged: what has been logged about the workflow, so that nothing is logged twice.
        warned: the standstill that has been warned about, see
            ``Progress.fingerprint``.
        lifecycle: what users had done to the workflow at the last poll that read its tasks.
        unreachable_since: since when Conductor has been unreachable.
        refused_since: since when something in front of Conductor has refused every request.
        pause: the pause before the next poll; None to poll at once.
    """

    logged: Logged = NOTHING_LOGGED
    warned: str = ""
    lifecycle: Lifecycle | None = None
    unreachable_since: float | None = None
    refused_since: float | None = None
    pause: PollPause | None = None

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults: a triggerer keeps it for each of its waits."""
        stored: dict[str, Any] = {}
        if self.logged != NOTHING_LOGGED:
            stored["logged"] = [self.logged.at, list(self.logged.situations)]
        if self.warned:
            stored["warned"] = self.warned
        if self.lifecycle is not None:
            stored["lifecycle"] = list(astuple(self.lifecycle))
        for name in ("unreachable_since", "refused_since"):
            if (since := getattr(self, name)) is not None:
                stored[name] = since
        if (pause := self.pause) is not None and pause.revision is not None:
            stored["pause"] = {
                "revision": list(pause.revision),
                "started": pause.started,
                "poll_interval": pause.poll_interval,
                "wake_at": pause.wake_at,
                "blind_wake_at": pause.blind_wake_at,
            }
        return stored

    @classmethod
    def from_json(cls, workflow_id: str, data: Mapping[str, Any]) -> WaitState:
        """Read it back. What cannot be read, since another version wrote it, begins anew: a message is repeated."""
        try:
            at, situations = data.get("logged", NOTHING_LOGGED)
            return cls(
                logged=Logged(int(at), tuple(map(str, situations))),
                warned=str(data.get("warned", "")),
                lifecycle=_lifecycle(data["lifecycle"]) if "lifecycle" in data else None,
                unreachable_since=_number(data.get("unreachable_since")),
                refused_since=_number(data.get("refused_since")),
                pause=_pause(workflow_id, data["pause"]) if "pause" in data else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return cls()

    def bound_pause(self, latest: float) -> None:
        """Poll by ``latest`` at the latest: the clock may have been set, or that of another machine may differ."""
        if self.pause is not None:
            wake_at, blind_wake_at = min(self.pause.wake_at, latest), min(self.pause.blind_wake_at, latest)
            self.pause = replace(self.pause, wake_at=wake_at, blind_wake_at=blind_wake_at)


def _pause(workflow_id: str, data: Mapping[str, Any]) -> PollPause:
    status, update_time = data["revision"]
    return PollPause(
        0.0,
        workflow_id=workflow_id,
        revision=Revision(str(WorkflowStatus(status)), int(update_time)),
        started=float(data["started"]),
        poll_interval=_number(data["poll_interval"]),
        wake_at=float(data["wake_at"]),
        blind_wake_at=float(data["blind_wake_at"]),
    )


def _lifecycle(data: Sequence[Any]) -> Lifecycle:
    created, retried, ended, skipped = map(int, data)
    return Lifecycle(created, retried, ended, skipped)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
