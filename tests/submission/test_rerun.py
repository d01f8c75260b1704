"""What a try does with a failed workflow where a retry has no lasting effect."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorSettings, WorkflowStatus
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.rerun import run_again
from airflow_provider_conductor.testing import ConductorStandIn
from tests.control.test_apply import JOIN, OLD, new, undo


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_conductor.submission.rerun.UNDONE_WITHIN", 0.01)


def ran(conductor: ConductorStandIn, workflow_id: str, said: list[str]) -> Any:
    with ConductorClient(ConductorSettings(conductor.url, max_attempts=1)) as client:
        return client.run(run_again(client.get_workflow(workflow_id), Action.RETRY, said.append))


@pytest.mark.parametrize("left_open", [False, True])
@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_retry_that_the_server_has_undone_is_sent_again(
    conductor: ConductorStandIn, times: int, left_open: bool
) -> None:
    one, said = conductor.add("FAILED"), list[str]()
    undo(conductor, one, times, left_open=left_open)
    assert ran(conductor, one, said) == (Action.RETRY, WorkflowStatus.RUNNING)
    assert conductor.status(one) == "RUNNING"
    assert len([line for line in said if "has undone the retry" in line]) == times
    assert len(conductor.sent("DELETE")) == (times if left_open else 0)


def test_one_that_an_undone_retry_has_broken_is_restarted(conductor: ConductorStandIn) -> None:
    one, said = conductor.add("FAILED", tasks=[new(1, seq=0), OLD, JOIN]), list[str]()
    assert ran(conductor, one, said) == (Action.RESTART, WorkflowStatus.RUNNING)
    assert "left a canceled attempt of 'pack'" in said[0]
    assert [r.path for r in conductor.requests if r.method == "POST"] == [f"/workflow/{one}/restart"]


def test_one_that_its_retry_breaks_is_restarted(conductor: ConductorStandIn) -> None:
    one, said = conductor.add("FAILED"), list[str]()
    undo(conductor, one, 1, breaks=True)
    assert ran(conductor, one, said) == (Action.RESTART, WorkflowStatus.RUNNING)
    assert "left a canceled attempt of 'pack'" in said[0]


@pytest.mark.parametrize(("beside", "resumes"), [("COMPLETED", "true"), ("FAILED", "false")])
def test_a_sub_workflow_with_another_failed_task_beside_it_is_run_anew(
    conductor: ConductorStandIn, beside: str, resumes: str
) -> None:
    """A retry that continues it would leave the other task failed, and the workflow would end again at once."""
    below = conductor.add("FAILED")
    sub = {"taskId": "1", "referenceTaskName": "deliver", "taskType": "SUB_WORKFLOW", "subWorkflowId": below}
    pack = {"taskId": "2", "referenceTaskName": "pack", "taskType": "pack", "status": beside, "seq": 2}
    one, said = conductor.add("FAILED", tasks=[{**sub, "status": "FAILED", "seq": 1}, pack]), list[str]()
    assert ran(conductor, one, said) == (Action.RETRY, WorkflowStatus.RUNNING)
    (sent,) = [request for request in conductor.requests if request.path.endswith("/retry")]
    assert sent.query["resumeSubworkflowTasks"] == resumes
