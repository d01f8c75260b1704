"""What ran in a workflow beyond its definition is in the log of a task group's last task."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.integration.client_lab import Lab
from tests.task_groups.group_run import GroupRun
from tests.task_groups.worker import Worker, define, group_of

pytestmark = pytest.mark.integration


def fan_out(lab: Lab) -> list[dict[str, Any]]:
    """A dynamic fork of what the workflow's input names, and its JOIN."""
    return [
        lab.system(
            "FORK_JOIN_DYNAMIC",
            "fan_out",
            inputParameters={"tasks": "${workflow.input.tasks}", "inputs": "${workflow.input.inputs}"},
            dynamicForkTasksParam="tasks",
            dynamicForkTasksInputParamName="inputs",
        ),
        lab.system("JOIN", "fan_in"),
    ]


def pieces(lab: Lab, count: int) -> dict[str, Any]:
    """The input for a fork into so many pieces, of which a worker does the last."""
    made = [
        {"name": "noop", "taskReferenceName": f"piece_{number}", "type": "NOOP", "inputParameters": {}}
        for number in range(1, count)
    ]
    last = {"name": lab.name("piece"), "taskReferenceName": f"piece_{count}", "type": "SIMPLE"}
    return {"tasks": [*made, last], "inputs": {}}


def rows(lines: list[str], headline: str) -> dict[str, str]:
    """The table below this line of the log: the status of each task."""
    (text,) = [line for line in lines if line.startswith(headline)]
    _, header, *lines = text.splitlines()
    assert header.split() == ["task", "attempts", "start", "duration", "status"]
    return {line.split()[0]: line.split()[-1] for line in lines}


def test_what_a_definition_did_not_have_is_in_the_timeline(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks of a dynamic fork, more than other logs show; and what the server's definition has besides."""
    define(lab, worker, "pieces", lab.simple("piece"))
    definition = define(lab, worker, "fanned", *fan_out(lab), lab.simple("ship"))
    note = lab.system("SET_VARIABLE", "note", inputParameters={"shipped": True})
    lab.client.register_workflow_defs({**definition, "tasks": [*definition["tasks"], note]})
    run = GroupRun(group_of(definition, workflow_input=pieces(lab, 60)), monkeypatch)
    started, finished = run.logged("start"), run.logged("finish")
    assert set(run.go().values()) == {"success"}
    assert any("differs, with the same steps" in line for line in started)
    table = rows(finished, f"Workflow {run.workflow_id} completed")
    assert table == dict.fromkeys(
        ["fan_out", *(f"piece_{number}" for number in range(1, 61)), "fan_in", "ship", "note"], "COMPLETED"
    )


def test_the_last_task_names_a_failure_beyond_the_group(
    lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what failed has no task in the group, its last task has the cause, and a clear of it continues."""
    define(lab, worker, "pieces", lab.simple("piece"))
    definition = define(lab, worker, "failed", lab.simple("pack"), *fan_out(lab), outputParameters={"all": "well"})
    worker.fails = {"piece_3"}
    run = GroupRun(group_of(definition, workflow_input=pieces(lab, 3), select="pack"), monkeypatch)
    finished = run.logged("finish")
    assert run.go() == {"start": "success", "pack": "success", "finish": "failed"}
    error = run.errors["finish"]
    for part in ("piece_3 failed", "out of boxes", "packer-1", "no more boxes", "clear this Airflow task"):
        assert part in str(error)
    assert isinstance(error, AirflowFailException)  # Airflow's own retry would find the same end
    table = rows(finished, f"Workflow {run.workflow_id} ended as FAILED")
    assert table.items() >= {"pack": "COMPLETED", "piece_1": "COMPLETED", "piece_3": "FAILED"}.items()
    worker.fails, first = set(), run.workflow_id
    run.clear("finish")
    assert set(run.go().values()) == {"success"}
    assert (run.workflow_id, run.output) == (first, {"all": "well"})
    assert worker.done == ["pack", "piece_3", "piece_3"]
