"""The pages' reads and buttons on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import Workflow
from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.polling.messages import describe
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.view.actions import Action, ActionRefusedError, Request, perform
from airflow_provider_conductor.view.batch import BatchWorkflows, read_batch
from airflow_provider_conductor.view.graph import graph
from airflow_provider_conductor.view.queues import Queue, read_queues
from airflow_provider_conductor.view.task import NoSuchTaskError, read_details
from airflow_provider_conductor.view.workflow import NotBelowError, View, check_below, read_view
from tests.integration.client_lab import Lab
from tests.view.test_graph import drawn

pytestmark = pytest.mark.integration


def unmasked(value: Any) -> Any:
    return value


@pytest.fixture(scope="module", params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(request.getfixturevalue(request.param).api_url)
    yield lab
    lab.client.close()


def view_of(lab: Lab, workflow_id: str) -> View:
    return lab.client.run(read_view(workflow_id, unmasked))


def press(lab: Lab, workflow_id: str, action: Action, **more: Any) -> tuple[str, bool]:
    return lab.client.run(perform(Request(action=action, workflow_id=workflow_id, user="ada", **more)))


def ends_as(lab: Lab, workflow_id: str, status: str) -> Workflow:
    """The workflow once it has ended so, and its tasks have: the server ends them a moment later."""

    def read() -> Workflow | None:
        found = lab.client.get_workflow(workflow_id)
        return found if found.status == status and not any(task.is_open for task in found.tasks) else None

    found = lab.eventually(read)
    assert found is not None
    return found


def test_all_kinds_of_branches(conductor_server: Any) -> None:
    with Lab(conductor_server.api_url) as lab:
        _all_kinds(lab)


def _all_kinds(lab: Lab) -> None:
    def instant(ref: str) -> dict[str, Any]:
        return {"name": ref, "taskReferenceName": ref, "type": "SET_VARIABLE", "inputParameters": {"v": 1}}

    switch = {
        "evaluatorType": "value-param",
        "expression": "k",
        "inputParameters": {"k": "fast"},
        "decisionCases": {"fast": [instant("quick")], "slow": [instant("slow")]},
        "defaultCase": [instant("other")],
    }
    loop = {
        "loopCondition": "if ($.loop['iteration'] < 2) { true; } else { false; }",
        "loopOver": [instant("step")],
    }
    name = lab.define(
        "kinds",
        instant("first"),
        lab.system("FORK_JOIN", "fork", forkTasks=[[instant("left")], [instant("right")]]),
        lab.system("JOIN", "join", joinOn=["left", "right"]),
        lab.system("SWITCH", "choice", **switch),
        lab.system("DO_WHILE", "loop", **loop),
        lab.system("WAIT", "wait"),
        instant("last"),
    )
    workflow_id = lab.client.start_workflow_by_name(name)
    lab.eventually(lambda: lab.client.get_workflow(workflow_id).latest_attempt("wait"))

    view = view_of(lab, workflow_id)
    assert drawn(graph(view.workflow)) == [
        "first:COMPLETED",
        ("fork:COMPLETED", {"branch 1": ["left:COMPLETED"], "branch 2": ["right:COMPLETED"]}),
        "join:COMPLETED",
        (
            "choice:COMPLETED",
            {"case fast": ["quick:COMPLETED"], "-case slow": ["slow:"], "-default": ["other:"]},
        ),
        ("loop:COMPLETED", {"iteration 1": ["step__1:COMPLETED"], "iteration 2": ["step__2:COMPLETED"]}),
        "wait:IN_PROGRESS",
        "last:",
    ]
    shown = view.to_json("https://conductor/execution", with_log=True)
    assert shown["needs_user"] is True
    assert view.seen.progress is not None
    assert shown["blocker"] == describe(view.seen.progress, view.seen.server_now)
    assert shown["blocker"].startswith("wait has been waiting since")
    assert [node["ref"] for node in shown["graph"] if node["blocked"]] == ["wait"]
    lab.client.terminate_workflow(workflow_id)


def test_the_buttons_of_a_workflow_one_after_the_other(lab: Lab) -> None:
    name = lab.define("buttons", lab.system("HUMAN", "decide"), lab.system("HUMAN", "then"))
    workflow_id = lab.client.start_workflow_by_name(name)
    lab.eventually(lambda: lab.client.get_workflow(workflow_id).latest_attempt("decide"))

    assert press(lab, workflow_id, Action.PAUSE)[1] is True
    assert lab.client.get_workflow(workflow_id).status == "PAUSED"
    assert press(lab, workflow_id, Action.PAUSE) == (f"workflow {workflow_id} is PAUSED: it is already paused", False)
    with pytest.raises(ActionRefusedError, match='there is nothing to retry; "Resume" resumes it'):
        press(lab, workflow_id, Action.RETRY)
    assert press(lab, workflow_id, Action.RESUME)[1] is True

    task = lab.client.get_workflow(workflow_id).latest_attempt("decide")
    assert task is not None
    message, changed = press(lab, workflow_id, Action.COMPLETE, task_id=task.task_id, output={"price": 7})
    assert changed is True
    assert message.endswith("is COMPLETED")
    done = lab.client.get_workflow(workflow_id).latest_attempt("decide")
    assert done is not None
    assert (done.status, done.output["price"], done.worker_id) == (TaskStatus.COMPLETED, 7, "airflow-ui:ada")

    lab.eventually(lambda: lab.client.get_workflow(workflow_id).latest_attempt("then"))
    then = lab.client.get_workflow(workflow_id).latest_attempt("then")
    assert then is not None
    press(lab, workflow_id, Action.FAIL, task_id=then.task_id, reason="too dear", terminal=True)
    ended = ends_as(lab, workflow_id, "FAILED")
    assert "failed in Airflow's UI by ada: too dear" in ended.reason
    failed = view_of(lab, workflow_id).to_json("", with_log=True)
    assert "failed in Airflow's UI by ada: too dear" in failed["failure"]
    assert failed["blocker"] == ""
    assert [node["ref"] for node in failed["graph"] if node["blocked"]] == ["then"]
    assert failed["poll_after"] == 60

    press(lab, workflow_id, Action.RETRY)
    assert lab.client.get_workflow(workflow_id).status == "RUNNING"
    press(lab, workflow_id, Action.TERMINATE, reason="enough")
    assert ends_as(lab, workflow_id, "TERMINATED").reason == "terminated in Airflow's UI by ada: enough"
    press(lab, workflow_id, Action.RERUN, ref="then")
    assert lab.client.get_workflow(workflow_id).status == "RUNNING"
    press(lab, workflow_id, Action.TERMINATE)
    press(lab, workflow_id, Action.RESTART)
    lab.eventually(lambda: lab.client.get_workflow(workflow_id).latest_attempt("decide"))
    press(lab, workflow_id, Action.SKIP, ref="then", output={"skipped": True})
    again = lab.client.get_workflow(workflow_id).latest_attempt("decide")
    assert again is not None
    press(lab, workflow_id, Action.COMPLETE, task_id=again.task_id)
    ended = ends_as(lab, workflow_id, "COMPLETED")
    skipped = ended.latest_attempt("then")
    assert skipped is not None
    assert skipped.status is TaskStatus.SKIPPED


def test_the_details_of_a_task(lab: Lab) -> None:
    name = lab.define("details", lab.simple("pack"), lab.simple("never"))
    workflow_id = lab.client.start_workflow_by_name(name, {"size": 3})
    task = lab.take("pack")
    workflow = lab.client.get_workflow(workflow_id)

    details = lab.client.run(read_details(workflow, "pack")).to_json(unmasked)
    assert details["attempt"]["id"] == task.task_id
    assert (details["log"], details["log_error"]) == ([], "")
    assert details["actions"]["complete"]["allowed"] is False
    assert lab.client.run(read_details(workflow, "pack", task.task_id)).to_json(unmasked) == details

    unreached = lab.client.run(read_details(workflow, "never")).to_json(unmasked)
    assert (unreached["attempt"], unreached["type"], unreached["actions"]["skip"]["allowed"]) == (None, "SIMPLE", True)
    for ref, task_id in (("unheard-of", ""), ("pack", "unheard-of"), ("never", task.task_id)):
        with pytest.raises(NoSuchTaskError):
            lab.client.run(read_details(workflow, ref, task_id))
    lab.client.terminate_workflow(workflow_id)


def test_the_log_of_a_worker(conductor_server: Any) -> None:
    """Of the newest server; the oldest one keeps no logs without an index of its own for them."""
    with Lab(conductor_server.api_url) as lab:
        workflow_id = lab.client.start_workflow_by_name(lab.define("logging", lab.simple("speak")))
        task = lab.take("speak")
        lab.client.log_task(task.task_id, "packing <b>now</b>")
        lab.eventually(lambda: lab.client.get_task_logs(task.task_id))
        workflow = lab.client.get_workflow(workflow_id)
        details = lab.client.run(read_details(workflow, "speak")).to_json(unmasked)
        assert details["log"] == ["packing <b>now</b>"]
        lab.client.terminate_workflow(workflow_id)


def test_a_sub_workflow_belongs_to_those_above_it_alone(lab: Lab) -> None:
    inner = lab.define("inner", lab.system("WAIT", "wait"))
    middle = lab.define("middle", lab.system("SUB_WORKFLOW", "in", subWorkflowParam={"name": inner, "version": 1}))
    outer = lab.define("outer", lab.system("SUB_WORKFLOW", "mid", subWorkflowParam={"name": middle, "version": 1}))
    workflow_id = lab.client.start_workflow_by_name(outer)

    def below(parent: str, ref: str) -> str:
        def read() -> str:
            lab.begin_sub_workflows(parent)
            task = lab.client.get_workflow(parent).latest_attempt(ref)
            return task.sub_workflow_id if task is not None else ""

        return lab.eventually(read)

    middle_id = below(workflow_id, "mid")
    inner_id = below(middle_id, "in")
    for above in (workflow_id, middle_id):
        lab.client.run(check_below(inner_id, above))
    for below_it, above in (
        (middle_id, inner_id),
        (inner_id, lab.client.start_workflow_by_name(inner)),
        ("unheard-of", workflow_id),
    ):
        with pytest.raises(NotBelowError):
            lab.client.run(check_below(below_it, above))
    lab.client.terminate_workflow(workflow_id)


def test_queues_without_workers(lab: Lab) -> None:
    name = lab.define("queues", lab.simple("unpolled"))
    polled = lab.define("polled", lab.simple("popular"))
    domain = {lab.name("unpolled"): "blue"}
    ids = [lab.client.start_workflow_by_name(polled) for _ in range(2)]
    lab.take("popular")
    ids.append(lab.client.start_workflow({"name": name, "version": 1, "taskToDomain": domain}))

    def waiting() -> dict[str, Queue]:
        queues, _ = lab.client.run(read_queues())
        found = {queue.name: queue for queue in queues if queue.name in (lab.name("unpolled"), lab.name("popular"))}
        return found if len(found) == 2 else {}

    found = lab.eventually(waiting)
    unpolled, popular = found[lab.name("unpolled")], found[lab.name("popular")]
    assert (unpolled.domain, unpolled.waiting, unpolled.last_poll, unpolled.polled) == ("blue", 1, 0, False)
    assert popular.last_poll > 0
    assert popular.worker
    for workflow_id in ids:
        lab.client.terminate_workflow(workflow_id)


@pytest.mark.needs("look-up")
@pytest.mark.parametrize("dag_id", ["d", "d" * 100], ids=["in the index", "by ids that end in a hash"])
def test_the_workflows_of_a_batch(conductor_server: Any, dag_id: str) -> None:
    with Lab(conductor_server.api_url) as lab:
        _batch_is_listed(lab, dag_id)


def _batch_is_listed(lab: Lab, dag_id: str) -> None:
    held = lab.define("held", lab.system("WAIT", "hold"))
    identity = TaskIdentity(
        prefix=lab.tag,
        dag_id=dag_id,
        run_id="manual__2026-01-01T00:00:00+00:00",
        task_id="t",
        map_index=-1,
        try_number=1,
        first_try=1,
    )
    ids = {replace(identity, item=str(place)).correlation_id(StartKey(1)): str(place) for place in range(4)}
    started = [lab.client.start_workflow({"name": held, "correlationId": text}) for text in list(ids)[:3]]
    lab.client.terminate_workflow(started[1], "no longer wanted")
    (hold,) = lab.client.get_workflow(started[2]).tasks
    lab.client.update_task(started[2], hold.task_id, "COMPLETED")
    ends_as(lab, started[2], "COMPLETED")

    def read() -> BatchWorkflows | None:
        found = lab.client.run(read_batch(identity, held, ids, 10))
        groups = [(one.item, one.group) for one in found.shown]
        return found if groups == [("1", "failed"), ("0", "running"), ("2", "completed")] else None

    found = lab.eventually(read)  # an index takes a moment
    assert found is not None
    assert found.counts == {"failed": 1, "running": 1, "completed": 1}
    failed, running, _ = (one.workflow for one in found.shown)
    assert failed.reason == "no longer wanted"
    assert failed.end_time >= failed.create_time > 0
    assert running.end_time == 0
    lab.client.terminate_workflow(started[0])
