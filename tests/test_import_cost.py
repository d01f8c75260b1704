"""Parsing a DAG costs no HTTP library: the scheduler reads each DAG file every half minute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_conductor

ROOT = Path(airflow_provider_conductor.__file__).parents[1]

PARSED = (
    "airflow_provider_conductor.links.conductor",
    "airflow_provider_conductor.operators.conductor",
    "airflow_provider_conductor.operators.definitions",
    "airflow_provider_conductor.operators.tasks",
    "airflow_provider_conductor.sensors.conductor",
    "airflow_provider_conductor.sensors.tasks",
    "airflow_provider_conductor.decorators.conductor",
)
"""What DAG files import."""

HOOK = "airflow_provider_conductor.hooks.conductor"

DEAR = {"aiohttp", "requests", "airflow_provider_conductor.client.aio", "airflow_provider_conductor.client.sync", HOOK}


@pytest.fixture(scope="module")
def added() -> dict[str, set[str]]:
    """The modules each import loads, one after the other, on top of what every DAG file loads anyway."""
    script = (
        "import importlib, json, sys\n"
        "from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator\n"
        "added = {}\n"
        f"for module in {(*PARSED, HOOK)!r}:\n"
        "    before = set(sys.modules)\n"
        "    importlib.import_module(module)\n"
        "    added[module] = sorted(set(sys.modules) - before)\n"
        "print('ADDED', json.dumps(added))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {module: set(names) for module, names in json.loads(done.stdout.rpartition("ADDED")[2]).items()}


@pytest.mark.parametrize("module", PARSED)
def test_parsing_a_dag_loads_no_http_library(module: str, added: dict[str, set[str]]) -> None:
    assert module in added[module]
    assert added[module].isdisjoint(DEAR)


def test_the_hook_is_what_loads_them(added: dict[str, set[str]]) -> None:
    """So the measurement would have seen it."""
    assert added[HOOK] >= {HOOK, "airflow_provider_conductor.client.sync", "airflow_provider_conductor.client.aio"}
