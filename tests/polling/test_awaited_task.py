"""Whether a task has come to where it is waited for: the table, row by row."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.client import TaskStatus, Workflow
from airflow_provider_conductor.polling.awaited_task import (
    SUCCESS,
    awaited_task,
    joined_statuses,
    task_statuses,
    why_missing,
)
from airflow_provider_conductor.polling.wait_event import STILL_RUNNING, TASK_ENDED, TASK_MISSED
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.polling.builders import at, failed, live, task, workflow
from tests.polling.world import World

OPEN = (TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS)


@pytest.mark.parametrize("status", TaskStatus)
def test_a_task_in_one_of_the_statuses_has_come(status: TaskStatus) -> None:
    assert awaited_task(workflow(task("pack", status)), "pack", [TaskStatus.SCHEDULED, status]).reached


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"])
def test_it_has_come_though_the_workflow_has_ended(status: str) -> None:
    assert awaited_task(workflow(task("pack", "COMPLETED"), status=status), "pack", SUCCESS).reached


@pytest.mark.parametrize(
    "found",
    [
        workflow(),
        workflow(live("other")),
        workflow(live("pack")),
        workflow(task("pack", "SCHEDULED"), status="PAUSED"),
        workflow(failed("pack", of=3, retried=True), task("pack", attempt=2, of=3, delay=30)),
        workflow(failed("pack", of=3)),
        workflow(task("pack", "QUANTUM")),
    ],
    ids=["no task yet", "another is at work", "at work", "paused", "tried again", "not yet tried again", "unheard of"],
)
def test_what_can_still_come_is_waited_for(found: Workflow) -> None:
    assert awaited_task(found, "pack", SUCCESS) == awaited_task(found, "pack", [TaskStatus.COMPLETED])
    awaited = awaited_task(found, "pack", SUCCESS)
    assert (awaited.reached, awaited.unreachable) == (False, "")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (workflow(failed("pack", of=1, reason="no boxes")), "'pack' is FAILED (no boxes)"),
        (workflow(failed("pack", of=3, attempt=3, reason="no boxes")), "FAILED after 3 attempts (no boxes)"),
        (workflow(failed("pack", of=9, status="FAILED_WITH_TERMINAL_ERROR")), "is FAILED_WITH_TERMINAL_ERROR"),
        (workflow(task("pack", "CANCELED"), status="TERMINATED"), "is CANCELED, and the workflow ended as TERMINATED"),
        (workflow(live("pack"), status="TIMED_OUT"), "is IN_PROGRESS, and the workflow ended as TIMED_OUT"),
        (
            workflow(task("ship", "COMPLETED"), status="COMPLETED"),
            "without a task 'pack' (its tasks: 'ship'; in a loop",
        ),
        (workflow(status="FAILED"), "without a task 'pack' (its tasks: none"),
    ],
)
def test_what_cannot_come_any_more_is_missed_and_says_why(found: Workflow, says: str) -> None:
    awaited = awaited_task(found, "pack", SUCCESS)
    assert not awaited.reached
    assert says in awaited.unreachable
    assert "can no longer become COMPLETED or COMPLETED_WITH_ERRORS or SKIPPED" in awaited.unreachable


def test_a_loops_task_without_its_iteration_is_told_which_there_are() -> None:
    rounds = [task(f"{ref}__{turn}", "COMPLETED") for turn in (1, 2) for ref in ("load", "ship")]
    why = why_missing(workflow(*rounds, status="COMPLETED"), "ship")
    assert "without a task 'ship' (its tasks: 'ship__1', 'ship__2', 'load__1', 'load__2'; in a loop" in why
    assert why_missing(workflow(*rounds, status="COMPLETED"), "ship__2") == ""


def test_of_a_fork_of_hundreds_not_every_name_is_told() -> None:
    fork = workflow(*(task(f"part_{number}", "COMPLETED") for number in range(300)), status="COMPLETED")
    why = why_missing(fork, "part")
    assert "'part_19' and 280 more; in a loop" in why
    assert len(why) < 500


def test_an_open_task_that_is_over_before_it_was_seen_is_missed() -> None:
    assert "is COMPLETED" in awaited_task(workflow(task("pack", "COMPLETED")), "pack", OPEN).unreachable


def test_a_failure_that_is_waited_for_is_seen_though_it_is_tried_again() -> None:
    found = workflow(failed("pack", of=3, retried=True), live("pack", attempt=2, of=3))
    assert awaited_task(found, "pack", [TaskStatus.FAILED]).reached


# How statuses are written


@pytest.mark.parametrize("given", ["COMPLETED,FAILED", "completed, failed", ["COMPLETED", "FAILED", "COMPLETED"]])
def test_statuses_are_one_text_in_a_plan(given: str | list[str]) -> None:
    assert joined_statuses(given) == "COMPLETED,FAILED"
    assert task_statuses(joined_statuses(given)) == (TaskStatus.COMPLETED, TaskStatus.FAILED)


@pytest.mark.parametrize("given", ["DONE", "", [], ["COMPLETED", "TERMINATED"], "COMPLETED,"])
def test_what_is_no_status_is_refused_by_name(given: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"SCHEDULED, IN_PROGRESS, COMPLETED.*not"):
        joined_statuses(given)


def test_a_status_of_a_later_version_is_left_out() -> None:
    assert task_statuses("COMPLETED,QUANTUM") == (TaskStatus.COMPLETED,)


# In the wait


def test_the_wait_ends_when_the_task_has_come() -> None:
    world = World([(0, workflow(live("pack"))), (30, workflow(task("pack", "COMPLETED"), live("ship")))])
    event = world.wait(world.spec(wait_until_task_ref="pack", wait_until_task_status="COMPLETED"))
    assert (event.status, event.message) == (TASK_ENDED, "")
    assert world.whole_looks == world.looks


def test_the_wait_ends_when_the_task_has_missed_it() -> None:
    world = World([(0, workflow(live("pack"))), (30, workflow(status="COMPLETED", endTime=at(30)))])
    event = world.wait(world.spec(wait_until_task_ref="pack", wait_until_task_status="COMPLETED"))
    assert event.status == TASK_MISSED
    assert "ended as COMPLETED without a task 'pack'" in event.message


def test_the_wait_goes_on_while_it_may_still_come() -> None:
    world = World([(0, workflow(task("pack", "COMPLETED"), live("ship")))])
    spec = world.spec(wait_until_task_ref="ship", wait_until_task_status="COMPLETED,FAILED")
    assert world.wait(spec, return_after=5).status == STILL_RUNNING
    assert WaitSpec(**spec.to_json()) == spec


def test_a_wait_without_statuses_waits_for_the_tasks_end_as_before() -> None:
    world = World([(0, workflow(live("pack"))), (30, workflow(failed("pack", of=1), live("ship")))])
    assert world.wait(world.spec(wait_until_task_ref="pack")).status == TASK_ENDED
