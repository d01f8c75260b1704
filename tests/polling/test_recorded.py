"""What a real server answered is understood, on the newest and on the oldest version served."""

from __future__ import annotations

import re

import pytest

from airflow_provider_conductor.polling.failure_report import Cause, explain, root_cause
from airflow_provider_conductor.polling.formatting import clock_time
from airflow_provider_conductor.polling.messages import describe, next_message
from airflow_provider_conductor.polling.progress import Phase, assess
from airflow_provider_conductor.polling.timeline import timeline
from tests.polling.recordings import load, recordings

NEW, OLD = "conductor-3.32.2", "conductor-3.13.8"

PHASES = {
    "working": Phase.WORKING,
    "working_after_manual_retry": Phase.WORKING,
    "optional_failed": Phase.WORKING,
    "permissive_failed": Phase.WORKING,
    "switch": Phase.WORKING,
    "dynamic_fork": Phase.WORKING,
    "fork_mixed": Phase.WORKING,
    "fork_at_rest": Phase.RETRY_DELAY,
    "fork_at_rest_later": Phase.RETRY_DELAY,
    "retry_delay": Phase.RETRY_DELAY,
    "retry_delay_of_a_system_task": Phase.RETRY_DELAY,
    "retry_delay_capped": Phase.RETRY_DELAY,
    "retry_delay_exponential_backoff": Phase.RETRY_DELAY,
    "retry_delay_linear_backoff": Phase.RETRY_DELAY,
    "sub_workflow_retry_delay": Phase.RETRY_DELAY,
    "retry_due": Phase.RETRY_DUE,
    "do_while": Phase.QUEUED,
    "queued_fresh": Phase.QUEUED,
    "queued_never_polled": Phase.QUEUED,
    "queued_without_definition": Phase.QUEUED,
    "queued_in_a_domain": Phase.QUEUED,
    "queued_dynamic_task": Phase.QUEUED,
    "queued_after_resume": Phase.QUEUED,
    "queued_after_rerun": Phase.QUEUED,
    "join_on_no_such_task": Phase.JOIN_BLOCKED,
    "join_on_a_branch_not_taken": Phase.JOIN_BLOCKED,
    "join_after_a_rerun_in_a_fork": Phase.WORKING,
    "rate_limited": Phase.RATE_LIMITED,
    "concurrency_limited": Phase.RATE_LIMITED,
    "postponed": Phase.POSTPONED,
    "start_delay": Phase.START_DELAY,
    "timed_wait": Phase.TIMED_WAIT,
    "timed_wait_until": Phase.TIMED_WAIT,
    "timed_wait_after_retry": Phase.TIMED_WAIT,
    "waiting_for_signal": Phase.WAITING_FOR_SIGNAL,
    "waiting_for_signal_after_retry": Phase.WAITING_FOR_SIGNAL,
    "waiting_for_async_complete": Phase.WAITING_FOR_SIGNAL,
    "waiting_for_person": Phase.WAITING_FOR_PERSON,
    "paused": Phase.PAUSED,
    "sub_workflow_paused": Phase.PAUSED,
}

CAUSES = {
    "ended_completed": None,
    "ended_failed": Cause.TASK_FAILED,
    "ended_failed_handler_runs": Cause.TASK_FAILED,
    "ended_failed_two_levels_down": Cause.TASK_FAILED,
    "ended_http_failed": Cause.TASK_FAILED,
    "ended_permissive": Cause.TASK_FAILED,
    "ended_failed_with_terminal_error": Cause.TERMINAL_ERROR,
    "ended_failed_no_such_handler": Cause.TASK_FAILED,
    "ended_failed_without_a_reason": Cause.TASK_FAILED,
    "ended_script_failed": Cause.SERVER_ERROR,
    "ended_loop_condition_failed": Cause.SERVER_ERROR,
    "ended_output_too_large": Cause.SERVER_ERROR,
    "ended_poll_timeout": Cause.NOT_POLLED,
    "ended_total_timeout": Cause.TOTAL_TIMEOUT,
    "ended_system_task_timed_out": Cause.TASK_TIMED_OUT,
    "ended_permissive_sub_workflow_terminated": Cause.TERMINATED,
    "ended_timed_out": Cause.TASK_TIMED_OUT,
    "ended_workflow_timed_out": Cause.WORKFLOW_TIMED_OUT,
    "ended_terminated": Cause.TERMINATED,
    "ended_by_terminate_task_failed": Cause.TERMINATE_TASK,
    "ended_by_terminate_task_terminated": Cause.TERMINATE_TASK,
    "ended_failed_without_a_task": Cause.NO_TASK,
}

# A permissive task is one like any other to 3.13, and its TERMINATE task cannot terminate: it completes.
OTHERWISE = {
    f"{OLD}/permissive_failed.json": (Phase.ENDED, Cause.TASK_FAILED),
    f"{OLD}/ended_by_terminate_task_terminated.json": (Phase.ENDED, None),
}

STANDS_STILL = {phase for phase in Phase if not phase.should_move}


def expected(name: str) -> tuple[Phase, Cause | None]:
    if name in OTHERWISE:
        return OTHERWISE[name]
    scenario = name.split("/")[1].removesuffix(".json")
    return PHASES.get(scenario, Phase.ENDED), CAUSES.get(scenario)


@pytest.mark.parametrize("name", recordings())
def test_every_recording_is_in_its_phase(name: str) -> None:
    recording = load(name)
    phase, cause = expected(name)
    progress = recording.assess()
    failure = root_cause(recording.workflow, recording.sub_workflows)
    assert progress.phase is phase
    assert (failure and failure.cause) is cause
    assert not progress.wants
    assert (progress.stalled_since is None) is (phase in STANDS_STILL)


@pytest.mark.parametrize("version", [NEW, OLD])
def test_every_phase_has_been_recorded(version: str) -> None:
    seen = {expected(name)[0] for name in recordings() if name.startswith(version)}
    assert seen == set(Phase) - {Phase.UNREAD} - ({Phase.RATE_LIMITED} - seen)


@pytest.mark.parametrize("name", recordings())
def test_what_people_read_is_bounded_and_clean(name: str) -> None:
    recording = load(name)
    line = describe(recording.assess(), recording.now)
    assert len(line) < 600
    assert "\n" not in line
    failure = root_cause(recording.workflow, recording.sub_workflows)
    if failure:
        assert len(explain(failure, recording.logs)) < 5000
    assert timeline(recording.workflow)


LINES = {
    "retry_delay": r"charge_card failed \(attempt 1 of 4: card service down\); Conductor retries it at .*, in \d+ s",
    "retry_delay_exponential_backoff": r"ship failed \(attempt 2 of 6: no driver\); Conductor retries it at .*",
    "retry_due": r"charge_card failed \(attempt 1 of 4: card service down\); its retry has been due since [\d:]+ UTC, "
    r"and nobody has polled queue 'charge_card_x' for 1\d s \(last: worker-3\)",
    "queued_never_polled": r"nobody has been queued since [\d:]+ UTC, and nobody has ever polled queue 'nobody_x'",
    "queued_in_a_domain": r"domained has been queued since .*, and nobody has ever polled queue 'domained_x' "
    r"in domain 'blue' \(workers poll it without a domain, in domain 'green'\)",
    "concurrency_limited": r"one_at_a_time has been queued since .*, though worker-3 polled .*: probably its rate .*",
    "sub_workflow_retry_delay": r"to_middle/to_inner/pack failed \(attempt 1 of 3: box too small\); .*",
    "postponed": r"long_job was put back by worker-3; it is due again at [\d:]+ UTC, in 2 min",
    "timed_wait": r"cool_down waits until [\d:]+ UTC, in 5 min",
    "join_on_no_such_task": r"join \(JOIN\) has been waiting since [\d:]+ UTC for 'typo', which the workflow's "
    r"definition does not have; no other task is open",
    "join_on_a_branch_not_taken": r"join \(JOIN\) has been waiting since [\d:]+ UTC for 'left', which Conductor has "
    r"not scheduled; no other task is open",
    "join_after_a_rerun_in_a_fork": r"Conductor has been between two tasks since [\d:]+ UTC and has not scheduled "
    r"'then_1', 'first_3', 'then_3' or 'join'",
    "queued_after_rerun": r"work has been queued since [\d:]+ UTC, and nobody has polled queue 'work_x' for 1\d s "
    r"\(last: worker-3\)",
    "waiting_for_signal": r"approval has been waiting for a signal since [\d:]+ UTC",
    "waiting_for_person": r"sign_off has been waiting for a person since [\d:]+ UTC",
    "paused": r"the workflow has been paused since [\d:]+ UTC; it continues when somebody resumes it",
    "working": r"charge_card has been running on worker-3 since [\d:]+ UTC",
}


@pytest.mark.parametrize("scenario", LINES)
@pytest.mark.parametrize("version", [NEW, OLD])
def test_the_line_says_why(version: str, scenario: str) -> None:
    recording = load(f"{version}/{scenario}.json")
    assert re.fullmatch(LINES[scenario], describe(recording.assess(), recording.now))


def test_a_wait_until_a_date_ends_at_that_date() -> None:
    recording = load(f"{NEW}/timed_wait_until.json")
    assert recording.workflow.tasks[0].input["until"].endswith("14:02 GMT")
    assert describe(recording.assess(), recording.now).startswith("cool_down waits until 14:02:00 UTC, in ")


@pytest.mark.parametrize("version", [NEW, OLD])
def test_a_system_tasks_retry_waits_since_it_was_due(version: str) -> None:
    recording = load(f"{version}/retry_delay_of_a_system_task.json")
    retry = recording.workflow.tasks[1]
    due = retry.scheduled_time + 60_000
    progress = assess(recording.workflow, due + 2_000)
    assert (progress.phase, progress.since, progress.stalled_since) == (Phase.WORKING, due, due)
    assert re.fullmatch(
        r"fetch failed \(attempt 1 of 2: Failed to invoke HTTP .*\); its retry has been waiting for Conductor to "
        rf"execute it since {clock_time(due, due)}",
        describe(progress, due + 2_000),
    )


BLAME = {
    "ended_poll_timeout": (
        "no worker took nobody in time (attempt 1 of 1): Task poll timed out",
        "start a worker that",
    ),
    "ended_timed_out": (
        "silent timed out (attempt 1 of 1): responseTimeout: 1",
        "Its worker took too long or has died",
    ),
    "ended_system_task_timed_out": (
        "sign_off timed out (attempt 1 of 1): Task timed out",
        "It took longer than its task",
    ),
    "ended_failed_with_terminal_error": ("charge_card failed with a terminal error", "The worker ruled out another"),
    "ended_script_failed": ("js failed with a terminal error", "Conductor itself executes this INLINE task"),
    "ended_loop_condition_failed": (
        "loop failed with a terminal error",
        "Conductor itself executes this DO_WHILE task",
    ),
    "ended_output_too_large": ("large failed with a terminal error", "correct its input or what its worker returns"),
    "ended_total_timeout": (
        "flaky failed (attempt 3 of 10, with no time for another one): still down",
        "The task definition's totalTimeoutSeconds, for all attempts together, is over",
        "The workflow's own reason: Task ",
        "/flaky_x exceeded total timeout of 4 seconds",
    ),
    "ended_failed_no_such_handler": (
        "charge_card failed (attempt 1 of 1): card service down",
        "Its failure workflow did not start: Error workflow no_such_failure_workflow failed to start. reason: No such",
    ),
    "ended_failed_without_a_reason": ("charge_card failed (attempt 1 of 1): no reason was given",),
    "ended_permissive_sub_workflow_terminated": (
        "was terminated: the sub-workflow of left was terminated: by hand",
        "In sub-workflow inner_fork_x",
        "Somebody ended it on purpose",
    ),
}
WORKERS_FAULT = ("Its worker took too long", "The worker ruled out")


@pytest.mark.parametrize("name", [name for name in recordings() if name.split("/")[1].removesuffix(".json") in BLAME])
def test_the_message_blames_what_was_at_fault(name: str) -> None:
    recording = load(name)
    words = BLAME[name.split("/")[1].removesuffix(".json")]
    failure = root_cause(recording.workflow, recording.sub_workflows)
    assert failure is not None
    message = explain(failure)
    for word in words:
        assert word in message
    assert [text for text in WORKERS_FAULT if text in message] == [text for text in WORKERS_FAULT if text in str(words)]


@pytest.mark.parametrize("version", [NEW, OLD])
def test_a_joins_counters_are_no_progress(version: str) -> None:
    before, after = load(f"{version}/fork_at_rest.json"), load(f"{version}/fork_at_rest_later.json")
    assert before.workflow.data != after.workflow.data
    assert before.assess().fingerprint == after.assess().fingerprint
    line, logged = next_message(before.assess(), before.now, "")
    assert line
    assert next_message(after.assess(), after.now, logged) == ("", logged)


@pytest.mark.parametrize("version", [NEW, OLD])
def test_a_branch_that_ends_is_progress(version: str) -> None:
    assert (
        load(f"{version}/fork_mixed.json").assess().fingerprint
        != load(f"{version}/fork_at_rest.json").assess().fingerprint
    )


@pytest.mark.parametrize("version", [NEW, OLD])
def test_the_stall_clock_starts_anew_with_a_resume(version: str) -> None:
    recording = load(f"{version}/queued_after_resume.json")
    task = recording.workflow.tasks[0]
    assert recording.assess().stalled_since == recording.workflow.last_retried_time > task.scheduled_time
