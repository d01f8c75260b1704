"""How a wait ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.wait_spec import WaitState

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow

TIMEOUT = "timeout"
STALLED = "stalled"
TASK_ENDED = "task_ended"
TASK_MISSED = "task_missed"
STILL_RUNNING = "still_running"
SLOW = "slow"
GONE = "gone"
GONE_REASON = "neither Conductor nor its search index has this workflow; how it ended is unknown"
ERROR = "error"

NO_WORKER = "no worker"

MESSAGE_LIMIT = 1_000
"""Characters of an event's message: it is stored in Airflow's metadata database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitEvent:
    """How a wait ended.

    ================================================  ====================================================
    status                                            meaning
    ================================================  ====================================================
    COMPLETED, FAILED, TIMED_OUT, TERMINATED          the workflow has ended with this status
    ``task_ended``                                    the task waited for has ended, or has the status that was
                                                      waited for; the workflow may still run
    ``task_missed``                                   the task cannot reach that status any more, or the workflow
                                                      has completed without the task
    ``timeout``                                       the deadline has passed
    ``stalled``                                       there was no progress for ``stall_timeout``
    ``gone``                                          the server does not know the workflow (any more)
    ``slow``                                          the run takes longer than ``warn_after``; it is still RUNNING
    ``still_running``                                 the time that the caller waits has passed; never from a trigger
    ``error``                                         waiting cannot help; only from a trigger
    ================================================  ====================================================

    Attributes:
        message: why, for users.
        waits_for: at a timeout or standstill, what the workflow was waiting for: ``no worker`` or one of ``Phase``; ""
            if that is not known.
        error: name of the error's class in :mod:`~airflow_provider_conductor.client.errors` if the status is ``error``.
        state: what another process needs to continue the wait; of the events that cross processes, only ``slow``
            has it.
        next_poll: when the next poll is due, if only the workflow counts (a sensor's next poke).
        workflow: the workflow with its tasks, if the last poll read them and the event has not crossed processes.
    """

    workflow_id: str
    status: str
    message: str = ""
    error: str = ""
    waits_for: str = ""
    state: WaitState | None = field(default=None, repr=False, compare=False)
    next_poll: float | None = field(default=None, compare=False)
    workflow: Workflow | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # An event that the metadata database refuses ends the triggerer, and again each time it starts.
        object.__setattr__(self, "message", one_line(self.message, MESSAGE_LIMIT))

    def to_json(self) -> dict[str, Any]:
        """The event as Airflow stores it."""
        data = {"workflow_id": self.workflow_id, "status": self.status, "message": self.message}
        state = self.state.to_json() if self.status == SLOW and self.state is not None else None
        more = {"error": self.error, "waits_for": self.waits_for, "state": state}
        return data | {key: value for key, value in more.items() if value}

    @classmethod
    def from_json(cls, event: object) -> WaitEvent:
        """Read an event that crossed processes.

        Raises:
            ValueError: not an event of this package.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("status"), str) or not event.get("workflow_id"):
            raise ValueError(f"not the event of a wait for a workflow: {event!r}")
        workflow_id, state = str(event["workflow_id"]), None
        if event["status"] == SLOW:
            state = WaitState.from_json(workflow_id, event.get("state") or {})
        return cls(
            workflow_id=workflow_id,
            status=event["status"],
            message=str(event.get("message") or ""),
            error=str(event.get("error") or ""),
            waits_for=str(event.get("waits_for") or ""),
            state=state,
        )
