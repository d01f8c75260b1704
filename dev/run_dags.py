"""Run DAGs of the DAGs folder to their end by Airflow's `dag.test()`: real tasks and triggers, no scheduler.

    python dev/run_dags.py DAG_ID [DAG_ID ...]

Prints one line of JSON for each DAG run, beside whatever Airflow logs.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any


def read_dags(folder: Path | None = None) -> Any:
    """What Airflow's DagBag makes of a folder, by default the DAGs folder."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]
    return DagBag(folder)


def run_as_a_worker_does() -> None:
    """Fill in what `dag.test()` lacks: the exception of callbacks before 3.3, and on 3.0 the page of a task's log.

    On 3.0 also the date of a first poke, which is a text there: any sensor in reschedule mode fails with it.
    """
    try:
        from airflow.sdk.execution_time import task_runner
    except ImportError:  # Airflow 2.11
        return
    instance: Any = task_runner.RuntimeTaskInstance
    run_task, finalize = task_runner.run, task_runner.finalize
    first_poke = instance.get_first_reschedule_date

    def run(ti: Any, context: Any, log: Any) -> Any:
        if hasattr(task_runner, "get_log_url_from_ti"):
            ti.log_url = task_runner.get_log_url_from_ti(ti)
        return run_task(ti, context, log)

    def finalize_with_exception(ti: Any, state: Any, context: Any, log: Any, error: Any = None) -> None:
        context["exception"] = error
        finalize(ti, state, context, log, error)

    def date_of_first_poke(ti: Any, context: Any) -> datetime | None:
        found: Any = first_poke(ti, context)
        return datetime.fromisoformat(found) if isinstance(found, str) else found

    task_runner.run, task_runner.finalize = run, finalize_with_exception
    instance.get_first_reschedule_date = date_of_first_poke


def run(dag: Any) -> dict[str, Any]:
    """The run's state, and of each of its tasks the state and the result."""
    dag_run = dag.test()
    tasks = []
    for instance in dag_run.get_task_instances():
        result = instance.xcom_pull(task_ids=instance.task_id, map_indexes=instance.map_index)
        tasks.append(
            {
                "task_id": instance.task_id,
                "map_index": instance.map_index,
                "state": str(getattr(instance.state, "value", instance.state)),
                "result": result,
            }
        )
    return {"dag_id": dag.dag_id, "state": str(getattr(dag_run.state, "value", dag_run.state)), "tasks": tasks}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run DAGs to their end, without a scheduler.")
    parser.add_argument("dag_id", nargs="+")
    dag_ids = parser.parse_args().dag_id
    run_as_a_worker_does()
    dags = read_dags().dags
    succeeded = True
    for dag_id in dag_ids:
        outcome = run(dags[dag_id])
        print(json.dumps({"outcome": outcome}), flush=True)
        succeeded = succeeded and outcome["state"] == "success"
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
