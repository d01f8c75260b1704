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


def workflow_id(decided: Decision) -> str | None:
    return None if decided.workflow is None else decided.workflow.workflow_id


ROWS = [
    # status, reason → action by retry_from: failed_task, start, new
    ("RUNNING", "", (Action.ATTACH, Action.ATTACH, Action.ATTACH)),
    ("PAUSED", "", (Action.ATTACH, Action.ATTACH, Action.ATTACH)),
    ("COMPLETED", "", (Action.ATTACH, Action.ATTACH, Action.ATTACH)),
    ("FAILED", "boom", (Action.RETRY, Action.RESTART, Action.START)),
    ("TIMED_OUT", "", (Action.RETRY, Action.RESTART, Action.START)),
    ("TERMINATED", TIMED_OUT, (Action.RETRY, Action.RESTART, Action.START)),
    ("TERMINATED", KILLED, (Action.START, Action.START, Action.START)),
    ("TERMINATED", "by hand", (Action.REFUSE, Action.REFUSE, Action.REFUSE)),
    ("TERMINATED", "", (Action.REFUSE, Action.REFUSE, Action.REFUSE)),
    # A workflow that failed under a reason that reads like ours has failed all the same.
    ("FAILED", KILLED, (Action.RETRY, Action.RESTART, Action.START)),
]


@pytest.mark.parametrize(("status", "reason", "actions"), ROWS)
@pytest.mark.parametrize("known", [True, False], ids=["series known", "series unknown"])
@pytest.mark.parametrize("archived", [False, True])
def test_the_newest_of_the_series_decides(
    status: str, reason: str, actions: tuple[Action, ...], known: bool, archived: bool
) -> None:
    for retry_from, action in zip(("failed_task", "start", "new"), actions, strict=True):
        if archived and action in (Action.RETRY, Action.RESTART):
            action = Action.START  # it cannot be run again
        decided = decision(found(1, status, reason, archived=archived), retry_from=retry_from, series_is_known=known)
        expected = (Action.START, None, 1) if action is Action.START else (action, "wf-1", 0)
        assert (decided.action, workflow_id(decided), decided.generation) == expected
        assert not decided.to_terminate


KEEP = {"cancel_on_kill": False}
OF_2, OF_3 = {"series": 2}, {"series": 3}
NEW, UNKNOWN = {"retry_from": "new"}, {"series_is_known": False}
OLD = {"of_this_run": False}

SERIES = [
    # found, options → (action, workflow, generation), terminated before
    ([], {}, (Action.START, None, 0), {}),
    # What runs of an earlier series is terminated first; what has ended does not count.
    ([found(1, "RUNNING")], OF_2, (Action.START, None, 0), {"wf-1": "anew"}),
    ([found(1, "PAUSED")], OF_2, (Action.START, None, 0), {"wf-1": "anew"}),
    *(
        ([found(1, status)], {**OF_2, **options}, (Action.START, None, 0), {})
        for status in ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")
        for options in ({}, KEEP)
    ),
    ([found(1, "RUNNING"), found(2, "RUNNING", at=2)], OF_2, (Action.ATTACH, "wf-2", 0), {"wf-1": "anew"}),
    # With cancel_on_kill=False it is attached, unless the present series has one.
    ([found(1, "RUNNING"), found(2, "RUNNING", at=2)], OF_3 | KEEP, (Action.ATTACH, "wf-2", 0), {}),
    ([found(1, "RUNNING"), found(2, "PAUSED", at=2)], OF_3 | KEEP, (Action.ATTACH, "wf-2", 0), {}),
    ([found(1, "RUNNING"), found(2, "FAILED", at=2)], OF_2 | KEEP, (Action.RETRY, "wf-2", 0), {}),
    # Where the series is not known, nothing is of an earlier one.
    ([found(1, "FAILED"), found(3, "RUNNING", at=2)], UNKNOWN, (Action.ATTACH, "wf-2", 0), {}),
    # What a try took for a later series is this series', too.
    ([found(1, "TERMINATED", KILLED), found(2, "RUNNING", at=2)], {}, (Action.ATTACH, "wf-2", 0), {}),
    # The newest generation decides, and a new start takes the next one.
    ([found(1, "FAILED"), found(1, "RUNNING", generation=1, at=2)], NEW, (Action.ATTACH, "wf-2", 0), {}),
    ([found(1, "FAILED"), found(1, "FAILED", generation=1, at=2)], NEW, (Action.START, None, 2), {}),
    # A workflow older than the dag run is not this run's.
    ([found(1, "COMPLETED", **OLD)], {}, (Action.START, None, 0), {}),
    ([found(1, "RUNNING", **OLD)], UNKNOWN, (Action.START, None, 0), {"wf-1": "anew"}),
    # Of two from one start the older stays, and the younger is terminated, unless they may be another task's.
    ([found(1, "RUNNING", at=2), found(1, "RUNNING")], {}, (Action.ATTACH, "wf-1", 0), {"wf-2": DUPLICATE}),
    ([found(1, "RUNNING", at=at, by_label=True) for at in (2, 1)], {}, (Action.ATTACH, "wf-1", 0), {}),
    # A terminated duplicate was not terminated by a user.
    ([found(1, "RUNNING"), found(1, "TERMINATED", DUPLICATE, at=2)], {}, (Action.ATTACH, "wf-1", 0), {}),
    ([found(1, "TERMINATED", DUPLICATE)], {}, (Action.START, None, 1), {}),
]


@pytest.mark.parametrize(("items", "options", "expected", "to_terminate"), SERIES)
def test_series_and_starts(items: Any, options: Any, expected: Any, to_terminate: dict[str, str]) -> None:
    decided = decision(*items, **options)
    assert (decided.action, workflow_id(decided), decided.generation) == expected
    assert decided.to_terminate == to_terminate


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
