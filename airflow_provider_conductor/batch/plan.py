"""How a batch is run, and how a run can end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from airflow_provider_conductor.submission.start_plan import StartPlan


class BatchOutcome(Enum):
    """How a run on a worker ended."""

    ENDED = "ended"
    """All items have ended, or those that were started have and no more are."""
    QUIET = "quiet"
    """Nothing has started or ended for the caller's patience: the wait can go on elsewhere."""
    TIMEOUT = "timeout"
    KILLED = "killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """How a batch is run. Moments are seconds since the epoch, durations seconds.

    Attributes:
        plan_of: place → what to start; made anew at each call, so that inputs are not held twice.
        may_have_started: whether an earlier try, or another process of this one, may have left workflows.
        looked_up: whether those have been found already, in another process of this try.
        starts_no_more: asked before each start: the batch has failed, and starts nothing more.
        completed_elsewhere: ids of workflows that the triggerer has seen complete: they have, even if the server has
            removed them since.
        timeout_reason: given to what is terminated then, and after a ``stall_timeout``; None leaves it running.
    """

    plan_of: Callable[[int], StartPlan]
    max_active: int
    may_have_started: bool = False
    looked_up: bool = False
    completed_elsewhere: Collection[str] = ()
    starts_no_more: Callable[[], bool] = lambda: False
    deadline: float | None = None
    stall_timeout: float | None = None
    poll_interval: float | None = None
    timeout_reason: str | None = None
