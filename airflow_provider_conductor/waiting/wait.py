"""Waiting for a workflow, as a flow: one place for every mode, whoever drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Flow, Now, Sleep
from airflow_provider_conductor.client.capabilities import Capabilities, reached, read_status
from airflow_provider_conductor.client.models import Workflow

__all__ = ["WaitEvent", "WaitPlan", "wait"]

TIMEOUT = "timeout"
TASK_ENDED = "task_ended"
STILL_RUNNING = "still_running"

DEFAULT_POLL_INTERVAL = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPlan:
    """What is waited for and for how long; plain JSON values, so it can be a trigger's arguments.

    Times are seconds since the epoch on this Airflow's clock (they cross processes), durations are seconds.
    """

    workflow_id: str
    started_at: float
    deadline: float | None = None
    stall_timeout: float | None = None
    poll_interval: float | None = None
    wait_until_task_ref: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitEvent:
    """How a wait ended: a workflow's final status, or one of ``timeout``, ``task_ended``, ``still_running``."""

    workflow_id: str
    status: str
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, event: object) -> WaitEvent:
        """Read an event that crossed processes.

        Raises:
            ValueError: not an event of this package.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("status"), str) or not event.get("workflow_id"):
            raise ValueError(f"not the event of a wait for a workflow: {event!r}")
        return cls(
            workflow_id=str(event["workflow_id"]), status=event["status"], message=str(event.get("message") or "")
        )


def wait(
    plan: WaitPlan,
    capabilities: Capabilities,
    say: Callable[[str], None],
    *,
    patience: float | None = None,
) -> Flow[WaitEvent]:
    """Wait until the workflow (or the plan's task) has ended, the deadline has come, or ``patience`` seconds are over.

    One last look is taken at the deadline, so a workflow that has just ended is not a time-out.
    """
    begun: float = yield Now()
    last_status = ""
    while True:
        workflow = yield from _look(plan, capabilities)
        now: float = yield Now()
        if workflow.status.ended:
            return WaitEvent(workflow_id=plan.workflow_id, status=str(workflow.status), message=workflow.reason)
        if plan.wait_until_task_ref and reached(workflow, plan.wait_until_task_ref):
            return WaitEvent(workflow_id=plan.workflow_id, status=TASK_ENDED)
        if plan.deadline is not None and now >= plan.deadline:
            return WaitEvent(workflow_id=plan.workflow_id, status=TIMEOUT, message=f"still {workflow.status}")
        if patience is not None and now >= begun + patience:
            return WaitEvent(workflow_id=plan.workflow_id, status=STILL_RUNNING)
        if workflow.status != last_status:
            last_status = workflow.status
            say(f"workflow {plan.workflow_id} is {workflow.status}")
        ends = [plan.deadline, None if patience is None else begun + patience]
        pause = plan.poll_interval or DEFAULT_POLL_INTERVAL
        yield Sleep(max(0.0, min([pause, *(end - now for end in ends if end is not None)])))


def _look(plan: WaitPlan, capabilities: Capabilities) -> Flow[Workflow]:
    if plan.wait_until_task_ref:
        return (yield endpoints.get_workflow(plan.workflow_id))  # type: ignore[no-any-return]
    return (yield from read_status(capabilities, plan.workflow_id))
