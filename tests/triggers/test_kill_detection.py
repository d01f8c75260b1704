"""What a cancelled trigger reads as a kill, and how it reads the state of its task."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState

from airflow_provider_conductor._airflow import DELETED, TaskNow, state_in_answer
from airflow_provider_conductor.triggers.base import is_kill

STATES = (
    *("scheduled", "queued", "running", "restarting", "deferred", "success", "failed", "skipped", "upstream_failed"),
    *("up_for_retry", "up_for_reschedule", "removed", DELETED, None),
)


def rows() -> list[tuple[str | None, bool, bool]]:
    """The cases in the docstring of :func:`is_kill`: state, whether the deferral is the last heard of it, kill."""
    found = []
    for line in (is_kill.__doc__ or "").splitlines():
        cells = re.split(r"  +", line.strip())
        if len(cells) < 4 or cells[2] not in ("yes", "no"):
            continue
        for state in cells[0].split(", "):
            for last in {"yes": (True,), "no": (False,), "any": (True, False)}[cells[1]]:
                found.append((None if state == "None" else state, last, cells[2] == "yes"))
    return found


def cases() -> dict[tuple[str | None, bool], bool]:
    wanted = {(state, last): kill for state, last, kill in rows()}
    other = {last: wanted[("and whatever else Airflow may add", last)] for last in (True, False)}
    return {(state, last): wanted.get((state, last), other[last]) for state in STATES for last in (True, False)}


@pytest.mark.parametrize(("state", "last"), cases())
def test_the_table(state: str | None, last: bool) -> None:
    assert is_kill(TaskNow(state, deferred_last=last)) is cases()[(state, last)]


def test_of_airflows_own_states_only_the_marked_ones_are_a_kill() -> None:
    kills = {str(state.value) for state in TaskInstanceState if is_kill(TaskNow(str(state.value), deferred_last=True))}
    assert kills == {"success", "failed", "skipped", "upstream_failed"}


@pytest.mark.parametrize(
    ("task_id", "map_index", "answer", "state"),
    [
        ("t", -1, {"t": "deferred"}, "deferred"),
        ("t", -1, {"t": None}, None),
        ("t", 3, {"t_3": "deferred"}, "deferred"),
        ("t_3", -1, {"t_3": "failed"}, "failed"),
        ("t_3", 0, {"t_3_0": "deferred"}, "deferred"),
        ("t", 0, {"t_0": None}, None),
        ("t", 3, {}, DELETED),
    ],
)
def test_the_state_of_a_task_mapped_or_not(
    task_id: str, map_index: int, answer: dict[str, Any], state: str | None
) -> None:
    states = {"run": answer} if answer else {}
    assert state_in_answer(states, run_id="run", task_id=task_id, map_index=map_index) == state


@pytest.mark.parametrize("answer", [{"t": "failed"}, {"t_30": "failed"}, {"t_3": "deferred", "t": "failed"}])
def test_an_answer_about_another_task_is_none(answer: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match="t_3"):
        state_in_answer({"run": answer}, run_id="run", task_id="t", map_index=3)
