"""What a package offers to its users, loaded when it is asked for: a DAG file pays for the classes that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["exports"]


def exports(package: str, modules: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any]]:
    """Make a package's ``__all__`` and its module-level ``__getattr__``.

    Args:
        package: the package's ``__name__``.
        modules: public name → module of the package that defines it.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return list(modules), get
