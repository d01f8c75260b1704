"""Tasks that wait for workflows on a real server, many at the same time, each with a worker of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from tests.integration.client_lab import PATIENCE, Lab
from tests.waiting_modes.modes import Heard, Outcome, run_task

T = TypeVar("T")


class WaitingLab(Lab):
    """One scenario: its definitions, its task, and whoever acts on its workflow."""

    def __init__(self, api_url: str) -> None:
        super().__init__(api_url)
        self.heard = Heard()
        self._pool = ThreadPoolExecutor(4)
        self._running: Future[Outcome] | None = None

    def workflow(
        self,
        *tasks: Mapping[str, Any],
        what: str = "order",
        policy: Mapping[str, Mapping[str, Any]] | None = None,
        **fields: Any,
    ) -> str:
        """Register a workflow of tasks; ``policy`` has the task definitions' fields, by reference name."""
        name = self.define(what, *tasks, **fields)
        if policy:
            self.client.register_task_defs(
                [
                    {"name": self.name(ref), "ownerEmail": "tests@example.com", "timeoutSeconds": 0, "retryCount": 0}
                    | dict(more)
                    for ref, more in policy.items()
                ]
            )
        return name

    def begin(self, workflow_name: str, **arguments: Any) -> WaitingLab:
        """Let an Airflow task execute the workflow, beside this thread."""
        defaults = {"wait_for_seconds": 1.0, "deferrable": True, "workflow_input": {"a": 1}}
        self._running = self._pool.submit(
            run_task,
            ConductorExecuteWorkflowOperator,
            workflow_name=workflow_name,
            heard=self.heard,
            **{**defaults, **arguments},
        )
        return self

    @property
    def workflow_id(self) -> str:
        """The id of the workflow the task has started, as its log says."""
        line = self.eventually(lambda: next((s for s in self.heard.lines if s.startswith("Conductor workflow ")), ""))
        return line.removeprefix("Conductor workflow ").split(":")[0]

    def hears(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait until the task has said that."""
        return self.eventually(lambda: next((s for s in self.heard.lines if text in s), ""), seconds=seconds)

    def hears_from_below(self, text: str, seconds: float = PATIENCE) -> str:
        """The same of a sub-workflow's task, which is begun without waiting for the server's turn."""

        def heard() -> str:
            self.begin_sub_workflows(self.workflow_id)
            return next((line for line in self.heard.lines if text in line), "")

        return self.eventually(heard, seconds=seconds)

    def done(self) -> Outcome:
        assert self._running is not None
        outcome = self._running.result(620)
        outcome.xcoms.setdefault("workflow_id", "")
        return outcome

    def completes(self) -> Outcome:
        outcome = self.done()
        assert outcome.error is None, outcome.error
        return outcome

    @property
    def is_done(self) -> bool:
        """Whether the task has begun and ended."""
        return self._running is not None and self._running.done()

    def play(self, scenario: Callable[[WaitingLab], T]) -> T:
        """Run it; one that breaks ends its workflow, so that its task does not wait on."""
        try:
            return scenario(self)
        except BaseException as error:
            error.add_note("\n".join(["The task has said:", *self.heard.lines]))
            with contextlib.suppress(Exception):
                self.client.terminate_workflow(self.workflow_id, "the test has failed")
            raise

    def later(self, seconds: float, act: Callable[..., Any], *arguments: Any) -> None:
        def wait_then_act() -> None:
            time.sleep(seconds)
            act(*arguments)

        self._pool.submit(wait_then_act)
