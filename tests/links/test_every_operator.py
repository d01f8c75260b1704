"""No operator or sensor lacks the button."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

import airflow_provider_conductor
from airflow_provider_conductor.links import ConductorDefinitionLink, ConductorWorkflowLink


def operators() -> Iterator[type]:
    """Every operator that the package defines, wherever in it."""
    prefix = f"{airflow_provider_conductor.__name__}."
    for module in pkgutil.walk_packages(airflow_provider_conductor.__path__, prefix):
        if module.name.split(".")[1] in ("operators", "sensors", "decorators"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BaseOperator) and value.__module__ == module.name:
                    yield value


FOUND = sorted(set(operators()), key=lambda kind: kind.__name__)


def test_they_are_found() -> None:
    names = {kind.__name__ for kind in FOUND}
    assert names >= {"ConductorExecuteWorkflowOperator", "ConductorWorkflowSensor", "_ConductorDecoratedOperator"}


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
def test_it_has_the_button(kind: type) -> None:
    assert any(isinstance(link, (ConductorWorkflowLink, ConductorDefinitionLink)) for link in kind.operator_extra_links)
