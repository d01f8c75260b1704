"""The plugin: what Airflow makes of it, and what it costs those who only load it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.ui.conftest import Api

MODULES = """
import json, sys
import airflow.providers.common.compat.sdk as compat
compat.AirflowPlugin
before = set(sys.modules)
from airflow_provider_conductor.ui.plugin import ConductorPlugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_loading_it_imports_nothing_else() -> None:
    """Workers, triggerers and DAG processors load each plugin."""
    done = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, text=True, timeout=300, check=True)
    package = "airflow_provider_conductor"
    assert set(json.loads(done.stdout.splitlines()[-1])) - {package} == {f"{package}.ui", f"{package}.ui.plugin"}


@pytest.mark.airflow_versions(since="3.1")
def test_airflow_has_its_pages(api: Api) -> None:
    plugins = {plugin["name"]: plugin for plugin in api.get("/api/v2/plugins").json()["plugins"]}
    views = plugins["conductor"]["external_views"]
    assert {view["destination"]: view["href"] for view in views} == {
        "task_instance": "conductor/task?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
        "dag_run": "conductor/run?dag_id={DAG_ID}&run_id={RUN_ID}",
        "nav": "conductor/health",
    }
    assert plugins["conductor"]["fastapi_apps"][0]["url_prefix"] == "/conductor"
    assert api.get("/api/v2/plugins/importErrors").json()["import_errors"] == []


@pytest.mark.airflow_versions(before="3.0")
def test_older_versions_load_it_and_show_nothing() -> None:
    from airflow import plugins_manager

    plugins_manager.ensure_plugins_loaded()
    assert "conductor" in [plugin.name for plugin in plugins_manager.plugins]
    assert plugins_manager.import_errors == {}
