"""A dag run of a task group, without a database: its tasks one after the other, as a scheduler would order them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.control.lost_retry import broken_by_a_retry, is_lost
from airflow_provider_conductor.task_groups import ConductorWorkflowTaskGroup, step
from tests.operators.airflow_standin import TaskInstanceStandIn, context_of, run


@dataclass
class Instance(TaskInstanceStandIn):
    """A task instance whose XCom is the dag run's."""

    store: dict[tuple[str, str], Any] = field(default_factory=dict)
    last_try: int = 0

    @property
    def max_tries(self) -> int:
        return self.last_try

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        self.store[self.task_id, key] = value

    def xcom_pull(self, task_ids: Any = None, key: str = "return_value", **_: Any) -> Any:
        return self.store.get((task_ids, key))


@dataclass
class GroupRun:
    """Its ``states`` are those of Airflow, by task id without the group's; ``errors`` has what tasks have raised."""

    group: ConductorWorkflowTaskGroup
    monkeypatch: pytest.MonkeyPatch
    store: dict[tuple[str, str], Any] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    begun_anew: bool = False
    before: Callable[[str], None] = lambda name: None
    """Called before each task, with its name."""

    def __post_init__(self) -> None:
        def write(ti: Any, key: str, value: Any, *, task_id: str) -> None:
            self.store[task_id, key] = value

        self.monkeypatch.setattr(step, "write_xcom", write)
        prefix = self.group.group_id + "."
        self.tasks = {
            task.task_id.removeprefix(prefix): task
            for task in self.group.dag.topological_sort()
            if task.task_id.startswith(prefix)
        }

    def logged(self, name: str) -> list[str]:
        """The lines of a task's log from now on."""
        lines: list[str] = []

        def log(text: str, *values: Any, **_: Any) -> None:
            lines.append(text % values if values else text)

        logger = SimpleNamespace(info=log, warning=log, error=log, debug=log, exception=log)
        self.monkeypatch.setattr(type(self.tasks[name]), "log", logger, raising=False)
        return lines

    def name(self, task_id: str) -> str:
        return task_id.removeprefix(f"{self.group.group_id}.")

    @property
    def workflow_id(self) -> str:
        return str(self.store[self.group.start.task_id, "workflow_id"])

    @property
    def output(self) -> Any:
        return self.store.get((self.group.finish.task_id, "return_value"))

    def go(self) -> dict[str, str]:
        """Run each task that has no state yet; returns all states."""
        for name, task in self.tasks.items():
            if name in self.states:
                continue
            before = [self.states[self.name(item)] for item in task.upstream_task_ids]
            if task.trigger_rule != "all_done" and any(state in ("failed", "upstream_failed") for state in before):
                self.states[name] = "upstream_failed"
                continue
            self.before(name)
            self.states[name] = self._run(name, task)
        return dict(self.states)

    def context(self, name: str) -> dict[str, Any]:
        """The context of the next try of a task."""
        task = self.tasks[name]
        self.tries[name] = tried = self.tries.get(name, 0) + 1
        began = tried - 1 if name in self.lost else tried
        self.lost.discard(name)
        for key in [key for key in self.store if key[0] == task.task_id]:
            del self.store[key]
        context = context_of(task)
        instance = Instance(task, store=self.store, try_number=tried, last_try=began - 1 + task.retries)
        own = {"ti": instance, "task_instance": instance, "dag_run": SimpleNamespace(**vars(context["dag_run"]))}
        return context | own

    def _run(self, name: str, task: Any) -> str:
        try:
            result = run(task, self.context(name))
        except AirflowSkipException as error:
            self.errors[name] = error
            return "skipped"
        except Exception as error:
            self.errors[name] = error
            return "failed"
        if result is not None:
            self.store[task.task_id, "return_value"] = result
        return "success"

    def go_again(self, client: ConductorClient, *names: str) -> dict[str, str]:
        """Clear these tasks and go; anew, as the message says, where the server has broken the workflow.

        A busy 3.32.2 does that to a fork or a loop now and then: by a retry, see ``control/lost_retry.py``; or by a
        rerun from before a fork, of which it then runs all branches and never schedules the JOIN.
        """
        self.clear(*names)
        states = self.go()
        workflow = client.get_workflow(self.workflow_id)
        by_retry = workflow.status.ended and bool(broken_by_a_retry(workflow) or is_lost(workflow))
        by_rerun = not workflow.status.ended and not any(task.is_open for task in workflow.tasks)
        if by_retry or by_rerun:
            advice = "clear the task group" if by_retry else "Conductor has not scheduled"
            assert any(advice in str(error) for error in self.errors.values()), self.errors
            self.begun_anew = True
            self.clear("start")
            states = self.go()
        return states

    def clear(self, *names: str, downstream: bool = True) -> None:
        """Clear these tasks, and what comes after them."""
        cleared: set[str] = set()
        unseen: Iterable[str] = names
        while unseen:
            cleared |= set(unseen)
            after = {self.name(item) for name in unseen for item in self.tasks[name].downstream_task_ids}
            unseen = (after & self.tasks.keys()) - cleared if downstream else ()
        for name in cleared:
            self.states.pop(name, None)
            self.errors.pop(name, None)

    def lose(self, name: str) -> None:
        """Let Airflow's next try of this task be a retry: its scheduler took it for failed."""
        self.lost.add(name)
        self.states.pop(name)
