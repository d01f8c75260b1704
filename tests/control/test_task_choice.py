"""Which task to end, row by row of the table."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.client import TaskStatus, Workflow
from airflow_provider_conductor.control.task_choice import Completion, CompletionRefusedError, choose
from tests.polling.builders import failed, live, sub, task, workflow

OURS = Completion(by="airflow:orders:run:approve:-1:1")


@pytest.mark.parametrize("status", ["SCHEDULED", "IN_PROGRESS"])
@pytest.mark.parametrize("kind", ["SIMPLE", "WAIT", "HUMAN", "HTTP", "DYNAMIC"])
@pytest.mark.parametrize("state", ["RUNNING", "PAUSED"])
def test_an_open_task_is_to_be_ended(kind: str, status: str, state: str) -> None:
    chosen, already = choose(workflow(task("approve", status, kind=kind), status=state), OURS, task_ref="approve")
    assert (chosen.task_id, already) == ("approve-1", "")


def test_it_may_be_named_by_its_id() -> None:
    found = workflow(live("pack"), live("approve"))
    assert choose(found, OURS, task_id="approve-1")[0].reference_name == "approve"


def test_of_several_attempts_the_newest_is_ended() -> None:
    found = workflow(failed("approve", of=3, retried=True), task("approve", attempt=2, of=3, delay=600))
    assert choose(found, OURS, task_ref="approve")[0].task_id == "approve-2"


@pytest.mark.parametrize("worker", ["Bo", ""])
def test_what_has_ended_so_is_done_whoever_did_it(worker: str) -> None:
    _, already = choose(workflow(task("approve", "COMPLETED", workerId=worker)), OURS, task_ref="approve")
    assert "is already COMPLETED" in already
    assert ("by Bo" in already) is bool(worker)


def test_an_attempt_that_we_have_failed_is_done_though_it_is_tried_again() -> None:
    completion = Completion(status=TaskStatus.FAILED, by=OURS.by)
    found = workflow(failed("approve", of=3, retried=True, workerId=OURS.by), live("approve", attempt=2, of=3))
    chosen, already = choose(found, completion, task_ref="approve")
    assert (chosen.task_id, "by an earlier try" in already) == ("approve-1", True)


def test_an_attempt_that_somebody_else_has_failed_is_not_ours() -> None:
    completion = Completion(status=TaskStatus.FAILED, by=OURS.by)
    found = workflow(failed("approve", of=3, retried=True), live("approve", attempt=2, of=3))
    assert choose(found, completion, task_ref="approve")[0].task_id == "approve-2"


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR])
@pytest.mark.parametrize("worker", [OURS.by, "Bo"])
def test_an_optional_task_that_was_to_fail_has(status: TaskStatus, worker: str) -> None:
    found = workflow(task("approve", "COMPLETED_WITH_ERRORS", workerId=worker), live("then"))
    _, already = choose(found, Completion(status=status, by=OURS.by), task_ref="approve")
    assert "already" in already
    assert ("by an earlier try" in already) is (worker == OURS.by)


@pytest.mark.parametrize(
    ("found", "says", "passing"),
    [
        (workflow(task("approve", "COMPLETED_WITH_ERRORS")), "is COMPLETED_WITH_ERRORS, not open", False),
        (workflow(task("approve", "FAILED", reasonForIncompletion="no")), r"is FAILED \(no\), not open", False),
        (workflow(task("approve", "TIMED_OUT")), "is TIMED_OUT, not open", False),
        (workflow(task("approve", "QUANTUM")), "is QUANTUM, not open", False),
        (workflow(live("approve"), status="TERMINATED"), r"ended as TERMINATED: task 'approve' \(IN_PROGRESS\)", False),
        (workflow(task("pack", "COMPLETED"), status="FAILED"), "ended as FAILED and has no task 'approve'", False),
        (workflow(live("pack")), r"does not exist yet: .* RUNNING, open tasks are 'pack' \(pack IN_PROGRESS\)", True),
        (workflow(task("pack", "COMPLETED")), r"does not exist yet: .*none of its tasks \('pack'\) is open", True),
        (workflow(status="PAUSED"), "does not exist yet: .* PAUSED, it has no tasks", True),
        (workflow(sub("approve")), "is a SUB_WORKFLOW, which the server runs itself", False),
        (workflow(task("approve", "IN_PROGRESS", kind="JOIN")), "is a JOIN", False),
    ],
)
def test_what_cannot_be_ended_is_refused_by_its_state(found: Workflow, says: str, passing: bool) -> None:
    with pytest.raises(CompletionRefusedError, match=says) as refused:
        choose(found, OURS, task_ref="approve")
    assert refused.value.passing is passing
