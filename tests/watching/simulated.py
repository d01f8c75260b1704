"""A server with a search index that lags, on a clock that the test sets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, TypeVar

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.client.errors import ConductorUnreachableError
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Now, Sleep, Step, drive
from airflow_provider_conductor.testing.search_index import INDEXED, search
from airflow_provider_conductor.watching.ends import End, Wanted
from airflow_provider_conductor.watching.position import OpenEnd, Position
from airflow_provider_conductor.watching.sweep import Watcher, begin, sweep

T = TypeVar("T")

START = 1_800_000_000.0

LAG = 60.0


@dataclass
class Server:
    """Workflows, each visible in the index from some moment on.

    Attributes:
        now: our clock, in seconds.
        ahead: by how much the server's clock is ahead of it.
        dates: whether answers have a ``Date``.
        sorts: whether the index sorts as asked.
        fails_after: so many more requests are answered.
    """

    now: float = START
    ahead: float = 0.0
    dates: bool = True
    sorts: bool = True
    fails_after: float = float("inf")
    workflows: dict[str, dict[str, Any]] = field(default_factory=dict)
    visible: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    requests: list[Call[Any]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def ms(self) -> int:
        return round((self.now + self.ahead) * 1000)

    def end(
        self,
        workflow_id: str | None = None,
        *,
        name: str = "orders",
        status: str = "COMPLETED",
        lag: float = 0.0,
        parent: str = "",
        output: dict[str, Any] | None = None,
        label: str = "",
    ) -> str:
        """A workflow ends now, and appears in the index ``lag`` seconds later."""
        workflow_id = workflow_id or f"w{next(self.numbers)}"
        workflow = {
            "workflowId": workflow_id,
            "workflowName": name,
            "workflowVersion": 1,
            "correlationId": label or None,
            "status": status,
            "startTime": self.ms - 1000,
            "updateTime": self.ms,
            "endTime": self.ms,
            "parentWorkflowId": parent,
            "output": output or {},
        }
        self.workflows[workflow_id] = workflow
        self.visible.append((self.now + lag, workflow))
        return workflow_id

    def touch(self, workflow_id: str) -> None:
        """Something is changed in a workflow that has ended."""
        self.workflows[workflow_id] = {**self.workflows[workflow_id], "updateTime": self.ms}
        self.visible.append((self.now, self.workflows[workflow_id]))

    def searches(self) -> int:
        return sum(call.path == "/workflow/search" for call in self.requests)

    def run(self, flow: Flow[T]) -> T:
        return drive(flow, self._do)

    def _do(self, step: Step) -> Any:
        if isinstance(step, Now):
            return self.now
        if isinstance(step, Sleep):
            self.now += step.seconds
            return None
        self.requests.append(step)
        if self.fails_after <= 0:
            raise ConductorUnreachableError(
                "no answer", method=step.method, path=step.path, server="http://conductor", repeatable=True
            )
        self.fails_after -= 1
        headers = {"date": formatdate(int(self.now + self.ahead), usegmt=True)} if self.dates else {}
        return step.parse(Answer(200, headers, json.dumps(self._answer(step)).encode()))

    def _answer(self, call: Call[Any]) -> Any:
        if call.path == "/workflow/search":
            query = dict(call.params)
            indexed = {w["workflowId"]: w for at, w in sorted(self.visible, key=lambda v: v[0]) if at <= self.now}
            found = search(
                list(indexed.values()), query.get("query", ""), INDEXED, query.get("sort", "") if self.sorts else ""
            )
            start, size = int(query["start"]), int(query["size"])
            return {"totalHits": len(found), "results": found[start : start + size]}
        if call.path == "/workflow/bulk/search":
            return {"bulkSuccessfulResults": [self.workflows[item] for item in call.body], "bulkErrorResults": {}}
        return self.workflows[call.path.rpartition("/")[2]]


class Reader:
    """A watcher that keeps what it gets.

    Attributes:
        got: the ids of the ends, in order.
        unconfirmed: what it has not yet worked off; by default, nothing.
    """

    def __init__(
        self, server: Server, wanted: Wanted | None = None, position: Position | None = None, catch_up: float = 86_400
    ) -> None:
        self.server = server
        self.got: list[str] = []
        self.ends: list[tuple[End, Workflow | None]] = []
        self.unconfirmed: list[OpenEnd] = []
        self.log: list[str] = []
        self.watcher = Watcher(
            wanted=wanted or Wanted(names=("orders",)),
            lag=round(LAG * 1000),
            catch_up=round(catch_up * 1000),
            max_output_bytes=1_000,
            report=self._report,
            unconfirmed=lambda: self.unconfirmed,
            position=position,
        )
        server.run(begin([self.watcher], self.log.append))

    def _report(self, end: End, workflow: Workflow | None) -> None:
        self.got.append(end.workflow_id)
        self.ends.append((end, workflow))

    def sweep(self) -> list[str]:
        """The ids of what one more sweep reports."""
        before = len(self.got)
        self.server.run(sweep([self.watcher]))
        return self.got[before:]

    def successor(self, catch_up: float = 86_400) -> Reader:
        """The same watcher in another process, from what this one has stored."""
        assert self.watcher.position is not None
        stored = json.loads(json.dumps(self.watcher.position.stored(self.unconfirmed)))
        position = Position.restored(stored, self.watcher.lag)
        assert position is not None
        return Reader(self.server, self.watcher.wanted, position, catch_up)
