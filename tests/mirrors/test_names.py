"""Reference names in Airflow's task ids: any name becomes one, no two the same, and it can be read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.mirrors.names import from_task_id, refs_of, to_task_id

names = st.text(min_size=1) | st.text(alphabet="_x05f ", min_size=1)


@given(names)
def test_any_name_becomes_an_id_that_is_read_back(name: str) -> None:
    task_id = to_task_id(name)
    assert re.fullmatch(r"[\w-]+", task_id)
    assert all(ord(character) < 0x10000 for character in task_id)
    assert from_task_id(task_id) == name


@pytest.mark.parametrize(
    ("name", "task_id"),
    [
        ("charge_card", "charge_card"),
        ("charge-card", "charge-card"),
        ("ship order", "ship_x20_order"),
        ("v1.2", "v1_x2e_2"),
        ("start", "_x73_tart"),
        ("finish", "_x66_inish"),
        ("a_x20_b", "a_x5f_x20_b"),
        ("downstream_join_id", "_x64_ownstream_join_id"),
        ("größe", "größe"),
        ("e\u0301", "e_x301_"),
        ("包装\U0001f4e6", "包装_x1f4e6_"),
        ("\U00020000", "_x20000_"),
    ],
)
def test_a_name_stays_what_it_is_where_it_can(name: str, task_id: str) -> None:
    assert to_task_id(name) == task_id


@pytest.mark.parametrize(
    ("task_id", "start_task_id", "refs"),
    [
        ("orders.pack", "orders.start", ["pack"]),
        ("orders.ship_x20_order", "orders.start", ["ship order"]),
        ("orders._x66_inish", "orders.start", ["finish"]),
        ("shop.orders.pack", "shop.orders.start", ["pack"]),
        ("pack", "start", ["pack"]),
        ("orders.deliver.pack", "orders.start", ["deliver", "pack"]),
        ("orders.deliver.finish", "orders.start", ["deliver"]),
        ("orders.start", "orders.start", []),
        ("orders.finish", "orders.start", []),
    ],
)
def test_the_task_of_a_step_names_it_and_the_sub_workflows_around_it(
    task_id: str, start_task_id: str, refs: list[str]
) -> None:
    assert refs_of(task_id, start_task_id) == refs
