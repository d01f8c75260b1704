"""A server in memory that starts, finds and ends workflows, for a driver in virtual time."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from airflow_provider_conductor.batch.driver import Driver
from airflow_provider_conductor.batch.plan import BatchOutcome, BatchPlan
from airflow_provider_conductor.batch.state import Batch
from airflow_provider_conductor.client import ConductorBadRequestError, ConductorTimeoutError
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Now, Sleep, Step, drive_async
from airflow_provider_conductor.submission.identity import TaskIdentity
from airflow_provider_conductor.submission.start_plan import StartPlan
from tests.polling.simulated import ROUTE, Server, refused, watcher_of
from tests.polling.virtual_time import EPOCH, now, run

__all__ = ["Starting", "driver_of", "finish", "virtual"]

P = ParamSpec("P")
T = TypeVar("T")

IDENTITY = TaskIdentity(prefix="airflow", dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, first_try=1)


@dataclass
class Starting(Server):
    """Each workflow it starts ends ``lasts`` seconds later.

    Attributes:
        ends: by input, how it ends; COMPLETED where nothing is said, "" for never.
        lost: inputs whose start is carried out while its answer is lost, once each.
        refuses: inputs that it does not take.
        most: how many have run at the same time.
        by_label: correlation id → workflow ids.
        locked: workflow ids that look-ups leave out, as PostgreSQL does with what is being written.
    """

    lasts: float = 3.0
    ends: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    refuses: set[int] = field(default_factory=set)
    most: int = 0
    by_label: dict[str, list[str]] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    archived: dict[str, str] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)

    def archive(self) -> None:
        """What has ended leaves the database; the search index keeps it."""
        ended = {name: state for name, (state, _) in self.workflows.items() if state not in ("RUNNING", "PAUSED")}
        self.archived |= ended
        for name in ended:
            del self.workflows[name]

    async def run(self, flow: Flow[T]) -> T:
        return await drive_async(flow, self._do)

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        return now() if isinstance(step, Now) else await self.send(step)

    async def _answer(self, call: Call[T]) -> T:
        self.pass_time()
        if (call.method, call.path) == ("POST", "/workflow"):
            return await self._start(call)
        if call.path.endswith("/correlated"):
            return await self._say(call, "correlated", lambda: self._correlated(call))
        if call.path == "/workflow/search":
            return await self._say(call, "search", lambda: self._search(call))
        if call.path == "/workflow/bulk/terminate":
            return await self._say(call, "terminate", lambda: self._terminate(call, call.body))
        if call.method == "DELETE":
            return await self._say(call, "terminate", lambda: self._terminate(call, [call.path.split("/")[2]]))
        if call.path.endswith("/retry"):
            return await self._say(call, "retry", lambda: self._begin(call.path.split("/")[2]))
        return await super()._answer(call)

    async def _say(self, call: Call[T], kind: str, answer: Any) -> T:
        self.asked[kind] += 1
        await asyncio.sleep(self.latency)
        if self.away:
            raise refused()
        return call.parse(Answer(200, {}, json.dumps(answer()).encode()))

    async def _start(self, call: Call[T]) -> T:
        self.asked["start"] += 1
        if self.errors:
            raise self.errors.pop(0)
        number = call.body["input"]["number"]
        if self.away:
            raise refused()
        if number in self.refuses:
            raise ConductorBadRequestError("not this one", status=400, **ROUTE)
        workflow_id = f"w{len(self.inputs)}"
        self.inputs[workflow_id] = number
        self.by_label.setdefault(call.body["correlationId"], []).append(workflow_id)
        self.add(workflow_id)
        self._begin(workflow_id)
        await asyncio.sleep(self.latency)
        if number in self.lost:
            self.lost.discard(number)
            raise ConductorTimeoutError("no answer", fate_unknown=True, **ROUTE)
        return call.parse(Answer(200, {}, workflow_id.encode()))

    def _begin(self, workflow_id: str) -> None:
        self.workflows[workflow_id][0] = "RUNNING"
        self.due[workflow_id] = now() + self.lasts
        self.most = max(self.most, sum(state == "RUNNING" for state, _ in self.workflows.values()))

    def pass_time(self) -> None:
        for workflow_id, at in list(self.due.items()):
            status = self.ends.get(self.inputs[workflow_id], "COMPLETED")
            if at <= now():
                del self.due[workflow_id]
                if status:
                    self.end(workflow_id, status=status)

    def _correlated(self, call: Call[Any]) -> dict[str, list[dict[str, Any]]]:
        name = call.path.split("/")[2]
        return {
            label: [
                self._whole(workflow_id) | {"workflowName": name, "correlationId": label}
                for workflow_id in self.by_label.get(label, ())
                if workflow_id in self.workflows and workflow_id not in self.locked
            ]
            for label in call.body
        }

    def _search(self, call: Call[Any]) -> dict[str, Any]:
        """Summaries, by a list of correlation ids or of workflow ids."""
        field, _, values = dict(call.params)["query"].partition(" IN ")
        found = []
        for label, workflow_ids in self.by_label.items():
            for name in workflow_ids:
                status = self.archived.get(name) or self.workflows[name][0]
                summary = {"workflowId": name, "workflowType": "orders", "correlationId": label, "status": status}
                if summary[field] in values.strip("()").split(","):
                    found.append(summary | {"startTime": datetime.fromtimestamp(EPOCH + 1, UTC).isoformat()})
        return {"totalHits": len(found), "results": found}

    def _terminate(self, call: Call[Any], workflow_ids: list[str]) -> dict[str, Any]:
        for workflow_id in workflow_ids:
            self.due.pop(workflow_id, None)
            self.reasons[workflow_id] = dict(call.params)["reason"]
            self.end(workflow_id, status="TERMINATED")
        return {"bulkSuccessfulResults": workflow_ids, "bulkErrorResults": {}}

    def _whole(self, name: str) -> dict[str, Any]:
        more = {"createTime": int((EPOCH + 1) * 1000), "reasonForIncompletion": self.reasons.get(name, "")}
        return super()._whole(name) | more


def driver_of(
    server: Starting, total: int, *, max_active: int = 100, attempt: int = 1, batch: Batch | None = None, **more: Any
) -> Driver:
    """A driver of ``total`` items whose input is their number, in the so-manieth try of a series."""
    identity = replace(IDENTITY, try_number=attempt)

    def plan_of(index: int) -> StartPlan:
        return StartPlan(
            identity=replace(identity, item=str(index)),
            body={"name": "orders", "input": {"number": index}},
            series_began=EPOCH,
            run_began=EPOCH,
        )

    plan = BatchPlan(plan_of=plan_of, max_active=max_active, may_have_started=attempt > 1, **more)
    batch = batch or Batch(keys=[str(index) for index in range(total)], began=now())
    return Driver(batch, plan, watcher_of(server), lambda _: None, lambda _: None, clock=now, sleep=asyncio.sleep)


async def finish(driver: Driver, patience: float | None = None) -> BatchOutcome:
    try:
        return await driver.run(patience)
    finally:
        await driver.poller.close()


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in virtual time."""

    @functools.wraps(test)
    def in_virtual_time(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return in_virtual_time
