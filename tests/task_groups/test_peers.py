"""What users of other providers' task groups have reported, replayed with ours on a real server.

Each docstring says what the report was.
"""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.integration.client_lab import Lab
from tests.task_groups.group_run import GroupRun
from tests.task_groups.test_run_again import attempts, begin, lose
from tests.task_groups.worker import Worker, define, group_of

pytestmark = pytest.mark.integration


def models(lab: Lab, worker: Worker, what: str, **fields: Any) -> dict[str, Any]:
    """Three steps, of which each depends on the one before it."""
    return define(lab, worker, what, *map(lab.simple, ("stage", "model", "mart")), **fields)


def test_a_failed_model_is_run_again_and_so_is_what_depends_on_it(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """astronomer-cosmos #3001: while the producer waits for its own retry, the retries of a model's task run nothing.

    Each of them reads the failure of the first run again, until none is left; and the tasks of the models that depend
    on it are skipped, and never run again.
    """
    run = GroupRun(group_of(models(lab, worker, "cosmos_3001")), monkeypatch)
    worker.fails = {"model"}
    worker.names.remove(lab.name("stage"))
    first = begin(run)
    lose(run, "stage")
    worker.names.add(lab.name("stage"))
    states = run.go()
    assert states == {
        **{"start": "success", "stage": "success", "model": "failed"},
        **{"mart": "upstream_failed", "finish": "upstream_failed"},
    }
    # No retry of Airflow's is spent on the failure: the next run of the task is one that runs the step.
    assert run.tries["model"] == 1
    assert isinstance(run.errors["model"], AirflowFailException)
    for again in (2, 3):
        run.clear("model")
        assert run.go()["model"] == "failed"
        assert attempts(lab, run, "model") == ["FAILED"] * again
    worker.fails = set()
    run.clear("model")
    assert set(run.go().values()) == {"success"}
    assert (attempts(lab, run, "mart"), run.workflow_id) == (["COMPLETED"], first)
    assert worker.done == ["stage", *["model"] * 4, "mart"]


def test_a_retry_of_the_first_task_starts_the_workflow_or_finds_it(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """astronomer-cosmos #2554: the producer fails, and its retry is green without having run anything.

    The tasks after it are then skipped, and the DAG run is a success in which a part of the pipeline never ran.
    """
    definition = models(lab, worker, "cosmos_2554")
    run = GroupRun(group_of(definition), monkeypatch)
    lab.client.register_workflow_defs({**definition, "tasks": definition["tasks"][:1]})
    assert run.go() == {"start": "failed"} | dict.fromkeys(("stage", "model", "mart", "finish"), "upstream_failed")
    lab.client.register_workflow_defs(definition)
    run.clear("stage")
    run.lose("start")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["stage", "model", "mart"]

    worker.done.clear()
    worker.fails = {"model"}
    run.clear("start")
    first = run.workflow_id
    begin(run)
    run.lose("start")
    states = run.go()
    assert (states["start"], states["finish"]) == ("success", "upstream_failed")
    assert "skipped" not in states.values()
    assert (states["model"], states["mart"]) == ("failed", "upstream_failed")
    assert worker.done == ["stage", "model"]
    assert run.workflow_id != first


@pytest.mark.parametrize("alone", [True, False])
def test_a_failed_task_can_be_run_again_alone_and_with_all_after_it(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """apache/airflow #58826: the button "Repair a single task" of a Databricks workflow is always disabled.

    "Repair All" is disabled when tasks after the first one have failed; and where it is not, it finds nothing to
    repair.
    """
    run = GroupRun(group_of(models(lab, worker, "airflow_58826")), monkeypatch)
    worker.fails = {"model"}
    states = run.go()
    assert (states["model"], states["mart"], states["finish"]) == ("failed", "upstream_failed", "upstream_failed")
    worker.fails, first = set(), run.workflow_id
    run.clear("model", downstream=not alone)
    states = run.go()
    if alone:  # the workflow runs on to its end, and the tasks that have not run follow it when they are cleared
        assert (states["model"], states["mart"], states["finish"]) == ("success", "upstream_failed", "upstream_failed")
        lab.ended(first)
        run.clear("mart", "finish", downstream=False)
        states = run.go()
    assert set(states.values()) == {"success"}
    assert (run.workflow_id, worker.done) == (first, ["stage", "model", "model", "mart"])


def test_a_task_that_runs_again_follows_the_new_attempt(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apache/airflow #69998 and its pull request #68358: a retried task finds the old failed run, and fails again.

    The run of a Databricks workflow is still the failed one then. And since it has an entry for each attempt, a task
    with several is repaired twice, or is taken for failed although its last attempt was a success.
    """
    definition = models(lab, worker, "airflow_69998", retries={"model": 1})
    worker.fails_first["model"] = 3
    run = GroupRun(group_of(definition), monkeypatch)
    assert run.go()["model"] == "failed"
    assert attempts(lab, run, "model") == ["FAILED", "FAILED"]
    run.clear("model")
    assert run.go()["model"] == "failed"
    assert " failed: model failed (attempt 3): out of boxes" in str(run.errors["model"])
    run.clear("model")
    lines = run.logged("model")
    assert set(run.go().values()) == {"success"}
    assert worker.done == ["stage", *["model"] * 4, "mart"]
    (report,) = [line for line in lines if line.startswith("Step 'model'")]
    ends = [line.split()[2].rstrip(",") for line in report.splitlines()[1:]]
    assert ends == ["FAILED"] * 3 + ["COMPLETED"]
