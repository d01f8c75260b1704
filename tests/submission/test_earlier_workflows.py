"""The table of what a try does about what earlier tries left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.client import Workflow, WorkflowStatus
from airflow_provider_conductor.submission.earlier_workflows import Action, Decision, Found, decide, settle
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.termination_reasons import duplicate_reason, killed_reason, timed_out_reason

KILLED = killed_reason("nightly.orders try 1")
TIMED_OUT = timed_out_reason("nightly.orders try 1")
DUPLICATE = duplicate_reason("wf-1")


def workflow(status: str, reason: str = "", *, at: int = 1, name: str = "") -> Workflow:
    return Workflow(
        {
            "workflowId": name or f"wf-{at}",
            "status": status,
            "reasonForIncompletion": reason,
            "createTime": 1_700_000_000_000 + at,
        }
    )


def found(first_try: int, status: str, reason: str = "", *, generation: int = 0, at: int = 1, **more: Any) -> Found:
    return Found(StartKey(first_try, generation), workflow(status, reason, at=at), **more)


def decision(*items: Found, series: int = 1, **changes: Any) -> Decision:
    options = {
        "leftover_reason": "anew",
        "series_is_known": True,
        "retry_from": "failed_task",
        "cancel_on_kill": True,
        **changes,
    }
    return decide(items, series=series, **options)


def leftovers(decided: Decision) -> list[str]:
    return [workflow_id for workflow_id, reason in decided.to_terminate.items() if reason == "anew"]


def test_nothing_there_is_a_start() -> None:
    assert decision() == Decision(Action.START, generation=0)


ROWS = [
    # status, reason, retry_from → action
    ("RUNNING", "", "failed_task", Action.ATTACH),
    ("RUNNING", "", "start", Action.ATTACH),
    ("RUNNING", "", "new", Action.ATTACH),
    ("PAUSED", "", "new", Action.ATTACH),
    ("COMPLETED", "", "failed_task", Action.ATTACH),
    ("COMPLETED", "", "start", Action.ATTACH),
    ("COMPLETED", "", "new", Action.ATTACH),
    ("FAILED", "boom", "failed_task", Action.RETRY),
    ("FAILED", "boom", "start", Action.RESTART),
    ("FAILED", "boom", "new", Action.START),
    ("TIMED_OUT", "", "failed_task", Action.RETRY),
    ("TIMED_OUT", "", "start", Action.RESTART),
    ("TIMED_OUT", "", "new", Action.START),
    ("TERMINATED", TIMED_OUT, "failed_task", Action.RETRY),
    ("TERMINATED", TIMED_OUT, "start", Action.RESTART),
    ("TERMINATED", TIMED_OUT, "new", Action.START),
    ("TERMINATED", KILLED, "failed_task", Action.START),
    ("TERMINATED", KILLED, "start", Action.START),
    ("TERMINATED", KILLED, "new", Action.START),
    ("TERMINATED", "by hand", "failed_task", Action.REFUSE),
    ("TERMINATED", "by hand", "start", Action.REFUSE),
    ("TERMINATED", "by hand", "new", Action.REFUSE),
    ("TERMINATED", "", "new", Action.REFUSE),
    # A workflow that failed under a reason that reads like ours has failed all the same.
    ("FAILED", KILLED, "failed_task", Action.RETRY),
]


@pytest.mark.parametrize(("status", "reason", "retry_from", "action"), ROWS)
@pytest.mark.parametrize("known", [True, False], ids=["series known", "series unknown"])
def test_the_newest_of_the_series_decides(
    status: str, reason: str, retry_from: str, action: Action, known: bool
) -> None:
    decided = decision(found(1, status, reason), retry_from=retry_from, series_is_known=known)
    assert decided.action is action
    if action is Action.START:
        assert decided.workflow is None
        assert decided.generation == 1
    else:
        assert decided.workflow is not None
        assert decided.workflow.workflow_id == "wf-1"
    assert not decided.to_terminate


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_what_still_runs_of_an_earlier_series_is_terminated_first(status: str) -> None:
    decided = decision(found(1, status), series=2)
    assert (decided.action, decided.generation, leftovers(decided)) == (Action.START, 0, ["wf-1"])


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_with_cancel_on_kill_false_it_is_attached(status: str) -> None:
    decided = decision(found(1, "RUNNING"), found(2, status, at=2), series=3, cancel_on_kill=False)
    assert decided.action is Action.ATTACH
    assert decided.workflow is not None
    assert decided.workflow.workflow_id == "wf-2"
    assert not decided.to_terminate


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"])
@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_what_ended_in_an_earlier_series_is_not_looked_at(status: str, cancel_on_kill: bool) -> None:
    assert decision(found(1, status), series=2, cancel_on_kill=cancel_on_kill) == Decision(Action.START)


def test_an_earlier_series_does_not_hide_the_present_one() -> None:
    decided = decision(found(1, "RUNNING"), found(2, "RUNNING", at=2), series=2)
    assert decided.action is Action.ATTACH
    assert decided.workflow is not None
    assert decided.workflow.workflow_id == "wf-2"
    assert leftovers(decided) == ["wf-1"]


def test_with_cancel_on_kill_false_the_present_series_comes_before_an_earlier_one() -> None:
    decided = decision(found(1, "RUNNING"), found(2, "FAILED", at=2), series=2, cancel_on_kill=False)
    assert decided.action is Action.RETRY
    assert not decided.to_terminate


def test_where_the_series_is_not_known_nothing_counts_as_a_leftover() -> None:
    decided = decision(found(1, "FAILED"), found(3, "RUNNING", at=2), series_is_known=False)
    assert decided.action is Action.ATTACH
    assert decided.workflow is not None
    assert decided.workflow.workflow_id == "wf-2"
    assert not decided.to_terminate


def test_a_start_of_what_a_try_took_for_a_later_series_is_this_series_too() -> None:
    decided = decision(found(1, "TERMINATED", KILLED), found(2, "RUNNING", at=2), series=1)
    assert decided.action is Action.ATTACH
    assert decided.workflow is not None
    assert decided.workflow.workflow_id == "wf-2"


def test_the_newest_generation_decides() -> None:
    decided = decision(found(1, "FAILED"), found(1, "RUNNING", generation=1, at=2), retry_from="new")
    assert decided.action is Action.ATTACH
    assert decided.workflow is not None
    assert decided.workflow.workflow_id == "wf-2"


def test_a_fresh_start_takes_the_next_generation() -> None:
    items = [found(1, "FAILED"), found(1, "FAILED", generation=1, at=2)]
    assert decision(*items, retry_from="new") == Decision(Action.START, generation=2)


def test_a_workflow_older_than_the_dag_run_is_not_this_runs() -> None:
    assert decision(found(1, "COMPLETED", of_this_run=False)) == Decision(Action.START)
    decided = decision(found(1, "RUNNING", of_this_run=False), series_is_known=False)
    assert (decided.action, leftovers(decided)) == (Action.START, ["wf-1"])


def test_of_two_that_one_start_made_the_older_is_attached_and_the_younger_ended() -> None:
    decided = decision(found(1, "RUNNING", at=2), found(1, "RUNNING", at=1))
    assert decided.action is Action.ATTACH
    assert decided.workflow is not None
    assert decided.workflow.workflow_id == "wf-1"
    assert decided.to_terminate == {"wf-2": duplicate_reason("wf-1")}


def test_a_terminated_duplicate_is_not_somebody_elses_doing() -> None:
    decided = decision(found(1, "RUNNING", at=1), found(1, "TERMINATED", DUPLICATE, at=2))
    assert decided.action is Action.ATTACH
    assert decision(found(1, "TERMINATED", DUPLICATE)) == Decision(Action.START, generation=1)


SETTLED = [
    # (status, created) … → stays, terminated
    ([], None, []),
    ([("RUNNING", 1)], "1", []),
    ([("RUNNING", 2), ("RUNNING", 1), ("PAUSED", 3)], "1", ["2", "3"]),
    ([("COMPLETED", 1), ("RUNNING", 2)], "1", ["2"]),
    ([("RUNNING", 1), ("COMPLETED", 2)], "1", []),
    ([("FAILED", 1), ("RUNNING", 2)], "2", []),
    ([("FAILED", 1), ("TIMED_OUT", 2)], "2", []),
]


@pytest.mark.parametrize(("workflows", "stays", "terminated"), SETTLED)
def test_the_older_that_is_alive_stays(workflows: Any, stays: str | None, terminated: list[str]) -> None:
    kept, younger = settle(Found(StartKey(1), workflow(status, at=at, name=str(at))) for status, at in workflows)
    assert (kept.workflow.workflow_id if kept else None) == stays
    assert [item.workflow.workflow_id for item in younger] == terminated


statuses = st.tuples(
    st.sampled_from([str(status) for status in WorkflowStatus]),
    st.sampled_from(["", KILLED, TIMED_OUT, DUPLICATE, "x"]),
)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), statuses, st.integers(1, 9), st.booleans()), max_size=6),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["failed_task", "start", "new"]),
)
def test_whatever_is_there_at_most_one_runs_on(items: Any, series: int, known: bool, retry_from: str) -> None:
    everything = [
        Found(StartKey(first_try, generation), workflow(status, reason, at=at, name=f"wf-{index}"), of_this_run)
        for index, (first_try, generation, (status, reason), at, of_this_run) in enumerate(items)
    ]
    decided = decision(*everything, series=series, series_is_known=known, retry_from=retry_from)
    ended = set(decided.to_terminate)
    if decided.workflow is not None:
        assert decided.workflow.workflow_id not in ended
    if decided.action is Action.START:
        # A fresh start must not be taken for an earlier one.
        present = [i.key for i in everything if i.of_this_run and (not known or i.key.first_try >= series)]
        assert decided.generation > max((key.generation for key in present), default=-1)
    by_key: dict[StartKey, int] = {}
    for item in everything:
        if item.workflow.workflow_id not in ended and not item.workflow.status.ended and item.of_this_run:
            by_key[item.key] = by_key.get(item.key, 0) + 1
    assert all(count == 1 for count in by_key.values())
    if known:
        assert all(key.first_try >= series for key in by_key)
