"""What a real server answered is understood, on the newest and the oldest version served, and on one between."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

import pytest

from airflow_provider_conductor.polling.failure_report import explain
from airflow_provider_conductor.polling.messages import NOTHING_LOGGED, describe, next_message
from airflow_provider_conductor.polling.progress import Phase, assess
from airflow_provider_conductor.polling.root_cause import Cause, root_cause
from airflow_provider_conductor.polling.timeline import timeline
from tests.polling.recordings import load, recordings

NEW, MIDDLE, OLD = "conductor-3.32.2", "conductor-3.21.14", "conductor-3.13.8"
VERSIONS = [NEW, MIDDLE, OLD]

PHASES = {
    Phase.WORKING: (
        "working working_after_manual_retry optional_failed permissive_failed switch dynamic_fork fork_mixed "
        "join_after_a_rerun_in_a_fork"
    ),
    Phase.RETRY_DELAY: (
        "fork_at_rest fork_at_rest_later retry_delay retry_delay_of_a_system_task retry_delay_capped "
        "retry_delay_exponential_backoff retry_delay_linear_backoff sub_workflow_retry_delay"
    ),
    Phase.RETRY_DUE: "retry_due",
    Phase.QUEUED: (
        "do_while queued_fresh queued_never_polled queued_without_definition queued_in_a_domain "
        "queued_dynamic_task queued_after_resume queued_after_rerun"
    ),
    Phase.JOIN_BLOCKED: "join_on_no_such_task join_on_a_branch_not_taken",
    Phase.RATE_LIMITED: "rate_limited concurrency_limited",
    Phase.POSTPONED: "postponed",
    Phase.START_DELAY: "start_delay",
    Phase.TIMED_WAIT: "timed_wait timed_wait_until timed_wait_after_retry",
    Phase.WAITING_FOR_SIGNAL: "waiting_for_signal waiting_for_signal_after_retry waiting_for_async_complete",
    Phase.WAITING_FOR_PERSON: "waiting_for_person",
    Phase.PAUSED: "paused sub_workflow_paused",
}

CAUSES = {
    Cause.TASK_FAILED: (
        "ended_failed ended_failed_handler_runs ended_failed_two_levels_down ended_http_failed "
        "ended_permissive ended_failed_no_such_handler ended_failed_without_a_reason"
    ),
    Cause.TERMINAL_ERROR: "ended_failed_with_terminal_error",
    Cause.SERVER_ERROR: "ended_script_failed ended_loop_condition_failed ended_output_too_large",
    Cause.NOT_POLLED: "ended_poll_timeout",
    Cause.TOTAL_TIMEOUT: "ended_total_timeout",
    Cause.TASK_TIMED_OUT: "ended_system_task_timed_out ended_timed_out",
    Cause.TERMINATED: "ended_permissive_sub_workflow_terminated ended_terminated",
    Cause.WORKFLOW_TIMED_OUT: "ended_workflow_timed_out",
    Cause.TERMINATE_TASK: "ended_by_terminate_task_failed ended_by_terminate_task_terminated",
    Cause.NO_TASK: "ended_failed_without_a_task",
}

# A permissive task is one like any other to 3.13, and up to 3.21 a TERMINATE task cannot terminate: it completes.
OTHERWISE = {
    f"{OLD}/permissive_failed.json": (Phase.ENDED, Cause.TASK_FAILED),
    f"{OLD}/ended_by_terminate_task_terminated.json": (Phase.ENDED, None),
    f"{MIDDLE}/ended_by_terminate_task_terminated.json": (Phase.ENDED, None),
}

STANDS_STILL = {phase for phase in Phase if not phase.should_move}


def expected(name: str) -> tuple[Phase, Cause | None]:
    if name in OTHERWISE:
        return OTHERWISE[name]
    scenario = name.split("/")[1].removesuffix(".json")
    return _having(scenario, PHASES) or Phase.ENDED, _having(scenario, CAUSES)


def _having(scenario: str, table: dict[Any, str]) -> Any:
    return next((key for key, scenarios in table.items() if scenario in scenarios.split()), None)


@pytest.mark.parametrize("name", recordings())
def test_every_recording_is_in_its_phase(name: str) -> None:
    recording = load(name)
    phase, cause = expected(name)
    progress = recording.assess()
    failure = root_cause(recording.workflow, recording.sub_workflows)
    assert progress.phase is phase
    assert (failure and failure.cause) is cause
    assert not any(progress.wants)
    assert (progress.stalled_since is None) is (phase in STANDS_STILL)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_phase_has_been_recorded(version: str) -> None:
    seen = {expected(name)[0] for name in recordings() if name.startswith(version)}
    assert seen == set(Phase) - {Phase.UNREAD} - ({Phase.RATE_LIMITED} - seen)


@pytest.mark.parametrize("name", recordings())
def test_what_a_user_reads_is_bounded_and_clean(name: str) -> None:
    recording = load(name)
    line = describe(recording.assess(), recording.now)
    assert len(line) < 600
    assert "\n" not in line
    failure = root_cause(recording.workflow, recording.sub_workflows)
    if failure:
        assert len(explain(replace(failure, log_lines=tuple(recording.logs)))) < 5000
    assert timeline(recording.workflow)


CARD_FAILED = {"reference_name": "charge_card", "attempt": 2, "max_attempts": 4, "reason": "card service down"}
WORKER = {"polls_known": True, "last_poll.worker_id": "worker-3"}

BLOCKERS: dict[str, dict[str, Any]] = {
    "retry_delay": CARD_FAILED,
    "retry_delay_exponential_backoff": {
        "reference_name": "ship",
        "attempt": 3,
        "max_attempts": 6,
        "reason": "no driver",
    },
    "retry_due": CARD_FAILED | WORKER | {"queue": "charge_card_x"},
    "queued_never_polled": {"queue": "nobody_x", "polls_known": True, "last_poll": None, "other_domains": ()},
    "queued_in_a_domain": {"queue": "domained_x", "domain": "blue", "last_poll": None, "other_domains": ("", "green")},
    "queued_after_rerun": WORKER | {"reference_name": "work", "queue": "work_x", "retry": False, "reason": ""},
    "concurrency_limited": WORKER | {"reference_name": "one_at_a_time", "unpolled_since": None},
    "sub_workflow_retry_delay": {
        "path": ("to_middle", "to_inner"),
        "reference_name": "pack",
        "attempt": 2,
        "max_attempts": 3,
        "reason": "box too small",
    },
    "postponed": {"reference_name": "long_job", "worker_id": "worker-3"},
    "timed_wait": {"reference_name": "cool_down"},
    "join_on_no_such_task": {"kind": "JOIN", "missing": ("typo",), "undefined": ("typo",)},
    "join_on_a_branch_not_taken": {"kind": "JOIN", "missing": ("left",), "undefined": ()},
    "waiting_for_signal": {"reference_name": "approval", "due": None},
    "waiting_for_person": {"reference_name": "sign_off", "due": None},
    "working": {"reference_name": "charge_card", "worker_id": "worker-3"},
}


@pytest.mark.parametrize("scenario", BLOCKERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_blocker_is_understood(version: str, scenario: str) -> None:
    [blocker] = load(f"{version}/{scenario}.json").assess().blockers
    expected = BLOCKERS[scenario]
    assert {name: attrgetter(name)(blocker) for name in expected} == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_rerun_in_a_fork_leaves_unscheduled_is_named(version: str) -> None:
    progress = load(f"{version}/join_after_a_rerun_in_a_fork.json").assess()
    assert (progress.blockers, progress.unscheduled) == ((), ("then_1", "first_3", "then_3", "join"))


def test_a_wait_until_a_date_ends_at_that_date() -> None:
    recording = load(f"{NEW}/timed_wait_until.json")
    assert recording.workflow.tasks[0].input["until"].endswith("14:02 GMT")
    assert describe(recording.assess(), recording.now).startswith("cool_down waits until 14:02:00 UTC")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_system_tasks_retry_waits_since_it_was_due(version: str) -> None:
    recording = load(f"{version}/retry_delay_of_a_system_task.json")
    retry = recording.workflow.tasks[1]
    due = retry.scheduled_time + 60_000
    progress = assess(recording.workflow, due + 2_000)
    assert (progress.phase, progress.since, progress.stalled_since) == (Phase.WORKING, due, due)
    [blocker] = progress.blockers
    assert (blocker.by_server, blocker.begun, blocker.retry) == (True, False, True)
    assert blocker.reason.startswith("Failed to invoke HTTP ")


FAILURES: dict[str, dict[str, Any]] = {
    "ended_poll_timeout": {"task_reference_name": "nobody", "reason": "Task poll timed out", "by_worker": True},
    "ended_timed_out": {"task_reference_name": "silent", "reason": "responseTimeout: 1", "by_worker": True},
    "ended_system_task_timed_out": {"task_reference_name": "sign_off", "by_worker": False},
    "ended_failed_with_terminal_error": {"task_reference_name": "charge_card", "by_worker": True},
    "ended_script_failed": {"task_reference_name": "js", "task_kind": "INLINE", "by_worker": False},
    "ended_loop_condition_failed": {"task_reference_name": "loop", "task_kind": "DO_WHILE", "by_worker": False},
    "ended_output_too_large": {"task_reference_name": "large", "by_worker": True},
    "ended_total_timeout": {
        "task_reference_name": "flaky",
        "attempts": 3,
        "max_attempts": 10,
        "reason": "still down",
        "workflow_reason": "/flaky_x exceeded total timeout of 4 seconds",
    },
    "ended_failed_no_such_handler": {
        "task_reference_name": "charge_card",
        "reason": "card service down",
        "failure_workflow_error": "Error workflow no_such_failure_workflow failed to start.",
    },
    "ended_failed_without_a_reason": {"task_reference_name": "charge_card", "reason": "", "workflow_reason": ""},
    "ended_permissive_sub_workflow_terminated": {
        "path": ("left",),
        "sub_workflow_name": "inner_fork_x",
        "reason": "by hand",
    },
}
"""Of each failure, what its message tells; texts of the server's are found in it."""


@pytest.mark.parametrize(
    "name", [name for name in recordings() if name.split("/")[1].removesuffix(".json") in FAILURES]
)
def test_what_was_at_fault_is_found(name: str) -> None:
    recording = load(name)
    failure = root_cause(recording.workflow, recording.sub_workflows)
    for field, value in FAILURES[name.split("/")[1].removesuffix(".json")].items():
        found = getattr(failure, field)
        assert found == value or (isinstance(value, str) and value and value in found), field


@pytest.mark.parametrize("version", VERSIONS)
def test_a_joins_counters_are_no_progress(version: str) -> None:
    before, after = load(f"{version}/fork_at_rest.json"), load(f"{version}/fork_at_rest_later.json")
    assert before.workflow.data != after.workflow.data
    assert before.assess().fingerprint == after.assess().fingerprint
    line, logged = next_message(before.assess(), before.now, NOTHING_LOGGED)
    assert line
    assert next_message(after.assess(), after.now, logged) == ("", logged)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_branch_that_ends_is_progress(version: str) -> None:
    assert (
        load(f"{version}/fork_mixed.json").assess().fingerprint
        != load(f"{version}/fork_at_rest.json").assess().fingerprint
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stall_clock_starts_anew_with_a_resume(version: str) -> None:
    recording = load(f"{version}/queued_after_resume.json")
    task = recording.workflow.tasks[0]
    assert recording.assess().stalled_since == recording.workflow.last_retried_time > task.scheduled_time
