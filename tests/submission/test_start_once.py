"""What a try does on each occasion, against a server and a clock in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorConflictError,
    ConductorConnectionLostError,
    ConductorError,
    ConductorTimeoutError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.errors import (
    StartRefusedError,
    WorkflowGoneError,
    WorkflowTerminatedError,
)
from airflow_provider_conductor.submission.start_once import terminate_starts
from airflow_provider_conductor.submission.termination_reasons import killed_reason, timed_out_reason
from tests.submission.simulation import (
    PATIENCE,
    READ_TIMEOUT,
    Airflow,
    Fault,
    Server,
    answer_lost,
    at,
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

KILLED, TIMED_OUT = killed_reason("nightly.run_orders try 1"), timed_out_reason("nightly.run_orders try 1")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(params=[False, True], ids=["no store", "store"])
def airflow(server: Server, request: pytest.FixtureRequest) -> Airflow:
    return Airflow(server, stores=request.param)


@pytest.fixture
def stored(server: Server) -> Airflow:
    """A task with a task state store, so with a record."""
    return Airflow(server, stores=True)


@pytest.fixture
def unstored(server: Server) -> Airflow:
    return Airflow(server)


RUN_AGAIN = ("/retry", "/restart")


class TestFirstTry:
    def test_it_starts_under_its_identity(self, server: Server, airflow: Airflow) -> None:
        started = airflow.run()
        assert (started.action, started.posts) == (Action.START, 1)
        assert server.running() == [started.workflow_id]
        assert not airflow.warnings
        (body,) = server.bodies
        assert body["correlationId"] == "airflow:nightly:manual__1:run_orders:-1:1"
        assert body["idempotencyKey"] == "airflow:nightly:manual__1:run_orders:-1:1@1700000000"
        assert body["idempotencyStrategy"] == "RETURN_EXISTING"
        assert (airflow.store or {}).get("workflow_id") == ("wf-1" if airflow.stores else None)

    def test_a_refused_start_leaves_no_trace(self, server: Server, airflow: Airflow) -> None:
        server.refuses = True
        with pytest.raises(StartRefusedError):
            airflow.run()
        assert airflow.store is None or airflow.store["sent_at"] is None
        assert server.now < 1_700_000_000 + 1

    def test_where_nothing_was_sent_nothing_is_searched_for(self, server: Server, airflow: Airflow) -> None:
        with pytest.raises(ConductorUnreachableError):
            airflow.run(refused)
        before = server.now
        assert airflow.retry(after=0).run().action is Action.START
        assert server.now - before < PATIENCE / 2
        assert len(server.running()) == 1


class TestUnansweredStart:
    @pytest.mark.parametrize(
        "faults",
        [
            [answer_lost],
            [done_but_unavailable],
            [done_later(20)],
            [answer_lost, refused, request_lost, unavailable],  # look-ups may fail in between
        ],
    )
    def test_it_is_searched_for_and_not_sent_again(self, server: Server, airflow: Airflow, faults: list[Fault]) -> None:
        started = airflow.run(*faults)
        assert started.posts == 1
        assert server.running() == [started.workflow_id] == ["wf-1"]

    @pytest.mark.parametrize("fault", [request_lost, unavailable])
    def test_one_that_never_arrived_is_sent_again_after_the_search(
        self, server: Server, airflow: Airflow, fault: Fault
    ) -> None:
        before = server.now
        started = airflow.run(fault)
        assert started.posts == 2
        assert server.now - before >= PATIENCE
        assert server.running() == [started.workflow_id] == ["wf-1"]

    def test_one_carried_out_after_the_search_leaves_the_older_of_two(self, server: Server, airflow: Airflow) -> None:
        server.index_delay = PATIENCE + 10
        # The first start arrives late and is seen later still; the second one's answer comes at once.
        airflow.run(done_later(1))
        server.pass_time(60)
        assert len(server.running()) == 2
        # This try could not see it. The next one does.
        assert airflow.retry().run().workflow_id == "wf-1"
        assert (server.running(), server.status("wf-2")) == (["wf-1"], "TERMINATED")
        # And what it terminated does not count as terminated by a user.
        assert airflow.retry().run().workflow_id == "wf-1"

    def test_two_of_one_start_are_seen_at_once_where_the_server_shows_them(
        self, server: Server, airflow: Airflow
    ) -> None:
        def the_first_arrives_just_before(server: Server, call: Any) -> Any:
            if call.path == "/workflow":
                server.carry_out(call)
                server.pass_time(0.5)
            return server.carry_out(call)

        started = airflow.run(request_lost, *[the_first_arrives_just_before] * 100)
        assert len(server.workflows) == 2
        assert server.running() == [started.workflow_id] == ["wf-1"]
        assert any("terminated workflow wf-2" in line for line in airflow.lines)

    def test_while_conductor_is_unreachable_no_other_start_is_sent(self, server: Server, airflow: Airflow) -> None:
        with pytest.raises(ConductorConnectionLostError):
            airflow.run(answer_lost, *[refused] * 100)
        assert len(server.workflows) == 1
        assert airflow.retry().run().workflow_id == "wf-1"
        assert server.running() == ["wf-1"]

    def test_one_that_never_gets_through_is_given_up(self, server: Server, airflow: Airflow) -> None:
        def only_look_ups_get_through(server: Server, call: Any) -> Any:
            return (request_lost if call.path == "/workflow" else fine)(server, call)

        with pytest.raises(ConductorConnectionLostError):
            airflow.run(*[only_look_ups_get_through] * 1000)
        assert not server.workflows
        assert airflow.retry().run().action is Action.START


class TestCrash:
    @pytest.mark.parametrize(
        ("crash", "action"), [(crash_before, Action.START), (crash_after, Action.ATTACH), (None, Action.ATTACH)]
    )
    def test_the_next_try_has_one_workflow(
        self, server: Server, airflow: Airflow, crash: Fault | None, action: Action
    ) -> None:
        airflow.crash(crash) if crash else airflow.run()
        assert airflow.retry().run().action is action
        assert server.running() == ["wf-1"]

    @pytest.mark.parametrize(("stores", "later"), [(True, 20), (False, 2.5)])
    def test_a_start_that_the_server_still_carries_out_is_searched_for(
        self, server: Server, stores: bool, later: float
    ) -> None:
        """As long as an unanswered one where a record says that it was sent, else a moment."""
        airflow = Airflow(server, stores=stores).crash(done_later(later, and_crash=True))
        assert airflow.retry(after=0).run().action is Action.ATTACH
        assert server.running() == ["wf-1"]

    def test_the_search_counts_from_the_sending(self, server: Server, stored: Airflow) -> None:
        stored.crash(crash_before).retry(after=300)
        before = server.now
        assert stored.run().action is Action.START
        assert server.now - before < 1

    def test_a_record_that_was_not_saved_does_not_mean_that_nothing_was_sent(
        self, server: Server, stored: Airflow
    ) -> None:
        """Airflow's store could not be written when the first try started its workflow."""
        server.index_delay = 2.5
        stored.crash(crash_after)
        stored.store = None
        assert stored.retry(after=0).run().action is Action.ATTACH
        assert server.running() == ["wf-1"]


class TestEarlierWorkflow:
    """What became of the first try's workflow, and what the second does."""

    @pytest.mark.parametrize(
        ("status", "reason", "retry_from", "action"),
        [
            ("COMPLETED", "", "failed_task", Action.ATTACH),
            ("FAILED", "", "failed_task", Action.RETRY),
            ("TERMINATED", TIMED_OUT, "failed_task", Action.RETRY),
            ("TIMED_OUT", "", "start", Action.RESTART),
            ("TERMINATED", KILLED, "failed_task", Action.START),
        ],
    )
    def test_it_decides(
        self, server: Server, airflow: Airflow, status: str, reason: str, retry_from: str, action: Action
    ) -> None:
        airflow.retry_from = retry_from
        airflow.run()
        server.end("wf-1", status, reason)
        started = airflow.retry().run()
        workflow_id = "wf-2" if action is Action.START else "wf-1"
        assert (started.action, started.workflow_id) == (action, workflow_id)
        assert server.running() == ([] if action is Action.ATTACH else [workflow_id])
        if action is Action.START:
            assert server.bodies[1]["correlationId"].endswith(":1.1")
        if action is Action.ATTACH:
            assert airflow.run() == started

    @pytest.mark.parametrize("archived", [False, True])
    def test_one_that_a_user_terminated_stays_so(self, server: Server, airflow: Airflow, archived: bool) -> None:
        airflow.run()
        server.end("wf-1", "TERMINATED", "not today")
        if archived:
            server.archive("wf-1")
        with pytest.raises(WorkflowTerminatedError, match=r"wf-1 .*not today") as error:
            airflow.retry().run()
        assert error.value.workflow.workflow_id == "wf-1"
        assert not server.running()
        # A clear is another matter.
        assert airflow.clear().run().action is Action.START

    @pytest.mark.parametrize(
        ("server_has", "line"),
        [("nothing_to_retry", "no retryable tasks"), ("retries_in_vain", "it is restarted instead")],
    )
    def test_where_a_retry_has_no_effect_it_is_restarted(
        self, server: Server, airflow: Airflow, server_has: str, line: str
    ) -> None:
        airflow.run()
        server.end("wf-1", "FAILED")
        setattr(server, server_has, True)
        assert airflow.retry().run().action is Action.RESTART
        assert server.running() == ["wf-1"]
        assert any(line in logged for logged in airflow.lines)
        assert not any("continues from its failed tasks" in logged for logged in airflow.lines)

    def test_a_retry_whose_effect_cannot_be_read_is_left_to_the_wait(self, server: Server, airflow: Airflow) -> None:
        airflow.run()
        server.end("wf-1", "FAILED")
        airflow.retry()
        assert airflow.run(*at(RUN_AGAIN, fine, unavailable)).action is Action.RETRY
        assert server.running() == ["wf-1"]

    def test_a_restart_without_effect_is_an_error(self, server: Server, airflow: Airflow) -> None:
        airflow.retry_from = "start"
        airflow.run()
        server.end("wf-1", "FAILED")
        airflow.retry()
        with pytest.raises(ConductorConflictError, match="to run workflow wf-1 again, but it is still FAILED"):
            airflow.run(*at(RUN_AGAIN, lambda server, call: None))

    @pytest.mark.parametrize(
        ("retry_from", "at_request", "by_then"),
        [
            ("failed_task", "/retry", "RUNNING"),
            ("failed_task", "/retry", "COMPLETED"),
            ("failed_task", "/wf-1", "RUNNING"),
            ("failed_task", "/wf-1", "COMPLETED"),
            ("start", "/restart", "RUNNING"),
        ],
    )
    def test_a_user_who_ran_it_again_meanwhile_is_not_disturbed(
        self, server: Server, airflow: Airflow, retry_from: str, at_request: str, by_then: str
    ) -> None:
        airflow.retry_from = retry_from
        airflow.run()
        server.end("wf-1", "FAILED")

        def user_is_quicker(server: Server, call: Any) -> Any:
            server.end("wf-1", by_then)
            return fine(server, call)

        airflow.retry()
        assert airflow.run(*at(at_request, user_is_quicker)).action is Action.ATTACH
        assert server.status("wf-1") == by_then
        assert airflow.lines[-1] == f"workflow wf-1 of an earlier try is {by_then}: it is not started again"

    @pytest.mark.parametrize("fault", [answer_lost, done_but_unavailable])
    @pytest.mark.parametrize(("retry_from", "action"), [("failed_task", Action.RETRY), ("start", Action.RESTART)])
    def test_where_running_it_again_is_not_answered_its_state_is_read(
        self, server: Server, airflow: Airflow, retry_from: str, action: Action, fault: Fault
    ) -> None:
        airflow.retry_from = retry_from
        airflow.run()
        server.end("wf-1", "FAILED")
        airflow.retry()
        assert airflow.run(*at(RUN_AGAIN, fault)).action is action
        assert server.running() == ["wf-1"]

    def test_retry_from_new_starts_the_next_generation(self, server: Server, airflow: Airflow) -> None:
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


class TestSeries:
    @pytest.mark.parametrize("status", ["COMPLETED", "RUNNING"])
    def test_a_clear_is_a_new_run_and_terminates_what_still_runs(
        self, server: Server, airflow: Airflow, status: str
    ) -> None:
        airflow.run()
        server.end("wf-1", status)
        airflow.clear()
        before = server.now
        assert airflow.run().workflow_id == "wf-2"
        assert server.running() == ["wf-2"]
        # Nothing can have been sent in this series, so nothing is waited for.
        assert server.now - before < 0.1

    def test_where_workflows_outlive_their_tasks_it_is_attached(self, server: Server, airflow: Airflow) -> None:
        airflow.cancel_on_kill = False
        airflow.run()
        assert airflow.clear().run().workflow_id == "wf-1"
        assert server.running() == ["wf-1"]

    def test_a_leftover_of_a_late_generation_is_found_too(self, server: Server, unstored: Airflow) -> None:
        unstored.retry_from = "new"
        unstored.run()
        server.end("wf-1", "FAILED")
        unstored.retry().run()
        assert unstored.clear().run().workflow_id == "wf-3"
        assert server.running() == ["wf-3"]

    @pytest.mark.parametrize(("stores", "retries"), [(True, 0), (True, 1), (True, 9), (False, 3), (False, 9)])
    def test_a_deploy_that_changes_retries_is_the_same_series(self, server: Server, stores: bool, retries: int) -> None:
        airflow = Airflow(server, stores=stores)
        airflow.run()
        airflow.retries = retries
        assert airflow.retry().run().workflow_id == "wf-1"
        assert server.running() == ["wf-1"]

    def test_without_a_record_fewer_retries_look_like_a_clear(self, server: Server, unstored: Airflow) -> None:
        """The numbers are those of a clear after the first try; one runs, all the same."""
        unstored.run()
        unstored.retries = 1
        unstored.retry().run()
        assert server.running() == ["wf-2"]

    def test_a_running_task_cleared_is_the_same_series(self, server: Server, airflow: Airflow) -> None:
        """Airflow restarts it without touching ``max_tries``; the kill has terminated its workflow, or was too late."""
        airflow.run()
        assert airflow.retry(after=0).run().workflow_id == "wf-1"
        server.end("wf-1", "TERMINATED", KILLED)
        assert airflow.retry(after=0).run().workflow_id == "wf-2"
        assert server.running() == ["wf-2"]

    @pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED"])
    def test_a_new_dag_run_with_the_same_id_is_another_run(self, server: Server, airflow: Airflow, status: str) -> None:
        airflow.run()
        server.end("wf-1", status, "somebody else")
        server.pass_time(3600)
        again = Airflow(server, stores=airflow.stores, run_began=server.now)
        again.crash(crash_before)
        assert again.retry().run().workflow_id == "wf-2"
        assert server.bodies[0]["idempotencyKey"] != server.bodies[1]["idempotencyKey"]

    @pytest.mark.parametrize("fault", [answer_lost, done_later(10), request_lost])
    def test_and_its_unanswered_start_is_not_what_ran_before(
        self, server: Server, airflow: Airflow, fault: Fault
    ) -> None:
        airflow.run()
        server.end("wf-1", "COMPLETED")
        server.pass_time(2)
        again = Airflow(server, stores=airflow.stores, run_began=server.now)
        assert again.run(fault).workflow_id == "wf-2"
        assert server.running() == ["wf-2"]

    def test_two_airflows_on_one_conductor_are_told_apart_by_their_prefix(self, server: Server) -> None:
        one, other = Airflow(server, prefix="prod"), Airflow(server, prefix="dev")
        one.run()
        other.retry().run()
        assert server.running() == ["wf-1", "wf-2"]
        assert one.retry().run().workflow_id == "wf-1"

    @pytest.mark.parametrize("ahead", [-3600, -30, 0, 30, 3600])
    def test_a_server_whose_clock_is_wrong_is_understood(self, server: Server, airflow: Airflow, ahead: float) -> None:
        server.clock_ahead = ahead
        assert airflow.run(answer_lost).posts == 1
        assert airflow.retry().run().workflow_id == "wf-1"
        server.end("wf-1", "COMPLETED")
        assert airflow.clear().run(*at("/workflow", answer_lost)).posts == 1
        assert server.running() == ["wf-2"]

    @pytest.mark.parametrize("ahead", [-50, 0, 3600])
    def test_so_is_one_without_a_date_header(self, server: Server, airflow: Airflow, ahead: float) -> None:
        server.clock_ahead, server.tells_date = ahead, False
        assert airflow.run(answer_lost).posts == 1
        assert airflow.retry().run().workflow_id == "wf-1"


class TestRecord:
    def test_the_id_on_record_is_enough_where_the_server_looks_nothing_up(
        self, server: Server, stored: Airflow
    ) -> None:
        server.looks_up = False
        stored.run()
        assert stored.retry().run().workflow_id == "wf-1"
        assert server.running() == ["wf-1"]
        stored.clear().run()
        assert server.running() == ["wf-2"]

    @pytest.mark.parametrize("trouble", [refused, unavailable, request_lost])
    def test_and_where_the_look_up_fails(self, stored: Airflow, trouble: Fault) -> None:
        stored.run()
        assert stored.retry().run(fine, trouble).workflow_id == "wf-1"

    def test_without_a_record_a_failing_look_up_is_no_reason_to_start(self, server: Server, unstored: Airflow) -> None:
        unstored.run()
        with pytest.raises(ConductorError):
            unstored.retry().run(unavailable)
        assert len(server.workflows) == 1

    def test_one_on_record_that_is_gone_is_not_started_again_since_it_may_have_completed(
        self, server: Server, stored: Airflow
    ) -> None:
        stored.run()
        del server.workflows["wf-1"]
        with pytest.raises(WorkflowGoneError, match=r"wf-1, .*clear the task") as error:
            stored.retry().run()
        assert error.value.workflow_id == "wf-1"
        assert not server.workflows
        # A clear is another matter.
        assert stored.clear().run().action is Action.START

    def test_one_deleted_without_a_record_is_started_again(self, server: Server, unstored: Airflow) -> None:
        unstored.run()
        del server.workflows["wf-1"]
        assert unstored.retry().run().workflow_id == "wf-2"


class TestArchived:
    @pytest.mark.parametrize("retry_from", ["failed_task", "start", "new"])
    @pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
    def test_a_completed_one_is_kept_and_a_failed_one_started_again(
        self, server: Server, airflow: Airflow, status: str, retry_from: str
    ) -> None:
        airflow.retry_from = retry_from
        airflow.run()
        server.end("wf-1", status)
        server.archive("wf-1")
        started = airflow.retry().run()
        if status == "COMPLETED":
            assert (started.action, started.workflow_id) == (Action.ATTACH, "wf-1")
            assert not server.workflows
        else:
            assert (started.action, started.workflow_id) == (Action.START, "wf-2")
            assert server.bodies[1]["correlationId"].endswith(":1.1")

    def test_one_that_is_archived_before_its_start_is_answered_is_not_started_again(
        self, server: Server, airflow: Airflow
    ) -> None:
        def quick(server: Server, call: Any) -> Any:
            server.archive(server.carry_out(call))
            server.archived["wf-1"]["status"] = "COMPLETED"
            server.pass_time(READ_TIMEOUT)
            raise ConductorTimeoutError("no answer", method=call.method, path=call.path, fate_unknown=True)

        started = airflow.run(quick)
        assert (started.workflow_id, started.posts) == ("wf-1", 1)
        assert airflow.retry().run().workflow_id == "wf-1"

    def test_nor_is_it_after_a_crash(self, server: Server, airflow: Airflow) -> None:
        airflow.crash(crash_after)
        server.end("wf-1", "COMPLETED")
        server.archive("wf-1")
        started = airflow.retry().run()
        assert (started.action, started.workflow_id) == (Action.ATTACH, "wf-1")

    def test_an_archived_child_is_not_mistaken_for_it(self, server: Server, unstored: Airflow) -> None:
        server.task_types = ("SUB_WORKFLOW",)
        unstored.run()
        server.pass_time(1)
        child = server.child("wf-1", "SUB_WORKFLOW", "COMPLETED")
        server.end("wf-1", "FAILED")
        server.archive(child)
        server.archive("wf-1")
        assert unstored.retry().run().action is Action.START

    def test_a_new_dag_run_does_not_find_what_an_earlier_one_archived(self, server: Server, unstored: Airflow) -> None:
        unstored.run()
        server.end("wf-1", "COMPLETED")
        server.archive("wf-1")
        server.pass_time(3_600)
        again = replace(unstored, run_began=server.now)
        again.crash(crash_before)
        assert again.retry().run().action is Action.START


class TestLookUpThatLeavesOut:
    """On PostgreSQL, a look-up leaves out a workflow whose row is being written."""

    @pytest.mark.parametrize("label", [None, "monday"])
    def test_the_index_keeps_a_running_one_from_being_started_again(
        self, server: Server, airflow: Airflow, label: str | None
    ) -> None:
        airflow.label = label
        airflow.run()
        server.locked = True
        started = airflow.retry().run()
        assert (started.action, started.workflow_id) == (Action.ATTACH, "wf-1")
        assert len(server.workflows) == 1

    def test_so_it_does_where_a_label_has_been_used_hundreds_of_times(self, server: Server, airflow: Airflow) -> None:
        airflow.label = "nightly"
        for _ in range(300):
            server.add("COMPLETED", correlationId="nightly")
        server.pass_time(3_600)
        airflow.run_began = server.now
        ours = airflow.run().workflow_id
        server.locked = True
        assert airflow.retry().run().workflow_id == ours

    def test_one_of_an_earlier_dag_run_with_the_same_id_hides_nothing(self, server: Server, unstored: Airflow) -> None:
        unstored.run()
        server.end("wf-1", "COMPLETED")
        server.pass_time(3_600)
        again = replace(unstored, run_began=server.now)
        ours = again.run().workflow_id
        server.locked = True
        assert again.retry().run().workflow_id == ours
        assert server.running() == [ours]

    @pytest.mark.parametrize("child_is", ["RUNNING", "FAILED"])
    @pytest.mark.parametrize("parent_is", ["deleted", "restarted"])
    def test_the_index_makes_no_child_the_tasks_own_workflow(
        self, server: Server, unstored: Airflow, parent_is: str, child_is: str
    ) -> None:
        unstored.run()
        child = server.child("wf-1", "SUB_WORKFLOW", child_is)
        server.locked = True
        if parent_is == "deleted":
            del server.workflows["wf-1"]
        else:  # which gives it a new time
            server.workflows["wf-1"]["createTime"] += 1_000
        started = unstored.retry().run()
        assert started.workflow_id == ("wf-3" if parent_is == "deleted" else "wf-1")
        assert server.status(child) == child_is

    def test_one_that_the_index_still_has_and_the_server_has_not_counts_for_nothing(
        self, server: Server, unstored: Airflow
    ) -> None:
        unstored.run()
        server.archive("wf-1")
        assert unstored.retry().run().workflow_id == "wf-2"


class TestServerWithoutLookUp:
    @pytest.mark.parametrize("unanswered", [False, True])
    def test_it_is_warned_about_once_where_that_matters(
        self, server: Server, airflow: Airflow, unanswered: bool
    ) -> None:
        server.looks_up = False
        airflow.run(answer_lost if unanswered else fine)
        assert len(airflow.warnings) == int(unanswered or not airflow.stores)
        for warning in airflow.warnings:
            assert "is not found by its correlation id" in warning
            assert "may then run twice" in warning
            assert ("a retry starts another" in warning) is not airflow.stores

    def test_a_slow_index_is_given_a_moment(self, server: Server, airflow: Airflow) -> None:
        server.index_delay = 2.5
        airflow.run()
        assert not airflow.warnings

    def test_one_without_the_route_can_still_be_used(self, server: Server, airflow: Airflow) -> None:
        server.no_route = True
        airflow.run()
        assert airflow.retry().run().workflow_id == ("wf-1" if airflow.stores else "wf-2")
        assert any("no such endpoint" in warning for warning in airflow.warnings)

    def test_also_after_a_crash(self, server: Server, airflow: Airflow) -> None:
        server.no_route = True
        airflow.crash(crash_before)
        before = server.now
        assert airflow.retry().run().action is Action.START
        assert server.now - before < PATIENCE + 61
        assert sum("no such endpoint" in warning for warning in airflow.warnings) == 1


class TestLabel:
    """A correlation id of the user's own, which other tasks may use too."""

    @pytest.fixture
    def labelled(self, airflow: Airflow) -> Airflow:
        return replace(airflow, label="order-7", input={"order": 7})

    def test_it_is_sent_and_a_retry_finds_its_workflow(self, server: Server, labelled: Airflow) -> None:
        labelled.context_input = {"airflow": {"try_number": 1}}
        labelled.crash(crash_after)
        assert server.bodies[0]["correlationId"] == "order-7"
        assert server.bodies[0]["idempotencyKey"].startswith("airflow:nightly")
        labelled.context_input = {"airflow": {"try_number": 2}}  # no difference
        assert labelled.retry().run().workflow_id == "wf-1"

    @pytest.mark.parametrize(
        "other",
        [
            {"name": "invoices"},
            {"input": {"order": 8}},
            {"input": {"order": 7, "region": "eu"}},
            {"correlationId": "ORDER-7"},
            {"parentWorkflowId": "wf-0"},
            {"event": "conductor:orders"},
            {"input": {}, "externalInputPayloadStoragePath": "kept/outside.json"},
        ],
    )
    def test_only_the_same_input_under_the_same_label_may_be_ours(
        self, server: Server, labelled: Airflow, other: dict[str, Any]
    ) -> None:
        server.widens = "name" not in other
        server.add(**{"correlationId": "order-7", "input": {"order": 7}, **other})
        labelled.crash(crash_before)
        assert labelled.retry().run().workflow_id == "wf-2"
        assert server.running() == ["wf-1", "wf-2"]

    @pytest.mark.parametrize(("requested", "workflow_id"), [(None, "wf-1"), (3, "wf-1"), (4, "wf-2")])
    def test_only_the_requested_version_may_be_ours(
        self, server: Server, labelled: Airflow, requested: int | None, workflow_id: str
    ) -> None:
        server.add(correlationId="order-7", input={"order": 7}, workflowVersion=3)
        labelled.version = requested
        labelled.crash(crash_before)
        assert labelled.retry().run().workflow_id == workflow_id

    def test_what_is_older_than_the_dag_run_is_not_ours(self, server: Server, labelled: Airflow) -> None:
        server.add("COMPLETED", correlationId="order-7", input={"order": 7})
        server.pass_time(600)
        labelled.run_began = server.now
        labelled.crash(crash_before)
        assert labelled.retry().run().workflow_id == "wf-2"

    def test_nothing_is_terminated_but_what_is_on_record(self, server: Server, labelled: Airflow) -> None:
        labelled.run()
        server.add(correlationId="order-7", input={"order": 7})
        labelled.retry().run()
        labelled.clear().run(*at("/workflow", answer_lost))
        assert "wf-2" in server.running()
        # A record shows that the first one is the task's own.
        assert ("wf-1" in server.running()) is not labelled.stores

    def test_a_clear_is_a_new_run_all_the_same(self, server: Server, labelled: Airflow) -> None:
        labelled.run()
        server.end("wf-1", "COMPLETED")
        assert labelled.clear().run().workflow_id == "wf-2"

    def test_the_id_on_record_alone_counts(self, server: Server, stored: Airflow) -> None:
        airflow = replace(stored, label="order-7", input={"order": 7})
        server.add("COMPLETED", correlationId="order-7", input={"order": 7})
        airflow.run()
        server.end("wf-2", "FAILED")
        started = airflow.retry().run()
        assert (started.workflow_id, started.action, started.by_label) == ("wf-2", Action.RETRY, False)

    def test_what_was_found_by_its_label_alone_is_never_certain(self, server: Server, labelled: Airflow) -> None:
        server.add(correlationId="order-7", input={"order": 7})
        labelled.crash(crash_before)
        assert labelled.retry().run().by_label
        # The next try has it on record, and knows no more of it than that.
        assert labelled.retry().run().by_label
        assert labelled.clear().run().workflow_id == "wf-2"
        assert server.running() == ["wf-1", "wf-2"]

    def test_nor_is_what_an_unanswered_start_is_found_by(self, labelled: Airflow) -> None:
        assert labelled.run(answer_lost).by_label
        assert not labelled.clear().run().by_label


KINDS = ["SUB_WORKFLOW", "START_WORKFLOW", "failureWorkflow"]


class TestChildren:
    """They have the correlation id of what started them."""

    @pytest.fixture
    def with_children(self, server: Server, airflow: Airflow) -> Airflow:
        """A workflow whose tasks start others of its own name."""
        server.task_types = ("SIMPLE", "SUB_WORKFLOW", "START_WORKFLOW")
        airflow.run()
        server.pass_time(1)
        return airflow

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("child_is", ["RUNNING", "COMPLETED", "FAILED"])
    @pytest.mark.parametrize(("status", "action"), [("RUNNING", Action.ATTACH), ("FAILED", Action.RETRY)])
    def test_a_child_is_neither_used_nor_terminated(
        self, server: Server, with_children: Airflow, kind: str, child_is: str, status: str, action: Action
    ) -> None:
        server.end("wf-1", status)
        child = server.child("wf-1", kind, child_is)
        started = with_children.retry().run()
        assert (started.workflow_id, started.action) == ("wf-1", action)
        assert (server.status("wf-1"), server.status(child)) == ("RUNNING", child_is)

    @pytest.mark.parametrize("child_is", ["RUNNING", "COMPLETED"])
    def test_a_child_of_before_a_restart_is_not_mistaken_for_its_parent(
        self, server: Server, with_children: Airflow, child_is: str
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

    def test_a_successor_outlives_a_clear(self, server: Server, with_children: Airflow) -> None:
        successor = server.child("wf-1")
        server.end("wf-1", "COMPLETED")
        started = with_children.clear().run()
        assert started.action is Action.START
        assert server.running() == [successor, started.workflow_id]
        assert any(successor in line and "left as it is" in line for line in with_children.lines)

    def test_a_successor_outlives_a_kill(self, server: Server, with_children: Airflow) -> None:
        successor = server.child("wf-1")
        assert killed(with_children) == ["wf-1"]
        assert server.running() == [successor]

    def test_a_child_is_not_mistaken_for_a_second_workflow_of_an_unanswered_start(
        self, server: Server, airflow: Airflow
    ) -> None:
        server.task_types = ("START_WORKFLOW",)

        def quick(server: Server, call: Any) -> Any:
            """Two starts are sent, and the second one's workflow has started another before it is looked up."""
            started = server.carry_out(call)
            if (call.method, call.path) == ("POST", "/workflow"):
                server.child(started)
            return started

        started = airflow.run(request_lost, *[quick] * 100)
        assert server.running() == [started.workflow_id, "wf-2"] == ["wf-1", "wf-2"]

    def test_the_older_of_two_starts_stays_though_it_has_children(self, server: Server, airflow: Airflow) -> None:
        server.task_types = ("START_WORKFLOW",)
        server.index_delay = PATIENCE + 10
        started = airflow.run(done_later(1))
        assert len(server.running()) == 2
        server.child("wf-1")
        server.pass_time(60)
        assert airflow.retry().run().workflow_id == "wf-1"
        # With a record, the second start was answered, so its workflow is known not to be a child.
        assert server.running() == ["wf-1", *([] if airflow.stores else [started.workflow_id]), "wf-3"]


def killed(airflow: Airflow) -> list[str]:
    """What a kill of the task while it starts terminates."""
    ids: list[str] = drive(terminate_starts(airflow.plan(), "killed", airflow.lines.append), airflow.server)
    return ids


@pytest.mark.parametrize(("crash", "terminated"), [(done_later(2.5, and_crash=True), ["wf-1"]), (crash_before, [])])
def test_a_kill_terminates_what_the_start_may_have_started(
    server: Server, airflow: Airflow, crash: Fault, terminated: list[str]
) -> None:
    assert killed(airflow.crash(crash)) == terminated
    assert not server.running()
