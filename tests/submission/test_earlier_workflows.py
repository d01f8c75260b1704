"""The table of what a try does about what earlier tries left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.client.endpoints import StartBody
from airflow_provider_conductor.submission.earlier_workflows import Action, Decision, Found, decide, settle
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.termination_reasons import duplicate_reason, killed_reason, timed_out_reason

IDENTITY = TaskIdentity(prefix="airflow", dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=3, first_try=1)

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


def decision(*items: Found, series: int = 1, series_is_known: bool = True, **options: Any) -> Decision:
    """By the third try of a series that began with the try ``series``, or with one that is yet to come."""
    identity = replace(IDENTITY, first_try=series if series_is_known else 4)
    return decide(StartPlan(identity=identity, body=StartBody(name="orders"), leftover_reason="anew", **options), items)


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
