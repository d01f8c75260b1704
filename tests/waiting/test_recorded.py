"""What a real server answered is understood, on the newest and on the oldest version served."""

from __future__ import annotations

import re

import pytest

from airflow_provider_conductor.waiting.messages import describe
from airflow_provider_conductor.waiting.progress import Phase
from airflow_provider_conductor.waiting.report import Cause, explain, root_cause
from airflow_provider_conductor.waiting.timeline import timeline
from tests.waiting.recordings import load, recordings

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


@pytest.mark.parametrize("version", [NEW, OLD])
def test_a_joins_counters_are_no_progress(version: str) -> None:
    before, after = load(f"{version}/fork_at_rest.json"), load(f"{version}/fork_at_rest_later.json")
    assert before.workflow.data != after.workflow.data
    assert before.assess().fingerprint == after.assess().fingerprint
    assert before.assess().key == after.assess().key


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
