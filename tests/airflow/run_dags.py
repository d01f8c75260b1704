"""Runs the DAGs of the folder with Airflow's own runner and writes down what Airflow has of them afterwards.

A process of its own: it fills a metadata database, and has to be sent a SIGTERM. Arguments: the file to write.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow import __version__ as airflow_version
from airflow.models import TaskInstance
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskreschedule import TaskReschedule
from airflow.utils.session import create_session

from airflow_provider_conductor.client import ConductorClient
from dev.run_dags import read_dags, run_as_a_worker_does

AIRFLOW_2 = airflow_version.startswith("2.")

try:
    from airflow.models.xcom import XComModel as XCom
except ImportError:
    from airflow.models.xcom import XCom

LINK = "Conductor workflow"


def terminate_this_process_when_it_waits() -> None:
    """What a worker gets when somebody marks its task as failed."""
    name = f"{os.environ['WORKFLOW_PREFIX']}_to_be_killed"
    give_up = time.monotonic() + 300
    with ConductorClient(os.environ["CONDUCTOR_API"]) as client:
        while not client.get_running_workflows(name):
            if time.monotonic() > give_up:
                return
            time.sleep(0.2)
    while not its_id_is_in_xcom() and time.monotonic() < give_up:
        time.sleep(0.2)
    time.sleep(2)  # the wait comes after it
    os.kill(os.getpid(), signal.SIGTERM)


def its_id_is_in_xcom() -> bool:
    with create_session() as session:
        return session.query(XCom).filter_by(dag_id="killed", key="workflow_url").count() > 0


def xcom_value(row: Any) -> Any:
    """3.x keeps JSON; 2.11 has read it already."""
    return row.value if AIRFLOW_2 else XCom.deserialize_value(row)


def outcome(dag_id: str) -> dict[str, Any]:
    """Each task instance's state, tries, XComs and the link its button has."""
    found: dict[str, Any] = {}
    with create_session() as session:
        stored = SerializedDagModel.get_dag(dag_id) if hasattr(SerializedDagModel, "get_dag") else None
        stored = stored or SerializedDagModel.get(dag_id, session=session).dag
        for ti in session.query(TaskInstance).filter_by(dag_id=dag_id):
            key = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
            rows = session.query(XCom).filter_by(dag_id=dag_id, task_id=ti.task_id, map_index=ti.map_index)
            found[key] = {
                "state": str(ti.state),
                "tries": ti.try_number,
                "xcoms": {row.key: xcom_value(row) for row in rows},
                "link": stored.get_task(ti.task_id).get_extra_links(ti, LINK),
            }
    return found


def bundle() -> tuple[Any, ...]:
    """Name and version of the DAG bundle, which Airflow 3 wants."""
    if not find_spec("airflow.dag_processing.bundles"):
        return ()
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    return "dags-folder", None


def main() -> None:
    run_as_a_worker_does()
    bag = read_dags()
    if hasattr(bag, "sync_to_db"):
        bag.sync_to_db(*bundle())
    outcomes: dict[str, Any] = {"import errors": {str(file): error for file, error in bag.import_errors.items()}}
    for dag_id, dag in bag.dags.items():
        if dag_id == "killed":
            threading.Thread(target=terminate_this_process_when_it_waits, daemon=True).start()
        began = time.monotonic()
        print(f"=== DAG {dag_id}", flush=True)  # noqa: T201
        try:
            dag.test()
        except BaseException:  # 2.11 ends the runner with its task
            traceback.print_exc()
        outcomes[dag_id] = outcome(dag_id)
        print(f"{dag_id} took {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201
    with create_session() as session:
        outcomes["reschedules"] = session.query(TaskReschedule).count()
    Path(sys.argv[1]).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
