"""What Airflow's database knows of task instances and their workflows. Read in the API server, in a thread.

A workflow is shown only through a task instance that names it: in XCom, or, where a new try has wiped that, in the
record of its start. So whoever may see the task instance may see the workflow, and nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor._airflow import tasks_have_state_store
from airflow_provider_conductor.connection_form import CONNECTION_TYPE, DEFAULT_CONNECTION_ID
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY
from airflow_provider_conductor.operators.submission import RECORD_KEY
from airflow_provider_conductor.submission.start_record import StartRecord

if TYPE_CHECKING:
    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

CONN_ID = "conductor_conn_id"
"""The operators' argument, one of their templated fields."""

WAITING = ("deferred", "running", "up_for_reschedule")
"""States in which a task may wait for a workflow."""


@dataclass(frozen=True, slots=True, order=True)
class TaskInstanceId:
    """Which task instance; ``map_index`` is -1 if it is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True, slots=True)
class NamedWorkflow:
    """A task instance, and the workflow that it names in the Conductor of the connection ``conn_id``."""

    id: TaskInstanceId
    state: str
    try_number: int
    workflow_id: str
    conn_id: str

    def to_json(self) -> dict[str, Any]:
        """The task instance, as the front end reads it."""
        return {**asdict(self.id), "state": self.state, "try_number": self.try_number}


class NoWorkflowError(Exception):
    """The task instance does not exist, or names no workflow."""


def named_workflow(ti: TaskInstanceId) -> NamedWorkflow:
    """The workflow of a task instance.

    Raises:
        NoWorkflowError: it has none (yet).
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    wanted = [getattr(TaskInstance, name) == value for name, value in asdict(ti).items()]
    with create_session(scoped=False) as session:
        row = session.execute(_task_instances().where(*wanted)).first()
        if row is None:
            raise NoWorkflowError("Airflow has no such task instance: it was cleared, or its DAG run was deleted")
        workflow_id = _id_in_xcom(row.value) or _id_in_record(session, ti)
        if not workflow_id:
            raise NoWorkflowError(
                "This task has no Conductor workflow. A task has one from the moment it has started it, or waits for it"
            )
        return _named(session, row, workflow_id)


def workflows_of_run(dag_id: str, run_id: str, limit: int) -> list[NamedWorkflow]:
    """The workflows that the task instances of a DAG run name, at most ``limit`` and one more."""
    from airflow.models.taskinstance import TaskInstance

    return _named_in_xcom(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, limit=limit)


def waiting_workflows(dag_ids: Collection[str], limit: int) -> list[NamedWorkflow]:
    """Those of the task instances that wait now, of these DAGs, the longest first; at most ``limit`` and one more."""
    from airflow.models.taskinstance import TaskInstance

    return _named_in_xcom(TaskInstance.dag_id.in_(dag_ids), TaskInstance.state.in_(WAITING), limit=limit)


def connection_ids() -> list[str]:
    """The connections to Conductor that Airflow's database has, and the default one if it is defined elsewhere."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        stored = session.scalars(select(Connection.conn_id).where(Connection.conn_type == CONNECTION_TYPE)).all()
    found = {str(conn_id) for conn_id in stored}
    try:
        if Connection.get_connection_from_secrets(DEFAULT_CONNECTION_ID).conn_type == CONNECTION_TYPE:
            found.add(DEFAULT_CONNECTION_ID)
    except Exception:  # noqa: S110, RUF100  it is not defined, or a secrets backend cannot be asked
        pass
    return sorted(found)


def _task_instances() -> Select[Any]:
    """Task instances, with what XCom and the rendered templates have of their workflows."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel as XCom
    from sqlalchemy import and_, select

    names = ("dag_id", "run_id", "task_id", "map_index")

    def same(other: Any) -> Any:
        return and_(*(getattr(other, name) == getattr(TaskInstance, name) for name in names))

    return (
        select(
            *(getattr(TaskInstance, name) for name in names),
            TaskInstance.state,
            TaskInstance.try_number,
            XCom.value,
            Rendered.rendered_fields,
        )
        .select_from(TaskInstance)
        .outerjoin(XCom, and_(same(XCom), XCom.key == WORKFLOW_ID_KEY))
        .outerjoin(Rendered, same(Rendered))
    )


def _named_in_xcom(*wanted: Any, limit: int) -> list[NamedWorkflow]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel as XCom
    from airflow.utils.session import create_session

    statement = _task_instances().where(*wanted, XCom.value.is_not(None))
    statement = statement.order_by(TaskInstance.start_date, TaskInstance.task_id, TaskInstance.map_index).limit(
        limit + 1
    )
    with create_session(scoped=False) as session:
        rows = session.execute(statement).all()
        return [_named(session, row, found) for row in rows if (found := _id_in_xcom(row.value))]


def _named(session: Session, row: Row[Any], workflow_id: str) -> NamedWorkflow:
    ti = TaskInstanceId(row.dag_id, row.run_id, row.task_id, row.map_index)
    fields = row.rendered_fields
    conn_id = fields.get(CONN_ID) if isinstance(fields, dict) else None
    if not isinstance(conn_id, str):  # Airflow keeps the rendered fields of the last runs only
        conn_id = _conn_id_of_dag(session, ti)
    return NamedWorkflow(ti, str(row.state or ""), row.try_number, workflow_id, conn_id)


def _conn_id_of_dag(session: Session, ti: TaskInstanceId) -> str:
    """The connection that the DAG names, as it is now."""
    from airflow.models.serialized_dag import SerializedDagModel

    try:
        stored = SerializedDagModel.get(ti.dag_id, session=session)
        conn_id = getattr(stored and stored.dag.get_task(ti.task_id), CONN_ID, None)
    except Exception:  # the task, or the whole DAG, is gone
        conn_id = None
    return conn_id if isinstance(conn_id, str) and "{{" not in conn_id else DEFAULT_CONNECTION_ID


def _id_in_xcom(stored: Any) -> str:
    """The id in a row of XCom, wherever the backend of XCom keeps it."""
    from airflow.providers.common.compat.sdk import XCom

    if stored is None:
        return ""
    value = XCom.deserialize_value(SimpleNamespace(value=stored))
    return value if isinstance(value, str) else ""


def _id_in_record(session: Session, ti: TaskInstanceId) -> str:
    """The workflow in the record of the start, where Airflow keeps one."""
    if not tasks_have_state_store():
        return ""
    from airflow.models.task_state_store import TaskStateStoreModel as Store
    from sqlalchemy import select

    wanted = [getattr(Store, name) == value for name, value in asdict(ti).items()]
    stored = session.scalar(select(Store.value).where(*wanted, Store.key == RECORD_KEY))
    try:
        record = StartRecord.from_json(json.loads(stored)) if stored else None
    except ValueError:
        record = None
    return (record.workflow_id if record is not None else None) or ""
