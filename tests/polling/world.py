"""A server and a clock made of plain data: a flow is driven by hand, and no time passes but in here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorBadRequestError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    ConductorUnreachableError,
    NotConductorError,
    PollData,
    SearchResult,
    Workflow,
)
from airflow_provider_conductor.client.flow import Call, Flow, Now, Sleep, Step, drive
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState
from tests.polling.builders import START, live, workflow

__all__ = ["OUTAGES", "REFUSED", "T0", "Patience", "World", "failing", "sent", "unreachable"]

T0 = START / 1000
"""When every workflow starts, on a clock like ours."""


class Patience(BaseException):
    """The test's own: the flow was still going on at the time the test gave up."""


def sent(event: WaitEvent) -> WaitState:
    """The state of a wait that continues in another process."""
    assert event.state is not None
    return WaitState.from_json(event.workflow_id, json.loads(json.dumps(event.state.to_json(), allow_nan=False)))


def unreachable() -> ConductorRequestError:
    return ConductorUnreachableError(
        "cannot connect", method="GET", path="/workflow/wf-1", server="http://c:8080", repeatable=True
    )


@dataclass
class World:
    """``scenes`` are what the server has from so many seconds on: a workflow, None for not found, or an error.

    Attributes:
        skew: seconds by which the server's clock is ahead of ours.
        looks: when each look was sent, in seconds of the workflow's age.
        said: the lines for people.
    """

    scenes: Sequence[tuple[float, Workflow | ConductorRequestError | None]] = ()
    skew: float = 0.0
    answers_after: float = 0.01
    others: dict[str, Workflow] = field(default_factory=dict)
    polls: Callable[[float], dict[str, Sequence[PollData]]] = lambda age: {}
    index: Workflow | None = None
    now: float = T0
    looks: list[float] = field(default_factory=list)
    whole_looks: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    @property
    def age(self) -> float:
        return self.now - T0

    def spec(self, **more: Any) -> WaitSpec:
        """``deadline`` in seconds of the workflow's age."""
        if more.get("deadline") is not None:
            more["deadline"] += T0
        return WaitSpec(workflow_id="wf-1", started_at=self.now, **more)

    def wait(
        self, spec: WaitSpec | None = None, *, until: float = 2e5, jitter: float = 0.0, **arguments: Any
    ) -> WaitEvent:
        flow = wait(spec or self.spec(), self.said.append, warn=self.warned.append, jitter=lambda: jitter, **arguments)
        return self.drive(flow, until=until)

    def drive(self, flow: Flow[Any], *, until: float = 2e5) -> Any:
        def do(step: Step) -> Any:
            if self.age > until:
                raise Patience
            return self._do(step)

        return drive(flow, do)

    def _do(self, step: Step) -> Any:
        if isinstance(step, Now):
            return self.now
        if isinstance(step, Sleep):
            assert step.seconds >= 0
            self.now += step.seconds
            return None
        return self._answer(step)

    def _answer(self, call: Call[Any]) -> Any:
        asked_at = self.age
        self.now += self.answers_after
        self.asked.append(f"{call.method} {call.path}")
        if call.path == "/tasks/queue/polldata":
            queue = dict(call.params)["taskType"]
            return tuple(self.polls(self.age).get(queue, ()))
        if call.path == "/workflow/search":
            found = [self.index] if self.index else []
            return SearchResult(len(found), tuple(found))
        workflow_id = call.path.removeprefix("/workflow/").removesuffix("/status")
        if workflow_id in self.others:
            return self.others[workflow_id]
        self.looks.append(asked_at)
        whole = dict(call.params).get("includeTasks") == "true"
        if whole:
            self.whole_looks.append(asked_at)
        return self._look(whole=whole)

    def _look(self, *, whole: bool) -> Workflow:
        scene: Any = workflow(live())
        for begins, found in self.scenes:
            if self.age >= begins:
                scene = found
        if isinstance(scene, Exception):
            raise scene
        if scene is None:
            raise ConductorNotFoundError("No such workflow found by id: wf-1", status=404)
        server_ms = (self.now + self.skew) * 1000
        return Workflow(_shifted(scene.data, round(self.skew * 1000), whole), observed_at=int(server_ms // 1000) * 1000)


def _shifted(data: Any, by: int, whole: bool) -> dict[str, Any]:
    """The workflow with its times on the server's clock, and without its tasks where they were not asked for."""

    def shift(item: Any) -> dict[str, Any]:
        return {key: value + by if key.endswith("Time") and value else value for key, value in item.items()}

    shifted = shift(data)
    return shifted | {"tasks": [shift(task) for task in data["tasks"]] if whole else []}


REFUSED = [
    ConductorAuthError("not yours", status=403),
    ConductorNotFoundError("no such", status=404),
    ConductorBadRequestError("no", status=400),
    ConductorServerError("broken", status=500),
    NotConductorError("HTML", status=200),
]
OUTAGES = [unreachable(), ConductorServerError("bad gateway", status=502, repeatable=True)]


def failing(
    world: World,
    path: str,
    error: ConductorRequestError,
    *,
    exactly: bool = False,
    when: Callable[[], bool] = lambda: True,
    hangs: float = 0.0,
) -> World:
    """The world, but for one path, or those that begin so, ``when`` this holds, and so many seconds later."""
    ask = world._answer

    def answer(call: Any) -> Any:
        if when() and (call.path == path or (not exactly and call.path.startswith(path))):
            world.now += min(hangs, call.within or hangs)
            world.asked.append(f"{call.method} {call.path}")
            raise error
        return ask(call)

    world._answer = answer  # type: ignore[method-assign]
    return world
