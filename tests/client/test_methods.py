"""Each verb is the request the server's documentation names; nothing else is sent."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests_mock

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorClient,
    ConductorInputError,
    StartWorkflowRequest,
)
from airflow_provider_conductor.client.methods import ClientMethods
from tests.client import fault_server
from tests.client.transports import Serve

WORKFLOW = {"workflowId": "w1", "status": "COMPLETED"}
BULK = {"bulkSuccessfulResults": ["w1"], "bulkErrorResults": {"w2": "gone"}}
START = {"name": "orders", "version": 2}


ANSWERS: dict[str, Any] = {
    "BulkResult": BULK,
    "BulkResult | None": BULK,
    "None": "",
    "SearchResult": {"totalHits": 7, "results": [WORKFLOW]},
    "Task | None": {"taskId": "t1", "status": "IN_PROGRESS"},
    "TaskSearchResult": {"totalHits": 1, "results": [{"taskId": "t1"}]},
    "Workflow": WORKFLOW,
    "dict[str, Any]": {"name": "a"},
    "dict[str, int]": {"ship": 3},
    "dict[str, list[int]]": {"a": [{"version": 2}, {"version": 1}]},
    "dict[str, tuple[Workflow, ...]]": {"c1": [WORKFLOW], "c2": []},
    "int": 3,
    "list[dict[str, Any]]": [{"name": "a"}],
    "list[str]": ["w1"],
    "str": "w1",
    "tuple[PollData, ...]": [{"queueName": "ship", "workerId": "me", "lastPollTime": 5}],
    "tuple[str, ...]": [{"log": "a"}, {"log": "b"}],
}
"""What the server answers, by what the verb returns."""


@pytest.fixture
def http() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        yield mocker


@pytest.fixture
def client() -> Iterator[ConductorClient]:
    with ConductorClient("http://conductor:8080") as opened:
        yield opened


# verb and arguments, method and path (below /api) with the query in lower case, body if there is one
TABLE: list[tuple[Any, ...]] = [
    (lambda c: c.start_workflow(START), "POST /workflow", START),
    (lambda c: c.start_workflow(StartWorkflowRequest(**START)), "POST /workflow", START | {"input": {}}),
    (
        lambda c: c.start_workflow_by_name("orders", {"a": 1}, 2, "c1", 5),
        "POST /workflow/orders?version=2&correlationid=c1&priority=5",
        {"a": 1},
    ),
    (lambda c: c.start_workflow_by_name("orders"), "POST /workflow/orders", {}),
    (
        lambda c: c.execute_workflow(START, "r1", "orders", 2, "pack", 3),
        "POST /workflow/execute/orders/2?requestid=r1&waituntiltaskref=pack&waitforseconds=3",
        START,
    ),
    (
        lambda c: c.execute_workflow({"name": "orders"}),
        "POST /workflow/execute/orders/0?waitforseconds=10",
        {"name": "orders"},
    ),
    (lambda c: c.test_workflow(START), "POST /workflow/test", START),
    (lambda c: c.get_workflow("w1"), "GET /workflow/w1?includetasks=true"),
    (lambda c: c.get_workflow("w1", False), "GET /workflow/w1?includetasks=false"),
    (
        lambda c: c.get_workflow_status("w1", True, True),
        "GET /workflow/w1/status?includeoutput=true&includevariables=true",
    ),
    (
        lambda c: c.search_workflows("status IN (RUNNING)", start=5, size=10, sort="startTime:DESC"),
        "GET /workflow/search?query=status in (running)&freetext=*&start=5&size=10&sort=starttime:desc",
    ),
    (
        lambda c: c.get_by_correlation_ids("orders", ["c1", "c2"]),
        "POST /workflow/orders/correlated?includeclosed=true&includetasks=false",
        ["c1", "c2"],
    ),
    (
        lambda c: c.search_workflows_by_tasks("status IN (FAILED)", start=5, size=10, sort="startTime:DESC"),
        "GET /workflow/search-by-tasks?query=status in (failed)&freetext=*&start=5&size=10&sort=starttime:desc",
    ),
    (
        lambda c: c.search_tasks("status IN (FAILED)", start=5, size=10, sort="startTime:DESC"),
        "GET /tasks/search?query=status in (failed)&freetext=*&start=5&size=10&sort=starttime:desc",
    ),
    (lambda c: c.get_workflow_tasks("w1", ["FAILED"], 5, 10), "GET /workflow/w1/tasks?status=failed&start=5&count=10"),
    (lambda c: c.decide_workflow("w1"), "PUT /workflow/decide/w1"),
    (lambda c: c.reset_workflow_callbacks("w1"), "POST /workflow/w1/resetcallbacks"),
    (
        lambda c: c.terminate_and_delete_workflow("w1", "late", False),
        "DELETE /workflow/w1/terminate-remove?reason=late&archiveworkflow=false",
    ),
    (
        lambda c: c.bulk_terminate_and_delete(["w1"], "late", False),
        "DELETE /workflow/bulk/terminate-remove?reason=late&archiveworkflow=false",
        ["w1"],
    ),
    (lambda c: c.get_all_poll_data(), "GET /tasks/queue/polldata/all"),
    (lambda c: c.get_queue_size("ship", "berlin"), "GET /tasks/queue/size?tasktype=ship&domain=berlin"),
    (lambda c: c.get_all_queue_sizes(), "GET /tasks/queue/all"),
    (lambda c: c.requeue_tasks("ship"), "POST /tasks/queue/requeue/ship"),
    (lambda c: c.get_workflow_defs(), "GET /metadata/workflow"),
    (lambda c: c.get_workflow_names_and_versions(), "GET /metadata/workflow/names-and-versions"),
    (lambda c: c.get_running_workflows("orders", 2), "GET /workflow/running/orders?version=2"),
    (lambda c: c.pause_workflow("w1"), "PUT /workflow/w1/pause"),
    (lambda c: c.resume_workflow("w1"), "PUT /workflow/w1/resume"),
    (lambda c: c.terminate_workflow("w1", "late"), "DELETE /workflow/w1?reason=late"),
    (lambda c: c.terminate_workflow("w1"), "DELETE /workflow/w1"),
    (lambda c: c.restart_workflow("w1", True), "POST /workflow/w1/restart?uselatestdefinitions=true"),
    (lambda c: c.retry_workflow("w1", True), "POST /workflow/w1/retry?resumesubworkflowtasks=true"),
    (
        lambda c: c.rerun_workflow("w1", "t1", {"a": 1}, {"b": 2}, "c1"),
        "POST /workflow/w1/rerun",
        {
            "reRunFromWorkflowId": "w1",
            "reRunFromTaskId": "t1",
            "taskInput": {"a": 1},
            "workflowInput": {"b": 2},
            "correlationId": "c1",
        },
    ),
    (
        lambda c: c.skip_task_from_workflow("w1", "pack", {"i": 1}, {"ok": True, "n": 0.5}),
        "PUT /workflow/w1/skiptask/pack?taskinput[i]=1&taskoutput[ok]=true&taskoutput[n]=0.5",
    ),
    (lambda c: c.delete_workflow("w1"), "DELETE /workflow/w1/remove?archiveworkflow=true"),
    (lambda c: c.delete_workflow("w1", False), "DELETE /workflow/w1/remove?archiveworkflow=false"),
    (lambda c: c.bulk_pause(["w1", "w2"]), "PUT /workflow/bulk/pause", ["w1", "w2"]),
    (lambda c: c.bulk_resume(["w1"]), "PUT /workflow/bulk/resume", ["w1"]),
    (lambda c: c.bulk_restart(["w1"], True), "POST /workflow/bulk/restart?uselatestdefinitions=true", ["w1"]),
    (lambda c: c.bulk_retry(["w1"]), "POST /workflow/bulk/retry", ["w1"]),
    (lambda c: c.bulk_terminate(["w1"], "late"), "POST /workflow/bulk/terminate?reason=late", ["w1"]),
    (lambda c: c.bulk_delete(["w1"], False), "DELETE /workflow/bulk/remove?archiveworkflow=false", ["w1"]),
    (lambda c: c.poll_task("ship", "me", "berlin"), "GET /tasks/poll/ship?workerid=me&domain=berlin"),
    (
        lambda c: c.update_task("w1", "t1", "FAILED", {"a": 1}, "no stock", "me", 30, ["line"]),
        "POST /tasks",
        {
            "workflowInstanceId": "w1",
            "taskId": "t1",
            "status": "FAILED",
            "outputData": {"a": 1},
            "reasonForIncompletion": "no stock",
            "workerId": "me",
            "callbackAfterSeconds": 30,
            "logs": [{"log": "line", "taskId": "t1"}],
        },
    ),
    (lambda c: c.get_task("t1"), "GET /tasks/t1"),
    (lambda c: c.log_task("t1", "line"), "POST /tasks/t1/log", "line"),
    (lambda c: c.get_task_logs("t1"), "GET /tasks/t1/log"),
    (lambda c: c.get_poll_data("ship"), "GET /tasks/queue/polldata?tasktype=ship"),
    (lambda c: c.get_queue_sizes(["ship"]), "GET /tasks/queue/sizes?tasktype=ship"),
    (
        lambda c: c.update_task_by_ref_name("w1", "pack", "FAILED", {"a": 1}, "me"),
        "POST /tasks/w1/pack/FAILED?workerid=me",
        {"a": 1},
    ),
    (lambda c: c.update_task_sync("w1", "pack", "FAILED"), "POST /tasks/w1/pack/FAILED/sync", {}),
    (lambda c: c.signal_workflow_task_async("w1", "COMPLETED", {"a": 1}), "POST /tasks/w1/COMPLETED/signal", {"a": 1}),
    (
        lambda c: c.signal_workflow_task_sync("w1", "COMPLETED", {"a": 1}, 2.5),
        "POST /tasks/w1/COMPLETED/signal/sync?returnstrategy=target_workflow&timeoutmillis=2500",
        {"a": 1},
    ),
    (lambda c: c.validate_workflow_def({"name": "a"}), "POST /metadata/workflow/validate", {"name": "a"}),
    (lambda c: c.register_workflow_defs({"name": "a"}), "PUT /metadata/workflow", [{"name": "a"}]),
    (lambda c: c.get_workflow_def("a", 2), "GET /metadata/workflow/a?version=2"),
    (lambda c: c.unregister_workflow_def("a", 2), "DELETE /metadata/workflow/a/2"),
    (lambda c: c.register_task_defs([{"name": "t"}]), "POST /metadata/taskdefs", [{"name": "t"}]),
    (lambda c: c.get_task_def("t"), "GET /metadata/taskdefs/t"),
    (lambda c: c.unregister_task_def("t"), "DELETE /metadata/taskdefs/t"),
    (lambda c: c.get_task_defs(), "GET /metadata/taskdefs"),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[1] for row in TABLE])
def test_a_verb_is_one_request(http: requests_mock.Mocker, client: ConductorClient, row: tuple[Any, ...]) -> None:
    verb, line, *body = row
    (name,) = public(ClientMethods) & set(verb.__code__.co_names)
    returned = inspect.signature(getattr(ConductorClient, name)).return_annotation
    as_text = {"text": ANSWERS[returned]} if isinstance(ANSWERS[returned], str) else {"json": ANSWERS[returned]}
    http.register_uri(requests_mock.ANY, re.compile("http://conductor:8080/api/"), **as_text)
    verb(client)
    (request,) = http.request_history
    method, path, query = re.fullmatch(r"(\w+) ([^?]+)\??(.*)", line).groups()
    assert (request.method, request.path.removeprefix("/api")) == (method, path.lower())  # the mock's are lower case
    assert request.qs == parse_qs(query)
    sent = [request.text if body == [request.text] else json.loads(request.body)] if request.body else []
    assert sent == body


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_verb_is_in_the_table() -> None:
    used = {name for verb, *_ in TABLE for name in verb.__code__.co_names}
    assert public(ClientMethods) <= used


def test_both_clients_have_the_same_names() -> None:
    assert public(AsyncConductorClient) - public(ConductorClient) == {"listen"}
    assert public(ConductorClient) < public(AsyncConductorClient)


def test_a_method_shows_what_its_endpoint_takes_and_returns() -> None:
    assert str(inspect.signature(ConductorClient.get_workflow)) == (
        "(self, workflow_id: 'str', include_tasks: 'bool' = True) -> 'Workflow'"
    )
    assert list(inspect.signature(AsyncConductorClient.get_workflow_status).parameters) == (
        ["self", "workflow_id", "include_output", "include_variables"]
    )
    for name in public(ClientMethods):
        method = getattr(ClientMethods, name)
        assert (method.__name__, bool(method.__doc__)) == (name, True)


async def test_the_asyncio_clients_methods_are_awaited(serve: Serve) -> None:
    server = serve(fault_server.workflow("w1", "COMPLETED"))
    async with AsyncConductorClient(server.api_url) as client:
        assert (await client.get_workflow("w1", include_tasks=False)).status == "COMPLETED"
        assert (await client.get_workflow_status("w1")).status == "COMPLETED"
    assert [request.path for request in server.requests] == ["/api/workflow/w1", "/api/workflow/w1/status"]


def test_answers_are_values_to_work_with(http: requests_mock.Mocker, client: ConductorClient) -> None:
    http.put("/api/workflow/bulk/pause", json=BULK)
    http.get("/api/tasks/queue/polldata", json=ANSWERS["tuple[PollData, ...]"])
    http.get("/api/workflow/search", json=ANSWERS["SearchResult"])
    paused = client.bulk_pause(["w1", "w2"])
    assert (paused.successful, paused.errors) == (("w1",), {"w2": "gone"})
    (polled,) = client.get_poll_data("ship")
    assert (polled.worker_id, polled.last_poll_time, polled.domain) == ("me", 5, "")
    found = client.search_workflows()
    assert (found.total_hits, len(found), [workflow.workflow_id for workflow in found]) == (7, 1, ["w1"])


@pytest.mark.parametrize("arguments", [{"workflow_name": "parcels"}, {"version": 3}])
def test_a_name_or_version_said_twice_differently_is_refused(
    http: requests_mock.Mocker, client: ConductorClient, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ConductorInputError, match="nothing was sent"):
        client.execute_workflow(START, **arguments)
    assert not http.called
