"""The operators that control workflows, on a real server: what each changes there, many at once, and selections."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_conductor.exceptions import ConductorInvalidStateError
from airflow_provider_conductor.operators import (
    ConductorDeleteWorkflowOperator,
    ConductorPauseWorkflowOperator,
    ConductorRerunWorkflowOperator,
    ConductorRestartWorkflowOperator,
    ConductorResumeWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorSkipTaskOperator,
    ConductorTerminateWorkflowOperator,
)
from tests.integration.client_lab import Lab
from tests.operators.workflows import UNKNOWN, Workflows
from tests.waiting_modes.modes import Outcome, run_task

pytestmark = pytest.mark.integration

both_servers = pytest.mark.parametrize(
    "workflows", ["conductor_server", "old_conductor_server"], ids=["newest", "oldest"], indirect=True
)
newest_server = pytest.mark.parametrize("workflows", ["conductor_server"], ids=["newest"], indirect=True)
LONG_AGO = 1_767_222_000_000


def without(*abilities: str) -> pytest.MarkDecorator:
    """The newest server, if it lacks all of these, and the oldest, which has neither look-up nor index."""
    newest = pytest.param("conductor_server", marks=pytest.mark.lacks(*abilities))
    return pytest.mark.parametrize(
        "workflows", [newest, "old_conductor_server"], ids=["newest", "oldest"], indirect=True
    )


def act(kind: type, workflow_id: Any = None, **arguments: Any) -> Outcome:
    return run_task(kind, workflow_id=workflow_id, **arguments)


def succeed(kind: type, workflow_id: Any = None, **arguments: Any) -> Any:
    outcome = act(kind, workflow_id, **arguments)
    assert outcome.error is None
    return outcome.result


def refused(kind: type, workflow_id: Any, told: str, **arguments: Any) -> str:
    """The message of the refusal."""
    error = act(kind, workflow_id, **arguments).error
    assert type(error) is ConductorInvalidStateError
    assert told in str(error)
    return str(error)


# What each changes


@both_servers
def test_a_termination_says_why(workflows: Workflows) -> None:
    ids = workflows.several("RUNNING", 2)
    succeed(ConductorTerminateWorkflowOperator, ids, reason="no longer wanted")
    assert [workflows.client.get_workflow(item).reason for item in ids] == ["no longer wanted"] * 2


@pytest.mark.covers("PUT /workflow/{workflowId}/skiptask/{taskReferenceName}")
@both_servers
def test_a_skipped_task_is_not_done_and_has_the_output(workflows: Workflows) -> None:
    one = workflows.one("RUNNING")
    succeed(ConductorSkipTaskOperator, one, task_ref="ship", task_output={"by": "hand", "parcels": 2})
    workflows.finish(one, "pack")
    workflows.until(one, "COMPLETED")
    ship = workflows.client.get_workflow(one).latest_attempt("ship")
    assert (ship.status, ship.output) == ("SKIPPED", {"by": "hand", "parcels": "2"})
    again = act(ConductorSkipTaskOperator, one, task_ref="ship")
    assert (again.error, again.result) == (None, [])
    rerun = act(ConductorRerunWorkflowOperator, one, from_task_ref="ship")  # which would break it
    assert type(rerun.error) is ConductorInvalidStateError
    assert workflows.status(one) == "COMPLETED"


@both_servers
@pytest.mark.parametrize(("ref", "told"), [("pack", "'pack' is SCHEDULED"), ("wrap", "wrap does not exist")])
def test_a_task_that_cannot_be_skipped_is_told(workflows: Workflows, ref: str, told: str) -> None:
    one = workflows.one("RUNNING")
    outcome = act(ConductorSkipTaskOperator, one, task_ref=ref)
    assert isinstance(outcome.error, AirflowException)
    assert told in str(outcome.error)
    assert [task.reference_name for task in workflows.client.get_workflow(one).tasks] == ["pack"]
    workflows.end([one])


@pytest.mark.covers("POST /workflow/{workflowId}/rerun")
@both_servers
def test_a_rerun_from_a_task_keeps_what_was_before_it(workflows: Workflows) -> None:
    one = workflows.one("COMPLETED")
    packed = workflows.client.get_workflow(one).latest_attempt("pack")
    succeed(
        ConductorRerunWorkflowOperator,
        one,
        from_task_ref="ship",
        task_input={"from": "Airflow"},
        workflow_input={"order": 8},
    )
    found = workflows.client.get_workflow(one)
    assert found.input == {"order": 8}
    assert found.latest_attempt("pack").task_id == packed.task_id
    assert (found.latest_attempt("ship").status, found.latest_attempt("ship").input) == (
        "SCHEDULED",
        {"from": "Airflow"},
    )
    workflows.finish(one, "ship")
    workflows.until(one, "COMPLETED")


@both_servers
def test_a_rerun_from_a_task_it_never_came_to_is_told(workflows: Workflows) -> None:
    one = workflows.one("FAILED")
    refused(ConductorRerunWorkflowOperator, one, "never reached a task 'ship' (it reached: pack)", from_task_ref="ship")
    assert workflows.status(one) == "FAILED"


@both_servers
def test_a_rerun_whose_time_is_over_is_refused_and_a_restart_is_not(workflows: Workflows) -> None:
    """The server would accept it, remove the tasks, and time it out again at once."""
    name = f"{workflows.name}_limited"
    workflows.define(name, {"pack": f"{workflows.name}_pack"}, timeoutSeconds=2, timeoutPolicy="TIME_OUT_WF")
    one = workflows.client.start_workflow_by_name(name)
    workflows.time_out(one)
    # The server's clock comes in whole seconds, and late on a busy machine.
    Lab.eventually(lambda: workflows.client.get_workflow(one), lambda it: it.observed_at - it.create_time > 2000)
    refused(ConductorRerunWorkflowOperator, one, "its timeout of 2 s has passed")
    assert [task.reference_name for task in workflows.client.get_workflow(one).tasks] == ["pack"]
    assert succeed(ConductorRestartWorkflowOperator, one) == [one]
    workflows.end([one])


@both_servers
@pytest.mark.parametrize(("count", "wait"), [(1, False), (2, False), (1, True)], ids=["one", "two", "one, waiting"])
def test_a_retry_of_what_ended_itself_is_refused_and_a_restart_is_not(
    workflows: Workflows, count: int, wait: bool
) -> None:
    """The server accepts such a retry one by one, and does nothing; the wait would return the old result."""
    name = f"{workflows.name}_{uuid.uuid4().hex[:8]}"
    stop = {"terminationStatus": "FAILED", "terminationReason": "stock not there yet"}
    workflows.define(name, {"pack": f"{workflows.name}_pack", "stop": {"type": "TERMINATE", "inputParameters": stop}})
    ids = [workflows.client.start_workflow_by_name(name) for _ in range(count)]
    for item in ids:
        workflows.finish(item, "pack")
        workflows.until(item, "FAILED")
    before = [workflows.client.get_workflow(item).data for item in ids]
    chosen = ids[0] if count == 1 else ids
    said = refused(
        ConductorRetryWorkflowOperator, chosen, "its task 'stop' (TERMINATE) has ended it", wait_for_completion=wait
    )
    assert "ConductorRestartWorkflowOperator" in said
    assert [workflows.client.get_workflow(item).data for item in ids] == before
    assert succeed(ConductorRestartWorkflowOperator, ids) == ids
    assert {workflows.status(item) for item in ids} == {"RUNNING"}
    workflows.end(ids)


@pytest.mark.covers("POST /workflow/{workflowId}/restart")
@both_servers
@pytest.mark.parametrize(("latest", "tasks"), [(True, ["wrap"]), (False, ["pack"])])
def test_a_restart_takes_the_latest_definition_or_not(workflows: Workflows, latest: bool, tasks: list[str]) -> None:
    name = f"{workflows.name}_{uuid.uuid4().hex[:8]}"
    workflows.define(name, {"pack": f"{workflows.name}_pack"})
    one = workflows.client.start_workflow_by_name(name)
    workflows.client.terminate_workflow(one)
    workflows.define(name, {"wrap": f"{workflows.name}_pack"}, version=2)
    succeed(ConductorRestartWorkflowOperator, one, use_latest_definition=latest)
    assert [task.reference_name for task in workflows.client.get_workflow(one).tasks] == tasks
    workflows.end([one])


@pytest.mark.covers("DELETE /workflow/{workflowId}/remove")
@newest_server
@pytest.mark.parametrize("archive", [pytest.param(True, marks=pytest.mark.needs("index")), False])
def test_what_is_deleted_is_in_the_index_or_not(workflows: Workflows, archive: bool) -> None:
    one = workflows.one("COMPLETED")
    succeed(ConductorDeleteWorkflowOperator, one, archive=archive)

    def indexed() -> int:
        return workflows.client.search_workflows(query=f"workflowId IN ({one})").total_hits

    Lab.eventually(indexed, lambda found: found == archive)
    assert workflows.status(one) == UNKNOWN


@both_servers
@pytest.mark.parametrize(
    ("kind", "before"),
    [
        (ConductorRestartWorkflowOperator, "FAILED"),
        (ConductorRetryWorkflowOperator, "FAILED"),
        (ConductorRerunWorkflowOperator, "FAILED"),
        (ConductorResumeWorkflowOperator, "PAUSED"),
    ],
)
def test_the_wait_ends_with_the_workflow(workflows: Workflows, kind: type, before: str) -> None:
    """Here at its timeout, which terminates it: what runs again is waited for, and not what ran before."""
    one = workflows.one(before)
    outcome = act(kind, one, wait_for_completion=True, timeout=1, poll_interval=0.2, deferrable=True)
    assert type(outcome.error).__name__ == "ConductorWorkflowTimeoutError"
    assert workflows.status(one) == "TERMINATED"


# What would leave it waiting forever


def in_a_fork_and_a_case(workflows: Workflows) -> str:
    """``pack``, then a switch whose case has ``wrap`` and ``label``, then a fork of ``ship`` and ``bill``."""
    name = f"{workflows.name}_{uuid.uuid4().hex[:8]}"
    simple = {"name": f"{workflows.name}_pack", "type": "SIMPLE", "inputParameters": {}}
    wrap, label, ship, bill = ({**simple, "taskReferenceName": ref} for ref in ("wrap", "label", "ship", "bill"))
    value = {"evaluatorType": "value-param", "expression": "v", "inputParameters": {"v": "yes"}}
    workflows.define(
        name,
        {
            "pack": f"{workflows.name}_pack",
            "gift": {"type": "SWITCH", **value, "decisionCases": {"yes": [wrap, label]}},
            "fork": {"type": "FORK_JOIN", "inputParameters": {}, "forkTasks": [[ship], [bill]]},
            "join": {"type": "JOIN", "inputParameters": {}, "joinOn": ["ship", "bill"]},
        },
    )
    return workflows.client.start_workflow_by_name(name)


@both_servers
@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("wrap", "first task of a case of the switch 'gift'"),
        ("ship", "the JOIN 'join' would wait for it forever"),
        ("fork", "its JOIN would wait forever"),
    ],
)
def test_a_skip_after_which_the_server_would_wait_for_ever_is_refused(
    workflows: Workflows, ref: str, told: str
) -> None:
    one = in_a_fork_and_a_case(workflows)
    refused(ConductorSkipTaskOperator, one, told, task_ref=ref)
    # The server accepts it.
    workflows.client.skip_task_from_workflow(one, ref)
    for item in ("pack", "wrap", "label", "ship", "bill"):
        if item == ref or (item in ("label", "ship", "bill") and ref == "wrap") or (ref == "fork" and item == "ship"):
            break
        workflows.finish(one, item)
    if ref == "ship":
        workflows.finish(one, "bill")
    workflows.client.decide_workflow(one)
    found = workflows.client.get_workflow(one)
    assert found.status == "RUNNING"
    assert [task.kind for task in found.tasks if not task.status.ended] in ([], ["JOIN"])
    workflows.end([one])


@both_servers
def test_another_task_of_a_case_can_be_skipped(workflows: Workflows) -> None:
    one = in_a_fork_and_a_case(workflows)
    assert succeed(ConductorSkipTaskOperator, one, task_ref="label") == [one]
    for ref in ("pack", "wrap", "ship", "bill"):
        workflows.finish(one, ref)
    workflows.until(one, "COMPLETED")


@both_servers
def test_a_rerun_after_which_the_server_would_wait_for_ever_is_refused(workflows: Workflows) -> None:
    one = in_a_fork_and_a_case(workflows)
    for ref in ("pack", "wrap", "label", "ship", "bill"):
        workflows.finish(one, ref)
    workflows.until(one, "COMPLETED")
    for ref, told in (
        ("ship", "in a branch of the fork 'fork'"),
        ("gift", "a SWITCH would run again"),
        ("fork", "a FORK_JOIN would run again"),
        ("join", "a JOIN would run again"),
    ):
        refused(ConductorRerunWorkflowOperator, one, told, from_task_ref=ref)
    assert workflows.status(one) == "COMPLETED"
    assert succeed(ConductorRerunWorkflowOperator, one, from_task_ref="wrap") == [one]
    for ref in ("wrap", "label", "ship", "bill"):
        workflows.finish(one, ref)
    workflows.until(one, "COMPLETED")
    shipped = workflows.client.get_workflow(one).latest_attempt("ship")
    assert shipped is not None
    workflows.client.rerun_workflow(one, re_run_from_task_id=shipped.task_id)  # the server accepts it
    workflows.finish(one, "ship")
    workflows.client.decide_workflow(one)
    found = workflows.client.get_workflow(one)
    assert found.status == "RUNNING"
    assert {task.kind for task in found.tasks if not task.status.ended} <= {"JOIN"}
    assert found.latest_attempt("bill") is None
    workflows.end([one])


# Many


@pytest.mark.covers("POST /workflow/bulk/terminate")
@newest_server
@pytest.mark.faults
def test_more_than_a_thousand_go_in_chunks_and_those_that_fail_are_named(workflows: Workflows) -> None:
    ids = workflows.waiting(1_020)
    ended, unknown = ids[500:502], f"unknown-{uuid.uuid4()}"
    workflows.client.bulk_terminate(ended, "by somebody")
    outcome = act(ConductorPauseWorkflowOperator, [*ids, unknown])
    assert type(outcome.error) is ConductorInvalidStateError
    told = str(outcome.error)
    assert "could not pause 3 workflows (paused 1,018 workflows, 0 already so, 3 failed)" in told
    assert "2 workflows are each TERMINATED: there is nothing to pause; ConductorRetryWorkflowOperator" in told
    assert all(item in told for item in (*ended, unknown))
    result = succeed(ConductorTerminateWorkflowOperator, ids, reason="by Airflow")
    assert result == [item for item in ids if item not in ended]
    assert workflows.client.get_workflow(ended[0]).reason == "by somebody"
    assert succeed(ConductorDeleteWorkflowOperator, ids, archive=False) == ids


# Selection


@pytest.mark.needs("look-up", "index")
@newest_server
def test_a_query_selects_up_to_its_bound(workflows: Workflows) -> None:
    name, label = f"{workflows.name}_waiting", uuid.uuid4().hex
    ids = workflows.waiting(4, correlationId=label)
    query = f"workflowType IN ({name}) AND correlationId = '{label}' AND status IN (RUNNING) AND startTime > {LONG_AGO}"
    Lab.eventually(lambda: workflows.client.search_workflows(query=f"workflowType IN ({name})").total_hits, (4).__le__)
    conditions = {"workflow_name": name, "status": "RUNNING", "started_after": "2026-01-01"}
    for how in ({"query": query}, conditions, {"workflow_name": name, "correlation_id": label}):
        over = act(ConductorTerminateWorkflowOperator, max_workflows=3, **how)
        assert isinstance(over.error, AirflowFailException)
        assert "selects 4 workflows, more than max_workflows=3: no workflow was changed" in str(over.error)
    assert {workflows.status(item) for item in ids} == {"RUNNING"}
    assert set(succeed(ConductorPauseWorkflowOperator, workflow_name=name, correlation_id=label)) == set(ids)
    Lab.eventually(lambda: workflows.client.search_workflows(query=query).total_hits, (0).__eq__)
    query = query.replace("RUNNING", "RUNNING,  PAUSED").replace(" AND", "   AND")
    assert set(succeed(ConductorTerminateWorkflowOperator, query=query)) == set(ids)


@pytest.mark.needs("index", "end times")
@newest_server
def test_times_select(workflows: Workflows) -> None:
    """The index has them to the millisecond; what it finds is compared with the workflows themselves."""
    name = f"{workflows.name}_{uuid.uuid4().hex[:8]}"
    workflows.define(name, {"pack": f"{workflows.name}_pack"})
    first, second, running = (workflows.client.start_workflow_by_name(name) for _ in range(3))
    for item in (first, second):
        workflows.client.terminate_workflow(item)
        time.sleep(0.005)
    end = workflows.client.get_workflow(first).end_time
    Lab.eventually(
        lambda: workflows.client.search_workflows(query=f"workflowType IN ({name}) AND endTime > 0").total_hits,
        (2).__eq__,
    )
    at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=end + 1)).isoformat()
    how: dict[str, Any] = {"workflow_name": name, "archive": False}
    assert succeed(ConductorDeleteWorkflowOperator, ended_before=timedelta(days=1), **how) == []
    assert succeed(ConductorDeleteWorkflowOperator, ended_before=at, started_after=timedelta(days=1), **how) == [first]
    assert succeed(ConductorDeleteWorkflowOperator, ended_after=at, **how) == [second]
    assert succeed(ConductorTerminateWorkflowOperator, workflow_name=name, started_before="2100-01-01") == [running]


@without("index")
def test_without_an_index_a_selection_that_finds_nothing_is_a_failure(workflows: Workflows) -> None:
    one = workflows.one("RUNNING", correlation_id="monday")
    for how in (
        {"query": f"workflowType IN ({workflows.name})"},
        {"workflow_name": workflows.name, "correlation_id": "tuesday"},
    ):
        outcome = act(ConductorTerminateWorkflowOperator, **how)
        assert "search index has no workflow at all" in str(outcome.error)
    assert workflows.status(one) == "RUNNING"
    workflows.end([one])


@without("look-up", "index")
def test_what_neither_look_up_nor_index_finds_is_not_taken_for_missing(workflows: Workflows) -> None:
    one = workflows.one("RUNNING", correlation_id="monday")
    outcome = act(ConductorTerminateWorkflowOperator, workflow_name=workflows.name, correlation_id="monday")
    assert "search index has no workflow at all" in str(outcome.error)
    assert workflows.status(one) == "RUNNING"
    workflows.end([one])


@newest_server
@pytest.mark.needs("look-up")
def test_the_look_up_selects_with_or_without_an_index(workflows: Workflows) -> None:
    one, other = (workflows.one("RUNNING", correlation_id=label) for label in ("monday", "Monday"))
    how = {"workflow_name": workflows.name, "correlation_id": "monday"}
    assert succeed(ConductorTerminateWorkflowOperator, **how) == [one]
    assert workflows.status(other) == "RUNNING"
    workflows.end([other])


@pytest.mark.needs("index")
@pytest.mark.lacks("end times")
@newest_server
def test_without_end_times_in_the_index_a_selection_by_them_is_a_failure(workflows: Workflows) -> None:
    one = workflows.one("TERMINATED")
    how: dict[str, Any] = {"workflow_name": workflows.name, "ended_after": "2026-01-01"}
    outcome = act(ConductorDeleteWorkflowOperator, archive=False, **how)
    assert "500" in str(outcome.error)
    assert workflows.status(one) == "TERMINATED"
