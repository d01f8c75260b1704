"""What a try does on each occasion, against a server and a clock in memory."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorConflictError,
    ConductorConnectionLostError,
    ConductorError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.errors import (
    StartRefusedError,
    WorkflowGoneError,
    WorkflowTerminatedError,
)
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.start_once import terminate_starts
from airflow_provider_conductor.submission.termination_reasons import killed_reason, timed_out_reason
from tests.submission.simulation import (
    PATIENCE,
    Airflow,
    Fault,
    Server,
    answer_lost,
    at_the_start,
    crash_after,
    crash_before,
    done_but_unavailable,
    done_later,
    drive,
    fine,
    refused,
    request_lost,
    unavailable,
)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(params=[False, True], ids=["no store", "store"])
def airflow(server: Server, request: pytest.FixtureRequest) -> Airflow:
    return Airflow(server, stores=request.param)


# The first try


def test_a_first_try_starts(server: Server, airflow: Airflow) -> None:
    started = airflow.run()
    assert (started.action, started.posts) == (Action.START, 1)
    assert server.running() == [started.workflow_id]
    assert not airflow.warnings


def test_the_identity_is_correlation_id_and_idempotency_key(server: Server, airflow: Airflow) -> None:
    airflow.run()
    (body,) = server.bodies
    assert body["correlationId"] == "airflow:nightly:manual__1:run_orders:-1:1"
    assert body["idempotencyKey"] == "airflow:nightly:manual__1:run_orders:-1:1@1700000000"
    assert body["idempotencyStrategy"] == "RETURN_EXISTING"


def test_the_id_is_put_down_before_anything_else_is_done_with_it(server: Server) -> None:
    airflow = Airflow(server, stores=True)
    airflow.run()
    assert airflow.store is not None
    assert airflow.store["workflow_id"] == "wf-1"


def test_what_the_server_refuses_is_told_and_leaves_no_trace(server: Server, airflow: Airflow) -> None:
    server.refuses = True
    with pytest.raises(StartRefusedError):
        airflow.run()
    assert airflow.store is None or airflow.store["sent_at"] is None
    assert airflow.server.now < 1_700_000_000 + 1


def test_where_nothing_was_sent_nothing_is_looked_for(server: Server, airflow: Airflow) -> None:
    with pytest.raises(ConductorUnreachableError):
        airflow.run(refused)
    before = server.now
    assert airflow.retry(after=0).run().action is Action.START
    assert server.now - before < PATIENCE / 2
    assert len(server.running()) == 1


# Ambiguous starts


@pytest.mark.parametrize("fault", [answer_lost, done_but_unavailable, done_later(20)])
def test_a_start_without_an_answer_is_looked_for_and_not_sent_again(
    server: Server, airflow: Airflow, fault: Fault
) -> None:
    started = airflow.run(fault)
    assert started.posts == 1
    assert server.running() == [started.workflow_id] == ["wf-1"]


@pytest.mark.parametrize("fault", [request_lost, unavailable])
def test_a_start_that_never_arrived_is_sent_again_when_the_patience_is_over(
    server: Server, airflow: Airflow, fault: Fault
) -> None:
    before = server.now
    started = airflow.run(fault)
    assert started.posts == 2
    assert server.now - before >= PATIENCE
    assert server.running() == [started.workflow_id] == ["wf-1"]


def test_a_start_taken_up_after_the_patience_leaves_the_older_of_two(server: Server, airflow: Airflow) -> None:
    server.index_delay = PATIENCE + 10
    # The first start arrives late and is seen later still; the second one's answer comes at once.
    airflow.run(done_later(1))
    server.pass_time(60)
    assert len(server.running()) == 2
    # This try could not see it. The next one does.
    started = airflow.retry().run()
    assert started.workflow_id == "wf-1"
    assert server.running() == ["wf-1"]
    assert server.status("wf-2") == "TERMINATED"
    # And what it ended is not taken for somebody else's doing.
    assert airflow.retry().run().workflow_id == "wf-1"


def test_two_of_one_start_are_seen_at_once_where_the_server_shows_them(server: Server, airflow: Airflow) -> None:
    def the_first_arrives_just_before(server: Server, call: Any) -> Any:
        if call.path == "/workflow":
            server.carry_out(call)
            server.pass_time(0.5)
        return server.carry_out(call)

    started = airflow.run(request_lost, *[the_first_arrives_just_before] * 100)
    assert len(server.workflows) == 2
    assert server.running() == [started.workflow_id] == ["wf-1"]
    assert any("terminated workflow" in said for said in airflow.says)


def test_a_server_that_cannot_be_asked_is_not_sent_another_start(server: Server, airflow: Airflow) -> None:
    with pytest.raises(ConductorConnectionLostError):
        airflow.run(answer_lost, *[refused] * 100)
    assert len(server.workflows) == 1
    assert airflow.retry().run().workflow_id == "wf-1"
    assert server.running() == ["wf-1"]


def test_a_look_that_fails_in_between_is_only_one_look(server: Server, airflow: Airflow) -> None:
    assert airflow.run(answer_lost, refused, request_lost, unavailable).workflow_id == "wf-1"
    assert server.running() == ["wf-1"]


def test_a_start_that_never_gets_through_is_given_up(server: Server, airflow: Airflow) -> None:
    def only_looks_get_through(server: Server, call: Any) -> Any:
        return (request_lost if call.path == "/workflow" else fine)(server, call)

    with pytest.raises(ConductorConnectionLostError):
        airflow.run(*[only_looks_get_through] * 1000)
    assert not server.workflows
    assert airflow.retry().run().action is Action.START


# Crashes between tries


def test_crashed_before_the_start(server: Server, airflow: Airflow) -> None:
    started = airflow.crash(crash_before).retry().run()
    assert (started.action, started.workflow_id) == (Action.START, "wf-1")


def test_crashed_after_the_start(server: Server, airflow: Airflow) -> None:
    started = airflow.crash(crash_after).retry().run()
    assert (started.action, started.workflow_id) == (Action.ATTACH, "wf-1")
    assert server.running() == ["wf-1"]


def test_crashed_while_waiting(server: Server, airflow: Airflow) -> None:
    airflow.run()
    assert airflow.retry().run().action is Action.ATTACH
    assert server.running() == ["wf-1"]


def test_a_server_still_at_work_on_a_dead_workers_start_gets_the_whole_patience_where_a_record_says_so(
    server: Server,
) -> None:
    airflow = Airflow(server, stores=True)
    airflow.crash(done_later(20, and_crash=True))
    started = airflow.retry(after=0).run()
    assert (started.action, server.running()) == (Action.ATTACH, ["wf-1"])


def test_and_a_moment_where_there_is_no_record(server: Server) -> None:
    airflow = Airflow(server)
    airflow.crash(done_later(2.5, and_crash=True))
    started = airflow.retry(after=0).run()
    assert (started.action, server.running()) == (Action.ATTACH, ["wf-1"])


def test_the_patience_counts_from_the_sending(server: Server) -> None:
    airflow = Airflow(server, stores=True).crash(crash_before)
    airflow.retry(after=300)
    before = server.now
    assert airflow.run().action is Action.START
    assert server.now - before < 1


def test_crashed_three_times_over(server: Server, airflow: Airflow) -> None:
    for _ in range(3):
        airflow.crash(crash_before).retry()
    assert airflow.run(fine, fine, fine, fine, answer_lost).action in (Action.START, Action.ATTACH)
    assert len(server.running()) == 1


# What was found decides


def test_a_completed_run_is_returned_and_not_repeated(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "COMPLETED")
    assert airflow.retry().run() == airflow.run()
    assert len(server.workflows) == 1


def test_a_failed_run_goes_on_from_its_failed_tasks(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "FAILED")
    assert airflow.retry().run().action is Action.RETRY
    assert server.running() == ["wf-1"]


def test_where_there_is_nothing_to_retry_it_is_restarted_and_that_is_said(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "FAILED")
    server.nothing_to_retry = True
    assert airflow.retry().run().action is Action.RESTART
    assert server.running() == ["wf-1"]
    assert any("no task to retry" in said for said in airflow.says)


def test_where_an_accepted_retry_does_nothing_it_is_restarted_and_that_is_said(
    server: Server, airflow: Airflow
) -> None:
    airflow.run()
    server.end("wf-1", "FAILED")
    server.retries_in_vain = True
    assert airflow.retry().run().action is Action.RESTART
    assert server.running() == ["wf-1"]
    assert any("it is restarted instead" in said for said in airflow.says)
    assert not any("runs on from its failed tasks" in said for said in airflow.says)


def test_a_retry_that_cannot_be_looked_at_is_left_to_the_wait(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "FAILED")
    airflow.retry()
    faults = [fine] * (3 if airflow.stores else 2)
    assert airflow.run(*faults, unavailable).action is Action.RETRY
    assert server.running() == ["wf-1"]


def test_a_restart_that_does_nothing_is_an_error(server: Server, airflow: Airflow) -> None:
    airflow.retry_from = "start"
    airflow.run()
    server.end("wf-1", "FAILED")
    airflow.retry()
    with pytest.raises(ConductorConflictError, match="accepted the restart of workflow wf-1, but it is still FAILED"):
        airflow.run(*[fine] * (2 if airflow.stores else 1), lambda server, call: None)


def test_somebody_else_who_retried_it_meanwhile_is_not_disturbed(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "FAILED")

    def somebody_is_quicker(server: Server, call: Any) -> Any:
        server.end("wf-1", "RUNNING")
        return fine(server, call)

    airflow.retry()
    faults = [fine] * (2 if airflow.stores else 1)
    assert airflow.run(*faults, somebody_is_quicker).action is Action.ATTACH
    assert server.running() == ["wf-1"]


@pytest.mark.parametrize("fault", [answer_lost, done_but_unavailable])
@pytest.mark.parametrize(("retry_from", "action"), [("failed_task", Action.RETRY), ("start", Action.RESTART)])
def test_a_retry_without_an_answer_is_looked_at(
    server: Server, airflow: Airflow, retry_from: str, action: Action, fault: Fault
) -> None:
    airflow.retry_from = retry_from
    airflow.run()
    server.end("wf-1", "FAILED")
    airflow.retry()
    assert airflow.run(*[fine] * (2 if airflow.stores else 1), fault).action is action
    assert server.running() == ["wf-1"]


def test_retry_from_start_restarts_under_the_same_id(server: Server, airflow: Airflow) -> None:
    airflow.retry_from = "start"
    airflow.run()
    server.end("wf-1", "TIMED_OUT")
    assert airflow.retry().run().action is Action.RESTART
    assert server.running() == ["wf-1"]


def test_retry_from_new_starts_the_next_generation(server: Server, airflow: Airflow) -> None:
    airflow.retry_from = "new"
    airflow.run()
    for _ in range(2):
        server.end(server.running()[0], "FAILED")
        assert airflow.retry().run().action is Action.START
    assert [body["correlationId"].rpartition(":")[2] for body in server.bodies] == ["1", "1.1", "1.2"]
    # The newest decides from now on, also after a crash that left the record a generation behind.
    if airflow.stores:
        server.end(server.running()[0], "FAILED")
        airflow.retry().crash(fine, fine, crash_after)
        assert airflow.retry().run().action is Action.ATTACH
        assert len(server.running()) == 1


def test_our_own_kill_makes_a_new_generation(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "TERMINATED", killed_reason("nightly.run_orders try 1"))
    assert airflow.retry().run().workflow_id == "wf-2"
    assert server.bodies[1]["correlationId"].endswith(":1.1")


def test_our_own_time_out_is_retried(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "TERMINATED", timed_out_reason("nightly.run_orders try 1"))
    assert airflow.retry().run().action is Action.RETRY


def test_what_somebody_else_terminated_is_not_brought_back(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "TERMINATED", "not today")
    with pytest.raises(WorkflowTerminatedError, match=r"wf-1 .*not today"):
        airflow.retry().run()
    assert not server.running()
    # A clear is another matter.
    assert airflow.clear().run().action is Action.START


# Series


def test_a_clear_is_a_new_run(server: Server, airflow: Airflow) -> None:
    airflow.run()
    server.end("wf-1", "COMPLETED")
    assert airflow.clear().run().workflow_id == "wf-2"


def test_what_still_runs_from_before_a_clear_is_terminated_first(server: Server, airflow: Airflow) -> None:
    airflow.run()
    started = airflow.clear().run()
    assert server.running() == [started.workflow_id] == ["wf-2"]


def test_or_attached_where_workflows_outlive_their_tasks(server: Server, airflow: Airflow) -> None:
    airflow.cancel_on_kill = False
    airflow.run()
    assert airflow.clear().run().workflow_id == "wf-1"
    assert server.running() == ["wf-1"]


def test_a_leftover_of_a_late_generation_is_found_too(server: Server) -> None:
    airflow = Airflow(server, retry_from="new")
    airflow.run()
    server.end("wf-1", "FAILED")
    airflow.retry().run()
    assert airflow.clear().run().workflow_id == "wf-3"
    assert server.running() == ["wf-3"]


def test_a_leftover_on_record_is_terminated_where_the_server_looks_nothing_up(server: Server) -> None:
    server.looks_up = False
    airflow = Airflow(server, stores=True)
    airflow.run()
    airflow.clear().run()
    assert server.running() == ["wf-2"]


def test_a_clear_starts_at_once(server: Server, airflow: Airflow) -> None:
    """Nothing can have been sent in this series, so nothing is waited for."""
    airflow.run()
    server.end("wf-1", "COMPLETED")
    airflow.clear()
    before = server.now
    airflow.run()
    assert server.now - before < 0.1


@pytest.mark.parametrize("retries", [0, 1, 5, 9])
def test_a_deploy_that_changes_retries_is_the_same_series_where_there_is_a_record(server: Server, retries: int) -> None:
    airflow = Airflow(server, stores=True)
    airflow.run()
    airflow.retries = retries
    assert airflow.retry().run().workflow_id == "wf-1"
    assert server.running() == ["wf-1"]


@pytest.mark.parametrize("retries", [3, 5, 9])
def test_a_deploy_that_adds_retries_is_the_same_series_without_one_too(server: Server, retries: int) -> None:
    airflow = Airflow(server)
    airflow.run()
    airflow.retries = retries
    assert airflow.retry().run().workflow_id == "wf-1"


def test_a_deploy_that_takes_retries_away_looks_like_a_clear_without_a_record(server: Server) -> None:
    """The numbers are those of a clear after the first try; one runs, all the same."""
    airflow = Airflow(server)
    airflow.run()
    airflow.retries = 1
    airflow.retry().run()
    assert server.running() == ["wf-2"]


def test_a_running_task_cleared_is_the_same_series(server: Server, airflow: Airflow) -> None:
    """Airflow restarts it without touching ``max_tries``; the kill has terminated its workflow, or was too late."""
    airflow.run()
    assert airflow.retry(after=0).run().workflow_id == "wf-1"
    server.end("wf-1", "TERMINATED", killed_reason("nightly.run_orders try 2"))
    assert airflow.retry(after=0).run().workflow_id == "wf-2"
    assert server.running() == ["wf-2"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED"])
def test_a_dag_run_made_again_under_the_same_id_is_another_run(server: Server, airflow: Airflow, status: str) -> None:
    airflow.run()
    server.end("wf-1", status, "somebody else")
    server.pass_time(3600)
    again = Airflow(server, stores=airflow.stores, run_began=server.now)
    again.crash(crash_before)
    assert again.retry().run().workflow_id == "wf-2"
    assert server.bodies[0]["idempotencyKey"] != server.bodies[1]["idempotencyKey"]


@pytest.mark.parametrize("fault", [answer_lost, done_later(10), request_lost])
def test_what_ran_under_that_id_is_not_taken_for_an_unanswered_start(
    server: Server, airflow: Airflow, fault: Fault
) -> None:
    airflow.run()
    server.end("wf-1", "COMPLETED")
    server.pass_time(2)
    again = Airflow(server, stores=airflow.stores, run_began=server.now)
    assert again.run(fault).workflow_id == "wf-2"
    assert server.running() == ["wf-2"]


def test_two_airflows_on_one_conductor_do_not_meet(server: Server) -> None:
    one, other = Airflow(server, prefix="prod"), Airflow(server, prefix="dev")
    one.run()
    other.retry().run()
    assert server.running() == ["wf-1", "wf-2"]
    assert one.retry().run().workflow_id == "wf-1"


@pytest.mark.parametrize("ahead", [-3600, -30, 0, 30, 3600])
def test_a_server_whose_clock_is_wrong_is_understood(server: Server, airflow: Airflow, ahead: float) -> None:
    server.clock_ahead = ahead
    assert airflow.run(answer_lost).posts == 1
    assert airflow.retry().run().workflow_id == "wf-1"
    server.end("wf-1", "COMPLETED")
    assert airflow.clear().run(*at_the_start(answer_lost)).posts == 1
    assert server.running() == ["wf-2"]


@pytest.mark.parametrize("ahead", [-50, 0, 3600])
def test_and_one_that_does_not_tell_its_time(server: Server, airflow: Airflow, ahead: float) -> None:
    server.clock_ahead, server.tells_date = ahead, False
    assert airflow.run(answer_lost).posts == 1
    assert airflow.retry().run().workflow_id == "wf-1"


# The record


def test_the_id_on_record_wins_where_the_server_looks_nothing_up(server: Server) -> None:
    server.looks_up = False
    airflow = Airflow(server, stores=True)
    airflow.run()
    assert airflow.retry().run().workflow_id == "wf-1"
    assert server.running() == ["wf-1"]


@pytest.mark.parametrize("trouble", [refused, unavailable, request_lost])
def test_and_where_the_look_up_fails(server: Server, trouble: Fault) -> None:
    airflow = Airflow(server, stores=True)
    airflow.run()
    assert airflow.retry().run(fine, trouble).workflow_id == "wf-1"


def test_without_a_record_a_failing_look_up_is_no_reason_to_start(server: Server) -> None:
    airflow = Airflow(server)
    airflow.run()
    with pytest.raises(ConductorError):
        airflow.retry().run(unavailable)
    assert len(server.workflows) == 1


def test_what_completed_and_was_archived_is_not_run_again(server: Server) -> None:
    airflow = Airflow(server, stores=True)
    airflow.run()
    server.end("wf-1", "COMPLETED")
    server.archive("wf-1")
    started = airflow.retry().run()
    assert (started.action, started.workflow_id) == (Action.ATTACH, "wf-1")
    assert not server.workflows


@pytest.mark.parametrize("retry_from", ["failed_task", "start", "new"])
def test_what_failed_and_was_archived_cannot_be_run_on_and_is_started_anew(server: Server, retry_from: str) -> None:
    airflow = Airflow(server, stores=True, retry_from=retry_from)
    airflow.run()
    server.end("wf-1", "FAILED")
    server.archive("wf-1")
    started = airflow.retry().run()
    assert (started.action, started.workflow_id) == (Action.START, "wf-2")
    assert server.bodies[1]["correlationId"].endswith(":1.1")


def test_what_somebody_else_terminated_is_not_brought_back_once_archived(server: Server) -> None:
    airflow = Airflow(server, stores=True)
    airflow.run()
    server.end("wf-1", "TERMINATED", "not today")
    server.archive("wf-1")
    with pytest.raises(WorkflowTerminatedError, match=r"wf-1 .*not today"):
        airflow.retry().run()


def test_what_is_on_record_and_gone_is_not_started_again_since_it_may_have_completed(server: Server) -> None:
    airflow = Airflow(server, stores=True)
    airflow.run()
    del server.workflows["wf-1"]
    with pytest.raises(WorkflowGoneError, match=r"wf-1, .*clear the task"):
        airflow.retry().run()
    assert not server.workflows
    # A clear is another matter.
    assert airflow.clear().run().action is Action.START


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_what_was_archived_is_found_without_a_record_too(server: Server, status: str) -> None:
    airflow = Airflow(server)
    airflow.run()
    server.end("wf-1", status)
    server.archive("wf-1")
    started = airflow.retry().run()
    completed = status == "COMPLETED"
    assert started.action is (Action.ATTACH if completed else Action.START)
    assert started.workflow_id == ("wf-1" if completed else "wf-2")


def test_a_child_that_was_archived_with_it_is_not_taken_for_it(server: Server) -> None:
    server.task_types = ("SUB_WORKFLOW",)
    airflow = Airflow(server)
    airflow.run()
    server.pass_time(1)
    child = server.child("wf-1", "SUB_WORKFLOW", "COMPLETED")
    server.end("wf-1", "FAILED")
    server.archive(child)
    server.archive("wf-1")
    assert airflow.retry().run().action is Action.START


def test_a_dag_run_made_again_does_not_find_what_an_earlier_one_has_archived(server: Server) -> None:
    airflow = Airflow(server)
    airflow.run()
    server.end("wf-1", "COMPLETED")
    server.archive("wf-1")
    server.pass_time(3_600)
    again = Airflow(server, run_began=server.now)
    again.crash(crash_before)
    assert again.retry().run().action is Action.START


def test_what_was_deleted_without_a_record_of_it_is_started_anew(server: Server) -> None:
    airflow = Airflow(server)
    airflow.run()
    del server.workflows["wf-1"]
    assert airflow.retry().run().workflow_id == "wf-2"


# A server without a look-up


def test_a_server_without_a_look_up_is_told_of_once(server: Server, airflow: Airflow) -> None:
    server.looks_up = False
    airflow.run()
    if airflow.stores:
        assert not airflow.warnings
    else:
        (warning,) = airflow.warnings
        assert "wf-1 is not found by its correlation id" in warning
        assert "a retry starts another" in warning


def test_after_an_ambiguous_start_it_is_told_in_any_case(server: Server, airflow: Airflow) -> None:
    server.looks_up = False
    airflow.run(answer_lost)
    (warning,) = airflow.warnings
    assert "may then run twice" in warning


def test_a_slow_index_is_given_a_moment(server: Server, airflow: Airflow) -> None:
    server.index_delay = 2.5
    airflow.run()
    assert not airflow.warnings


def test_a_server_without_the_route_can_still_be_used(server: Server, airflow: Airflow) -> None:
    server.no_route = True
    airflow.run()
    started = airflow.retry().run()
    assert started.workflow_id == ("wf-1" if airflow.stores else "wf-2")
    assert any("no such endpoint" in warning for warning in airflow.warnings)


# A label of the user's own


@pytest.fixture
def labelled(airflow: Airflow) -> Airflow:
    airflow.label = "order-7"
    airflow.input = {"order": 7}
    return airflow


def test_a_label_is_sent_as_it_is(server: Server, labelled: Airflow) -> None:
    labelled.run()
    assert server.bodies[0]["correlationId"] == "order-7"
    assert server.bodies[0]["idempotencyKey"].startswith("airflow:nightly")


def test_under_a_label_a_retry_finds_its_workflow(server: Server, labelled: Airflow) -> None:
    labelled.crash(crash_after)
    assert labelled.retry().run().workflow_id == "wf-1"


@pytest.mark.parametrize("other", [{"input": {"order": 8}}, {"name": "invoices", "input": {"order": 7}}])
def test_what_others_started_under_it_is_not_ours(server: Server, labelled: Airflow, other: dict[str, object]) -> None:
    server.add(**{"correlationId": "order-7", **other})  # type: ignore[arg-type]
    labelled.crash(crash_before)
    assert labelled.retry().run().workflow_id == "wf-2"
    assert server.running() == ["wf-1", "wf-2"]


def test_nor_what_was_there_before_the_dag_run(server: Server, labelled: Airflow) -> None:
    server.add("COMPLETED", correlationId="order-7", input={"order": 7})
    server.pass_time(600)
    labelled.run_began = server.now
    labelled.crash(crash_before)
    assert labelled.retry().run().workflow_id == "wf-2"


def test_under_a_label_nothing_is_terminated_but_what_is_on_record(server: Server, labelled: Airflow) -> None:
    labelled.run()
    server.add(correlationId="order-7", input={"order": 7})
    labelled.retry().run()
    labelled.clear().run(*at_the_start(answer_lost))
    assert "wf-2" in server.running()
    # A record shows that the first one is the task's own.
    assert ("wf-1" in server.running()) is not labelled.stores


def test_under_a_label_a_clear_is_a_new_run_all_the_same(server: Server, labelled: Airflow) -> None:
    labelled.run()
    server.end("wf-1", "COMPLETED")
    assert labelled.clear().run().workflow_id == "wf-2"


@pytest.mark.parametrize(
    "other",
    [
        {"input": {"order": 7, "region": "eu"}},
        {"input": {}},
        {"input": {"order": "7"}},
        {"input": {"order": 7.0}},
        {"input": {"order": 7}, "correlationId": "ORDER-7"},
        {"input": {"order": 7}, "parentWorkflowId": "wf-0"},
        {"input": {"order": 7}, "event": "conductor:orders"},
        {"input": {}, "externalInputPayloadStoragePath": "kept/outside.json"},
    ],
)
def test_only_the_same_input_under_the_same_label_may_be_ours(
    server: Server, labelled: Airflow, other: dict[str, Any]
) -> None:
    server.widens = True
    server.add(**{"correlationId": "order-7", **other})
    labelled.crash(crash_before)
    assert labelled.retry().run().workflow_id == "wf-2"
    assert server.running() == ["wf-1", "wf-2"]


@pytest.mark.parametrize(("asked", "workflow_id"), [(None, "wf-1"), (3, "wf-1"), (4, "wf-2")])
def test_only_the_version_asked_for_may_be_ours(
    server: Server, labelled: Airflow, asked: int | None, workflow_id: str
) -> None:
    server.add(correlationId="order-7", input={"order": 7}, workflowVersion=3)
    labelled.version = asked
    labelled.crash(crash_before)
    assert labelled.retry().run().workflow_id == workflow_id


def test_an_input_template_of_the_definition_is_no_difference(server: Server, labelled: Airflow) -> None:
    labelled.input = {"order": 7, "region": None}
    template = {"region": "eu", "tries": 3}
    server.add(
        correlationId="order-7",
        input={"order": 7, **template},
        workflowDefinition={"inputTemplate": template, "tasks": []},
    )
    labelled.crash(crash_before)
    assert labelled.retry().run().workflow_id == "wf-1"


def test_what_a_start_tells_of_its_try_is_no_difference(server: Server, labelled: Airflow) -> None:
    labelled.told = {"airflow": {"try_number": 1}}
    labelled.crash(crash_after)
    labelled.told = {"airflow": {"try_number": 2}}
    assert labelled.retry().run().workflow_id == "wf-1"


def test_under_a_label_the_id_on_record_alone_counts(server: Server) -> None:
    airflow = Airflow(server, stores=True, label="order-7", input={"order": 7})
    server.add("COMPLETED", correlationId="order-7", input={"order": 7})
    airflow.run()
    server.end("wf-2", "FAILED")
    started = airflow.retry().run()
    assert (started.workflow_id, started.action, started.by_label) == ("wf-2", Action.RETRY, False)


def test_what_was_found_by_its_label_alone_is_never_certain(server: Server, labelled: Airflow) -> None:
    server.add(correlationId="order-7", input={"order": 7})
    labelled.crash(crash_before)
    assert labelled.retry().run().by_label
    # The next try has it on record, and knows no more of it than that.
    assert labelled.retry().run().by_label
    assert labelled.clear().run().workflow_id == "wf-2"
    assert server.running() == ["wf-1", "wf-2"]


def test_nor_is_what_an_unanswered_start_is_found_by(server: Server, labelled: Airflow) -> None:
    assert labelled.run(answer_lost).by_label
    assert not labelled.clear().run().by_label


# Children, which have the correlation id of what started them

KINDS = ["SUB_WORKFLOW", "START_WORKFLOW", "failureWorkflow"]


@pytest.fixture
def with_children(server: Server, airflow: Airflow) -> Airflow:
    """A workflow whose tasks start others of its own name."""
    server.task_types = ("SIMPLE", "SUB_WORKFLOW", "START_WORKFLOW")
    airflow.run()
    return airflow


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("child_is", ["RUNNING", "COMPLETED", "FAILED"])
def test_a_child_is_neither_taken_over_nor_terminated(
    server: Server, with_children: Airflow, kind: str, child_is: str
) -> None:
    server.pass_time(1)
    child = server.child("wf-1", kind, child_is)
    started = with_children.retry().run()
    assert (started.workflow_id, started.action) == ("wf-1", Action.ATTACH)
    assert (server.status("wf-1"), server.status(child)) == ("RUNNING", child_is)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("child_is", ["RUNNING", "COMPLETED"])
def test_the_result_of_a_child_is_not_the_tasks(
    server: Server, with_children: Airflow, kind: str, child_is: str
) -> None:
    server.pass_time(1)
    server.end("wf-1", "FAILED")
    child = server.child("wf-1", kind, child_is)
    started = with_children.retry().run()
    assert (started.workflow_id, started.action) == ("wf-1", Action.RETRY)
    assert server.status(child) == child_is


@pytest.mark.parametrize("child_is", ["RUNNING", "COMPLETED"])
def test_a_child_of_before_a_restart_is_not_taken_for_its_parent(
    server: Server, with_children: Airflow, child_is: str
) -> None:
    """A restart gives the parent a new time, so the child is the older of the two then."""
    with_children.retry_from = "start"
    server.pass_time(60)
    child = server.child("wf-1", status=child_is)
    if not with_children.stores:  # with a record, its id tells it from a child with the same input, too
        server.workflows[child]["input"] = {"page": 2}
    server.pass_time(60)
    server.end("wf-1", "FAILED")
    assert with_children.retry().run().action is Action.RESTART
    for _ in range(2):
        started = with_children.retry().run()
        assert (started.workflow_id, started.action) == ("wf-1", Action.ATTACH)
    assert (server.status("wf-1"), server.status(child)) == ("RUNNING", child_is)


def test_a_successor_outlives_a_clear(server: Server, with_children: Airflow) -> None:
    server.pass_time(1)
    successor = server.child("wf-1")
    server.end("wf-1", "COMPLETED")
    started = with_children.clear().run()
    assert started.action is Action.START
    assert server.running() == [successor, started.workflow_id]
    assert any(successor in line and "left as it is" in line for line in with_children.says)


def test_a_successor_outlives_a_kill(server: Server, with_children: Airflow) -> None:
    server.pass_time(1)
    successor = server.child("wf-1")
    assert drive(terminate_starts(with_children.plan(), "killed", with_children.says.append), server) == ["wf-1"]
    assert server.running() == [successor]


def test_a_child_does_not_pass_for_a_second_workflow_of_an_unanswered_start(server: Server, airflow: Airflow) -> None:
    server.task_types = ("START_WORKFLOW",)

    def quick(server: Server, call: Any) -> Any:
        """Two starts are sent, and the second one's workflow has begun another before it is looked for."""
        started = server.carry_out(call)
        if (call.method, call.path) == ("POST", "/workflow"):
            server.child(started)
        return started

    started = airflow.run(request_lost, *[quick] * 100)
    assert server.running() == [started.workflow_id, "wf-2"] == ["wf-1", "wf-2"]


def test_the_older_of_two_starts_stays_though_it_has_children(server: Server, airflow: Airflow) -> None:
    server.task_types = ("START_WORKFLOW",)
    server.index_delay = PATIENCE + 10
    started = airflow.run(done_later(1))
    assert len(server.running()) == 2
    server.child("wf-1")
    server.pass_time(60)
    if airflow.stores:
        # The second start was answered, so its workflow is known not to be a child.
        assert airflow.retry().run().workflow_id == "wf-1"
        assert server.running() == ["wf-1", "wf-3"]
    else:
        assert airflow.retry().run().workflow_id == "wf-1"
        assert server.running() == ["wf-1", started.workflow_id, "wf-3"]


# Look-ups that find more than was asked for


@pytest.mark.parametrize(("name", "label_of"), [("orders", str.upper), ("Orders", str), ("invoices", str)])
def test_what_a_look_up_finds_besides_is_not_ours(server: Server, airflow: Airflow, name: str, label_of: Any) -> None:
    server.widens = True
    ours = airflow.plan().identity.correlation_id(StartKey(1))
    stranger = server.add(name=name, correlationId=label_of(ours))
    airflow.crash(crash_before)
    assert airflow.retry().run().action is Action.START
    airflow.clear().run()
    assert stranger in server.running()
    assert len(server.running()) == 2


# What no record, or no route, tells


def test_a_record_that_was_not_kept_does_not_tell_that_nothing_was_sent(server: Server) -> None:
    """Airflow's store could not be written to when the first try started its workflow."""
    airflow = Airflow(server, stores=True)
    server.index_delay = 2.5
    airflow.crash(crash_after)
    airflow.store = None
    started = airflow.retry(after=0).run()
    assert (started.action, server.running()) == (Action.ATTACH, ["wf-1"])


def test_a_server_without_the_route_still_starts_after_a_start_without_an_answer(
    server: Server, airflow: Airflow
) -> None:
    server.no_route = True
    airflow.crash(crash_before)
    before = server.now
    assert airflow.retry().run().action is Action.START
    assert server.now - before < PATIENCE + 61
    assert sum("no such endpoint" in warning for warning in airflow.warnings) == 1


# Killed while starting


def test_what_a_killed_start_may_have_left_is_terminated(server: Server, airflow: Airflow) -> None:
    airflow.crash(done_later(2.5, and_crash=True))
    ended = drive(terminate_starts(airflow.plan(), "killed", airflow.says.append), server)
    assert ended == ["wf-1"]
    assert not server.running()


def test_a_killed_start_that_was_never_sent_leaves_nothing(server: Server, airflow: Airflow) -> None:
    airflow.crash(crash_before)
    assert drive(terminate_starts(airflow.plan(), "killed", airflow.says.append), server) == []
