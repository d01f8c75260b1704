"""Definitions in files: where they are looked for, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_conductor.definitions.definition import DefinitionError
from airflow_provider_conductor.definitions.files import find, read

PACK = {"name": "pack", "taskReferenceName": "pack", "type": "SIMPLE"}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for name in ("one/orders.json", "one/deep/ship.yml", "one/README.md", "two/orders.json", "two/charge.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return [tmp_path / "one", tmp_path / "two"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("orders.json", ["one/orders.json"]),
        ("charge.yaml", ["two/charge.yaml"]),
        ("*", ["one/orders.json"]),
        ("**/*.y*ml", ["one/deep/ship.yml"]),
        ("deep/../../two/*.json", ["two/orders.json"]),
    ],
)
def test_the_first_folder_that_has_any_is_taken(folders: list[Path], pattern: str, found: list[str]) -> None:
    top = folders[0].parent.resolve()
    assert [str(path.resolve().relative_to(top)) for path in find(pattern, folders)] == found


def test_an_absolute_path_below_one_of_the_folders_is_taken_as_it_is(folders: list[Path]) -> None:
    assert find(str(folders[1] / "charge.yaml"), folders) == [folders[1] / "charge.yaml"]


@pytest.mark.parametrize(
    "pattern",
    [
        "../two/charge.yaml",
        "{top}/two/charge.yaml",
        "../two/*.yaml",
        "{top}/**/*.yaml",
        "deep/../../two/charge.yaml",
        "*/../../two/charge.yaml",
        "../absent.json",
        "link.yaml",
        "lin*.yaml",
        "linked/charge.yaml",
        "linked/*",
    ],
)
def test_a_path_that_leads_out_of_the_folders_is_refused(folders: list[Path], pattern: str) -> None:
    one, two = folders
    (one / "link.yaml").symlink_to(two / "charge.yaml")
    (one / "linked").symlink_to(two)
    with pytest.raises(DefinitionError, match=r"is outside of .*template_searchpath"):
        find(pattern.format(top=one.parent), [one])


def test_the_folder_itself_may_be_a_link(folders: list[Path]) -> None:
    """As git-sync makes it."""
    current = folders[0].parent / "current"
    current.symlink_to(folders[0])
    assert find("orders.json", [current]) == [current / "orders.json"]
    assert find("**/*.yml", [current]) == [current / "deep/ship.yml"]


def test_a_path_that_no_system_has_is_refused(folders: list[Path]) -> None:
    with pytest.raises(DefinitionError, match="cannot be read"):
        find("a\0b.json", folders)


@pytest.mark.parametrize("pattern", ["absent.json", "*.toml", "deep"])
def test_none_is_an_error_that_says_where_was_looked(folders: list[Path], pattern: str) -> None:
    with pytest.raises(DefinitionError, match="no file") as error:
        find(pattern, folders)
    assert str(folders[0]) in str(error.value)


def test_json_holds_one_or_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "charge"}))
    assert [item.label for item in read(path)] == ["task charge"]
    path.write_text(json.dumps([{"name": "charge"}, {"name": "orders", "version": 2, "tasks": [PACK]}]))
    assert [item.label for item in read(path)] == ["task charge", "workflow orders 2"]
    assert read(path)[0].source == "a.json"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("name", "text"), [("a.json", '{"name": "größe"}'), ("a.yaml", "name: größe\n---\nname: b\n")])
def test_a_byte_order_mark_is_allowed(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding=encoding)
    assert read(path)[0].name == "größe"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"name": "charge", "retryCount": 1, "retryCount": 2}'),
        ("a.yaml", "name: charge\nretryCount: 1\nretryCount: 2\n"),
        ("a.yaml", "name: charge\n'1': a\n1: b\n"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DefinitionError, match=rf"{name} cannot be read: the key '\w+' occurs 2 times"):
        read(path)


def test_a_key_of_an_anchor_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("- &base\n  name: charge\n  retryCount: 1\n- <<: *base\n  name: refund\n")
    assert [(item.name, item.data["retryCount"]) for item in read(path)] == [("charge", 1), ("refund", 1)]


def test_yaml_may_have_several_documents_and_its_keys_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "---\nname: charge\nretryCount: 2\n---\n---\nname: orders\ntasks:\n"
        "- {name: s, taskReferenceName: s, type: SWITCH, decisionCases: {yes: [], 1: [], true: []}}\n"
    )
    charge, orders = read(path)
    assert charge.data["retryCount"] == 2
    assert list(orders.data["tasks"][0]["decisionCases"]) == ["yes", "1", "true"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "a.json cannot be read"),
        ("a.yaml", "a: [", "a.yaml cannot be read"),
        ("a.yaml", "", "contains no definition"),
        ("a.json", "[]", "contains no definition"),
        ("a.json", '"orders"', "a.json: a definition is an object"),
    ],
)
def test_what_cannot_be_read_is_reported_with_the_file(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DefinitionError, match=says):
        read(tmp_path / name)
