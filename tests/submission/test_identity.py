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


def test_it_is_readable_and_has_series_generation_and_item() -> None:
    run = "airflow:nightly_orders:scheduled__2026-01-01T00:00:00+00:00:etl.start:-1"
    assert IDENTITY.correlation_id(StartKey(1)) == f"{run}:1"
    assert IDENTITY.correlation_id(StartKey(3, 2)) == f"{run}:3.2"
    assert identity(item="7").correlation_id(StartKey(1)) == f"{run}:i7:1"


@pytest.mark.parametrize(
    "several",
    [
        [{"map_index": index} for index in range(-1, 200)],
        [{"prefix": "prod"}, {"prefix": "dev"}],
        [{"dag_id": "d" * 250, "task_id": "t" * 249 + last} for last in "ab"],
        [{"prefix": "a", "dag_id": "b", "run_id": "c:d"}, {"prefix": "a:b", "dag_id": "c", "run_id": "d"}],
        [{"item": item} for item in ("", "0", "1", "a:b", "x" * 200)],
    ],
    ids=["map indexes", "prefixes", "long names", "colons", "items"],
)
def test_different_identities_have_different_ids(several: list[dict[str, Any]]) -> None:
    for generation in range(3):
        ids = {identity(**changes).correlation_id(StartKey(1, generation)) for changes in several}
        assert len(ids) == len(several)
        assert all(len(text) <= MAX_ID_LENGTH for text in ids)


def test_other_scripts_count_by_character() -> None:
    text = identity(dag_id="größe_" + "данные" * 30, task_id="日本" * 50).correlation_id(StartKey(1))
    assert len(text) == MAX_ID_LENGTH
    assert text.startswith("airflow:größe_данные")


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
def test_nor_do_two_with_the_same_letters_in_other_parts(one: TaskIdentity, key: StartKey, data: st.DataObject) -> None:
    letters = f"{one.prefix}:{one.dag_id}:{one.run_id}:{one.task_id}"
    cuts = [index for index, letter in enumerate(letters) if letter == ":"]
    a, b, c = sorted(data.draw(st.lists(st.sampled_from(cuts), min_size=3, max_size=3, unique=True)))
    parts = (letters[:a], letters[a + 1 : b], letters[b + 1 : c], letters[c + 1 :])
    other = replace(one, **dict(zip(("prefix", "dag_id", "run_id", "task_id"), parts, strict=True)))
    assert (one.correlation_id(key) == other.correlation_id(key)) == (one == other)


@pytest.mark.parametrize(
    ("first_try", "try_number", "known"), [(1, 1, True), (2, 3, True), (3, 3, True), (4, 3, False), (0, 3, False)]
)
def test_an_impossible_first_try_is_not_used(first_try: int, try_number: int, known: bool) -> None:
    one = identity(first_try=first_try, try_number=try_number)
    assert one.series_is_known is known
    assert one.series == (first_try if known else 1)


@given(st.integers(1, 12), st.integers(1, 12))
def test_every_start_that_earlier_tries_can_have_made_is_looked_up(try_number: int, series: int) -> None:
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


def test_the_items_of_a_task_are_known_by_their_ids() -> None:
    ours = identity(try_number=3)
    for item, key in (("7", StartKey(1)), ("A-1.b", StartKey(2)), ("x~y z", StartKey(1, 2))):
        text = replace(ours, item=item).correlation_id(key)
        assert text.startswith(ours.items_begin_with)
        assert ours.item_start(text) == (item, key)


@pytest.mark.parametrize(
    "changes",
    [
        {"item": ""},
        {"item": "7", "map_index": 0},
        {"item": "7", "run_id": "scheduled__2026-01-01T00:00:00+00:00:etl.start:-1:i7"},
        {"item": "7", "task_id": "etl"},
        {"item": "7", "dag_id": "nightly"},
        {"item": "7", "prefix": "another"},
        {"item": "a:b"},
        {"item": "x" * 200},
    ],
    ids=["no item", "another map index", "another run", "another task", "another DAG", "prefix", "colon", "hash"],
)
def test_the_id_of_another_start_is_no_item(changes: dict[str, Any]) -> None:
    assert IDENTITY.item_start(identity(**changes).correlation_id(StartKey(1))) is None


def test_a_series_that_has_not_come_yet_is_not_ours() -> None:
    assert IDENTITY.item_start(identity(item="7").correlation_id(StartKey(2))) is None


def test_the_beginning_of_ids_that_end_in_a_hash_says_nothing() -> None:
    long = identity(dag_id="d" * 100)
    assert long.items_begin_with == ""
    assert long.item_start(replace(long, item="7").correlation_id(StartKey(1))) is None
    assert identity(prefix="a:b").items_begin_with == ""


@given(st.sampled_from(["i7", "r:t:-1:i7", "7", "a~b"]), st.sampled_from(["7", "i7", "1", "7.1"]), st.integers(1, 3))
def test_what_is_read_from_an_id_makes_that_id(run_id: str, item: str, first_try: int) -> None:
    ours = identity(run_id=run_id, try_number=3)
    for other in (ours, identity(run_id=f"{run_id}:etl.start:-1:i{item}:1", try_number=3)):
        text = replace(other, item=item).correlation_id(StartKey(first_try))
        found = ours.item_start(text)
        if found is not None:
            assert replace(ours, item=found[0]).correlation_id(found[1]) == text
        assert (found is not None) == (other == ours)
