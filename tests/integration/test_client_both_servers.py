"""Operations that few DAGs need, on the newest and the oldest server, and what is done where a server lacks one.

The oldest has no ``/execute``, no ``/status``, no bulk search and no index.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorClient,
    ConductorConflictError,
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorSettings,
    endpoints,
)
from airflow_provider_conductor.client.flows import read_many
from tests.integration.client_lab import Lab

pytestmark = pytest.mark.integration


@pytest.fixture(params=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """Either server."""
    found: Lab = request.getfixturevalue(request.param)
    return found


def without(*abilities: str) -> pytest.MarkDecorator:
    """On the oldest server, and on the one under test if it lacks these, too."""
    newest = pytest.param("newest", marks=pytest.mark.lacks(*abilities))
    return pytest.mark.parametrize("lab", [newest, "oldest"], indirect=True)


EXECUTE = "POST /workflow/execute/{name}/{version}"
STATUS = "GET /workflow/{workflowId}/status"
BULK_SEARCH = "POST /workflow/bulk/search"


@pytest.fixture(autouse=True)
def nothing_is_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"newest", "oldest"} & set(request.fixturenames):
        request.getfixturevalue(name).end("orders")


# Tasks


@pytest.mark.needs("GET /workflow/{workflowId}/tasks")
@pytest.mark.covers("GET /workflow/{workflowId}/tasks")
def test_a_workflows_tasks_come_in_pages_and_by_status(newest: Lab) -> None:
    workflow_id = newest.client.start_workflow_by_name(newest.define_orders())
    newest.work("pack")
    newest.eventually(lambda: newest.status_of(workflow_id, "ship"))
    page = newest.client.get_workflow_tasks(workflow_id, start=1, count=1)
    assert (page.total_hits, [task.reference_name for task in page]) == (2, ["ship"])
    done = newest.client.get_workflow_tasks(workflow_id, ["COMPLETED", "FAILED"])
    assert [task.reference_name for task in done] == ["pack"]


@pytest.mark.needs("index")
@pytest.mark.covers("GET /workflow/search-by-tasks", "GET /tasks/search")
def test_a_search_finds_tasks_and_their_workflows(newest: Lab) -> None:
    workflow_id = newest.client.start_workflow_by_name(newest.define_orders())
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
    lab.client.start_workflow({"name": lab.define_orders(), "taskToDomain": {lab.name("pack"): "berlin"}})
    assert lab.client.get_queue_size(lab.name("pack")) == 0
    assert lab.client.get_queue_size(lab.name("pack"), domain="berlin") == 1
    assert lab.client.get_all_queue_sizes()[f"berlin:{lab.name('pack')}"] == 1
    assert lab.client.poll_task(lab.name("pack"), "tester") is None
    task = lab.eventually(lambda: lab.client.poll_task(lab.name("pack"), "tester", domain="berlin"))
    assert task is not None
    assert task.domain == "berlin"


@pytest.mark.covers("GET /tasks/queue/polldata/all")
def test_everybody_who_ever_polled_is_listed(lab: Lab) -> None:
    lab.client.poll_task(lab.name("pack"), "tester")
    polled = {data.queue: data.worker_id for data in lab.client.get_all_poll_data()}
    assert polled[lab.name("pack")] == "tester"


@pytest.mark.covers("POST /tasks/queue/requeue/{taskType}")
def test_a_task_put_back_into_its_queue_is_there_once(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(lab.define_orders())
    assert lab.client.requeue_tasks(lab.name("pack"))
    assert lab.client.get_queue_size(lab.name("pack")) == 1
    lab.work("pack")
    lab.eventually(lambda: lab.status_of(workflow_id, "ship"))


# Workflows


@pytest.mark.covers("POST /workflow/{workflowId}/resetcallbacks")
def test_a_task_put_off_falls_due_when_callbacks_are_reset(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(lab.define_orders())
    task = lab.take("pack")
    lab.client.update_task(workflow_id, task.task_id, "IN_PROGRESS", callback_after_seconds=3600)
    assert lab.client.poll_task(lab.name("pack"), "tester") is None
    lab.client.reset_workflow_callbacks(workflow_id)
    assert lab.take("pack").task_id == task.task_id


@pytest.mark.covers("PUT /workflow/decide/{workflowId}")
def test_a_decision_asked_for_changes_nothing_that_stands(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(lab.define_orders())
    lab.client.decide_workflow(workflow_id)
    assert lab.status_of(workflow_id, "pack") == "SCHEDULED"
    with pytest.raises(ConductorNotFoundError):
        lab.client.decide_workflow("no-such-id")


@pytest.mark.covers("DELETE /workflow/{workflowId}/terminate-remove", "DELETE /workflow/bulk/terminate-remove")
def test_what_runs_is_ended_and_removed_in_one(newest: Lab) -> None:
    ids = [newest.client.start_workflow_by_name(newest.define_orders()) for _ in range(3)]
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
    name = lab.define_instant("listed")
    lab.define_instant("listed", version=3)
    assert {found["version"] for found in lab.client.get_workflow_defs() if found["name"] == name} == {1, 3}
    assert lab.client.get_workflow_names_and_versions()[name] == [1, 3]


# What a server lacks


def test_the_oldest_server_lacks_these_routes(oldest: Lab) -> None:
    client: ConductorClient = oldest.client
    workflow_id = client.start_workflow_by_name(oldest.define_orders())
    for verb in (
        client.get_workflow_tasks,
        client.terminate_and_delete_workflow,
        lambda one: client.bulk_terminate_and_delete([one]),
    ):
        with pytest.raises(ConductorMissingRouteError):
            verb(workflow_id)
    assert client.get_workflow(workflow_id).status == "RUNNING"


@without(EXECUTE)
def test_an_execution_starts_and_polls(lab: Lab) -> None:
    orders = lab.define_orders()
    with ConductorClient(lab.client.settings) as client:
        workflow = client.execute_workflow({"name": lab.define_instant(), "input": {"a": 3}}, wait_for_seconds=10)
        assert (workflow.status, workflow.output) == ("COMPLETED", {"a": 3})
        assert client.capabilities.execute is False
        running = client.execute_workflow({"name": orders}, wait_for_seconds=1)
        assert running.status == "RUNNING"
        assert client.get_running_workflows(orders) == [running.workflow_id]
        client.terminate_workflow(running.workflow_id)


@without(EXECUTE)
def test_an_execution_without_a_definition_is_an_error_of_its_own(lab: Lab) -> None:
    with pytest.raises(ConductorDefinitionNotFoundError):
        lab.client.execute_workflow({"name": lab.name("nobody")}, wait_for_seconds=5)


@without(STATUS)
def test_a_status_is_the_workflow_without_its_tasks(lab: Lab) -> None:
    with ConductorClient(lab.client.settings) as client:
        workflow_id = client.start_workflow_by_name(lab.define_orders())
        assert client.get_workflow_status(workflow_id).status == "RUNNING"
        assert client.capabilities.status is False
        client.terminate_workflow(workflow_id, "enough")
        ended = client.get_workflow_status(workflow_id)
        assert (ended.status, ended.tasks) == ("TERMINATED", ())


@without(EXECUTE, STATUS)
async def test_the_asyncio_client_falls_back_alike(lab: Lab) -> None:
    async with AsyncConductorClient(lab.client.settings) as client:
        workflow = await client.execute_workflow({"name": lab.define_instant(), "input": {"a": 3}}, wait_for_seconds=10)
        assert workflow.output == {"a": 3}
        status = await client.get_workflow_status(workflow.workflow_id)
        assert status.status == "COMPLETED"
        assert (client.capabilities.execute, client.capabilities.status) == (False, False)


@without(BULK_SEARCH)
def test_many_workflows_are_read_one_by_one(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(lab.define_instant())
    with pytest.raises(ConductorMissingRouteError):
        lab.client.send(endpoints.bulk_search([workflow_id]))
    assert list(lab.client.run(read_many([workflow_id, "no-such-id"]))) == [workflow_id]


@without(EXECUTE, STATUS)
def test_missing_workflows_definitions_and_routes_are_different_errors(lab: Lab) -> None:
    for call, kind in [
        (endpoints.get_workflow("no-such-id"), ConductorNotFoundError),
        (endpoints.get_workflow_status("no-such-id"), ConductorMissingRouteError),
        (endpoints.execute_workflow({"name": "x"}), ConductorMissingRouteError),
        (endpoints.fetch_token("id", "secret"), ConductorMissingRouteError),
        (endpoints.start_workflow_by_name(lab.name("nobody")), ConductorDefinitionNotFoundError),
        (endpoints.start_workflow({"name": lab.name("nobody")}), ConductorDefinitionNotFoundError),
        (endpoints.get_workflow_def(lab.name("nobody")), ConductorDefinitionNotFoundError),
    ]:
        with pytest.raises(kind) as caught:
            lab.client.send(call)
        assert type(caught.value) is kind, call.path


def test_a_completed_workflow_is_not_retried_and_can_be_deleted(oldest: Lab) -> None:
    workflow_id = oldest.client.start_workflow_by_name(oldest.define_instant())
    oldest.ended(workflow_id)
    with pytest.raises(ConductorConflictError):
        oldest.client.retry_workflow(workflow_id)
    oldest.client.delete_workflow(workflow_id, archive_workflow=False)
    with pytest.raises(ConductorNotFoundError):
        oldest.client.get_workflow(workflow_id)


def test_the_bulk_verbs_work(oldest: Lab) -> None:
    workflow_id = oldest.client.start_workflow_by_name(oldest.define_orders())
    result = oldest.client.bulk_terminate([workflow_id, "no-such-id"], "enough")
    assert result.successful == (workflow_id,)
    assert list(result.errors) == ["no-such-id"]
    assert oldest.client.get_workflow(workflow_id).reason == "enough"


@without("look-up", "index")
def test_without_an_index_look_ups_and_searches_find_nothing(lab: Lab) -> None:
    orders = lab.define_orders()
    workflow_id = lab.client.start_workflow_by_name(orders, correlation_id=lab.name("lost"))
    assert lab.client.get_by_correlation_ids(orders, [lab.name("lost")]) == {lab.name("lost"): ()}
    assert len(lab.client.search_workflows(f"workflowId IN ({workflow_id})")) == 0
    of_task = f"taskDefName IN ({lab.name('pack')})"
    assert len(lab.client.search_tasks(of_task)) == len(lab.client.search_workflows_by_tasks(of_task)) == 0
    lab.client.terminate_workflow(workflow_id)


@without("index")
def test_without_an_index_no_log_of_a_task_is_kept(lab: Lab) -> None:
    workflow_id = lab.client.start_workflow_by_name(lab.define_orders())
    task = lab.take("pack")
    lab.client.log_task(task.task_id, "a line")
    assert lab.client.get_task_logs(task.task_id) == ()
    lab.client.terminate_workflow(workflow_id)


def test_a_missing_task_is_nothing_rather_than_an_error(oldest: Lab) -> None:
    assert oldest.client.get_task("no-such-id") is None


def test_a_key_for_an_open_server_is_ignored(oldest: Lab) -> None:
    instant = oldest.define_instant()
    settings = ConductorSettings(oldest.client.settings.api_url, key_id="id", key_secret="s")
    with ConductorClient(settings) as client:
        assert client.get_workflow_def(instant)["name"] == instant
