from __future__ import annotations

import pytest

from airflow_provider_conductor.client.models import Task, Workflow
from airflow_provider_conductor.dag_runs import report
from airflow_provider_conductor.dag_runs.airflow_api import DagRun, TaskState


def task(status: str, reason: str = "", task_id: str = "t1", seq: int = 1) -> Task:
    return Task(
        {"taskId": task_id, "status": status, "reasonForIncompletion": reason, "referenceTaskName": "r", "seq": seq}
    )


LOST = task("TIMED_OUT", "responseTimeout: 2 exceeded for the taskId: t1 with Task Definition: airflow_dag")
TOO_LONG = task("TIMED_OUT", "Task timed out after 6 seconds. Timeout configured as 6 seconds.")


@pytest.mark.parametrize(
    ("status", "orphan"),
    [
        *((status, False) for status in ("SCHEDULED", "IN_PROGRESS", "COMPLETED", "FAILED")),
        *(("FAILED_WITH_TERMINAL_ERROR", False), ("COMPLETED_WITH_ERRORS", False)),
        *((status, True) for status in ("CANCELED", "SKIPPED", "TIMED_OUT")),
    ],
)
def test_a_run_is_an_orphan_when_its_task_has_ended_without_it(status: str, orphan: bool) -> None:
    assert report.may_be_orphan(task(status)) is orphan


def test_only_an_attempt_without_an_answer_was_lost() -> None:
    assert report.was_lost(LOST)
    assert not report.was_lost(TOO_LONG)
    assert not report.was_lost(task("FAILED", "responseTimeout"))


@pytest.mark.parametrize(
    ("attempt", "status", "latest", "heir"),
    [
        (LOST, "RUNNING", "SCHEDULED", True),
        (LOST, "RUNNING", "FAILED", False),
        (LOST, "TERMINATED", "SCHEDULED", False),
        (TOO_LONG, "RUNNING", "SCHEDULED", False),
    ],
)
def test_the_next_attempt_goes_on_with_the_run_of_a_lost_one(
    attempt: Task, status: str, latest: str, heir: bool
) -> None:
    tasks = [dict(attempt.data), dict(task(latest, task_id="t2", seq=2).data)]
    assert report.has_heir(attempt, Workflow({"status": status, "tasks": tasks})) is heir


@pytest.mark.parametrize(("age", "seconds"), [(0, 5), (100, 5), (200, 10), (1200, 60), (100_000, 60)])
def test_the_pause_grows_with_the_age(age: float, seconds: int) -> None:
    assert report.pause(age, 5.0) == seconds


def test_a_pause_that_was_asked_for_is_not_shortened() -> None:
    assert report.pause(0, 120) == 120
    assert report.pause(0, 0.2) == 1


def test_a_failure_names_the_tasks() -> None:
    run = DagRun("etl", "conductor__t1", "failed")
    tasks = [TaskState("load", "failed", -1, 2), TaskState("show", "upstream_failed", 3)]
    found = report.failed(run, "http://airflow/run", tasks)
    assert found.status == "FAILED"
    assert found.reason == (
        "DAG run conductor__t1 of etl failed: load (failed, try 2), show[3] (upstream_failed) (http://airflow/run)"
    )
    assert found.output["failed_tasks"][1] == {"task_id": "show", "map_index": 3, "state": "upstream_failed"}


def test_a_note_is_kept_and_has_room() -> None:
    ending = report.ending_note("x" * 1000, Task({"taskId": "t1", "status": "CANCELED", "workflowInstanceId": "w1"}))
    assert len(ending) <= 1000
    assert ending.startswith("xxx")
    assert f"{report.ENDED_BY_WORKER} task t1 of workflow w1: the task is CANCELED" in ending
