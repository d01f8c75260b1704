"""Definitions in JSON and YAML files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

from airflow_provider_conductor.definitions.definition import Definition, DefinitionError, definitions_in

SUFFIXES = (".json", ".yaml", ".yml")


def find(pattern: str, folders: Sequence[Path]) -> list[Path]:
    """The files that a path or glob (``*``, ``**``) matches, in the first of the folders with a match."""
    # The parts of a glob before its first wildcard are checked first, so that no folder outside is searched.
    fixed = Path(*takewhile(lambda part: not has_magic(part), Path(pattern).parts))
    try:
        roots = [folder.resolve() for folder in folders]
        for folder in folders:
            _check_below([folder / fixed], roots, pattern)
            found = [folder / pattern]
            if has_magic(pattern):
                names = sorted(glob(pattern, root_dir=folder, recursive=True))
                found = [folder / name for name in names if name.endswith(SUFFIXES)]
            files = [path for path in found if path.is_file()]
            _check_below(files, roots, pattern)
            if files:
                return files
    except DefinitionError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise DefinitionError([f"path {pattern!r} cannot be read: {error}"]) from None
    searched = ", ".join(map(str, folders))
    raise DefinitionError([f"no file {pattern!r} ({', '.join(SUFFIXES)}) in {searched or 'any folder'}"])


def _check_below(paths: Sequence[Path], roots: Sequence[Path], pattern: str) -> None:
    """Refuse what is not below one of the folders, links followed: a path may come from a run's parameters."""
    for path in paths:
        if not any(path.resolve().is_relative_to(root) for root in roots):
            where = " and ".join(map(str, roots))
            problem = (
                f"path {pattern!r} is outside of {where}: definition files must be below the folder of the DAG file; "
                "add other folders to the DAG's template_searchpath"
            )
            raise DefinitionError([problem])


def read(path: Path) -> list[Definition]:
    """The definitions in a file: one, or a list of them; in YAML also several documents. A byte-order mark may lead."""
    try:
        content = path.read_bytes()
        documents = [json.loads(content, object_pairs_hook=_object)] if path.suffix == ".json" else _documents(content)
    except (OSError, ValueError) as error:
        raise DefinitionError([f"{path.name} cannot be read: {' '.join(str(error).split())}"]) from None
    found = [item for document in documents if document is not None for item in definitions_in(document, path.name)]
    if not found:
        raise DefinitionError([f"{path.name} contains no definition"])
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_keys(key for key, _ in pairs)
    return dict(pairs)


def _check_keys(keys: Iterable[str]) -> None:
    """Refuse a key that occurs twice: one of its values would be lost without a warning."""
    for key, times in Counter(keys).items():
        if times > 1:
            raise ValueError(f"the key {key!r} occurs {times} times in one object")


def _documents(content: bytes) -> list[Any]:
    """The documents of a YAML file. All keys are text: the case ``yes:`` of a SWITCH is not True."""
    yaml: Any = import_module("yaml")  # PyYAML, on which Airflow depends

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            _check_keys(str(key.value) for key in keys if key.tag != "tag:yaml.org,2002:merge")
            self.flatten_mapping(node)
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    key.tag = "tag:yaml.org,2002:str"
            return super().construct_mapping(node, deep)

    try:
        return list(yaml.load_all(content, Loader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
