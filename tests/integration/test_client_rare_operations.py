"""Operations that few DAGs need, each on a real server and checked by what it changed there; on the oldest as well,
where it has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient, ConductorMissingRouteError, ConductorNotFoundError
from tests.integration.client_lab import Lab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def newest(conductor_server: Any) -> Iterator[Lab]:
    lab = Lab(conductor_server.api_url)
    with lab.client:
        yield lab


@pytest.fixture(scope="module")
def oldest(old_conductor_server: Any) -> Iterator[Lab]:
    lab = Lab(old_conductor_server.api_url)
    with lab.client:
        yield lab


@pytest.fixture(params=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """Either server."""
    found: Lab = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"newest", "oldest"} & set(request.fixturenames):
        there: Lab = request.getfixturevalue(name)
        running = there.client.get_running_workflows(there.name("orders"))
        if running:
            there.client.bulk_terminate(running)


def orders(lab: Lab) -> str:
    return lab.define("orders", lab.simple("pack"), lab.simple("ship"))


# Tasks


@pytest.mark.covers("GET /workflow/{workflowId}/tasks")
def test_a_workflows_tasks_come_in_pages_and_by_status(newest: Lab) -> None:
    workflow_id = newest.client.start_workflow_by_name(orders(newest))
    newest.work("pack")
    newest.eventually(lambda: newest.status_of(workflow_id, "ship"))
    page = newest.client.get_workflow_tasks(workflow_id, start=1, count=1)
    assert (page.total_hits, [task.reference_name for task in page]) == (2, ["ship"])
    done = newest.client.get_workflow_tasks(workflow_id, ["COMPLETED", "FAILED"])
    assert [task.reference_name for task in done] == ["pack"]


@pytest.mark.covers("GET /workflow/search-by-tasks", "GET /tasks/search")
def test_a_search_finds_tasks_and_their_workflows(newest: Lab) -> None:
    workflow_id = newest.client.start_workflow_by_name(orders(newest))
    newest.work("pack", "FAILED", reason="no box")
    query = f"taskDefName IN ({newest.name('pack')}) AND status IN (FAILED)"
    found = newest.eventually(lambda: newest.client.search_tasks(query))
    assert [task.data["workflowId"] for task in found][:1] == [workflow_id]
    assert found.results[0].reason == "no box"
    with_them = newest.eventually(lambda: newest.client.search_workflows_by_tasks(query))
    assert [workflow.workflow_id for workflow in with_them] == [workflow_id]
    assert len(newest.client.search_tasks(f"taskDefName IN ({newest.name('nobody')})")) == 0


# Queues


@pytest.mark.covers("GET /tasks/queue/all", "GET /tasks/queue/size")
def test_a_queue_has_a_size(lab: Lab) -> None:
    lab.client.start_workflow({"name": orders(lab), "taskToDomain": {lab.name("pack"): "berlin"}})
    assert lab.client.get_queue_size(lab.name("pack")) == 0
    assert lab.client.get_queue_size(lab.name("pack"), domain="berlin") == 1
    assert lab.client.get_all_queue_sizes()[f"berlin:{lab.name('pack')}"] == 1


@pytest.mark.covers("GET /tasks/queue/polldata/all")
def test_everybody_who_ever_polled_is_listed(lab: Lab) -> None:
    lab.client.poll_task(lab.name("pack"), "tester")
    polled = {data.queue: data.worker_id for data in lab.client.get_all_poll_data()}
    assert polled[lab.name("pack")] == "tester"


@pytest.mark.covers("POST /tasks/queue/requeue/{taskType}")
def test_a_task_put_back_into_its_queue_is_there_once(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(orders(lab))
    assert lab.client.requeue_tasks(lab.name("pack"))
    assert lab.client.get_queue_size(lab.name("pack")) == 1
    lab.work("pack")
    lab.eventually(lambda: lab.status_of(workflow_id, "ship"))


# Workflows


@pytest.mark.covers("POST /workflow/{workflowId}/resetcallbacks")
def test_a_task_put_off_falls_due_when_callbacks_are_reset(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(orders(lab))
    task = lab.take("pack")
    lab.client.update_task(workflow_id, task.task_id, "IN_PROGRESS", callback_after_seconds=3600)
    assert lab.client.poll_task(lab.name("pack"), "tester") is None
    lab.client.reset_workflow_callbacks(workflow_id)
    assert lab.take("pack").task_id == task.task_id


@pytest.mark.covers("PUT /workflow/decide/{workflowId}")
def test_a_decision_asked_for_changes_nothing_that_stands(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(orders(lab))
    lab.client.decide_workflow(workflow_id)
    assert lab.status_of(workflow_id, "pack") == "SCHEDULED"
    with pytest.raises(ConductorNotFoundError):
        lab.client.decide_workflow("no-such-id")


@pytest.mark.covers("DELETE /workflow/{workflowId}/terminate-remove", "DELETE /workflow/bulk/terminate-remove")
def test_what_runs_is_ended_and_removed_in_one(newest: Lab) -> None:
    ids = [newest.client.start_workflow_by_name(orders(newest)) for _ in range(3)]
    newest.client.terminate_and_delete_workflow(ids[0], "not needed", archive_workflow=False)
    result = newest.client.bulk_terminate_and_delete([*ids[1:], "no-such-id"], archive_workflow=False)
    assert set(result.successful) == set(ids[1:])
    assert list(result.errors) == ["no-such-id"]
    for workflow_id in ids:
        with pytest.raises(ConductorNotFoundError):
            newest.client.get_workflow(workflow_id)


# Definitions


@pytest.mark.covers("GET /metadata/workflow", "GET /metadata/workflow/names-and-versions")
def test_definitions_are_listed(lab: Lab) -> None:
    name = orders(lab)
    lab.client.register_workflow_defs(lab.definition("orders", lab.simple("pack"), version=3))
    assert {found["version"] for found in lab.client.get_workflow_defs() if found["name"] == name} == {1, 3}
    assert lab.client.get_workflow_names_and_versions()[name] == [1, 3]


# What the oldest server lacks


def test_the_oldest_server_lacks_these_routes(oldest: Lab) -> None:
    client: ConductorClient = oldest.client
    workflow_id = client.start_workflow_by_name(orders(oldest))
    for verb in (
        client.get_workflow_tasks,
        client.terminate_and_delete_workflow,
        lambda one: client.bulk_terminate_and_delete([one]),
    ):
        with pytest.raises(ConductorMissingRouteError):
            verb(workflow_id)
    assert client.get_workflow(workflow_id).status == "RUNNING"
