"""A wait as plain data: what is waited for, and what has been observed and logged so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from airflow_provider_conductor.client.models import WorkflowStatus
from airflow_provider_conductor.polling.messages import NOTHING_LOGGED, Logged
from airflow_provider_conductor.polling.poll_pause import PollPause, Revision
from airflow_provider_conductor.polling.user_actions import Lifecycle

PAUSE = ("revision", "started", "poll_interval", "wake_at", "blind_wake_at")
"""What is stored of a pause."""


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
        warn_after: seconds after the run's start at which users are warned that it still runs; None for never.
        reports_slow: whether the wait then returns ``slow`` to its caller, which acts and continues it.
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
    warn_after: float | None = None
    reports_slow: bool = False
    wait_until_task_ref: str | None = None
    wait_until_task_status: str = ""

    @property
    def end(self) -> float:
        """The deadline; infinity for never."""
        return math.inf if self.deadline is None else self.deadline

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults; the names are arguments of the trigger."""
        return _changed(self)


@dataclass(slots=True, kw_only=True)
class WaitState:
    """What a wait has observed and logged so far. The wait updates it; with it, another process continues the wait.

    Attributes:
        logged: what has been logged about the workflow, so that nothing is logged twice.
        slow: whether users have been warned that the run takes long.
        warned: the standstill that has been warned about, see ``Progress.fingerprint``.
        lifecycle: what users had done to the workflow at the last poll that read its tasks.
        unreachable_since: since when Conductor has been unreachable.
        refused_since: since when something in front of Conductor has refused every request.
        pause: the pause before the next poll; None to poll at once.
    """

    logged: Logged = NOTHING_LOGGED
    slow: bool = False
    warned: str = ""
    lifecycle: Lifecycle | None = None
    unreachable_since: float | None = None
    refused_since: float | None = None
    pause: PollPause | None = None

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults: a triggerer keeps it for each of its waits."""
        stored = _changed(self)
        pause = stored.pop("pause", None)
        if "logged" in stored:
            stored["logged"] = [self.logged.at, list(self.logged.situations)]
        if self.lifecycle is not None:
            stored["lifecycle"] = list(self.lifecycle)
        if pause is not None and pause.revision is not None:
            stored["pause"] = {name: getattr(pause, name) for name in PAUSE} | {"revision": list(pause.revision)}
        return stored

    @classmethod
    def from_json(cls, workflow_id: str, data: Mapping[str, Any]) -> WaitState:
        """Read it back. What cannot be read, since another version wrote it, begins anew: a message is repeated."""
        try:
            at, situations = data.get("logged", NOTHING_LOGGED)
            state = cls(
                logged=Logged(int(at), tuple(map(str, situations))),
                slow=bool(data.get("slow", False)),
                warned=str(data.get("warned", "")),
                unreachable_since=_number(data.get("unreachable_since")),
                refused_since=_number(data.get("refused_since")),
            )
            if "lifecycle" in data:
                created, retried, ended, skipped = map(int, data["lifecycle"])
                state.lifecycle = Lifecycle(created, retried, ended, skipped)
            if "pause" in data:
                (status, update_time), started, poll_interval, wake_at, blind_wake_at = map(data["pause"].get, PAUSE)
                state.pause = PollPause(
                    0.0,
                    workflow_id=workflow_id,
                    revision=Revision(str(WorkflowStatus(status)), int(update_time)),
                    started=float(started),
                    poll_interval=_number(poll_interval),
                    wake_at=float(wake_at),
                    blind_wake_at=float(blind_wake_at),
                )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return cls()
        return state

    def begin_again(self, latest: float) -> None:
        """Begin with a poll, whatever is left of the pause.

        The wait polls by itself by ``latest``: the clock may have been set, or that of another machine may differ.
        """
        if self.pause is not None:
            wake_at, blind_wake_at = min(self.pause.wake_at, latest), min(self.pause.blind_wake_at, latest)
            self.pause = replace(self.pause, seconds=0.0, wake_at=wake_at, blind_wake_at=blind_wake_at)


def _changed(data: WaitSpec | WaitState) -> dict[str, Any]:
    return {item.name: value for item in fields(data) if (value := getattr(data, item.name)) != item.default}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
