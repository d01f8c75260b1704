"""An Airflow of this process's own: a home that is thrown away, and a connection to the lab's server.

Airflow reads its environment when it is imported, so rows import it inside their functions, after this.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["CONN_ID", "allow_direct_calls", "connect", "context_of", "own_home"]

CONN_ID = "conductor_bench"


def own_home() -> None:
    """Before Airflow is imported: no configuration and no database of anybody's."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="airflow-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["AIRFLOW_HOME"] = home
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db"
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"


def connect(api_url: str, **extra: Any) -> str:
    """Let :data:`CONN_ID` be this server; returns the id."""
    parts = urlsplit(api_url)
    connection = {
        "conn_type": "conductor",
        "host": f"{parts.scheme}://{parts.netloc}{parts.path}",
        "extra": extra,
    }
    os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(connection)
    return CONN_ID


def allow_direct_calls() -> None:
    """Let ``execute`` be called without Airflow's task runner, and without its warning each time."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    ExecutorSafeguard.test_mode = True


def context_of(task: Any, run_id: str) -> Context:
    """The context of a first try, as far as a Conductor operator reads it."""
    now = datetime.now(UTC)
    xcoms: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="bench",
        run_id=run_id,
        task_id=task.task_id,
        task=task,
        map_index=-1,
        try_number=1,
        max_tries=0,
        start_date=now,
        xcom_push=lambda key, value, **_: xcoms.__setitem__(key, value),
        xcom_pull=lambda key="return_value", **_: xcoms.get(key),
    )
    dag_run = SimpleNamespace(dag_id="bench", run_id=run_id, start_date=now, logical_date=now, queued_at=now, conf={})
    context = {"ti": ti, "task_instance": ti, "task": task, "dag_run": dag_run, "run_id": run_id, "params": {}}
    return cast("Context", context)
