"""What tries make of the workflow of an earlier try, on real servers: failed, archived, or with one of its own name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client.endpoints import start_body
from airflow_provider_conductor.submission.earlier_workflows import Action, Found
from airflow_provider_conductor.submission.errors import StartRefusedError, WorkflowGoneError
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.start_once import Started, start_once, terminate_starts
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord
from tests.integration.client_lab import Lab
from tests.recorded.record_children import child_of, definitions

pytestmark = pytest.mark.integration

STOP = Lab.system(
    "TERMINATE", "give_up", inputParameters={"terminationStatus": "FAILED", "terminationReason": "stock not there yet"}
)


class TryLab(Lab):
    """An Airflow task and its tries; ``keeps`` says whether it has a task state store."""

    def __init__(self, api_url: str, keeps: bool = False) -> None:
        super().__init__(api_url)
        self.keeps = keeps
        self.records: list[StartRecord] = []
        self.began = time.time()
        self.said: list[str] = []

    def identity(self, try_number: int, first_try: int = 1) -> TaskIdentity:
        task = {"prefix": "airflow", "dag_id": "dag", "run_id": self.tag, "task_id": "orders", "map_index": -1}
        return TaskIdentity(**task, try_number=try_number, first_try=first_try)

    def plan(self, name: str, try_number: int, first_try: int = 1) -> StartPlan:
        return StartPlan(
            identity=self.identity(try_number, first_try),
            body=start_body({"name": name, "version": 1, "input": {"depth": "1"}}),
            max_tries=first_try,
            series_began=self.began,
            run_began=self.began,
            record=self.records[-1] if self.keeps and self.records else None,
            keeps_records=self.keeps,
            leftover_reason="Airflow task was killed: it starts anew",
        )

    def start(self, plan: StartPlan, found: list[Found] | None = None) -> Started:
        note = self.said.append
        return self.client.run(start_once(plan, log=note, warn=note, save=self.records.append, found=found))

    def again(self, workflow_id: str) -> Action:
        """What the second try does about the workflow of the first."""
        workflow = self.client.get_workflow(workflow_id, include_tasks=False)
        plan = StartPlan(identity=self.identity(2), body={"name": workflow.name})
        return self.start(plan, [Found(StartKey(1), workflow)]).action

    def sub_workflow(self, what: str) -> dict[str, Any]:
        return self.system("SUB_WORKFLOW", what, subWorkflowParam={"name": self.name(what), "version": 1})

    def beside(self, ref: str) -> list[dict[str, Any]]:
        """STOP after ``check``, beside a branch with the task ``ref`` that is open by then."""
        branches = [[self.simple(ref)], [self.simple("check"), STOP]]
        join = self.system("JOIN", "join", joinOn=[ref, "give_up"])
        return [self.system("FORK_JOIN", "fork", forkTasks=branches), join]

    def failed(self, what: str) -> str:
        """Started, checked and FAILED."""
        workflow_id = self.client.start_workflow_by_name(self.name(what))
        self.begin_sub_workflows(workflow_id)
        self.work("check")
        assert self.ended(workflow_id).status == "FAILED"
        return workflow_id

    def runs(self, workflow_id: str, ref: str) -> bool:
        """Whether this task is open again."""

        def is_open() -> bool:
            self.begin_sub_workflows(workflow_id)
            status = self.status_of(workflow_id, ref)
            return status is not None and not status.ended

        return self.eventually(is_open)

    def status(self, workflow_id: str) -> str:
        return str(self.client.get_workflow(workflow_id, include_tasks=False).status)


@pytest.fixture(params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Iterator[TryLab]:
    with TryLab(request.getfixturevalue(request.param).api_url) as lab:
        more = {"retryCount": 0, "ownerEmail": "tests@example.com", "timeoutSeconds": 0}
        lab.client.register_task_defs([{"name": lab.name(ref), **more} for ref in ("check", "slow")])
        yield lab


def test_a_workflow_that_ended_itself_is_restarted(lab: TryLab) -> None:
    """The server accepts to retry it, and does nothing: no task of it has failed."""
    lab.define("orders", lab.simple("check"), STOP)
    workflow_id = lab.failed("orders")
    assert lab.again(workflow_id) is Action.RESTART
    assert any("restarted instead" in line for line in lab.said)
    assert lab.runs(workflow_id, "check")
    lab.client.terminate_workflow(workflow_id)


def test_a_workflow_that_ended_itself_beside_an_open_branch_is_restarted(lab: TryLab) -> None:
    """A retry opens that branch again, and the TERMINATE task, which stays completed, ends the workflow at once."""
    lab.define("orders", *lab.beside("slow"))
    workflow_id = lab.failed("orders")
    assert lab.again(workflow_id) is Action.RESTART
    assert any("its task 'give_up' (TERMINATE) has ended it" in line for line in lab.said)
    assert lab.runs(workflow_id, "check")
    lab.client.terminate_workflow(workflow_id)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside an open branch"])
def test_a_sub_workflow_that_ended_itself_is_run_anew(lab: TryLab, beside: bool) -> None:
    lab.define("child", *(lab.beside("slow") if beside else [lab.simple("check"), STOP]))
    lab.define("orders", lab.simple("pack"), lab.sub_workflow("child"))
    workflow_id = lab.client.start_workflow_by_name(lab.name("orders"))
    lab.work("pack")
    child = lab.sub_workflow_at(workflow_id, "child", "check")
    lab.work("check")
    assert lab.ended(workflow_id).status == "FAILED"
    packed = lab.client.get_workflow(workflow_id).latest_attempt("pack")
    assert lab.again(workflow_id) is Action.RETRY
    lab.eventually(lambda: lab.sub_workflow_at(workflow_id, "child", "check"), child.__ne__)
    assert lab.runs(lab.sub_workflow_at(workflow_id, "child", "check"), "check")
    again = lab.client.get_workflow(workflow_id).latest_attempt("pack")
    assert packed is not None
    assert again is not None
    assert again.task_id == packed.task_id
    lab.client.terminate_workflow(workflow_id)


def test_a_workflow_whose_task_failed_runs_on_from_it(lab: TryLab) -> None:
    lab.define("orders", lab.simple("pack"), lab.simple("ship"), STOP)
    workflow_id = lab.client.start_workflow_by_name(lab.name("orders"))
    lab.work("pack")
    lab.work("ship", "FAILED")
    assert lab.ended(workflow_id).status == "FAILED"
    assert lab.again(workflow_id) is Action.RETRY
    tasks = [(task.reference_name, str(task.status)) for task in lab.client.get_workflow(workflow_id).tasks]
    assert tasks == [("pack", "COMPLETED"), ("ship", "FAILED"), ("ship", "SCHEDULED")]
    lab.client.terminate_workflow(workflow_id)


stores = pytest.mark.parametrize("keeps", [False, True], ids=["no store", "store"])
found_again = pytest.mark.parametrize(
    "keeps", [pytest.param(False, marks=pytest.mark.needs("look-up")), True], ids=["no store", "store"]
)


@pytest.mark.needs("index")
@stores
def test_a_completed_and_archived_workflow_is_not_run_again(conductor_server: Any, keeps: bool) -> None:
    lab = TryLab(conductor_server.api_url, keeps)
    name = lab.define("archived", lab.system("SET_VARIABLE", "note", inputParameters={"noted": True}))
    ours = lab.start(lab.plan(name, 1)).workflow_id
    assert lab.ended(ours).status == "COMPLETED"
    lab.client.delete_workflow(ours, archive_workflow=True)
    query = f"workflowId IN ({ours})"
    lab.eventually(lambda: [found.status.successful for found in lab.client.search_workflows(query=query)] == [True])
    again = lab.start(lab.plan(name, 2))
    assert (again.action, again.workflow_id) == (Action.ATTACH, ours)


@found_again
@pytest.mark.parametrize("kind", ["SUB_WORKFLOW", "START_WORKFLOW", "failureWorkflow"])
def test_a_retry_and_a_clear_take_the_workflow_and_leave_its_child(
    conductor_server: Any, kind: str, keeps: bool
) -> None:
    """Of a workflow that runs itself below, starts its successor, or is its own failure workflow."""
    lab = TryLab(conductor_server.api_url, keeps)
    definition = definitions(lab.tag)[kind]
    name = definition["name"]
    lab.client.register_workflow_defs([definition])
    ours = lab.start(lab.plan(name, 1)).workflow_id
    if kind == "START_WORKFLOW":
        (wait,) = lab.eventually(lambda: lab.client.get_workflow(ours).tasks)
        lab.client.update_task(ours, wait.task_id, "COMPLETED")
    child = str(lab.eventually(lambda: child_of(dict(lab.client.get_workflow(ours).data))))
    assert lab.status(child) == "RUNNING"

    again = lab.start(lab.plan(name, 2))
    assert again.workflow_id == ours
    if kind != "failureWorkflow":
        assert again.action is Action.ATTACH
    assert lab.status(child) == "RUNNING"

    lab.began = time.time()
    anew = lab.plan(name, 3, first_try=3)
    assert lab.start(anew).action is Action.START
    # A sub-workflow ends with what it is a part of, and by the server.
    assert lab.status(child) == ("TERMINATED" if kind == "SUB_WORKFLOW" else "RUNNING")
    lab.client.run(terminate_starts(replace(anew, record=lab.records[-1] if keeps else None), "over", lambda _: None))
    lab.client.terminate_workflow(child)


# Without a look-up


@pytest.fixture(
    params=[pytest.param("conductor_server", marks=pytest.mark.lacks("look-up", "index")), "old_conductor_server"],
    ids=["newest", "oldest"],
)
def blind(request: pytest.FixtureRequest) -> str:
    """The URL of a server that finds no workflow by a correlation id or a search."""
    url: str = request.getfixturevalue(request.param).api_url
    return url


@stores
def test_without_a_look_up_a_retry_finds_what_is_on_record_or_starts_another_and_says_so(
    blind: str, keeps: bool
) -> None:
    lab = TryLab(blind, keeps)
    name = lab.define("orders", lab.simple("check"))
    first, again = (lab.start(lab.plan(name, attempt)) for attempt in (1, 2))
    assert (again.workflow_id == first.workflow_id) is keeps
    warned = [line for line in lab.said if "is not found by its correlation id" in line]
    assert any("a retry starts another" in line for line in warned) is not keeps
    assert len(lab.client.get_running_workflows(name)) == (1 if keeps else 2)
    lab.end("orders")


def test_without_an_index_a_workflow_on_record_that_is_gone_is_not_started_again(blind: str) -> None:
    lab = TryLab(blind, keeps=True)
    name = lab.define_instant()
    ours = lab.start(lab.plan(name, 1)).workflow_id
    assert lab.ended(ours).status == "COMPLETED"
    lab.client.delete_workflow(ours, archive_workflow=True)
    with pytest.raises(WorkflowGoneError):
        lab.start(lab.plan(name, 2))


def test_a_name_in_another_case_is_refused_or_what_it_started_is_found_again(lab: TryLab) -> None:
    """With MySQL's default collation, a start of ``ORDERS`` runs the definition ``orders``."""
    lab.define("orders", lab.simple("check"))
    other_case = lab.name("orders").swapcase()
    try:
        first = lab.start(lab.plan(other_case, 1))
    except StartRefusedError:
        return
    assert lab.client.get_workflow(first.workflow_id).name == lab.name("orders")
    assert lab.start(lab.plan(other_case, 2)) == Started(first.workflow_id, Action.ATTACH)
    assert lab.client.get_running_workflows(lab.name("orders")) == [first.workflow_id]
    lab.client.terminate_workflow(first.workflow_id)
