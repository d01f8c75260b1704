"""What Airflow's database knows of task instances and their workflows. Read in the API server, in a thread.

A workflow is shown only through a task instance that names it: in XCom, or, where a new try has wiped that, in the
record of its start. Whether it is the task instance's own is for :mod:`~airflow_provider_conductor.ui.ownership`.
The tasks of a task group's steps have not started their workflow: it is theirs if it is that of the group's start.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, astuple
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_provider_conductor._airflow import tasks_have_state_store
from airflow_provider_conductor.connection_form import CONNECTION_TYPE, DEFAULT_CONNECTION_ID
from airflow_provider_conductor.links.conductor import WORKFLOW_ID_KEY
from airflow_provider_conductor.operators.submission import RECORD_KEY
from airflow_provider_conductor.submission.start_record import StartRecord
from airflow_provider_conductor.ui.ownership import INPUTS, START_TASK_ID, BatchTask, NamedWorkflow, TaskInstanceId

if TYPE_CHECKING:
    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

CONN_ID = "conductor_conn_id"
ARGUMENTS = (CONN_ID, "workflow_id", "correlation_id", "workflow_name", "item_key", START_TASK_ID)
"""Arguments of the operators, templated fields all of them."""

log = logging.getLogger(__name__)

DROPPED = (
    "Airflow has no rendered arguments of this task instance: it keeps them for the newest runs of a task only, 30 by "
    "default ([core] num_dag_runs_to_retain_rendered_fields; before Airflow 3.2, max_num_rendered_ti_fields_per_task), "
    "and has none of a sensor that began in the triggerer."
)

INSTEAD = "The task's log, and the link \"Conductor workflow\" on its page, lead to the workflow in Conductor's own UI"

NO_LONGER_KNOWN = (
    "The XCom of this task names a workflow, but this page cannot check that the task has started it or waited for it. "
    f"{DROPPED} Since users can write XComs, the workflow is not shown here. {INSTEAD}"
)

WAITING = ("deferred", "running", "up_for_reschedule")
"""States in which a task may wait for a workflow."""


Starts: TypeAlias = Mapping[TaskInstanceId, NamedWorkflow]
"""Task instances that start the workflows of task groups."""


class NoWorkflowError(Exception):
    """The task instance does not exist, or names no workflow."""


def conductor_task(ti: TaskInstanceId) -> NamedWorkflow | BatchTask:
    """A task instance with the workflow that it names, or a batch, which names none.

    Raises:
        NoWorkflowError: it has no workflow (yet), or its Conductor is not known any more.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    wanted = [getattr(TaskInstance, name) == value for name, value in asdict(ti).items()]
    dags: dict[str, Any] = {}
    with create_session(scoped=False) as session:
        row = session.execute(_task_instances().where(*wanted)).first()
        if row is None:
            raise NoWorkflowError("Airflow has no such task instance: it was cleared, or its DAG run was deleted")
        arguments = _arguments(session, row, dags)
        recorded = _id_in_record(session, ti) if row.value is None else ""
        starts = _starts(session, [(row, arguments)], dags)
    about = _about(row, arguments) if arguments is not None else None
    if arguments is not None and about is None:
        raise NoWorkflowError(
            "This page cannot know which Conductor the task used, since its conductor_conn_id is a template, or is "
            f"mapped over. {DROPPED} {INSTEAD}"
        )
    if about is not None and INPUTS in about["arguments"]:
        return BatchTask(**about)
    workflow_id = (_id_in_xcom(row.value) or recorded) if about is not None else ""
    if about is None or not workflow_id:
        raise NoWorkflowError(
            "This task has no Conductor workflow. A task has one from the moment it has started it, or waits for it"
        )
    start_id = _start_of(row, about["arguments"])
    start = starts.get(start_id) if start_id is not None else None
    return NamedWorkflow(**about, workflow_id=workflow_id, start=start)


def workflows_of_run(dag_id: str, run_id: str, limit: int) -> list[NamedWorkflow]:
    """The workflows that the task instances of a DAG run name, at most ``limit`` and one more."""
    from airflow.models.taskinstance import TaskInstance

    return _named_in_xcom(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, limit=limit)


def waiting_workflows(dag_ids: Collection[str], limit: int) -> list[NamedWorkflow]:
    """Those of the task instances that wait now, of these DAGs, the longest first; at most ``limit`` and one more."""
    from airflow.models.taskinstance import TaskInstance

    return _named_in_xcom(TaskInstance.dag_id.in_(dag_ids), TaskInstance.state.in_(WAITING), limit=limit)


def connection_ids() -> tuple[set[str], set[str]]:
    """The connections to Conductor in Airflow's database; and the default one, if it is defined elsewhere."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        found = session.scalars(select(Connection.conn_id).where(Connection.conn_type == CONNECTION_TYPE)).all()
    stored, elsewhere = {str(conn_id) for conn_id in found}, set()
    if DEFAULT_CONNECTION_ID not in stored:
        with suppress(Exception):  # it is not defined, or a secrets backend does not answer
            if Connection.get_connection_from_secrets(DEFAULT_CONNECTION_ID).conn_type == CONNECTION_TYPE:
                elsewhere = {DEFAULT_CONNECTION_ID}
    return stored, elsewhere


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
    """The workflows that these name, each task group's once: at its start, or at the first of its steps."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel as XCom
    from airflow.utils.session import create_session

    statement = _task_instances().where(*wanted, XCom.value.is_not(None))
    order = ("start_date", "dag_id", "run_id", "task_id", "map_index")
    statement = statement.order_by(*(getattr(TaskInstance, name) for name in order))
    dags: dict[str, Any] = {}
    found: dict[TaskInstanceId, tuple[Row[Any], Mapping[str, Any]]] = {}
    with create_session(scoped=False) as session:
        for page in count():
            rows = session.execute(statement.limit(limit + 1).offset(page * (limit + 1))).all()
            for row in rows:
                arguments = _arguments(session, row, dags)
                if arguments is not None:
                    found.setdefault(_start_of(row, arguments) or _id_of(row), (row, arguments))
            if len(rows) <= limit or len(found) > limit:
                break
        listed = list(found.values())[: limit + 1]
        starts = _starts(session, listed, dags)
    # Outside of the session: XCom may be kept elsewhere, and be slow.
    named = [(row, _id_in_xcom(row.value), arguments) for row, arguments in listed]
    found_of = (_named(row, workflow_id, arguments, starts) for row, workflow_id, arguments in named if workflow_id)
    return [one for one in found_of if one is not None]


def _named(row: Row[Any], workflow_id: str, arguments: Mapping[str, Any], starts: Starts) -> NamedWorkflow | None:
    """The task instance with its workflow; None if its connection is not known any more."""
    about = _about(row, arguments)
    if about is None:
        return None
    start_id = _start_of(row, arguments)
    start = starts.get(start_id) if start_id is not None else None
    return NamedWorkflow(**about, workflow_id=workflow_id, start=start)


def _about(row: Row[Any], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is known of a task instance of an operator for Conductor; None if its connection is not known any more."""
    if not isinstance(arguments.get(CONN_ID), str):
        return None
    return {
        "id": _id_of(row),
        "state": str(row.state or ""),
        "try_number": row.try_number,
        "conn_id": arguments[CONN_ID],
        "arguments": arguments,
        "rendered": isinstance(row.rendered_fields, dict),
    }


def _id_of(row: Row[Any]) -> TaskInstanceId:
    return TaskInstanceId(row.dag_id, row.run_id, row.task_id, row.map_index)


def _starts(
    session: Session, found: Iterable[tuple[Row[Any], Mapping[str, Any] | None]], dags: dict[str, Any]
) -> Starts:
    """The task instances that start the workflows of these, where those are steps of task groups."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import tuple_

    wanted = {start for row, arguments in found if arguments is not None and (start := _start_of(row, arguments))}
    if not wanted:
        return {}
    key = tuple_(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    rows = session.execute(_task_instances().where(key.in_([astuple(ti) for ti in wanted]))).all()
    read = [(row, _arguments(session, row, dags)) for row in rows]
    named = (_named(row, "", arguments, {}) for row, arguments in read if arguments is not None)
    return {one.id: one for one in named if one is not None}


def _start_of(row: Row[Any], arguments: Mapping[str, Any]) -> TaskInstanceId | None:
    """The task instance that starts the workflow of this one; None if this is no step of a task group."""
    task_id = arguments.get(START_TASK_ID)
    return TaskInstanceId(row.dag_id, row.run_id, task_id, row.map_index) if isinstance(task_id, str) else None


def _arguments(session: Session, row: Row[Any], dags: dict[str, Any]) -> Mapping[str, Any] | None:
    """The operator's rendered arguments; None if it is no operator for Conductor.

    Airflow keeps them for the last runs only, and has none of a task that began in the triggerer. Then they are those
    of the DAG as it is now, without those that are templates, or that the task is mapped over.

    Args:
        dags: gets the DAGs that are read, by id.
    """
    from airflow.models.serialized_dag import SerializedDagModel

    rendered = row.rendered_fields
    if isinstance(rendered, dict):
        return rendered if isinstance(rendered.get(CONN_ID), str) else None
    if row.dag_id not in dags:
        stored = SerializedDagModel.get(row.dag_id, session=session)
        dags[row.dag_id] = stored and stored.dag
    dag = dags[row.dag_id]
    try:
        task = dag.get_task(row.task_id) if dag is not None else None
    except Exception:  # the DAG has no such task any more
        task = None
    return _arguments_in_dag(task)


def _arguments_in_dag(task: Any) -> Mapping[str, Any] | None:
    """The arguments of an operator as the DAG has them; None if it is none for Conductor."""
    fields = getattr(task, "template_fields", ())
    if CONN_ID not in fields:
        return None
    given = getattr(task, "partial_kwargs", None)  # of a mapped one, whose attributes are none of the operator's
    if given is None:
        given = {name: getattr(task, name, None) for name in ARGUMENTS}
    mapped_over = getattr(getattr(task, "expand_input", None), "value", None)
    known = {name: given.get(name) for name in ARGUMENTS} | {CONN_ID: given.get(CONN_ID, DEFAULT_CONNECTION_ID)}
    if isinstance(mapped_over, Mapping):
        known |= dict.fromkeys(mapped_over)
    found = {name: value for name, value in known.items() if isinstance(value, str) and "{" not in value}
    return found | ({INPUTS: None} if INPUTS in fields else {})


def _id_in_xcom(stored: Any) -> str:
    """The id in a row of XCom, wherever the backend of XCom keeps it; "" if that is no text, or cannot be read."""
    from airflow.providers.common.compat.sdk import XCom

    if not isinstance(stored, str):
        return ""
    try:
        value = XCom.deserialize_value(SimpleNamespace(value=stored))
    except Exception as error:  # whatever a backend of somebody's own raises; other rows can be read
        log.warning("An XCom could not be read by the API server: %s", error)
        return ""
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
