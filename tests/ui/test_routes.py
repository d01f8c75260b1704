"""Each route: who may use it, which workflows it shows, and what it says where it cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.testing import ConductorStandIn
from tests.polling.builders import task
from tests.ui.conftest import Api

pytestmark = pytest.mark.airflow_versions(since="3.1")

Add = Callable[..., None]

PATH = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": "-1", "name": "app.js"}


def has(conductor: ConductorStandIn, name: str, status: str = "RUNNING", **more: Any) -> str:
    """A workflow with these further fields."""
    workflow_id = conductor.add(status, name=name)
    conductor.workflows[workflow_id].update(more)
    return workflow_id


def logs(conductor: ConductorStandIn, line: str) -> None:
    """From now on, each task's worker has logged this line."""
    log = json.dumps([{"log": line}]).encode()
    answer = (200, "application/json", log)
    conductor.instead = lambda request: answer if request.path.endswith("/log") else None


def nested(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = {"in": value} if level % 2 else [value]
    return value


def routes() -> Iterator[tuple[str, str]]:
    """Method and path of each route, filled in."""
    from airflow_provider_conductor.ui.app import make_app

    for route in make_app().routes:
        for method in sorted(route.methods):
            yield method, "/conductor" + re.sub(r"\{(\w+)\}", lambda match: PATH[match[1]], route.path)


def test_the_routes_are_these() -> None:
    assert sorted(routes()) == [
        ("GET", "/conductor/api/dags/d/runs/r/tasks/t/-1/task"),
        ("GET", "/conductor/api/dags/d/runs/r/tasks/t/-1/workflow"),
        ("GET", "/conductor/api/dags/d/runs/r/workflows"),
        ("GET", "/conductor/api/health"),
        ("GET", "/conductor/assets/app.js"),
        ("GET", "/conductor/health"),
        ("GET", "/conductor/run"),
        ("GET", "/conductor/task"),
        ("POST", "/conductor/api/dags/d/runs/r/tasks/t/-1/actions"),
    ]


def test_each_route_wants_a_login(api: Api) -> None:
    for method, path in routes():
        answer = api.get(path, None) if method == "GET" else api.post(path, {}, None)
        assert answer.status_code == 401, (method, path)


def test_each_route_wants_rights(api: Api) -> None:
    for method, path in routes():
        answer = api.get(path, "nobody") if method == "GET" else api.post(path, {}, "nobody")
        assert answer.status_code == 403, (method, path)


def test_a_viewer_reads_and_changes_nothing(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "watched")
    add("d1", "r", "wait", workflow_id=workflow_id)
    path = "/conductor/api/dags/d1/runs/r/tasks/wait/-1"

    shown = api.get(f"{path}/workflow", "vera")
    refused = api.post(f"{path}/actions", {"verb": "terminate", "workflow": workflow_id}, "vera")

    assert shown.status_code == 200, shown.text
    assert shown.json()["may_act"] is False
    assert api.get(f"{path}/workflow", "ada").json()["may_act"] is True
    assert refused.status_code == 403
    assert conductor.status(workflow_id) == "RUNNING"
    # What the menu's page shows of connections is not for those who may not see connections.
    assert api.get("/conductor/api/health", "vera").status_code == 403
    assert api.get("/conductor/api/health", "otto").status_code == 200


@pytest.mark.parametrize(
    "headers", [{"X-Conductor-Request": ""}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_what_another_site_sends_is_refused(
    api: Api, add: Add, conductor: ConductorStandIn, headers: dict[str, str]
) -> None:
    workflow_id = has(conductor, "watched")
    run_id = "-".join(headers.values()) or "none"
    add("d2", run_id, "wait", workflow_id=workflow_id)

    body = {"verb": "terminate", "workflow": workflow_id}
    answer = api.post(f"/conductor/api/dags/d2/runs/{run_id}/tasks/wait/-1/actions", body, **headers)

    assert answer.status_code == 403
    assert "does not come from Airflow's UI" in answer.json()["detail"]
    assert conductor.status(workflow_id) == "RUNNING"


def test_a_form_of_another_site_is_refused(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    """Without JavaScript, a page can make a browser send a form, with Airflow's cookie."""
    workflow_id = has(conductor, "watched")
    add("d3", "r", "wait", workflow_id=workflow_id)
    api.client.cookies.set("_token", api.token("ada"))
    try:
        answer = api.client.post(
            "/conductor/api/dags/d3/runs/r/tasks/wait/-1/actions", data={"verb": "terminate", "workflow": workflow_id}
        )
    finally:
        api.client.cookies.clear()
    assert answer.status_code in (403, 422)
    assert conductor.status(workflow_id) == "RUNNING"


def test_a_workflow_is_shown_only_through_a_task_instance_that_names_it(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    own, another = has(conductor, "own"), has(conductor, "another")
    add("d4", "r", "wait", workflow_id=own)
    path = "/conductor/api/dags/d4/runs/r/tasks/wait/-1"

    answers = [
        api.get(f"{path}/workflow?workflow={another}"),
        api.get(f"{path}/task?workflow={another}&ref=any"),
        api.post(f"{path}/actions", {"verb": "terminate", "workflow": another}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert all("is no sub-workflow of this task's workflow" in answer.json()["detail"] for answer in answers)
    assert conductor.status(another) == "RUNNING"


def test_a_sub_workflow_is_shown_through_the_task_of_its_parent(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    own = has(conductor, "own")
    middle = has(conductor, "middle", parentWorkflowId=own)
    below = has(conductor, "below", parentWorkflowId=middle)
    add("d5", "r", "wait", workflow_id=own)
    path = "/conductor/api/dags/d5/runs/r/tasks/wait/-1"

    shown = api.get(f"{path}/workflow?workflow={below}")
    ended = api.post(f"{path}/actions", {"verb": "terminate", "workflow": below, "reason": "too old"})

    assert (shown.status_code, shown.json()["workflow"]["name"]) == (200, "below")
    assert (ended.status_code, ended.json()["changed"]) == (200, True)
    assert conductor.status(below) == "TERMINATED"
    assert conductor.reason(below) == "terminated in Airflow's UI by ada: too old"
    assert conductor.status(own) == "RUNNING"


def test_mapped_task_instances_have_their_own_workflows(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    ids = [has(conductor, "mapped"), has(conductor, "mapped")]
    for index, workflow_id in enumerate(ids):
        add("d6", "r", "wait", map_index=index, workflow_id=workflow_id)

    answers = [api.get(f"/conductor/api/dags/d6/runs/r/tasks/wait/{index}/workflow").json() for index in (0, 1)]

    assert [answer["workflow"]["id"] for answer in answers] == ids
    assert [answer["task"]["map_index"] for answer in answers] == [0, 1]
    assert api.get("/conductor/api/dags/d6/runs/r/tasks/wait/-1/workflow").status_code == 404


IDENTITY = "airflow:{dag_id}:r:wait:-1:1"


@pytest.mark.parametrize(
    ("arguments", "correlation_id", "shown"),
    [
        ({"workflow_id": "ID"}, None, True),
        ({"workflow_id": ["another", "ID"]}, None, True),
        ({"workflow_id": "['another', 'ID']"}, None, True),
        ({"workflow_name": "orders"}, IDENTITY, True),
        ({"correlation_id": "order-7"}, "order-7", True),
        ({"request": {"name": "orders", "correlation_id": "order-7"}}, "order-7", True),
        ({"workflow_id": "another"}, None, False),
        ({"workflow_id": "IDENTICAL-ID-AND-MORE"}, None, False),
        ({"workflow_name": "orders"}, None, False),
        ({"workflow_name": "orders"}, "airflow:another_dag:r:wait:-1:1", False),
        ({"workflow_name": "orders"}, IDENTITY + "7", False),
        ({"correlation_id": "order-7"}, "order-77", False),
        ({"correlation_id": ""}, "", False),
    ],
)
def test_an_id_that_a_user_has_written_to_xcom_opens_nothing(
    api: Api, add: Add, conductor: ConductorStandIn, arguments: dict[str, Any], correlation_id: str | None, shown: bool
) -> None:
    dag_id = f"own{abs(hash((str(arguments), correlation_id)))}"
    label = correlation_id and correlation_id.format(dag_id=dag_id)
    workflow_id = has(conductor, "any", correlationId=label)
    arguments = json.loads(json.dumps(arguments).replace('ID"', f'{workflow_id}"').replace("ID'", f"{workflow_id}'"))
    add(dag_id, "r", "wait", workflow_id=workflow_id, arguments=arguments)
    path = f"/conductor/api/dags/{dag_id}/runs/r"

    answers = [
        api.get(f"{path}/tasks/wait/-1/workflow"),
        api.get(f"{path}/tasks/wait/-1/task?workflow={workflow_id}&ref=any"),
        api.post(f"{path}/tasks/wait/-1/actions", {"verb": "terminate", "workflow": workflow_id}),
    ]
    (row,) = api.get(f"{path}/workflows").json()["rows"]

    if shown:
        assert answers[0].status_code == 200
        assert conductor.status(workflow_id) == "TERMINATED"
        assert row["workflow"]["id"] == workflow_id
    else:
        assert [answer.status_code for answer in answers] == [404, 404, 404]
        assert "neither that workflow nor the task's arguments show" in answers[0].json()["detail"]
        assert conductor.status(workflow_id) == "RUNNING"
        assert row["workflow"] is None


@pytest.mark.parametrize(
    ("start", "correlation_id", "shown"),
    [
        ({"workflow_name": "orders"}, "airflow:{dag_id}:r:orders.start:-1:1", True),
        ({"correlation_id": "order-7"}, "order-7", True),
        # A start by the step itself, which makes none; by another task group's; by this one's in another DAG run.
        ({"workflow_name": "orders"}, "airflow:{dag_id}:r:orders.pack:-1:1", False),
        ({"workflow_name": "orders"}, "airflow:{dag_id}:r:others.start:-1:1", False),
        ({"workflow_name": "orders"}, "airflow:{dag_id}:r2:orders.start:-1:1", False),
        ({"workflow_name": "orders"}, "order-7", False),
        ({"workflow_name": "orders"}, None, False),
    ],
)
def test_the_workflow_of_a_step_is_the_one_that_its_task_group_has_started(
    api: Api, add: Add, conductor: ConductorStandIn, start: dict[str, Any], correlation_id: str | None, shown: bool
) -> None:
    dag_id = f"group{abs(hash((str(start), correlation_id)))}"
    label = correlation_id and correlation_id.format(dag_id=dag_id)
    workflow_id = has(conductor, "any", correlationId=label)
    add(dag_id, "r", "orders.start", workflow_id=workflow_id, arguments=start, state="success")
    for task_id in ("orders.pack", "orders.deliver.label", "orders.finish"):
        add(dag_id, "r", task_id, workflow_id=workflow_id, arguments={"start_task_id": "orders.start"})
    path = f"/conductor/api/dags/{dag_id}/runs/r"

    answer = api.get(f"{path}/tasks/orders.pack/-1/workflow")
    ended = api.post(f"{path}/tasks/orders.pack/-1/actions", {"verb": "terminate", "workflow": workflow_id})

    assert (answer.status_code, ended.status_code) == ((200, 200) if shown else (404, 404))
    assert conductor.status(workflow_id) == ("TERMINATED" if shown else "RUNNING")
    if shown:
        shown_at = {
            task_id: api.get(f"{path}/tasks/{task_id}/-1/workflow").json()["task"]["steps"]
            for task_id in ("orders.start", "orders.pack", "orders.deliver.label", "orders.finish")
        }
        assert list(shown_at.values()) == [[], ["pack"], ["deliver", "label"], []]


def test_a_list_has_the_workflow_of_a_task_group_once(
    api: Api, add: Add, conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_conductor.ui.task_instances import waiting_workflows

    monkeypatch.setattr("airflow_provider_conductor.ui.app.ROWS", 3)  # fewer than the group has steps
    ids = [has(conductor, "any", correlationId=f"airflow:listed_group:r:{name}:-1:1") for name in ("a.start", "z")]
    add("listed_group", "r", "a.start", workflow_id=ids[0], arguments={}, state="success")
    for number in range(7):
        add("listed_group", "r", f"a.step_{number}", workflow_id=ids[0], arguments={"start_task_id": "a.start"})
    add("listed_group", "r", "z", workflow_id=ids[1], arguments={})

    rows = api.get("/conductor/api/dags/listed_group/runs/r/workflows").json()["rows"]
    waiting = waiting_workflows(["listed_group"], 3)

    assert [(row["task_id"], row["workflow"]["id"]) for row in rows] == [("a.start", ids[0]), ("z", ids[1])]
    assert [(named.id.task_id, named.workflow_id) for named in waiting] == [("a.step_0", ids[0]), ("z", ids[1])]


def test_the_workflow_of_a_mapped_groups_step_is_that_of_its_own_instance(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    ids = []
    for index in (0, 1):
        ids.append(has(conductor, "any", correlationId=f"airflow:mapped_group:r:orders.start:{index}:1"))
        add("mapped_group", "r", "orders.start", map_index=index, workflow_id=ids[index], arguments={})
    # The second one names the first one's workflow.
    for index in (0, 1):
        arguments = {"start_task_id": "orders.start"}
        add("mapped_group", "r", "orders.pack", map_index=index, workflow_id=ids[0], arguments=arguments)
    path = "/conductor/api/dags/mapped_group/runs/r/tasks/orders.pack"

    assert [api.get(f"{path}/{index}/workflow").status_code for index in (0, 1)] == [200, 404]


def test_an_operator_of_something_else_has_no_workflow(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    """Its XCom may have the same key."""
    workflow_id = has(conductor, "any")
    add("d20", "r", "wait", workflow_id=workflow_id, conn_id=None)
    assert api.get("/conductor/api/dags/d20/runs/r/tasks/wait/-1/workflow").status_code == 404
    assert api.get("/conductor/api/dags/d20/runs/r/workflows").json()["rows"] == []


@pytest.fixture
def without(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes a right for one kind of entities from everybody."""
    from airflow.api_fastapi.app import get_auth_manager

    manager = get_auth_manager()
    allowed = manager.is_authorized_dag

    def take(entity: str) -> None:
        def is_authorized_dag(*, access_entity: Any = None, **more: Any) -> bool:
            return getattr(access_entity, "name", "") != entity and allowed(access_entity=access_entity, **more)

        monkeypatch.setattr(manager, "is_authorized_dag", is_authorized_dag)

    return take


def test_without_the_right_to_logs_there_are_no_lines_of_workers(
    api: Api, add: Add, conductor: ConductorStandIn, without: Callable[[str], None]
) -> None:
    failed = task("pack", "FAILED", ended=1, reasonForIncompletion="no paper")
    workflow_id = has(conductor, "failed", "FAILED", tasks=[failed])
    logs(conductor, "a line of the worker")
    add("d21", "r", "wait", workflow_id=workflow_id)
    path = "/conductor/api/dags/d21/runs/r/tasks/wait/-1"

    assert "a line of the worker" in api.get(f"{path}/workflow").json()["failure"]
    without("TASK_LOGS")
    shown = api.get(f"{path}/workflow")
    assert "no paper" in shown.json()["failure"]
    assert "a line of the worker" not in shown.text
    assert api.get(f"{path}/task?workflow={workflow_id}&ref=pack").status_code == 403


def test_without_the_right_to_task_instances_the_menus_page_has_no_waits(
    api: Api, add: Add, conductor: ConductorStandIn, without: Callable[[str], None]
) -> None:
    workflow_id = has(conductor, "paused", "PAUSED")
    add("d22", "r", "wait", workflow_id=workflow_id)
    assert workflow_id in [wait["workflow_id"] for wait in api.get("/conductor/api/health").json()["waits"]]
    without("TASK_INSTANCE")
    answer = api.get("/conductor/api/health")
    assert (answer.status_code, answer.json()["waits"]) == (200, [])


def test_a_task_of_a_worker_is_not_completed_by_hand(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "any", tasks=[task("pack", "IN_PROGRESS", started=0)])
    add("d23", "r", "wait", workflow_id=workflow_id)
    path = "/conductor/api/dags/d23/runs/r/tasks/wait/-1"
    for verb in ("complete", "fail"):
        body = {"verb": verb, "workflow": workflow_id, "task": "pack-1"}
        answer = api.post(f"{path}/actions", body)
        assert answer.status_code == 409
        assert "only WAIT and HUMAN tasks are completed by hand" in answer.json()["detail"]
    assert conductor.workflows[workflow_id]["tasks"][0]["status"] == "IN_PROGRESS"


def test_one_row_that_cannot_be_read_does_not_hide_the_others(
    api: Api, add: Add, conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat.sdk import XCom

    read = XCom.deserialize_value

    def deserialize_value(row: Any) -> Any:
        if row.value == "s3://away":
            raise ConnectionError("no such bucket")
        return read(row)

    monkeypatch.setattr(XCom, "deserialize_value", deserialize_value)
    workflow_id = has(conductor, "any")
    add("d24", "r", "stored_elsewhere", workflow_id="s3://away")
    add("d24", "r", "wait", workflow_id=workflow_id)
    rows = api.get("/conductor/api/dags/d24/runs/r/workflows").json()["rows"]
    assert [row["task_id"] for row in rows] == ["wait"]
    answer = api.get("/conductor/api/dags/d24/runs/r/tasks/stored_elsewhere/-1/workflow")
    assert answer.status_code == 404


@pytest.mark.parametrize("map_index", ["99999999999999999999", "-2", "x"])
def test_a_map_index_that_cannot_be_is_refused(api: Api, map_index: str) -> None:
    answer = api.get(f"/conductor/api/dags/d/runs/r/tasks/t/{map_index}/workflow")
    assert answer.status_code == 422
    assert "path.map_index" in answer.json()["detail"]


def test_a_secret_is_masked_before_a_text_is_cut(api: Api, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "S3cret-Passw0rd-0123456789"
    with ConductorStandIn(key=("an-id", secret)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_CUT", server.connection_uri())
        for length in (150, 185, 195, 480, 495, 985):
            failed = task("pack", "FAILED", ended=1, reasonForIncompletion="x" * length + secret)
            workflow_id = has(server, "failed", "FAILED", tasks=[failed])
            logs(server, "y" * (length - 200) + secret)
            add("d25", str(length), "wait", workflow_id=workflow_id, conn_id="cut")
            path = f"/conductor/api/dags/d25/runs/{length}/tasks/wait/-1"
            for answer in (api.get(f"{path}/workflow"), api.get(f"{path}/task?workflow={workflow_id}&ref=pack")):
                assert answer.status_code == 200
                assert secret[:4] not in answer.text


@pytest.mark.airflow_versions(since="3.3")
def test_a_new_try_has_the_workflow_of_its_record(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "kept")
    add(
        "d7",
        "r",
        "wait",
        record={"max_tries": 0, "first_try": 1, "workflow_id": workflow_id},
        arguments={"workflow_id": workflow_id},
    )
    answer = api.get("/conductor/api/dags/d7/runs/r/tasks/wait/-1/workflow")
    assert (answer.status_code, answer.json()["workflow"]["id"]) == (200, workflow_id)


@pytest.mark.parametrize("in_xcom", [None, 7, "", ["a"], {"id": "a"}])
def test_a_task_without_a_workflow_says_so(api: Api, add: Add, conductor: ConductorStandIn, in_xcom: Any) -> None:
    run_id = f"r{type(in_xcom).__name__}"
    add("d8", run_id, "wait", workflow_id=in_xcom)
    answer = api.get(f"/conductor/api/dags/d8/runs/{run_id}/tasks/wait/-1/workflow")
    assert answer.status_code == 404
    assert "This task has no Conductor workflow" in answer.json()["detail"]


def test_a_task_instance_that_is_gone_says_so(api: Api) -> None:
    answer = api.get("/conductor/api/dags/never/runs/r/tasks/wait/-1/workflow")
    assert answer.status_code == 404
    assert "no such task instance" in answer.json()["detail"]


def test_a_workflow_that_conductor_has_forgotten_says_so(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    add("d9", "r", "wait", workflow_id="deleted-long-ago")
    answer = api.get("/conductor/api/dags/d9/runs/r/tasks/wait/-1/workflow")
    assert answer.status_code == 404
    assert "Conductor has no such workflow" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("conn_id", "connection", "why"),
    [
        ("away", "conductor://127.0.0.1:1", "could not reach Conductor (connection away)"),
        ("missing", None, "has no connection 'missing': define it where the API server finds it"),
        (
            "wrong",
            '{"conn_type": "conductor", "host": "h", "extra": {"no_such": 1}}',
            "connection 'wrong' cannot be used",
        ),
    ],
)
def test_a_conductor_out_of_reach_says_why(
    api: Api, add: Add, monkeypatch: pytest.MonkeyPatch, conn_id: str, connection: str | None, why: str
) -> None:
    if connection is not None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection)
    add("d10", conn_id, "wait", workflow_id="any", conn_id=conn_id)

    answer = api.get(f"/conductor/api/dags/d10/runs/{conn_id}/tasks/wait/-1/workflow")
    rows = api.get(f"/conductor/api/dags/d10/runs/{conn_id}/workflows").json()["rows"]

    assert answer.status_code == 502
    assert why in answer.json()["detail"]
    assert why in rows[0]["error"]


def test_no_secret_of_the_connection_leaves_the_server(api: Api, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    with ConductorStandIn(key=("the-key-id", "the-key-secret")) as server:
        monkeypatch.setenv("AIRFLOW_CONN_KEYED", server.connection_uri())
        workflow_id = has(server, "secret", input={"password": "hunter2", "note": "the-key-secret"})
        server.has_tasks(
            workflow_id,
            {
                "referenceTaskName": "use",
                "taskType": "SIMPLE",
                "status": "IN_PROGRESS",
                "taskId": "t1",
                "inputData": {
                    "api_key": "hunter2",
                    "note": "the-key-secret",
                    "deep": nested({"password": "hunter2", "note": "a the-key-secret b"}, 30),
                    "too_deep": nested({"password": "hunter2", "note": "the-key-secret"}, 300),
                },
                "reasonForIncompletion": "the-key-secret",
            },
        )
        add("d11", "r", "wait", workflow_id=workflow_id, conn_id="keyed")
        path = "/conductor/api/dags/d11/runs/r/tasks/wait/-1"
        answers = [
            api.get(f"{path}/workflow"),
            api.get(f"{path}/task?workflow={workflow_id}&ref=use"),
            api.get("/conductor/api/dags/d11/runs/r/workflows"),
            api.get("/conductor/api/health"),
        ]
    for answer in answers:
        assert answer.status_code == 200
        assert "the-key-secret" not in answer.text
        assert "hunter2" not in answer.text
    assert "***" in answers[1].text


def test_an_unchanged_workflow_is_not_sent_again(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "unchanged")
    add("d12", "r", "wait", workflow_id=workflow_id)
    path = "/conductor/api/dags/d12/runs/r/tasks/wait/-1/workflow"

    first = api.get(path)
    assert first.status_code == 200, first.text
    second = api.get(path, **{"If-None-Match": first.headers["ETag"]})
    conductor.end(workflow_id, "COMPLETED")
    api.post(path.replace("/workflow", "/actions"), {"verb": "pause", "workflow": workflow_id})  # reads anew
    third = api.get(path, **{"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, second.status_code, second.content) == (200, 304, b"")
    assert (third.status_code, third.json()["workflow"]["status"]) == (200, "COMPLETED")


def test_all_who_look_share_one_read(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "popular")
    add("d13", "r", "wait", workflow_id=workflow_id)
    path = "/conductor/api/dags/d13/runs/r/tasks/wait/-1/workflow"
    api.get(path)
    reads = len(conductor.sent("GET"))
    for user in ("ada", "vera", "otto"):
        assert api.get(path, user).status_code == 200
    # The answer may have become too old once on a slow machine; each for himself would have been three.
    assert len(conductor.sent("GET")) - reads <= 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"verb": "explode", "workflow": "w"}, "body.verb: Input should be 'pause'"),
        ({"verb": "pause"}, "body.workflow: Field required"),
        ({"verb": "pause", "workflow": "w", "unknown": 1}, "body.unknown: Extra inputs are not permitted"),
        (
            {"verb": "complete", "workflow": "w", "task": "t", "output": [1]},
            "body.output: Input should be a valid dict",
        ),
        ({"verb": "terminate", "workflow": "w", "reason": "x" * 501}, "body.reason: String should have at most 500"),
        ([], "body: Input should be a valid dictionary"),
    ],
)
def test_a_request_that_cannot_be_read_says_what_was_expected(api: Api, add: Add, body: Any, why: str) -> None:
    answer = api.post("/conductor/api/dags/d/runs/r/tasks/t/-1/actions", body)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


@pytest.mark.parametrize(
    ("verb", "wanted"), [("rerun", "ref"), ("skip", "ref"), ("complete", "task"), ("fail", "task")]
)
def test_an_action_on_a_task_wants_the_task(
    api: Api, add: Add, conductor: ConductorStandIn, verb: str, wanted: str
) -> None:
    workflow_id = has(conductor, "any")
    add("d14", verb, "wait", workflow_id=workflow_id)
    answer = api.post(
        f"/conductor/api/dags/d14/runs/{verb}/tasks/wait/-1/actions", {"verb": verb, "workflow": workflow_id}
    )
    assert answer.status_code == 422
    assert f"{verb} needs {wanted}" in answer.json()["detail"]


def test_an_action_is_written_to_the_audit_log(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "audited")
    add("d15", "r", "wait", workflow_id=workflow_id)
    body = {"verb": "pause", "workflow": workflow_id}
    for user in ("ada", "vera"):
        api.post("/conductor/api/dags/d15/runs/r/tasks/wait/-1/actions", body, user)
    refused = api.post("/conductor/api/dags/d15/runs/r/tasks/wait/-1/actions", {**body, "verb": "retry"})
    assert refused.status_code == 409

    entries = api.get("/api/v2/eventLogs?dag_id=d15&order_by=id").json()["event_logs"]

    assert conductor.status(workflow_id) == "PAUSED"
    assert {(entry["event"], entry["owner"], entry["task_id"], entry["run_id"]) for entry in entries} == {
        ("conductor_action", "ada", "wait", "r")
    }
    assert [json.loads(entry["extra"])["verb"] for entry in entries] == ["pause", "retry"]


def test_a_refused_action_says_why_in_the_words_of_the_buttons(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "done", status="COMPLETED")
    add("d16", "r", "wait", workflow_id=workflow_id)
    answer = api.post(
        "/conductor/api/dags/d16/runs/r/tasks/wait/-1/actions", {"verb": "pause", "workflow": workflow_id}
    )
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        f'workflow {workflow_id} is COMPLETED: there is nothing to pause; "Restart" runs it again'
    )


def test_a_dag_run_has_all_its_workflows(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    running, ended = has(conductor, "running"), has(conductor, "ended", status="FAILED")
    add("d17", "r", "first", workflow_id=running)
    add("d17", "r", "second", workflow_id=ended, state="failed")
    add("d17", "r", "third", workflow_id="unknown-to-the-server")
    add("d17", "r", "fourth")

    answer = api.get("/conductor/api/dags/d17/runs/r/workflows").json()

    rows = {row["task_id"]: row for row in answer["rows"]}
    assert list(rows) == ["first", "second", "third"]
    assert rows["first"]["workflow"]["status"] == "RUNNING"
    assert rows["first"]["blocker"]
    assert (rows["second"]["state"], rows["second"]["workflow"]["status"]) == ("failed", "FAILED")
    assert (rows["third"]["workflow"], rows["third"]["error"]) == (
        None,
        "Conductor has no workflow unknown-to-the-server of this task",
    )
    assert answer["poll_after"] < 60


def test_a_server_that_lists_no_queues_is_reachable_all_the_same(api: Api, conductor: ConductorStandIn) -> None:
    connections = api.get("/conductor/api/health").json()["connections"]
    (connection,) = (one for one in connections if one["address"].startswith(conductor.url))
    assert (connection["ok"], connection["queues"]) == (True, [])
    assert connection["queues_error"].startswith("This server does not list its queues: ")


def test_a_refusal_has_the_headers_of_an_answer(api: Api) -> None:
    for path in ("/conductor/api/dags/d/runs/r/tasks/t/x/workflow", "/conductor/assets/none.js"):
        for user in (None, "ada"):
            assert api.get(path, user).headers["X-Content-Type-Options"] == "nosniff"


def test_a_label_elsewhere_in_a_request_proves_nothing(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    workflow_id = has(conductor, "any", correlationId="A-1007")
    add("d26", "r", "wait", workflow_id=workflow_id, arguments={"request": {"input": {"order": "A-1007"}}})
    assert api.get("/conductor/api/dags/d26/runs/r/tasks/wait/-1/workflow").status_code == 404


def test_text_of_workers_that_is_no_unicode_is_sent_all_the_same(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    workflow_id = has(conductor, "odd \ud800 <script>alert(1)</script>")
    add("d18", "r", "wait", workflow_id=workflow_id)
    answer = api.get("/conductor/api/dags/d18/runs/r/tasks/wait/-1/workflow")
    assert answer.status_code == 200
    assert json.loads(answer.content)["workflow"]["name"] == "odd \ud800 <script>alert(1)</script>"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


def of_item(
    conductor: ConductorStandIn, dag_id: str, item: str, status: str = "RUNNING", map_index: int = -1, **more: Any
) -> str:
    """A workflow that a batch of the task `many` has started for an item."""
    identity = TaskIdentity(
        prefix="airflow",
        dag_id=dag_id,
        run_id="r",
        task_id="many",
        map_index=map_index,
        try_number=1,
        first_try=1,
        item=item,
    )
    return has(conductor, "ship", status, correlationId=identity.correlation_id(StartKey(1)), **more)


BATCH = {"workflow_name": "ship", "workflow_inputs": "Truncated. You can remove this limit …", "item_key": "order"}


def test_a_batch_lists_its_workflows_the_failed_and_the_blocked_ones_first(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    add("b1", "r", "many", arguments=BATCH)
    completed = of_item(conductor, "b1", "A-1", "COMPLETED")
    running = of_item(conductor, "b1", "A-2")
    paused = of_item(conductor, "b1", "A-3", "PAUSED")
    failed = of_item(conductor, "b1", "A-4", "FAILED", reasonForIncompletion="no <b>paper</b>")
    of_item(conductor, "b1", "A-5", map_index=0)

    answer = api.get("/conductor/api/dags/b1/runs/r/tasks/many/-1/workflow").json()

    rows = answer["batch"]["rows"]
    assert [(row["item"], row["workflow"]["id"]) for row in rows] == [
        ("A-4", failed),
        ("A-3", paused),
        ("A-2", running),
        ("A-1", completed),
    ]
    assert rows[0]["reason"] == "no <b>paper</b>"
    assert (rows[1]["needs_user"], rows[1]["workflow"]["status"]) == (True, "PAUSED")
    assert "paused" in rows[1]["blocker"]
    assert answer["batch"]["counts"] == {"failed": 1, "running": 2, "completed": 1}
    assert (answer["batch"]["more"], answer["poll_after"] < 60) == (0, True)


def test_each_instance_of_a_mapped_batch_has_its_own(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    ids = [of_item(conductor, "b2", "A-1", map_index=index) for index in (0, 1)]
    for index in (0, 1):
        add("b2", "r", "many", map_index=index, arguments=BATCH)
        path = f"/conductor/api/dags/b2/runs/r/tasks/many/{index}"
        rows = api.get(f"{path}/workflow").json()["batch"]["rows"]
        assert [row["workflow"]["id"] for row in rows] == [ids[index]]
        assert api.get(f"{path}/workflow?workflow={ids[index]}").status_code == 200
        assert api.get(f"{path}/workflow?workflow={ids[1 - index]}").status_code == 404


def test_a_workflow_of_a_batch_has_its_view_its_details_and_its_buttons(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    add("b3", "r", "many", arguments=BATCH)
    workflow_id = of_item(conductor, "b3", "A-1", tasks=[task("pack", "IN_PROGRESS", started=0)])
    # It has the correlation id of the workflow that has started it.
    below = of_item(conductor, "b3", "A-1", parentWorkflowId=workflow_id)
    path = "/conductor/api/dags/b3/runs/r/tasks/many/-1"

    shown = api.get(f"{path}/workflow?workflow={workflow_id}", "vera")
    details = api.get(f"{path}/task?workflow={workflow_id}&ref=pack", "vera")
    refused = api.post(f"{path}/actions", {"verb": "terminate", "workflow": workflow_id}, "vera")

    assert (shown.status_code, shown.json()["workflow"]["id"], shown.json()["may_act"]) == (200, workflow_id, False)
    assert (details.status_code, details.json()["attempt"]["ref"]) == (200, "pack")
    assert (refused.status_code, conductor.status(workflow_id)) == (403, "RUNNING")
    assert api.get(f"{path}/workflow?workflow={below}").status_code == 200
    (row,) = api.get(f"{path}/workflow").json()["batch"]["rows"]
    assert row["workflow"]["id"] == workflow_id
    for workflow in (workflow_id, below):
        assert api.post(f"{path}/actions", {"verb": "terminate", "workflow": workflow}).status_code == 200
        assert conductor.status(workflow) == "TERMINATED"
    entries = api.get("/api/v2/eventLogs?dag_id=b3").json()["event_logs"]
    assert [entry["owner"] for entry in entries if entry["event"] == "conductor_action"] == ["ada", "ada"]


@pytest.mark.parametrize("in_xcom", [True, False], ids=["in XCom", "in the address"])
@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        "airflow:another:r:many:-1:i1:1",
        "airflow:{dag_id}:r:many:-1:1",
        "airflow:{dag_id}:r2:many:-1:i1:1",
        "airflow:{dag_id}:r:many:-1:i1:1:many:-1:i1:1",
        "airflow:{dag_id}:r:many:0:i1:1",
        "airflow:{dag_id}:r:many:-1:i1:2",
        "airflow:{dag_id}:r:many:-1:i1:1 and more",
        "prod:{dag_id}:r:many:-1:i1:1",
        "airflow:{dag_id}:r:many:-1:i" + "x" * 67 + "~" + "0" * 32,
    ],
)
def test_a_batch_shows_no_workflow_of_others(
    api: Api, add: Add, conductor: ConductorStandIn, label: str | None, in_xcom: bool
) -> None:
    """Not even one that a user has written to its XCom: a batch has none there."""
    dag_id = f"b{abs(hash((label, in_xcom)))}"[:8]
    workflow_id = has(conductor, "ship", correlationId=label and label.format(dag_id=dag_id))
    add(dag_id, "r", "many", arguments=BATCH, workflow_id=workflow_id if in_xcom else None)
    path = f"/conductor/api/dags/{dag_id}/runs/r/tasks/many/-1"

    answers = [
        api.get(f"{path}/workflow?workflow={workflow_id}"),
        api.get(f"{path}/task?workflow={workflow_id}&ref=any"),
        api.post(f"{path}/actions", {"verb": "terminate", "workflow": workflow_id}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert "was not started by this task" in answers[0].json()["detail"]
    assert conductor.status(workflow_id) == "RUNNING"
    batch = api.get(f"{path}/workflow").json()["batch"]
    assert batch["rows"] == []
    assert "it has started none so far" in batch["note"]


@pytest.mark.parametrize(
    ("arguments", "item", "given", "shown"),
    [
        ({"item_key": "order"}, "A-1", {"order": "A-1"}, True),
        ({"item_key": "order"}, "A-1", {"order": "A-2"}, False),
        ({"item_key": "order"}, "A-1", {}, False),
        ({"item_key": None}, "137", {}, True),
        ({"item_key": None}, "A-1", {}, False),
    ],
)
def test_a_correlation_id_that_ends_in_a_hash_has_to_be_that_of_an_item(
    api: Api,
    add: Add,
    conductor: ConductorStandIn,
    arguments: dict[str, Any],
    item: str,
    given: dict[str, Any],
    shown: bool,
) -> None:
    dag_id = "long" * 25 + f"{abs(hash((str(arguments), item, str(given))))}"
    add(dag_id, "r", "many", arguments={**BATCH, **arguments})
    workflow_id = of_item(conductor, dag_id, item, input=given)
    assert re.search("~[0-9a-f]{32}$", conductor.workflows[workflow_id]["correlationId"])
    answer = api.get(f"/conductor/api/dags/{dag_id}/runs/r/tasks/many/-1/workflow?workflow={workflow_id}")
    assert answer.status_code == (200 if shown else 404)


@pytest.mark.parametrize("inputs", [[{"order": "A-1"}, {"order": "A-2"}], '[{"order": "A-1"}, {"order": "A-2"}]'])
def test_a_batch_on_a_server_without_an_index_lists_the_items_of_its_inputs(
    api: Api, add: Add, conductor: ConductorStandIn, inputs: Any
) -> None:
    conductor.indexed = ()
    dag_id = f"b5{type(inputs).__name__}"
    add(dag_id, "r", "many", arguments={**BATCH, "workflow_inputs": inputs})
    path = f"/conductor/api/dags/{dag_id}/runs/r/tasks/many/-1/workflow"
    workflow_id = of_item(conductor, dag_id, "A-2")
    rows = api.get(path).json()["batch"]["rows"]
    assert [(row["item"], row["workflow"]["id"]) for row in rows] == [("A-2", workflow_id)]


def test_what_has_ended_is_polled_once_a_minute_and_read_for_who_opens_it(
    api: Api, add: Add, conductor: ConductorStandIn
) -> None:
    ended = of_item(conductor, "b6", "A-1", "COMPLETED")
    add("b6", "r", "many", arguments=BATCH, state="success")
    add("b6", "r", "wait", workflow_id=ended, state="success")
    path = "/conductor/api/dags/b6/runs/r"
    for one in ("tasks/many/-1/workflow", f"tasks/many/-1/workflow?workflow={ended}", "tasks/wait/-1/workflow"):
        assert api.get(f"{path}/{one}").json()["poll_after"] == 60
    assert api.get(f"{path}/workflows").json()["poll_after"] == 60
    # Somebody else revives it.
    conductor.workflows[ended].update(status="RUNNING", endTime=0)
    assert api.get(f"{path}/tasks/wait/-1/workflow").json()["workflow"]["status"] == "RUNNING"
    assert api.get(f"{path}/tasks/many/-1/workflow").json()["poll_after"] < 60


def test_a_batch_of_thousands_says_how_many_are_not_shown(api: Api, add: Add, conductor: ConductorStandIn) -> None:
    add("b7", "r", "many", arguments=BATCH)
    for number in range(1_000):
        of_item(conductor, "b7", str(number), "COMPLETED")
    of_item(conductor, "b7", "1000", "FAILED")
    batch = api.get("/conductor/api/dags/b7/runs/r/tasks/many/-1/workflow").json()["batch"]
    assert (len(batch["rows"]), batch["more"]) == (200, 801)
    assert batch["rows"][0]["item"] == "1000"
    assert batch["counts"] == {"failed": 1, "running": 0, "completed": 1_000}


DROPPED = "keeps them for the newest runs of a task only, 30 by default"


@pytest.fixture
def old_run(store: Callable[[Any], None], add: Add) -> Callable[..., None]:
    """Writes a DAG, and a run of it whose rendered arguments Airflow has dropped."""
    from airflow.sdk import DAG

    from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator
    from airflow_provider_conductor.sensors import ConductorWorkflowSensor

    def make(dag_id: str, workflow_id: str, map_index: int = -1) -> None:
        with DAG(dag_id, schedule=None) as dag:
            ConductorWorkflowSensor(task_id="wait", workflow_id="{{ ti.xcom_pull('start') }}")
            ConductorWorkflowSensor(task_id="known", workflow_id=workflow_id)
            ConductorWorkflowSensor.partial(task_id="mapped").expand(workflow_id=["a", "b"])
            ConductorWorkflowSensor(task_id="elsewhere", conductor_conn_id="{{ params.where }}", workflow_id="a")
            ConductorExecuteWorkflowOperator.partial(task_id="start", workflow_name="ship").expand(
                workflow_input=[{"a": 1}]
            )
            ConductorExecuteWorkflowsOperator.partial(task_id="many", workflow_name="ship", item_key="order").expand(
                workflow_inputs=[[{"order": "A-1"}]]
            )
        for task_id in ("wait", "known", "elsewhere"):
            add(dag_id, "r", task_id, workflow_id=workflow_id, conn_id=None, state="success")
        for task_id in ("mapped", "start"):
            add(dag_id, "r", task_id, workflow_id=workflow_id, conn_id=None, state="success", map_index=0)
        add(dag_id, "r", "many", conn_id=None, state="success", map_index=0)
        store(dag)

    return make


def test_where_airflow_has_dropped_the_arguments_the_page_says_so_and_where_to_look(
    api: Api, conductor: ConductorStandIn, old_run: Callable[..., None]
) -> None:
    workflow_id = has(conductor, "any")
    old_run("o1", workflow_id)
    path = "/conductor/api/dags/o1/runs/r"
    for place in ("wait/-1", "mapped/0", "elsewhere/-1"):
        answer = api.get(f"{path}/tasks/{place}/workflow")
        assert answer.status_code == 404
        detail = answer.json()["detail"]
        assert DROPPED in detail, place
        assert 'The task\'s log, and the link "Conductor workflow" on its page, lead to the workflow' in detail
        assert workflow_id not in detail
    assert "conductor_conn_id is a template" in api.get(f"{path}/tasks/elsewhere/-1/workflow").json()["detail"]
    rows = {row["task_id"]: row for row in api.get(f"{path}/workflows").json()["rows"]}
    assert DROPPED in rows["wait"]["error"]
    assert (rows["wait"]["workflow"], rows["known"]["error"]) == (None, "")


def test_what_the_dag_or_the_workflow_still_shows_is_shown(
    api: Api, conductor: ConductorStandIn, old_run: Callable[..., None]
) -> None:
    workflow_id = has(conductor, "ship", correlationId="airflow:o2:r:start:0:1")
    item = of_item(conductor, "o2", "A-1", map_index=0)
    old_run("o2", workflow_id)
    path = "/conductor/api/dags/o2/runs/r/tasks"
    assert api.get(f"{path}/known/-1/workflow").json()["workflow"]["id"] == workflow_id
    assert api.get(f"{path}/start/0/workflow").json()["workflow"]["id"] == workflow_id
    assert [row["workflow"]["id"] for row in api.get(f"{path}/many/0/workflow").json()["batch"]["rows"]] == [item]
