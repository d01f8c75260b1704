"""A task group on a real server, run again: Conductor's retries, Airflow's own, and clears, of one step and of all."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_conductor.client import ConductorServerError, Workflow
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill
from airflow_provider_conductor.task_groups.step import ConductorStepOperator
from tests.integration.client_lab import Lab
from tests.operators.airflow_standin import deferred
from tests.task_groups.group_run import GroupRun
from tests.task_groups.worker import Worker, define, group_of

pytestmark = pytest.mark.integration


def attempts(lab: Lab, run: GroupRun, ref: str) -> list[str]:
    """How each attempt of a step stands, the first one first, without those that were canceled.

    A busy server cancels an attempt that it has just made where it evaluates the JOIN beside it too soon.
    """
    workflow: Workflow = lab.client.get_workflow(run.workflow_id)
    found = [str(task.status) for task in workflow.tasks if task.reference_name == ref]
    return [status for status in found if status != "CANCELED"]


def begin(run: GroupRun) -> str:
    """Run the task ``start``; returns the workflow's id."""
    start = run.tasks["start"]
    workflow_id = str(start.execute(run.context("start")))
    run.store[start.task_id, "workflow_id"] = workflow_id
    run.states["start"] = "success"
    return workflow_id


def lose(run: GroupRun, name: str) -> None:
    """Let a task be deferred, and Airflow lose it, so that its next try is a retry."""
    deferred(run.tasks[name], run.context(name))
    run.lost.add(name)


def test_a_task_waits_through_the_retries_of_conductor(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further try of Airflow's in between follows the step, too, and costs none of its attempts."""
    definition = define(lab, worker, "retried", *map(lab.simple, ("pack", "ship")), retries={"pack": 2})
    worker.names.clear()
    run = GroupRun(group_of(definition), monkeypatch)
    workflow_id = begin(run)
    for failed in (1, 2):
        lose(run, "pack")
        lab.work("pack", "FAILED", reason="out of boxes")
        lab.eventually(lambda failed=failed: len(attempts(lab, run, "pack")) == failed + 1)
    worker.names |= {lab.name("pack"), lab.name("ship")}
    assert set(run.go().values()) == {"success"}
    assert attempts(lab, run, "pack") == ["FAILED", "FAILED", "COMPLETED"]
    assert (run.tries, run.errors) == ({"start": 1, "pack": 3, "ship": 1, "finish": 1}, {})
    assert (run.workflow_id, worker.done) == (workflow_id, ["pack", "ship"])


def test_airflow_does_not_retry_what_conductor_has_given_up(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a fork: a server that evaluates the JOIN too soon fails the workflow before its retries (3.32.2)."""
    definition = define(lab, worker, "given_up", *map(lab.simple, ("pack", "ship")), retries={"pack": 2})
    worker.fails = {"pack"}
    run = GroupRun(group_of(definition), monkeypatch)
    assert run.go() == {"start": "success", "pack": "failed", "ship": "upstream_failed", "finish": "upstream_failed"}
    assert attempts(lab, run, "pack") == ["FAILED", "FAILED", "FAILED"]
    assert (run.tries["pack"], run.tasks["pack"].retries) == (1, 2)
    assert isinstance(run.errors["pack"], AirflowFailException)  # Airflow leaves out what is left of its retries
    assert "pack failed (attempt 3 of 3): out of boxes" in str(run.errors["pack"])
    worker.fails, first = set(), run.workflow_id
    run.clear("pack")
    assert set(run.go().values()) == {"success"}
    assert run.workflow_id == first


def test_a_try_that_airflow_loses_after_a_clear_does_not_run_the_step_once_more(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "lost", *map(lab.simple, ("pack", "ship")))
    worker.fails = {"pack"}
    run = GroupRun(group_of(definition), monkeypatch)
    assert run.go()["pack"] == "failed"
    worker.names.remove(lab.name("pack"))
    worker.fails = set()
    run.clear("pack")
    lose(run, "pack")
    assert len(attempts(lab, run, "pack")) == 2
    worker.names.add(lab.name("pack"))
    assert set(run.go().values()) == {"success"}
    assert attempts(lab, run, "pack") == ["FAILED", "COMPLETED"]


def test_a_clear_whose_first_try_breaks_off_is_done_by_the_next(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "broken_off", *map(lab.simple, ("pack", "ship")))
    run = GroupRun(group_of(definition), monkeypatch)
    assert set(run.go().values()) == {"success"}

    def break_off(self: ConductorStepOperator, *_: Any) -> None:
        raise ConductorServerError("database is locked", status=500)

    with monkeypatch.context() as broken:
        broken.setattr(ConductorStepOperator, "_run_again", break_off)
        run.clear("pack")
        assert run.go()["pack"] == "failed"
    assert worker.done == ["pack", "ship"]
    run.lose("pack")
    run.clear("ship", "finish")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["pack", "ship", "pack", "ship"]


def test_a_clear_of_one_in_the_middle_of_a_running_workflow_is_refused(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent for it, and the workflow runs on to its end."""
    definition = define(lab, worker, "middle", *map(lab.simple, ("pack", "charge", "ship")))
    worker.names.remove(lab.name("ship"))
    run = GroupRun(group_of(definition), monkeypatch)
    workflow_id = begin(run)
    lab.eventually(lambda: lab.status_of(workflow_id, "ship"))
    run.states |= {"ship": "deferred", "finish": "none"}
    assert run.go()["charge"] == "success"
    run.clear("charge", downstream=False)
    assert run.go()["charge"] == "failed"
    message = str(run.errors["charge"])
    for part in (
        f"step 'charge' has ended, and workflow {workflow_id} is still RUNNING",
        "Wait until it has, or terminate it, and clear this task then",
        "To run the whole workflow again, clear the task group 'flow'",
        f"/execution/{workflow_id}",
    ):
        assert part in message
    assert isinstance(run.errors["charge"], AirflowFailException)
    worker.names.add(lab.name("ship"))
    lab.ended(workflow_id)
    run.clear("charge")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["pack", "charge", "ship", "charge", "ship"]


def test_a_clear_of_the_group_terminates_what_still_runs_and_starts_anew(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = define(lab, worker, "anew", *map(lab.simple, ("pack", "ship")))
    worker.names.remove(lab.name("ship"))
    run = GroupRun(group_of(definition), monkeypatch)
    first = begin(run)
    lab.eventually(lambda: lab.status_of(first, "ship"))
    run.states |= {"ship": "deferred", "finish": "none"}
    assert run.go()["pack"] == "success"
    run.before = lambda name: worker.names.add(lab.name("ship")) if name == "pack" else None  # once all has begun anew
    run.clear("start")
    assert set(run.go().values()) == {"success"}
    old = lab.client.get_workflow(first)
    assert ended_by_our_kill(old.reason), old.reason
    assert run.workflow_id != first
    assert attempts(lab, run, "pack") == ["COMPLETED"]
