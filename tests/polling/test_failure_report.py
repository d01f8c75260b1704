from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorRequestError, Workflow
from airflow_provider_conductor.polling.failure_report import diagnose, explain
from airflow_provider_conductor.polling.root_cause import Cause, Failure, root_cause
from tests.polling.builders import at, failed, join, sub, task, workflow
from tests.polling.recordings import load
from tests.polling.world import OUTAGES, REFUSED, World, failing

FAILED = {"status": "FAILED"}
TERMINAL = "FAILED_WITH_TERMINAL_ERROR"


def cause_of(run: Workflow, *subs: Workflow) -> Failure:
    failure = root_cause(run, {one.workflow_id: one for one in subs})
    assert failure is not None
    return failure


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED", "COMPLETED"])
def test_what_has_not_failed_has_no_cause(status: str) -> None:
    assert root_cause(workflow(failed(), status=status)) is None


def ended(cause: Cause, ref: str, *tasks: dict[str, Any], status: str = "FAILED", **more: Any) -> tuple[Any, ...]:
    return workflow(*tasks, status=status, **more), cause, ref


CASES = {
    "failed": ended(Cause.TASK_FAILED, "charge_card", failed(of=1)),
    "terminal": ended(Cause.TERMINAL_ERROR, "charge_card", failed(status=TERMINAL)),
    "timed out": ended(Cause.TASK_TIMED_OUT, "charge_card", failed(status="TIMED_OUT"), status="TIMED_OUT"),
    "an optional one failed before": ended(
        Cause.TASK_FAILED, "charge_card", failed("nice", status="COMPLETED_WITH_ERRORS"), failed()
    ),
    "the JOIN failed because of a branch": ended(
        Cause.TASK_FAILED, "charge_card", failed(ended=9), failed("join", kind="JOIN", ended=5)
    ),
    "a loop failed because of an iteration": ended(
        Cause.TASK_FAILED, "step__2", failed("loop", kind="DO_WHILE", ended=3), failed("step__2", ended=5)
    ),
    "two failed, the first counts": ended(
        Cause.TASK_FAILED, "early", failed("late", ended=9), failed("early", ended=5)
    ),
    "two failed, the one the server names counts": ended(
        Cause.TASK_FAILED,
        "late",
        failed("late", ended=9, taskId="late-task"),
        failed("early", ended=5),
        reasonForIncompletion="Task late-task failed with status: FAILED and reason: 'x'",
    ),
    "the workflow's time was over": ended(Cause.WORKFLOW_TIMED_OUT, "", task(status="CANCELED"), status="TIMED_OUT"),
    "somebody terminated it": ended(Cause.TERMINATED, "", task(status="CANCELED"), status="TERMINATED"),
    "a TERMINATE task": ended(
        Cause.TERMINATE_TASK, "stop", task("stop", "COMPLETED", kind="TERMINATE"), status="TERMINATED"
    ),
    "no task at all": ended(Cause.NO_TASK, ""),
    "a retried attempt, then a terminate": ended(
        Cause.TERMINATED, "", failed(retried=True), task(status="CANCELED", attempt=2), status="TERMINATED"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_root_cause(case: str) -> None:
    run, cause, ref = CASES[case]
    failure = cause_of(run)
    assert (failure.cause, failure.task_reference_name) == (cause, ref)
    assert explain(failure)


def test_the_cause_is_found_two_levels_down() -> None:
    inner = workflow(failed(of=1), id="wf-3", workflowName="inner", **FAILED)
    middle = workflow(sub("to_inner", "wf-3", "FAILED"), id="wf-2", **FAILED)
    outer = workflow(sub("to_middle", "wf-2", "FAILED"), **FAILED)
    assert cause_of(outer).unread_sub_workflow_id == "wf-2"
    assert cause_of(outer, middle).unread_sub_workflow_id == "wf-3"
    failure = cause_of(outer, middle, inner)
    assert failure.path == ("to_middle", "to_inner")
    assert (failure.workflow_id, failure.sub_workflow_id, failure.sub_workflow_name) == ("wf-1", "wf-3", "inner")
    assert (failure.task_reference_name, failure.unread_sub_workflow_id) == ("charge_card", "")


def test_a_sub_workflow_that_somebody_terminated_is_told_as_that() -> None:
    below = workflow(task(status="CANCELED"), id="wf-2", status="TERMINATED", reasonForIncompletion="wrong customer")
    reason = "Task ship-task failed with status: TERMINATED and reason: 'Sub workflow …'"
    run = workflow(sub(status="CANCELED", taskId="ship-task"), status="TERMINATED", reasonForIncompletion=reason)
    failure = cause_of(run, below)
    assert (failure.cause, failure.reason, failure.path) == (Cause.TERMINATED, "wrong customer", ("ship",))
    assert explain(failure).startswith(
        "Workflow order (wf-1) was terminated: the sub-workflow of ship was terminated: wrong customer"
    )


@pytest.mark.parametrize("status", ["CANCELED", "SCHEDULED", "IN_PROGRESS"])
def test_what_was_still_open_is_named(status: str) -> None:
    """Conductor 3.21.14 ends a workflow before it cancels its tasks."""
    run = workflow(*(task(f"t{n}", status) for n in range(9)), join(status=status), status="TERMINATED")
    failure = cause_of(run)
    assert len(failure.open_tasks) == 9
    assert "Open at that time: t0, t1, t2, t3, t4 and 4 more." in explain(failure)


def test_a_server_that_could_not_store_the_next_tasks_is_to_blame() -> None:
    """As 3.32.2 ends a workflow where SQLite refuses a write."""
    reason = "Error scheduling tasks: [6c0e8636], for workflow: wf-1"
    run = workflow(task(status="CANCELED"), status="FAILED", reasonForIncompletion=reason)
    assert "mostly because its database was busy or away" in explain(cause_of(run))


def test_trying_again_is_of_no_use_where_the_worker_says_so() -> None:
    assert cause_of(workflow(failed(status=TERMINAL), **FAILED)).terminal
    assert not cause_of(workflow(failed(), **FAILED)).terminal


def test_a_manual_retry_past_the_limit_claims_no_limit() -> None:
    failure = cause_of(workflow(failed(attempt=3, of=2), **FAILED))
    assert (failure.attempts, failure.max_attempts) == (3, None)


AGAIN = "then clear this Airflow task or retry the workflow in Conductor; it continues from the failed task."

MESSAGES: dict[Cause, tuple[dict[str, Any], str, str]] = {
    Cause.TASK_FAILED: ({}, "failed: pack failed (attempt 2 of 3): no box", f"Fix the cause, {AGAIN}"),
    Cause.TERMINAL_ERROR: (
        {"by_worker": True},
        "failed: pack failed with a terminal error (attempt 2 of 3): no box",
        f"The worker ruled out another attempt. Fix the input or the worker, {AGAIN}",
    ),
    Cause.SERVER_ERROR: (
        {"task_kind": "INLINE"},
        "failed: pack failed with a terminal error (attempt 2 of 3): no box",
        "Conductor itself runs this INLINE task and does not retry it. Fix its definition or its input, " + AGAIN,
    ),
    Cause.TASK_TIMED_OUT: (
        {"status": "TIMED_OUT", "by_worker": True},
        "timed out: pack timed out (attempt 2 of 3): no box",
        "Its worker took too long or died. Check the worker, or raise responseTimeoutSeconds or timeoutSeconds in the "
        f"task definition, {AGAIN}",
    ),
    Cause.NOT_POLLED: (
        {"queue": "pack", "domain": "blue"},
        "failed: no worker took pack in time (attempt 2 of 3): no box",
        "No worker took it from queue 'pack' in domain 'blue' within pollTimeoutSeconds of the task definition. Start "
        f"a worker that polls this queue, or raise pollTimeoutSeconds, {AGAIN}",
    ),
    Cause.TOTAL_TIMEOUT: (
        {},
        "failed: pack failed (attempt 2 of 3, and no time was left for another): no box",
        "All attempts together took longer than totalTimeoutSeconds of the task definition. Fix the cause, or raise "
        f"totalTimeoutSeconds, {AGAIN}",
    ),
    Cause.WORKFLOW_TIMED_OUT: (
        {"status": "TIMED_OUT"},
        "timed out: no box",
        "It took longer than timeoutSeconds of its definition. Check what was still open, or raise timeoutSeconds.",
    ),
    Cause.TERMINATED: (
        {"status": "TERMINATED"},
        "was terminated: no box",
        "Somebody terminated it, so it is not started again. Clear this Airflow task to start another one.",
    ),
    Cause.TERMINATE_TASK: (
        {},
        "failed: its TERMINATE task pack ended it: no box",
        "The workflow ended itself, as its definition says. Check why it reached this TERMINATE task.",
    ),
    Cause.NO_TASK: (
        {},
        "failed: no box",
        "Conductor could not continue. Check the workflow's definition and input.",
    ),
}


@pytest.mark.parametrize("cause", Cause)
def test_the_message_of_each_cause(cause: Cause) -> None:
    """The one place where these messages are asserted word by word; docs/troubleshooting.md quotes them."""
    known, headline, advice = MESSAGES[cause]
    found = Failure(
        **{"workflow_id": "wf-1", "workflow_name": "order", "status": "FAILED"}
        | {"cause": cause, "reason": "no box", "task_reference_name": "pack", "attempts": 2, "max_attempts": 3}
        | known
    )
    assert explain(found).split("\n") == [f"Workflow order (wf-1) {headline}", f"What to do: {advice}"]


@pytest.mark.parametrize(
    ("known", "advice"),
    [
        ({"cause": Cause.SERVER_ERROR, "by_worker": True}, "Fix its input or what its worker returns, "),
        ({"cause": Cause.TASK_TIMED_OUT}, "Check what it waited for, or raise its timeout, "),
        (
            {"cause": Cause.TASK_FAILED, "unread_sub_workflow_id": "wf-2"},
            "cause in sub-workflow wf-2, ",
        ),
    ],
)
def test_advice_depends_on_who_runs_the_task(known: dict[str, Any], advice: str) -> None:
    assert advice + AGAIN in explain(Failure(workflow_id="wf-1", **known))


def test_the_first_line_is_enough_to_act_on() -> None:
    recording = load("conductor-3.32.2/ended_failed_two_levels_down.json")
    failure = cause_of(recording.workflow, *recording.sub_workflows.values())
    first, *rest = explain(replace(failure, log_lines=tuple(recording.logs)), "http://ui/execution/1").split("\n")
    assert first == (
        f"Workflow outer_failing_x ({recording.workflow.workflow_id}) failed: "
        "to_middle/to_inner/pack failed (attempt 1 of 1): box too small"
    )
    assert "    box is 3 cm too small" in rest
    assert rest[-1] == "See http://ui/execution/1"


def test_the_failure_workflow_is_named() -> None:
    run = load("conductor-3.32.2/ended_failed_handler_runs.json").workflow
    assert cause_of(run).failure_workflow_id in explain(cause_of(run))


def test_the_message_is_bounded_and_carries_no_task_data() -> None:
    noisy: dict[str, Any] = {"reason": "x\n" * 10**6, "inputData": {"password": "hunter2"}}
    failure = cause_of(workflow(failed(**noisy), output={"t": "hunter2"}, **FAILED))
    text = explain(replace(failure, log_lines=("y" * 10**6,) * 999), "u")
    assert len(text) < 5000
    assert "hunter2" not in text
    assert "The worker's last log lines (10 of 999):" in text


def test_an_end_time_does_not_make_a_cause() -> None:
    assert root_cause(workflow(status="COMPLETED", endTime=at(1))) is None


# The cause


BROKEN = workflow(sub(status="FAILED", ended=9), status="FAILED", endTime=at(9))
BELOW = {"wf-2": workflow(failed("pack", ended=8), id="wf-2", status="FAILED", endTime=at(8))}


def test_the_cause_is_looked_for_where_it_is() -> None:
    world = World(others=BELOW)
    ask = world._answer
    world._answer = lambda call: ("a line",) if call.path.endswith("/log") else ask(call)  # type: ignore[method-assign]
    found = world.drive(diagnose(BROKEN))
    assert (found.path, found.task_reference_name) == (("ship",), "pack")
    assert found.log_lines == ("a line",)


@pytest.mark.parametrize("error", [*REFUSED, *OUTAGES], ids=lambda error: f"{type(error).__name__} {error.status}")
@pytest.mark.parametrize(("path", "ref"), [("/workflow/wf-2", "ship"), ("/tasks/", "pack")])
def test_a_cause_that_cannot_be_read_is_told_as_far_as_it_can(
    path: str, ref: str, error: ConductorRequestError
) -> None:
    found = failing(World(others=BELOW), path, error).drive(diagnose(BROKEN))
    assert found.task_reference_name == ref
    assert found.log_lines == ()
