"""Picking a part of an output: what a path means, what is no path, and what is told of a part that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.output_path import MissingPartError, OutputPath

OUTPUT: dict[str, Any] = {
    "total": 42,
    "nothing": None,
    "order": {"id": "A-1", "x-id": 7, "a.b": 1, "two words": 2, 'quo"ted': 3},
    "rows": [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}],
}


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("total", 42),
        ("$.total", 42),
        ("$", OUTPUT),
        ("nothing", None),
        ("order.id", "A-1"),
        ("order.x-id", 7),
        ('order["a.b"]', 1),
        ("order['two words']", 2),
        ('order["quo\\"ted"]', 3),
        ('$["order"].id', "A-1"),
        ('["order"]["id"]', "A-1"),
        ("rows[0].id", 1),
        ("rows[-1].id", 2),
        ("rows[*].id", [1, 2]),
        ("rows[*]", OUTPUT["rows"]),
        ("rows[*].tags[*]", [["a", "b"], []]),
        ("rows[1].tags", []),
    ],
)
def test_a_path_leads_to_its_part(path: str, part: Any) -> None:
    assert OutputPath.of(path).pick(OUTPUT) == part


@pytest.mark.parametrize(
    "path",
    [
        *(None, 3, ["total"]),
        *("", " ", ".total", "total.", "order..id", "rows[", "rows[]", "rows[x]", "rows[0", "rows[0]id", "$total"),
        *("a b", "rows[1:2]", "rows[?(@.id)]", "..id", 'order["id]', "order[1.5]", "*", "order.*"),
    ],
)
def test_an_invalid_path_is_refused_with_an_example(path: object) -> None:
    with pytest.raises(ValueError, match="output_path") as told:
        OutputPath.of(path)
    assert repr(path) in str(told.value)
    assert "rows[0]" in str(told.value)


@pytest.mark.parametrize("path", ['order["\\x41"]', '["a\nb"]', '["\\u00"]'])
def test_a_bad_escape_is_refused_by_the_name_of_the_argument(path: str) -> None:
    with pytest.raises(
        ValueError, match=r"output_path .* has a name that cannot be read, .*within single quotes"
    ) as told:
        OutputPath.of(path)
    assert repr(path) in str(told.value)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("totl", r"the output has no 'totl': it has 'total', 'nothing', 'order', 'rows'"),
        ("order.price", r"the output\.order has no 'price': it has 'id', 'x-id'"),
        ("rows[2].id", r"the output\.rows has no item \[2\]: it is a list of 2"),
        ("rows[-3]", r"the output\.rows has no item \[-3\]: it is a list of 2"),
        ("rows.id", r"the output\.rows has no 'id': it is a list of 2"),
        ("rows[*].tags[0]", r"the output\.rows\[1\]\.tags has no item \[0\]: it is a list of 0"),
        ("order[0]", r"the output\.order has no item \[0\]: it has 'id'"),
        ("order[*]", r"the output\.order is not a list: it has 'id'"),
        ("total.cents", r"the output\.total has no 'cents': it is a number"),
        ("nothing.at_all", r"the output\.nothing has no 'at_all': it is null"),
        ("order.id[0]", r"the output\.order\.id has no item \[0\]: it is a text"),
    ],
)
def test_the_error_of_a_missing_part_names_what_exists(path: str, told: str) -> None:
    with pytest.raises(MissingPartError, match=told):
        OutputPath.of(path).pick(OUTPUT)


def test_an_empty_output_is_called_so() -> None:
    with pytest.raises(MissingPartError, match="the output has no 'total': it is empty"):
        OutputPath.of("total").pick({})


def test_of_many_keys_some_are_named_and_no_value_is_shown() -> None:
    with pytest.raises(MissingPartError, match="'key19' and 80 more") as told:
        OutputPath.of("total").pick({f"key{number}": "s3cr3t" for number in range(100)})
    assert "s3cr3t" not in str(told.value)
