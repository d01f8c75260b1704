"""A try after a failed workflow, on real servers: it runs again, however it has failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.submission.earlier_workflows import Action, Found
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.start_once import start_once
from airflow_provider_conductor.submission.start_plan import StartPlan
from tests.integration.client_lab import Lab

pytestmark = pytest.mark.integration

STOP: dict[str, Any] = {
    "name": "give_up",
    "taskReferenceName": "give_up",
    "type": "TERMINATE",
    "inputParameters": {"terminationStatus": "FAILED", "terminationReason": "stock not there yet"},
}


class AgainLab(Lab):
    def sub_workflow(self, what: str) -> dict[str, Any]:
        name = {"subWorkflowParam": {"name": self.name(what), "version": 1}}
        return {"name": what, "taskReferenceName": what, "type": "SUB_WORKFLOW", "inputParameters": {}, **name}

    def beside(self, ref: str) -> list[dict[str, Any]]:
        """STOP after ``check``, beside a branch with the task ``ref`` that is open by then."""
        fork = {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "inputParameters": {}}
        branches = [[self.simple(ref)], [self.simple("check"), STOP]]
        join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": [ref, "give_up"]}
        return [{**fork, "forkTasks": branches}, {**join, "inputParameters": {}}]

    def simple_tasks(self, *refs: str) -> None:
        more = {"retryCount": 0, "ownerEmail": "tests@example.com", "timeoutSeconds": 0}
        self.client.register_task_defs([{"name": self.name(ref), **more} for ref in refs])

    def failed(self, what: str) -> str:
        """Started, checked and FAILED."""
        workflow_id = self.client.start_workflow_by_name(self.name(what))
        self.begin_sub_workflows(workflow_id)
        self.work("check")
        assert self.ended(workflow_id).status == "FAILED"
        return workflow_id

    def again(self, workflow_id: str) -> tuple[Action, list[str]]:
        """What the second try of the Airflow task does about it."""
        workflow = self.client.get_workflow(workflow_id, include_tasks=False)
        who = {"prefix": "airflow", "dag_id": "dag", "run_id": self.tag, "task_id": "orders", "map_index": -1}
        plan = StartPlan(
            identity=TaskIdentity(**who, try_number=2, first_try=1),
            body={"name": workflow.name},
            found=(Found(StartKey(1), workflow),),
        )
        said: list[str] = []
        flow = start_once(plan, log=said.append, warn=said.append, save=lambda record: None)
        return self.client.run(flow).action, said

    def runs(self, workflow_id: str, ref: str) -> bool:
        """Whether this task is open again."""

        def is_open() -> bool:
            self.begin_sub_workflows(workflow_id)
            status = self.status_of(workflow_id, ref)
            return status is not None and not status.ended

        return self.eventually(is_open)


@pytest.fixture(params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Iterator[AgainLab]:
    lab = AgainLab(request.getfixturevalue(request.param).api_url)
    lab.simple_tasks("check", "slow")
    yield lab
    lab.client.close()


def test_a_workflow_that_ended_itself_is_restarted(lab: AgainLab) -> None:
    """The server accepts to retry it, and does nothing: no task of it has failed."""
    lab.define("orders", lab.simple("check"), STOP)
    workflow_id = lab.failed("orders")
    action, said = lab.again(workflow_id)
    assert action is Action.RESTART
    assert any("restarted instead" in line for line in said)
    assert lab.runs(workflow_id, "check")
    lab.client.terminate_workflow(workflow_id)


def test_a_workflow_that_ended_itself_beside_an_open_branch_is_restarted(lab: AgainLab) -> None:
    """A retry opens that branch again, and the TERMINATE task, which stays completed, ends the workflow at once."""
    lab.define("orders", *lab.beside("slow"))
    workflow_id = lab.failed("orders")
    action, said = lab.again(workflow_id)
    assert action is Action.RESTART
    assert any("was ended by its task 'give_up' (TERMINATE)" in line for line in said)
    assert lab.runs(workflow_id, "check")
    lab.client.terminate_workflow(workflow_id)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside an open branch"])
def test_a_sub_workflow_that_ended_itself_is_run_anew(lab: AgainLab, beside: bool) -> None:
    lab.define("child", *(lab.beside("slow") if beside else [lab.simple("check"), STOP]))
    lab.define("orders", lab.simple("pack"), lab.sub_workflow("child"))
    workflow_id = lab.client.start_workflow_by_name(lab.name("orders"))
    lab.work("pack")
    child = lab.sub_workflow_at(workflow_id, "child", "check")
    lab.work("check")
    assert lab.ended(workflow_id).status == "FAILED"
    packed = lab.client.get_workflow(workflow_id).latest_attempt("pack")
    action, _ = lab.again(workflow_id)
    assert action is Action.RETRY
    lab.eventually(lambda: lab.sub_workflow_at(workflow_id, "child", "check"), child.__ne__)
    assert lab.runs(lab.sub_workflow_at(workflow_id, "child", "check"), "check")
    again = lab.client.get_workflow(workflow_id).latest_attempt("pack")
    assert packed is not None
    assert again is not None
    assert again.task_id == packed.task_id
    lab.client.terminate_workflow(workflow_id)


def test_a_workflow_whose_task_failed_runs_on_from_it(lab: AgainLab) -> None:
    lab.define("orders", lab.simple("pack"), lab.simple("ship"), STOP)
    workflow_id = lab.client.start_workflow_by_name(lab.name("orders"))
    lab.work("pack")
    lab.work("ship", "FAILED")
    assert lab.ended(workflow_id).status == "FAILED"
    assert lab.again(workflow_id)[0] is Action.RETRY
    tasks = [(task.reference_name, str(task.status)) for task in lab.client.get_workflow(workflow_id).tasks]
    assert tasks == [("pack", "COMPLETED"), ("ship", "FAILED"), ("ship", "SCHEDULED")]
    lab.client.terminate_workflow(workflow_id)
