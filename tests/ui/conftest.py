"""Airflow's whole API server in this process, with a database and users, and task instances that name workflows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dev.examples import make_database

USERS = "ada:admin,vera:viewer,otto:op"


@dataclass
class Api:
    """What a browser sends to the API server, as one user or as nobody."""

    client: Any
    token: Callable[[str], str]

    def get(self, path: str, user: str | None = "ada", **headers: str) -> Any:
        return self.client.get(path, headers={**self._login(user), **headers})

    def post(self, path: str, body: Any, user: str | None = "ada", **headers: str) -> Any:
        headers = {"X-Conductor-Request": "airflow-ui", **headers}
        return self.client.post(path, json=body, headers={**self._login(user), **headers})

    def _login(self, user: str | None) -> dict[str, str]:
        return {} if user is None else {"Authorization": f"Bearer {self.token(user)}"}


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    from airflow import settings

    for name, value in {"SIMPLE_AUTH_MANAGER_USERS": USERS, "DAGS_FOLDER": os.environ["AIRFLOW_HOME"]}.items():
        os.environ[f"AIRFLOW__CORE__{name}"] = value
    settings.engine.dispose()
    make_database(Path(os.environ["AIRFLOW_HOME"]))

    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    roles = dict(user.split(":") for user in USERS.split(","))

    def token(user: str) -> str:
        role = roles.get(user)
        return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role=role and role.upper())))

    with TestClient(create_app(apps="core"), raise_server_exceptions=False) as client:
        plugins = client.get("/api/v2/plugins", headers={"Authorization": f"Bearer {token('ada')}"}).json()["plugins"]
        assert "conductor" in [plugin["name"] for plugin in plugins], "the project's entry points are old: make setup"
        yield Api(client, token)


@pytest.fixture(autouse=True)
def connections_are_looked_up_each_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a Conductor of its own behind the same connection."""
    if "api" in request.fixturenames:
        for name in (
            "conductors.SETTINGS_FOR",
            "recent_answers.FAILED_FOR",
            "app.HEALTH_AFTER",
            "lists.LIST_AFTER",
            "shared_reads.LIST_AFTER",
        ):
            monkeypatch.setattr(f"airflow_provider_conductor.ui.{name}", 0.0)


@pytest.fixture
def add(api: Api) -> Callable[..., None]:
    """Writes a task instance, and what it has pushed to XCom, into Airflow's database.

    ``arguments`` are the operator's as rendered: by default those of a sensor of the workflow; with ``conn_id=None``,
    Airflow has none.
    """
    return _add


@pytest.fixture
def store(api: Api) -> Callable[[Any], None]:
    """Writes a DAG into Airflow's database, after its task instances."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    def write(dag: Any) -> None:
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="tests")

    return write


def _add(
    dag_id: str,
    run_id: str,
    task_id: str,
    *,
    map_index: int = -1,
    workflow_id: Any = None,
    conn_id: str | None = "conductor_default",
    arguments: dict[str, Any] | None = None,
    state: str = "deferred",
    record: dict[str, Any] | None = None,
    try_number: int = 1,
) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from uuid6 import uuid7

    now = datetime.now(UTC)
    with create_session() as session:
        if session.get(DagBundleModel, "tests") is None:
            session.execute(_row(DagBundleModel, name="tests"))
        if session.get(DagModel, dag_id) is None:
            session.execute(_row(DagModel, dag_id=dag_id, bundle_name="tests"))
            session.execute(_row(DagVersion, id=uuid7(), version_number=1, dag_id=dag_id, bundle_name="tests"))
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if run is None:
            run = DagRun(dag_id=dag_id, run_id=run_id, run_type="manual", state="running", run_after=now)
            session.add(run)
            session.flush()
        version = session.scalar(select(DagVersion.id).where(DagVersion.dag_id == dag_id))
        key = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        about = {"state": state, "try_number": try_number, "start_date": now, "dag_version_id": version}
        id_type = TaskInstance.__table__.c.id.type.python_type  # str before Airflow 3.2
        session.execute(
            _row(TaskInstance, id=id_type(str(uuid7())), **key, **about, pool="default_pool", executor_config={})
        )
        if workflow_id is not None:
            session.execute(_row(XComModel, **key, dag_run_id=run.id, key="workflow_id", value=workflow_id))
        if conn_id is not None:
            fields = {"workflow_id": workflow_id} if arguments is None else arguments
            fields = {"conductor_conn_id": conn_id, **fields}
            session.execute(_row(RenderedTaskInstanceFields, **key, rendered_fields=fields))
        if record is not None:
            from airflow.models.task_state_store import TaskStateStoreModel

            value = json.dumps(record)
            session.execute(_row(TaskStateStoreModel, **key, dag_run_id=run.id, key="conductor_start", value=value))


def _row(model: Any, **values: Any) -> Any:
    """An insert of these values, and of empty ones for what else the table of this Airflow's version wants."""
    from sqlalchemy import insert

    empty = {"BOOLEAN": False, "INTEGER": 0, "FLOAT": 0.0}
    for column in model.__table__.c:
        wanted = not column.nullable and column.default is None and column.server_default is None
        if wanted and column.name not in values and column.autoincrement is not True and not column.primary_key:
            values[column.name] = empty.get(str(column.type), "")
    return insert(model.__table__).values(**values)
