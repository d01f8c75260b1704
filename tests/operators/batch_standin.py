"""What a batch's tests share: the operator, and orders that end as told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_conductor.operators import ConductorExecuteWorkflowsOperator
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from tests.operators.airflow_standin import refusal

INPUTS = [{"order": number} for number in range(12)]


def batch(**arguments: Any) -> ConductorExecuteWorkflowsOperator:
    defaults: dict[str, Any] = {"workflow_name": "orders", "workflow_inputs": INPUTS, "deferrable": False}
    return ConductorExecuteWorkflowsOperator(task_id="fulfil", **{**defaults, **arguments})


class Orders:
    """Plays the stand-in's part of what the inputs ask for, and sees how many run at once.

    Attributes:
        fail: order → why its workflow fails.
        never: those whose workflows do not end; ``stuck`` has the task at which.
        refused: those that the server does not take.
        most: how many have run at the same time.
    """

    def __init__(self, conductor: ConductorStandIn, after: float = 0.05) -> None:
        self.conductor = conductor
        self.after = after
        self.fail: dict[int, str] = {}
        self.never: set[int] = set()
        self.refused: set[int] = set()
        self.stuck: dict[int, dict[str, Any]] = {}
        self.most = 0
        start = conductor._start

        def started(body: dict[str, Any]) -> tuple[int, str, bytes]:
            if body["input"]["order"] in self.refused:
                return refusal(400, "no such order")
            answer = start(body)
            running = sum(conductor.status(workflow_id) == "RUNNING" for workflow_id in conductor.workflows)
            self.most = max(self.most, running)
            return answer

        conductor._start = started  # type: ignore[method-assign]
        conductor.script("orders", self._script)

    def _script(self, given: Mapping[str, Any]) -> Script:
        order = given["order"]
        tasks = [self.stuck[order]] if order in self.stuck else []
        if order in self.fail:
            return Script(self.after, "FAILED", reason=self.fail[order], tasks=tasks)
        return Script(None if order in self.never else self.after, output={"shipped": order}, tasks=tasks)

    def leave_out(self, look_ups: int) -> None:
        """So many look-ups by correlation id find nothing, as PostgreSQL's do while a workflow is being written."""

        def instead(request: Request) -> tuple[int, str, bytes] | None:
            nonlocal look_ups
            if not request.path.endswith("/correlated") or look_ups == 0:
                return None
            look_ups -= 1
            return 200, "application/json", b"{}"

        self.conductor.instead = instead

    @property
    def sent(self) -> list[int]:
        return [body["input"]["order"] for body in self.conductor.started]

    def status(self, order: int) -> str:
        (found,) = [w for w in self.conductor.workflows.values() if w["input"]["order"] == order]
        return self.conductor.status(found["workflowId"])


def until_ended(task: ConductorExecuteWorkflowsOperator, count: int) -> None:
    """Until so many items of the batch that runs in another thread have ended."""
    give_up = time.monotonic() + 20
    while task._batch_run is None or task._batch_run.batch.ended < count:
        assert time.monotonic() < give_up
        time.sleep(0.05)
