"""Tasks whose process is killed at a named point of their first try; Airflow's own retry does the rest.

``CRASH_DAGS`` names the DAGs there are: ``before_start after_start waiting …``.
"""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorStartWorkflowOperator
from tests.faults.dags.runs_once import RUNS_ONCE


def die() -> None:
    """What the kernel's OOM killer does: nobody is told, nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_the_supervisor() -> None:
    """The machine is gone: Airflow learns of it by a heartbeat that does not come."""
    os.kill(os.getppid(), signal.SIGKILL)
    die()


class Crashing:
    """Kills its own process at the point its workflow's input names, in the first try."""

    workflow_input: Any

    @property
    def point(self) -> str:
        return str(self.workflow_input["point"])

    def _start(self) -> str:
        # Not execute: Airflow 2 guards that of an operator's own class, and stumbles over one from beside it.
        if self._run.ti.try_number == 1:  # type: ignore[attr-defined]
            self._lay_the_mine()
        return str(super()._start())  # type: ignore[misc]

    def execute_complete(self, context: Any, event: Any = None, **kwargs: Any) -> Any:
        if self.point == "resumed" and context["ti"].try_number == 1:
            die()
        return super().execute_complete(context, event, **kwargs)  # type: ignore[misc]

    def _lay_the_mine(self) -> None:
        transmit = ConductorClient._transmit
        save_record = type(self)._save_record  # type: ignore[attr-defined]

        def sending(client: Any, sent: Any) -> Any:
            is_start = (sent.call.method, sent.call.path) == ("POST", "/workflow")
            if is_start and self.point == "before_start":
                die()
            answer = transmit(client, sent)
            if is_start and self.point == "after_start":
                die()
            if is_start and self.point == "after_start_with_supervisor":
                die_with_the_supervisor()
            return answer

        def saving(task: Any, record: Any) -> None:
            if record.workflow_id is not None and self.point == "before_id_is_kept":
                die()
            save_record(task, record)

        ConductorClient._transmit = sending  # type: ignore[method-assign]
        type(self)._save_record = saving  # type: ignore[attr-defined]
        if self.point == "waiting":
            threading.Timer(2, die).start()


class CrashingExecute(Crashing, ConductorExecuteWorkflowOperator):
    pass


class CrashingStart(Crashing, ConductorStartWorkflowOperator):
    pass


for wanted in os.environ.get("CRASH_DAGS", "").split():
    point, _, how = wanted.partition("-")
    with DAG(
        f"crash_{wanted.replace('-', '.')}",
        **RUNS_ONCE,
    ) as dag:
        shared: dict[str, Any] = {
            "task_id": "crashing",
            "workflow_name": os.environ["CRASH_WORKFLOW"],
            "version": 1,
            "workflow_input": {"point": point},
            "retries": 2,
            "retry_delay": timedelta(seconds=0.5),
        }
        if how == "start":
            CrashingStart(**shared)
        else:
            CrashingExecute(**shared, wait_for_seconds=1, poll_interval=0.5, deferrable=how == "deferred")
    globals()[dag.dag_id] = dag
