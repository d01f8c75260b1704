"""A sensor that begins in the triggerer, with a real scheduler and triggerer: no worker until its wait is over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor._airflow import TIMEOUT_FORESTALLS_RESUMPTION, triggers_render_templates
from airflow_provider_conductor.client import ConductorClient, TaskStatus, Workflow
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill, ended_by_our_timeout
from tests.faults.real_airflow import RealAirflow, TaskSeen, real_airflow
from tests.faults.test_kills import kill

pytestmark = [pytest.mark.integration, pytest.mark.airflow, pytest.mark.faults]

WAYS = ("ends", "killed", "timeout", "execution_timeout", "empty", "mapped")

ENDED = ("success", "failed", "upstream_failed", "skipped")


class Sensor:
    """The task ``sense`` of a DAG, as its logs and the metadata database show it."""

    def __init__(self, airflow: RealAirflow, way: str) -> None:
        self.airflow, self.way, self.dag_id = airflow, way, f"begins_{way}"

    def _query(self, sql: str) -> list[Any]:
        return self.airflow.query(sql, self.dag_id)

    @property
    def state(self) -> str | None:
        rows = self._query("select state from task_instance where task_id = 'sense' and dag_id = ?")
        return rows[0][0] if rows else None

    @property
    def run_id(self) -> str:
        return str(self._query("select run_id from task_instance where task_id = 'sense' and dag_id = ?")[0][0])

    @property
    def xcom_keys(self) -> set[str]:
        return {key for (key,) in self._query("select key from xcom where task_id = 'sense' and dag_id = ?")}

    @property
    def workflow_id(self) -> str | None:
        rows = self._query("select value from xcom where task_id = 'start' and key = 'workflow_id' and dag_id = ?")
        return str(json.loads(rows[0][0])) if rows else None

    @property
    def workers(self) -> int:
        """How many worker processes it had."""
        ran = "select count(*) from log where event = 'running' and task_id = 'sense' and dag_id = ?"
        return int(self._query(ran)[0][0])

    def log(self, of: str) -> str:
        """What was said by ``worker`` or by ``triggerer``."""
        found = sorted(self.airflow.home.glob(f"logs/dag_id={self.dag_id}/**/task_id=sense/**/attempt=*"))
        wanted = [path for path in found if (".trigger." in path.name) == (of == "triggerer")]
        return "\n".join(path.read_text(errors="replace") for path in wanted)


def test_a_sensor_begins_and_waits_without_a_worker(
    direct: ConductorClient, conductor_server: Any, tmp_path: Path, report: Callable[[str], None]
) -> None:
    with real_airflow(tmp_path, conductor_server.url, BEGINNING_DAGS=" ".join(WAYS)) as airflow:
        sensors = {way: Sensor(airflow, way) for way in WAYS}
        wrong: list[str] = []

        def check(way: str, true: bool, what: str) -> None:
            report(f"{way}: {what}: {true}")
            if not true:
                log = airflow.task_log(sensors[way].dag_id)
                wrong.append(f"{way} is {sensors[way].state}, and not: {what}\n{log[-6000:]}")

        def workflow(way: str) -> Workflow:
            workflow_id = sensors[way].workflow_id
            assert workflow_id
            return direct.get_workflow(workflow_id)

        def waits(way: str) -> bool:
            return sensors[way].state == "deferred" and "workflow_url" in sensors[way].xcom_keys

        try:
            for way in ("ends", "killed"):
                airflow.wait_until(lambda way=way: waits(way) or sensors[way].state in ENDED, 180)
                check(way, waits(way), "it waits, and has written id and page")
                began_on_worker = bool(sensors[way].log("worker"))
                check(way, began_on_worker != triggers_render_templates(), "no worker before the end")
            task = TaskSeen(sensors["killed"].dag_id, sensors["killed"].run_id, "deferred", 1)
            kill(airflow, "mark_failed", task, task_id="sense")
            airflow.wait_until(lambda: workflow("killed").status.ended, 60)
            check("killed", ended_by_our_kill(workflow("killed").reason), "the kill takes the workflow along")

            airflow.terminate("triggerer")
            airflow.start("triggerer")
            if triggers_render_templates():
                airflow.wait_until(lambda: len(deadlines(sensors["ends"])) > 1, 90)
                check("ends", len(set(deadlines(sensors["ends"]))) == 1, "a restart keeps the deadline")
            (task,) = workflow("ends").tasks
            direct.update_task(workflow("ends").workflow_id, task.task_id, TaskStatus.COMPLETED)
            others = ("timeout", "execution_timeout", "empty")
            airflow.wait_until(
                lambda: all(sensors[way].state in ("success", "failed") for way in ("ends", *others)), 180
            )
            check("ends", sensors["ends"].state == "success", "it succeeds")
            check("ends", "The trigger reported: COMPLETED" in sensors["ends"].log("worker"), "a worker concludes")
            if triggers_render_templates():
                for way in ("ends", *others):
                    check(way, sensors[way].workers == 1, "no other worker")
            for way in others:
                check(way, sensors[way].state == "failed", "it fails")
            check("timeout", ended_by_our_timeout(workflow("timeout").reason), "the timeout ends the workflow")
            check("timeout", "ConductorSensorTimeoutError" in sensors["timeout"].log("worker"), "it is not retried")
            said = sensors["execution_timeout"].log("worker")
            error = "AirflowTaskTimeout" if TIMEOUT_FORESTALLS_RESUMPTION else "ConductorWorkflowTimeoutError"
            check("execution_timeout", error in said, "it is the retried one")
            check("execution_timeout", not workflow("execution_timeout").status.ended, "the workflow is left")
            if triggers_render_templates():
                check("empty", "workflow_id must not be empty" in sensors["empty"].log("worker"), "a clear error")
                check("mapped", "begins on a worker in spite of" in sensors["mapped"].log("worker"), "it says why")
            airflow.wait_until(lambda: waits("mapped"), 60)
            (task,) = workflow("mapped").tasks
            direct.update_task(workflow("mapped").workflow_id, task.task_id, TaskStatus.COMPLETED)
            airflow.wait_until(lambda: sensors["mapped"].state in ENDED, 90)
            check("mapped", sensors["mapped"].state == "success", "it succeeds from a worker")
        finally:
            for sensor in sensors.values():
                if sensor.workflow_id and not direct.get_workflow(sensor.workflow_id).status.ended:
                    direct.terminate_workflow(sensor.workflow_id, "the test is over")
        assert not wrong, "\n".join(wrong)


def deadlines(sensor: Sensor) -> list[str]:
    """What each triggerer said of how long it waits."""
    return re.findall(r"until (\S+):", sensor.log("triggerer"))
