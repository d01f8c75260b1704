"""Every operation of the client on a real server, each checked by what it changed there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorBadRequestError,
    ConductorClient,
    ConductorConflictError,
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorServerError,
    StartWorkflowRequest,
    endpoints,
)
from tests.integration.client_lab import Lab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab(newest: Lab) -> Lab:
    return newest


@pytest.fixture
def client(lab: Lab) -> ConductorClient:
    return lab.client


@pytest.fixture(scope="module")
def orders(lab: Lab) -> str:
    return lab.define_orders()


@pytest.fixture(scope="module")
def instant(lab: Lab) -> str:
    return lab.define_instant()


@pytest.fixture(autouse=True)
def nothing_is_left_running(lab: Lab) -> Iterator[None]:
    yield
    lab.end("orders", "waiting", "parent", "child")


# Start


@pytest.mark.covers("POST /workflow")
def test_a_start_runs_the_definition_with_that_input(client: ConductorClient, instant: str, lab: Lab) -> None:
    workflow_id = client.start_workflow(
        StartWorkflowRequest(
            name=instant, version=1, input={"a": {"b": [1, "ü"]}}, correlation_id=lab.name("c"), priority=7
        )
    )
    workflow = lab.ended(workflow_id)
    assert (workflow.status, workflow.output) == ("COMPLETED", {"a": {"b": [1, "ü"]}})
    assert (workflow.name, workflow.version) == (instant, 1)
    assert (workflow.correlation_id, workflow.data["priority"]) == (lab.name("c"), 7)
    assert workflow.variables == {"seen": {"b": [1, "ü"]}}


@pytest.mark.covers("POST /workflow/{name}")
def test_a_start_by_name_runs_the_latest_version_by_default(client: ConductorClient, lab: Lab) -> None:
    for version in (1, 2):
        name = lab.define_instant("versions", version=version)
    latest = client.get_workflow(client.start_workflow_by_name(name, {"a": 5, "b": "+", "c": [7, 8]}))
    assert (latest.version, latest.input) == (2, {"a": 5, "b": "+", "c": [7, 8]})
    assert client.get_workflow(client.start_workflow_by_name(name, version=1)).version == 1


def test_an_inline_definition_needs_no_registration(client: ConductorClient, lab: Lab) -> None:
    pytest.importorskip("conductor.client")
    from conductor.client.workflow.conductor_workflow import ConductorWorkflow
    from conductor.client.workflow.task.simple_task import SimpleTask

    lab.define("other", lab.simple("inline"))
    definition = ConductorWorkflow(executor=None, name=lab.name("never_registered"), version=1)
    definition.owner_email("tests@example.com")
    definition >> SimpleTask(lab.name("inline"), "inline")
    definition.output_parameters({"done": "${inline.output.done}"})
    workflow_id = client.start_workflow(
        StartWorkflowRequest(name=lab.name("never_registered"), version=1, workflow_def=definition)
    )
    lab.work("inline", output={"done": 5})
    assert lab.ended(workflow_id).output == {"done": 5}
    with pytest.raises(ConductorDefinitionNotFoundError):
        client.get_workflow_def(lab.name("never_registered"))


def test_a_wait_longer_than_any_hold_gets_the_output(client: ConductorClient, lab: Lab) -> None:
    name = lab.define(
        "waiting",
        lab.system("WAIT", "wait", inputParameters={"duration": "26 seconds"}),
        outputParameters={"a": "${workflow.input.a}"},
    )
    request = {"name": name, "input": {"a": 1}, "correlationId": lab.name("long")}
    workflow = client.execute_workflow(request, wait_for_seconds=300)
    assert (workflow.status, workflow.output) == ("COMPLETED", {"a": 1})
    if "look-up" in lab.abilities:
        started = client.get_by_correlation_ids(name, [lab.name("long")])[lab.name("long")]
        assert [item.workflow_id for item in started] == [workflow.workflow_id]


@pytest.mark.covers("POST /workflow/bulk/search")
async def test_the_asyncio_client_executes_alike(conductor_server: Any, instant: str) -> None:
    async with AsyncConductorClient(conductor_server.api_url) as client:
        workflow = await client.execute_workflow({"name": instant, "input": {"a": "ü"}}, wait_for_seconds=10)
        assert (workflow.status, workflow.output) == ("COMPLETED", {"a": "ü"})
        found = await client.send(endpoints.bulk_search([workflow.workflow_id, "no-such-id"]))
    assert [item["status"] for item in found.successful] == ["COMPLETED"]
    assert list(found.errors) == ["no-such-id"]


@pytest.mark.covers("POST /workflow/test")
def test_a_dry_run_uses_the_outputs_it_is_given(client: ConductorClient, orders: str) -> None:
    mocked = {
        "pack": [{"status": "COMPLETED", "output": {"packed": 1}}],
        "ship": [{"status": "COMPLETED", "output": {"shipped": 2}}],
    }
    workflow = client.test_workflow({"name": orders, "version": 1, "taskRefToMockOutput": mocked})
    assert (workflow.status, workflow.output) == ("COMPLETED", {"packed": 1, "shipped": 2})


# Read


@pytest.mark.needs("GET /workflow/{workflowId}/status")
@pytest.mark.covers("GET /workflow/{workflowId}/status")
def test_the_status_alone_is_small(client: ConductorClient, lab: Lab, instant: str) -> None:
    workflow_id = client.start_workflow({"name": instant, "input": {"a": 1}})
    lab.ended(workflow_id)
    small = client.get_workflow_status(workflow_id)
    assert (small.status, small.output, small.has_tasks) == ("COMPLETED", {}, False)
    full = client.get_workflow_status(workflow_id, include_output=True, include_variables=True)
    assert (full.output, full.variables) == ({"a": 1}, {"seen": 1})


@pytest.mark.needs("look-up")
@pytest.mark.covers("POST /workflow/{name}/correlated")
def test_a_workflow_is_found_by_its_correlation_id_running_or_ended(
    client: ConductorClient, lab: Lab, orders: str, instant: str
) -> None:
    one, two = lab.name("one"), lab.name("two")
    running = client.start_workflow_by_name(orders, correlation_id=one)
    found = client.get_by_correlation_ids(orders, [one, two])
    assert ([item.workflow_id for item in found[one]], found[two]) == ([running], ())

    ended = client.start_workflow_by_name(instant, correlation_id=two)
    lab.ended(ended)
    assert [item.workflow_id for item in client.get_by_correlation_ids(instant, [two])[two]] == [ended]
    assert client.get_by_correlation_ids(instant, [two], include_closed=False).get(two, ()) == ()
    (with_tasks,) = client.get_by_correlation_ids(instant, [two], include_tasks=True)[two]
    assert len(with_tasks.tasks) == 1


@pytest.mark.needs("look-up")
def test_a_correlation_id_may_hold_anything(client: ConductorClient, orders: str, lab: Lab) -> None:
    odd = f"airflow:a/b c?d#e%2F:ü+&=:{lab.tag}"
    workflow_id = client.start_workflow({"name": orders, "correlationId": odd})
    assert [item.workflow_id for item in client.get_by_correlation_ids(orders, [odd])[odd]] == [workflow_id]
    by_name = client.start_workflow_by_name(orders, correlation_id=odd)
    assert {item.workflow_id for item in client.get_by_correlation_ids(orders, [odd])[odd]} == {workflow_id, by_name}


@pytest.mark.covers("GET /workflow/running/{name}")
def test_running_workflows_are_listed_by_name(client: ConductorClient, lab: Lab, orders: str) -> None:
    running = client.start_workflow_by_name(orders)
    ended = client.start_workflow_by_name(orders)
    client.terminate_workflow(ended)
    assert client.get_running_workflows(orders, version=1) == [running]
    assert client.get_running_workflows(lab.name("nobody")) == []


@pytest.mark.needs("index")
@pytest.mark.covers("GET /workflow/search")
def test_a_search_finds_what_the_index_has(client: ConductorClient, lab: Lab, orders: str) -> None:
    ids = {client.start_workflow({"name": orders, "correlationId": lab.name("searched")}) for _ in range(3)}
    query = f"workflowType IN ({orders}) AND correlationId IN ({lab.name('searched')}) AND status IN (RUNNING)"
    found = lab.eventually(lambda: client.search_workflows(query, sort="startTime:DESC"), lambda page: len(page) == 3)
    assert {workflow.workflow_id for workflow in found} == ids
    assert {workflow.name for workflow in found} == {orders}
    page = client.search_workflows(query, start=1, size=1)
    assert len(page) == 1
    assert len(client.search_workflows(f"workflowType IN ({lab.name('nobody')})")) == 0


# Control


@pytest.mark.covers("PUT /workflow/{workflowId}/pause", "PUT /workflow/{workflowId}/resume")
def test_a_pause_holds_the_next_task_back_until_the_resume(client: ConductorClient, lab: Lab, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders)
    client.pause_workflow(workflow_id)
    assert client.get_workflow_status(workflow_id).status == "PAUSED"
    client.pause_workflow(workflow_id)
    lab.work("pack", output={"packed": 1})
    assert lab.status_of(workflow_id, "ship") is None
    client.resume_workflow(workflow_id)
    assert client.get_workflow_status(workflow_id).status == "RUNNING"
    lab.eventually(lambda: lab.status_of(workflow_id, "ship"))


def test_a_resume_of_what_is_not_paused_is_an_error_that_is_not_repeated(client: ConductorClient, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders)
    with pytest.raises(ConductorServerError) as caught:
        client.resume_workflow(workflow_id)
    assert not caught.value.repeatable
    assert not caught.value.fate_unknown
    assert client.get_workflow_status(workflow_id).status == "RUNNING"


def test_what_the_state_does_not_allow_is_a_conflict(
    client: ConductorClient, lab: Lab, instant: str, orders: str
) -> None:
    workflow_id = client.start_workflow_by_name(instant)
    lab.ended(workflow_id)
    for verb in (client.terminate_workflow, client.pause_workflow, client.retry_workflow):
        with pytest.raises(ConductorConflictError):
            verb(workflow_id)
    assert client.get_workflow_status(workflow_id).status == "COMPLETED"
    running = client.start_workflow_by_name(orders)
    for verb in (client.restart_workflow, client.retry_workflow):
        with pytest.raises(ConductorConflictError):
            verb(running)


@pytest.mark.parametrize("resume", [True, False])
def test_a_retry_resumes_the_sub_workflow_or_runs_it_anew(client: ConductorClient, lab: Lab, resume: bool) -> None:
    child = lab.define("child", lab.simple("pack"), lab.simple("ship"))
    parent = lab.define("parent", lab.system("SUB_WORKFLOW", "sub", subWorkflowParam={"name": child, "version": 1}))
    workflow_id = client.start_workflow_by_name(parent)
    lab.sub_workflow_at(workflow_id, "sub", "pack")
    lab.work("pack")
    lab.work("ship", "FAILED")
    failed = lab.ended(workflow_id)
    first = failed.latest_attempt("sub").sub_workflow_id
    assert client.get_workflow(first).parent_workflow_id == workflow_id
    client.retry_workflow(workflow_id, resume_subworkflow_tasks=resume)
    assert client.get_workflow_status(workflow_id).status == "RUNNING"
    second = lab.sub_workflow_at(workflow_id, "sub", "pack")
    assert (second == first) is resume
    if not resume:
        lab.work("pack")
    lab.work("ship")
    assert lab.ended(workflow_id).status == "COMPLETED"
    assert [task.reference_name for task in client.get_workflow(second).tasks] == (
        ["pack", "ship", "ship"] if resume else ["pack", "ship"]
    )


def test_a_rerun_from_the_start_takes_a_new_input(client: ConductorClient, lab: Lab, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders, {"a": 1})
    client.terminate_workflow(workflow_id)
    client.rerun_workflow(workflow_id, workflow_input={"a": 2})
    assert lab.take("pack").input == {"a": 2}
    assert client.get_workflow(workflow_id).input == {"a": 2}


@pytest.mark.covers("PUT /workflow/{workflowId}/skiptask/{taskReferenceName}")
def test_a_skipped_tasks_output_is_there_for_the_tasks_after_it(client: ConductorClient, lab: Lab, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders)
    client.skip_task_from_workflow(workflow_id, "ship", task_output={"shipped": "by hand, 100 % & more", "n": 1})
    lab.work("pack", output={"packed": 1})
    done = lab.ended(workflow_id)
    assert done.status == "COMPLETED"
    ship = done.latest_attempt("ship")
    assert (ship.status, ship.output["n"]) == ("SKIPPED", "1")
    assert done.output == {"packed": 1, "shipped": "by hand, 100 % & more"}


# Many at once


@pytest.mark.covers(
    "PUT /workflow/bulk/pause",
    "DELETE /workflow/bulk/remove",
    "POST /workflow/bulk/restart",
    "PUT /workflow/bulk/resume",
    "POST /workflow/bulk/retry",
    "POST /workflow/bulk/terminate",
)
def test_bulk_verbs_return_a_reason_for_each_id_that_failed(client: ConductorClient, lab: Lab, orders: str) -> None:
    ids = [client.start_workflow_by_name(orders) for _ in range(2)]

    def statuses() -> set[str]:
        return {str(client.get_workflow_status(workflow_id).status) for workflow_id in ids}

    def check(result: Any, status: str) -> None:
        assert set(result.successful) == set(ids)
        assert list(result.errors) == ["no-such-id"]
        assert "no-such-id" in result.errors["no-such-id"]
        assert statuses() == {status}

    asked = [*ids, "no-such-id"]
    check(client.bulk_pause(asked), "PAUSED")
    check(client.bulk_resume(asked), "RUNNING")
    check(client.bulk_terminate(asked, "nobody at home, 100 % & more"), "TERMINATED")
    ended = client.get_workflow(ids[0])
    assert (ended.reason, [task.status for task in ended.tasks]) == ("nobody at home, 100 % & more", ["CANCELED"])
    check(client.bulk_retry(asked), "RUNNING")
    client.bulk_terminate(ids)
    check(client.bulk_restart(asked), "RUNNING")
    client.bulk_terminate(ids)
    deleted = client.bulk_delete(asked, archive_workflow=False)
    assert set(deleted.successful) == set(ids)
    for workflow_id in ids:
        with pytest.raises(ConductorNotFoundError):
            client.get_workflow(workflow_id)


@pytest.mark.covers("POST /workflow/bulk/search")
def test_the_server_takes_a_thousand_ids_and_no_more(client: ConductorClient) -> None:
    ids = [f"no-such-id-{i}" for i in range(1_000)]
    assert len(client.send(endpoints.bulk_search(ids)).errors) == 1_000
    call = endpoints.bulk_search(ids)
    call.body.append("one-more")
    with pytest.raises(ConductorBadRequestError):
        client.send(call)


# Tasks


@pytest.mark.covers(
    "POST /tasks",
    "GET /tasks/poll/{tasktype}",
    "GET /tasks/queue/polldata",
    "GET /tasks/queue/sizes",
    "GET /tasks/{taskId}",
    "GET /tasks/{taskId}/log",
    "POST /tasks/{taskId}/log",
)
def test_a_worker_polls_reports_and_logs(client: ConductorClient, lab: Lab, orders: str) -> None:
    workflow_id = client.start_workflow_by_name(orders, {"a": 1})
    assert client.get_queue_sizes([lab.name("pack"), lab.name("ship")]) == {lab.name("pack"): 1, lab.name("ship"): 0}
    task = lab.take("pack")
    assert (task.status, task.input, task.worker_id) == ("IN_PROGRESS", {"a": 1}, "tester")
    assert client.get_queue_sizes([lab.name("pack")]) == {lab.name("pack"): 0}
    (polled,) = [data for data in client.get_poll_data(lab.name("pack")) if not data.domain]
    assert polled.worker_id == "tester"
    assert polled.last_poll_time > 0

    assert client.get_task_logs(task.task_id) == ()
    lines = {'packed "half", 50 % ü', "the other half"} if "index" in lab.abilities else set()
    client.log_task(task.task_id, 'packed "half", 50 % ü')
    assert client.update_task(
        workflow_id, task.task_id, "IN_PROGRESS", callback_after_seconds=0, logs=["the other half"]
    )
    lab.eventually(lambda: set(client.get_task_logs(task.task_id)), lines.__eq__)
    again = lab.take("pack")
    assert again.task_id == task.task_id
    assert client.update_task(workflow_id, task.task_id, "COMPLETED", {"packed": 1}) == task.task_id
    found = client.get_task(task.task_id)
    assert found is not None
    assert (found.status, found.output["packed"]) == ("COMPLETED", 1)


def test_no_task_to_take_is_none(client: ConductorClient, lab: Lab) -> None:
    assert client.poll_task(lab.name("nobody"), "tester") is None
    assert client.get_poll_data(lab.name("never_polled")) == ()


# Definitions


@pytest.mark.covers(
    "PUT /metadata/workflow", "GET /metadata/workflow/{name}", "DELETE /metadata/workflow/{name}/{version}"
)
def test_workflow_definitions_are_kept_replaced_and_removed(client: ConductorClient, lab: Lab) -> None:
    name = lab.name("kept")
    made = lab.definition("kept", lab.simple("pack"))
    client.register_workflow_defs([made, made | {"version": 2, "description": "the second"}])
    assert client.get_workflow_def(name)["version"] == 2
    assert client.get_workflow_def(name, 1)["tasks"][0]["taskReferenceName"] == "pack"
    client.register_workflow_defs(made | {"version": 2, "description": "the newer second"})
    assert client.get_workflow_def(name, 2)["description"] == "the newer second"
    client.unregister_workflow_def(name, 2)
    assert client.get_workflow_def(name)["version"] == 1
    with pytest.raises(ConductorDefinitionNotFoundError):
        client.get_workflow_def(name, 2)


@pytest.mark.covers(
    "GET /metadata/taskdefs",
    "POST /metadata/taskdefs",
    "DELETE /metadata/taskdefs/{tasktype}",
    "GET /metadata/taskdefs/{tasktype}",
)
def test_task_definitions_are_kept_replaced_and_removed(client: ConductorClient, lab: Lab) -> None:
    name = lab.name("kept_task")
    client.register_task_defs({"name": name, "retryCount": 1, "ownerEmail": "tests@example.com"})
    client.register_task_defs({"name": name, "retryCount": 5, "ownerEmail": "tests@example.com"})
    assert client.get_task_def(name)["retryCount"] == 5
    assert name in {item["name"] for item in client.get_task_defs()}
    client.unregister_task_def(name)
    with pytest.raises(ConductorNotFoundError):
        client.get_task_def(name)


# What is not there


@pytest.mark.needs("POST /workflow/execute/{name}/{version}", "GET /workflow/{workflowId}/status")
def test_missing_workflows_definitions_and_routes_are_different_errors(client: ConductorClient, lab: Lab) -> None:
    from airflow_provider_conductor.client.flow import Call

    for call, kind in [
        (endpoints.get_workflow("no-such-id"), ConductorNotFoundError),
        (endpoints.get_workflow_status("no-such-id"), ConductorNotFoundError),
        (endpoints.get_task("no-such-id"), ConductorNotFoundError),
        (endpoints.start_workflow_by_name(lab.name("nobody")), ConductorDefinitionNotFoundError),
        (endpoints.start_workflow({"name": lab.name("nobody")}), ConductorDefinitionNotFoundError),
        (endpoints.execute_workflow({"name": lab.name("nobody")}), ConductorDefinitionNotFoundError),
        (endpoints.fetch_token("id", "secret"), ConductorMissingRouteError),
        (Call("GET", "/no/such/route", bytes), ConductorMissingRouteError),
    ]:
        with pytest.raises(kind) as caught:
            client.send(call)
        assert type(caught.value) is kind, call.path
