"""An identity becomes a correlation id that no other start shares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.submission.identity import MAX_ID_LENGTH, StartKey, TaskIdentity

IDENTITY = TaskIdentity(
    prefix="airflow",
    dag_id="nightly_orders",
    run_id="scheduled__2026-01-01T00:00:00+00:00",
    task_id="etl.start",
    map_index=-1,
    try_number=1,
    first_try=1,
)


def identity(**changes: Any) -> TaskIdentity:
    return replace(IDENTITY, **changes)


def test_a_person_can_read_it() -> None:
    assert (
        IDENTITY.correlation_id(StartKey(1))
        == "airflow:nightly_orders:scheduled__2026-01-01T00:00:00+00:00:etl.start:-1:1"
    )


def test_a_fresh_start_within_a_series_is_another_generation() -> None:
    assert IDENTITY.correlation_id(StartKey(3, 2)).endswith(":etl.start:-1:3.2")


def test_mapped_tasks_are_told_apart() -> None:
    ids = {identity(map_index=index).correlation_id(StartKey(1)) for index in range(-1, 200)}
    assert len(ids) == 201


def test_two_airflows_are_told_apart_by_their_prefix() -> None:
    assert identity(prefix="prod").correlation_id(StartKey(1)) != identity(prefix="dev").correlation_id(StartKey(1))


@pytest.mark.parametrize("length", [1, 40, 60, 61, 62, 63, 250])
def test_it_has_128_characters_at_most(length: int) -> None:
    text = identity(dag_id="d" * length, task_id="t" * length).correlation_id(StartKey(1))
    assert len(text) <= MAX_ID_LENGTH
    assert text.startswith("airflow:d")


def test_long_identities_that_differ_at_their_end_are_told_apart() -> None:
    long = [identity(dag_id="d" * 250, task_id="t" * 249 + last) for last in "ab"]
    assert len({one.correlation_id(StartKey(1)) for one in long}) == 2
    assert len({long[0].correlation_id(StartKey(1, generation)) for generation in range(3)}) == 3


def test_other_scripts_count_by_character() -> None:
    text = identity(dag_id="größe_" + "данные" * 30, task_id="日本" * 50).correlation_id(StartKey(1))
    assert len(text) == MAX_ID_LENGTH
    assert text.startswith("airflow:größe_данные")


def test_a_colon_in_the_prefix_does_not_make_two_alike() -> None:
    one = identity(prefix="a", dag_id="b", run_id="c:d")
    other = identity(prefix="a:b", dag_id="c", run_id="d")
    assert one.correlation_id(StartKey(1)) != other.correlation_id(StartKey(1))


names = st.text(alphabet=st.sampled_from("ab:é~.-_1"), min_size=1, max_size=80)
identities = st.builds(
    TaskIdentity,
    prefix=names,
    dag_id=names,
    run_id=names,
    task_id=names,
    map_index=st.integers(-1, 20),
    try_number=st.just(1),
    first_try=st.just(1),
)
keys = st.builds(StartKey, first_try=st.integers(1, 30), generation=st.integers(0, 30))


@given(st.tuples(identities, keys), st.tuples(identities, keys))
def test_no_two_identities_share_an_id(
    one: tuple[TaskIdentity, StartKey], other: tuple[TaskIdentity, StartKey]
) -> None:
    first, second = (who.correlation_id(key) for who, key in (one, other))
    assert len(first) <= MAX_ID_LENGTH
    assert (first == second) == (one == other)


@given(identities, keys, st.data())
def test_nor_do_two_that_put_the_same_letters_into_other_parts(
    one: TaskIdentity, key: StartKey, data: st.DataObject
) -> None:
    letters = f"{one.prefix}:{one.dag_id}:{one.run_id}:{one.task_id}"
    cuts = [index for index, letter in enumerate(letters) if letter == ":"]
    a, b, c = sorted(data.draw(st.lists(st.sampled_from(cuts), min_size=3, max_size=3, unique=True)))
    parts = (letters[:a], letters[a + 1 : b], letters[b + 1 : c], letters[c + 1 :])
    other = replace(one, **dict(zip(("prefix", "dag_id", "run_id", "task_id"), parts, strict=True)))
    assert (one.correlation_id(key) == other.correlation_id(key)) == (one == other)


@pytest.mark.parametrize(
    ("first_try", "try_number", "known"), [(1, 1, True), (2, 3, True), (3, 3, True), (4, 3, False), (0, 3, False)]
)
def test_a_first_try_that_cannot_be_is_not_believed(first_try: int, try_number: int, known: bool) -> None:
    one = identity(first_try=first_try, try_number=try_number)
    assert one.series_is_known is known
    assert one.series == (first_try if known else 1)


@given(st.integers(1, 12), st.integers(1, 12))
def test_every_start_that_earlier_tries_can_have_made_is_looked_for(try_number: int, series: int) -> None:
    """A try makes one start at most: the first of its series, or the generation after the last."""
    one = identity(try_number=try_number, first_try=min(series, try_number))
    first = one.first_keys()
    every = set(first)
    for key in first:
        every.update(one.later_keys(key.first_try))
    assert every == {
        StartKey(first_try, generation)
        for first_try in range(1, try_number + 1)
        for generation in range(try_number - first_try + 1)
    }
    assert len(first) == len(set(first)) <= 2 * try_number


def test_the_items_of_a_batch_are_told_apart_and_from_a_task_without_any() -> None:
    ids = {identity(item=item).correlation_id(StartKey(1)) for item in ("", "0", "1", "a:b", "x" * 200)}
    assert len(ids) == 5
    assert all(len(text) <= MAX_ID_LENGTH for text in ids)
    assert identity(item="7").correlation_id(StartKey(1)).endswith(":etl.start:-1:i7:1")
