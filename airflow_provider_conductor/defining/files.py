"""Definitions in JSON and YAML files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from glob import glob, has_magic
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow_provider_conductor.defining.definition import Definition, DefinitionError, definitions_in

__all__ = ["find", "read"]

SUFFIXES = (".json", ".yaml", ".yml")


def find(pattern: str, folders: Sequence[Path]) -> list[Path]:
    """The files that a path or glob (``*``, ``**``) means: in the first of the folders that has any.

    Raises:
        DefinitionError: there are none.
    """
    for folder in folders:
        if has_magic(pattern):
            names = sorted(glob(pattern, root_dir=folder, recursive=True))
            found = [folder / name for name in names if name.endswith(SUFFIXES)]
        else:
            found = [folder / pattern]
        files = [path for path in found if path.is_file()]
        if files:
            return files
    looked = ", ".join(map(str, folders))
    raise DefinitionError([f"no file {pattern!r} ({', '.join(SUFFIXES)}) in {looked or 'any folder'}"])


def read(path: Path) -> list[Definition]:
    """The definitions in a file: one, or a list of them; in YAML also several documents.

    Raises:
        DefinitionError: it cannot be read as JSON or YAML, or is no definition.
    """
    try:
        text = path.read_text(encoding="utf-8")
        documents = [json.loads(text)] if path.suffix == ".json" else _documents(text)
    except (OSError, ValueError) as error:
        raise DefinitionError([f"{path.name} cannot be read: {' '.join(str(error).split())}"]) from None
    found = [item for document in documents if document is not None for item in definitions_in(document, path.name)]
    if not found:
        raise DefinitionError([f"{path.name} has no definition in it"])
    return found


def _documents(text: str) -> list[Any]:
    """The documents of a YAML file. Keys stay the text they are: the case ``yes:`` of a SWITCH is not True."""
    yaml: Any = import_module("yaml")  # PyYAML, which Airflow needs itself

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            self.flatten_mapping(node)
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    key.tag = "tag:yaml.org,2002:str"
            return super().construct_mapping(node, deep)

    try:
        return list(yaml.load_all(text, Loader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
