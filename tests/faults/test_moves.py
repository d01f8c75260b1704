"""A triggerer that stands still loses its triggers to another one; when it goes on, it kills nothing by that.

With a real scheduler, and two triggerers; each kind of wait mapped and not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, TaskStatus, Workflow
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill
from tests.faults.conftest import HOLD, WAITS, started_as
from tests.faults.real_airflow import RealAirflow, TaskSeen, real_airflow
from tests.faults.test_kills import kill

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

TWO = {
    **WAITS,
    "name": "moved_two",
    "tasks": [{**HOLD, "name": ref, "taskReferenceName": ref} for ref in ("first", "second")],
}

KINDS = ("hold", "ref", "batch")

INSTANCES = [
    *((f"moved_{kind}.plain", -1) for kind in KINDS),
    *(("moved_hold.mapped", 0), ("moved_hold.mapped", 1), ("moved_ref.mapped", 0), ("moved_ref.mapped", 1)),
    ("moved_batch.mapped", 0),
]
"""Each deferred task: its DAG, and its map index."""

LEFT, KILLED = ("left running", "left alone"), "The task was killed"


class Moving:
    """The tasks of this test, and what they wait for."""

    def __init__(self, airflow: RealAirflow, client: ConductorClient) -> None:
        self.airflow, self.client = airflow, client

    def task(self, dag_id: str, map_index: int) -> TaskSeen:
        seen = self.airflow.task(dag_id, map_index)
        assert seen is not None
        return seen

    def workflows(self, dag_id: str, map_index: int) -> list[Workflow]:
        """Those that a task waits for, the oldest first."""
        start = f"{self.airflow.prefix}:{dag_id}:{self.task(dag_id, map_index).run_id}:moved:{map_index}"
        items = [f":i{number}" for number in range(8)] if "batch" in dag_id else [""]
        return started_as(self.client, "moved_two", [f"{start}{item}:1" for item in items])

    def complete(self, workflow_id: str, ref: str) -> None:
        task = self.client.get_workflow(workflow_id).latest_attempt(ref)
        assert task is not None
        self.client.update_task(workflow_id, task.task_id, TaskStatus.COMPLETED)

    def all_deferred(self) -> bool:
        seen = {(task.dag_id, task.map_index): task.state for task in self.airflow.tasks()}
        return all(seen.get(instance) == "deferred" for instance in INSTANCES)

    def owners(self) -> set[int | None]:
        return {owner for (owner,) in self.airflow.query("select triggerer_id from trigger")}

    def logs_of(self, triggerer: int, *wanted: str) -> int:
        """How many triggers of this triggerer have logged one of these."""
        logs = self.airflow.home.glob(f"logs/**/*.trigger.{triggerer}.log")
        return sum(any(text in path.read_text(errors="replace") for text in wanted) for path in logs)

    def lines(self, *wanted: str) -> list[str]:
        """What the triggers have logged of kills."""
        logs = [path.read_text(errors="replace") for path in self.airflow.home.glob("logs/**/*.trigger.*.log")]
        return [line for log in logs for line in log.splitlines() if any(text in line for text in wanted)]


def test_a_triggerer_that_stands_still_ends_nothing_when_it_goes_on(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    direct.register_workflow_defs([TWO])
    wanted = " ".join(f"{kind}-{shape}" for kind in KINDS for shape in ("plain", "mapped"))
    patient = {
        # The point is a triggerer that is late, not one whose parts give each other up.
        "AIRFLOW__TRIGGERER__RUNNER_HEALTH_CHECK_THRESHOLD": "0",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
    }
    with real_airflow(tmp_path, conductor_server.url, MOVED_DAGS=wanted, **patient) as airflow:
        moving = Moving(airflow, direct)
        try:
            airflow.wait_until(moving.all_deferred, 600)
            airflow.wait_until(lambda: len(moving.owners()) == 1 and None not in moving.owners(), 120)
            before = moving.owners()
            airflow.terminate("triggerer")
            airflow.start("triggerer")
            airflow.wait_until(lambda: moving.owners().isdisjoint({*before, None}), 180)
            _all_run(moving, "a triggerer that was restarted", report)

            first = moving.owners()
            airflow.start("triggerer2")
            alive = "select count(*) from job where job_type = 'TriggererJob' and state = 'running'"
            airflow.wait_until(lambda: airflow.query(alive)[0][0] >= 2, 180)
            airflow.pause("triggerer")
            try:
                airflow.wait_until(lambda: moving.owners().isdisjoint({*first, None}), 300)
                for instance in INSTANCES:
                    if "ref" in instance[0]:
                        moving.complete(moving.workflows(*instance)[0].workflow_id, "first")
                    if "batch" in instance[0]:
                        one = moving.workflows(*instance)[0].workflow_id
                        moving.complete(one, "first")
                        airflow.wait_until(lambda one=one: direct.get_workflow(one).latest_attempt("second"))
                        moving.complete(one, "second")
                waited_for = [instance for instance in INSTANCES if "ref" in instance[0]]
                airflow.wait_until(
                    lambda: all(moving.task(*instance).state == "success" for instance in waited_for), 300
                )
                # A fifth one has been started in the place of the one that has completed.
                batches = [instance for instance in INSTANCES if "batch" in instance[0]]
                airflow.wait_until(lambda: all(len(moving.workflows(*each)) == 5 for each in batches), 300)
            finally:
                airflow.go_on("triggerer")
            late = max(first)  # type: ignore[type-var]
            airflow.wait_until(lambda: moving.logs_of(late, *LEFT, KILLED, "fired") == len(INSTANCES), 180)
            _all_run(moving, "a triggerer that went on after its triggers had moved", report)
            assert not moving.lines(KILLED)

            for instance in (("moved_hold.mapped", 0), ("moved_hold.plain", -1)):
                kill(airflow, "mark_failed", moving.task(*instance), task_id="moved")
                (workflow,) = moving.workflows(*instance)
                airflow.wait_until(
                    lambda each=workflow.workflow_id: ended_by_our_kill(direct.get_workflow(each).reason), 120
                )
            _all_run(moving, "a kill of two of them", report, but=2)
        finally:
            for instance in INSTANCES:
                with contextlib.suppress(AssertionError):
                    for workflow in moving.workflows(*instance):
                        if not workflow.status.ended:
                            direct.terminate_workflow(workflow.workflow_id, "the test is over")


def _all_run(moving: Moving, after: str, report: Callable[[str], None], but: int = 0) -> None:
    """All workflows run or have completed, but so many."""
    said = []
    for instance in INSTANCES:
        there = [f"{w.status} {w.reason}".strip() for w in moving.workflows(*instance)]
        report(f"{after}: {instance} is {moving.task(*instance).state}, its workflows: {there}")
        said += [state for state in there if state not in ("RUNNING", "COMPLETED")]
    assert len(said) == but, "\n".join(moving.lines(*LEFT, KILLED))
