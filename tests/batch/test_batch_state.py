"""Where a batch stands: moves, what is put down and taken up again, the line, the policy, a worker's worth."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.batch.failure_policy import FailurePolicy
from airflow_provider_conductor.batch.handover import worth_a_worker
from airflow_provider_conductor.batch.state import GONE, REFUSED, Batch, Item


def batch(total: int = 4) -> Batch:
    return Batch(keys=[str(index) for index in range(total)], began=1_000.0)


def stored(one: Batch) -> Batch:
    """What the next process makes of it."""
    other = Batch.from_json(one.keys, json.loads(json.dumps(one.to_json())))
    assert other is not None
    return other


MOVES = {"begin": ("w1",), "complete": (), "fail": ("FAILED",), "put_back": ()}


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(list(MOVES)))))
def test_what_is_put_down_is_taken_up_again(moves: list[tuple[int, str]]) -> None:
    one = batch(31)
    for index, move in moves:
        getattr(one, move)(index, *MOVES[move])
    assert one.pending + one.active + one.completed + one.failed == 31
    other = stored(one)
    assert other._states == one._states
    assert other.active_ids() == one.active_ids()


def test_it_is_put_down_while_another_thread_goes_on_with_it() -> None:
    one = batch()

    class Busy:
        """An item that another one follows whenever somebody looks at it."""

        workflow_id = reason = ""

        @property
        def status(self) -> str:
            one.items[len(one.items)] = Item()
            return ""

    for index in range(4):
        one.fail(index, "FAILED")
        one.items[index] = Busy()  # type: ignore[assignment]
    assert stored(one).failed == 4


def test_why_an_item_failed_is_put_down_where_no_workflow_tells_it() -> None:
    one = batch()
    one.fail(0, REFUSED, "no such input")
    one.fail(1, GONE, "the server does not know it", "w1")
    one.fail(2, "FAILED", "no stock", "w2")
    other = stored(one)
    assert other.items == {
        0: Item("", REFUSED, "no such input"),
        1: Item("w1", GONE, "the server does not know it"),
    }
    assert other._states == one._states


def test_ten_thousand_items_are_put_down_in_little_room() -> None:
    one = batch(10_000)
    for index in range(9_900):
        one.complete(index) if index % 7 else one.fail(index, "REFUSED" if index % 2 else "FAILED", "x" * 400)
    for index in range(9_900, 10_000):
        one.begin(index, "0b7c1b1e-0000-4000-8000-000000000000")
    assert len(json.dumps(one.to_json())) < 15_000


@pytest.mark.parametrize(
    "data",
    [
        None,
        "x",
        {},
        {**batch().to_json(), "items": "other"},
        {**batch().to_json(), "states": "%%"},
        {**batch().to_json(), "active": {"9": "w"}},
    ],
)
def test_what_cannot_be_read_is_none(data: object) -> None:
    assert Batch.from_json(batch().keys, data) is None


def test_items_in_another_order_are_other_items() -> None:
    assert Batch.from_json(["1", "0", "2", "3"], batch().to_json()) is None


def test_the_line_says_how_far_it_is() -> None:
    one = batch(100)
    assert one.progress(1_000.0) == "0 of 100 ended, 0 running, 100 to start"
    for index in range(20):
        one.complete(index)
    one.fail(20, "FAILED")
    one.begin(21)
    assert one.progress(1_010.5) == "21 of 100 ended (1 failed), 1 running, 78 to start; 2 a second, about 40 s left"


def test_what_earlier_tries_did_is_not_this_ones_rate() -> None:
    one = batch(100)
    for index in range(50):
        one.complete(index)
    one.before = 40
    assert one.progress(1_600.0).endswith("; 1 a minute, about 50 min left")


def test_another_try_looks_at_failures_anew() -> None:
    one = batch()
    one.complete(0)
    one.fail(1, "FAILED")
    one.begin(2, "w")
    one.reset_for_retry()
    assert (one.completed, one.pending, one.pending_from(0, 1)) == (1, 3, [1])


@pytest.mark.parametrize(
    ("policy", "failed", "total", "broken"),
    [
        ("any", 0, 3, False),
        ("any", 1, 3, True),
        ("all", 2, 3, False),
        ("all", 3, 3, True),
        (0.5, 2, 4, False),
        (0.5, 3, 4, True),
        (0, 1, 4, True),
        ("0.05", 500, 10_000, False),
        ("0.05", 501, 10_000, True),
    ],
)
def test_a_policy_bears_so_many_failures(policy: object, failed: int, total: int, broken: bool) -> None:
    assert FailurePolicy.of(policy).broken(failed, total) is broken


@pytest.mark.parametrize("policy", ["most", "", None, 1, -0.1, True, float("nan")])
def test_other_policies_are_refused(policy: object) -> None:
    with pytest.raises(ValueError, match="failure_policy must be"):
        FailurePolicy.of(policy)


@pytest.mark.parametrize(
    ("ended", "active", "more", "free_for", "worth"),
    [
        (0, 100, True, None, False),
        (100, 0, False, 0, True),
        (99, 1, False, 500, False),
        (24, 76, True, 10, False),
        (25, 75, True, 0, True),
        (1, 99, True, 59, False),
        (1, 99, True, 60, True),
    ],
)
def test_a_worker_comes_when_it_is_worth_it(
    ended: int, active: int, more: bool, free_for: float | None, worth: bool
) -> None:
    since = None if free_for is None else 1_000.0 - free_for
    assert worth_a_worker(ended=ended, active=active, more=more, max_active=100, free_since=since, now=1_000.0) is worth
