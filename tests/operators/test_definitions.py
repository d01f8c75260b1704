"""Registering definitions: what is told when the DAG is parsed, and what Airflow keeps of the arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_conductor.client import ConductorServerError
from airflow_provider_conductor.exceptions import ConductorDefinitionRefusedError
from airflow_provider_conductor.operators import ConductorRegisterDefinitionsOperator
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import context_of, error_of, refusal

PACK = {"name": "pack", "taskReferenceName": "pack", "type": "SIMPLE"}
ORDERS = {"name": "orders", "tasks": [PACK]}


def operator(definitions: Any, **arguments: Any) -> ConductorRegisterDefinitionsOperator:
    return ConductorRegisterDefinitionsOperator(task_id="register", definitions=definitions, **arguments)


@pytest.mark.parametrize(
    ("definitions", "says"),
    [
        ([], "definitions must not be empty"),
        (None, "must not be empty"),
        (["orders.json", ""], "must not be empty"),
        ({"name": "orders", "tasks": []}, "at least one task"),
        ([ORDERS, ORDERS], "is given twice"),
        (object(), "cannot turn"),
    ],
)
def test_what_is_wrong_is_reported_when_the_dag_is_parsed(definitions: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        operator(definitions)


def test_airflow_keeps_plain_values() -> None:
    from conductor.client.http.models.task_def import TaskDef

    kept = operator([Path("a") / "*.json", TaskDef(name="charge", retry_count=2), ORDERS]).definitions
    assert json.loads(json.dumps(kept)) == kept
    assert (kept[0], kept[1]["retryCount"], kept[2]) == ("a/*.json", 2, ORDERS)


def test_a_path_may_be_a_template(conductor: ConductorStandIn) -> None:
    register = operator("definitions/{{ params.stage }}.json")
    register.render_template_fields({"params": {"stage": "test"}})
    error_of(register, ConductorDefinitionRefusedError, r"no file 'definitions/test.json'")
    assert conductor.requests == []


def test_what_is_a_template_in_a_definition_is_checked_when_the_task_runs(conductor: ConductorStandIn) -> None:
    register = operator({**ORDERS, "version": "{{ params.version }}"})
    register.render_template_fields({"params": {"version": "latest"}})
    error_of(register, ConductorDefinitionRefusedError, "not 'latest'")


def test_another_task_may_return_the_definitions(conductor: ConductorStandIn) -> None:
    from airflow.providers.common.compat.sdk import DAG, BaseOperator

    with DAG("orders", schedule=None):
        made = BaseOperator(task_id="make")
        register = operator([made.output, "absent.json"])
    assert register.upstream_task_ids == {"make"}
    register.definitions = [[ORDERS, {"name": "charge", "retryCount": -1}], "absent.json"]
    error_of(register, ConductorDefinitionRefusedError, r"no file 'absent.json'")
    register.definitions = register.definitions[:1]
    error_of(register, ConductorDefinitionRefusedError, "task 'charge': retryCount")


def test_a_definition_from_a_template_is_checked_before_anything_is_sent(conductor: ConductorStandIn) -> None:
    register = operator("{{ a }}")
    register.definitions = [{"name": "orders", "tasks": []}]
    error_of(register, ConductorDefinitionRefusedError, "at least one task")
    assert conductor.requests == []


def test_a_definition_the_server_fails_to_register_is_reported_by_name(conductor: ConductorStandIn) -> None:
    def server(request: Any) -> tuple[int, str, bytes] | None:
        if request.path.startswith("/metadata/workflow") and request.method == "GET":
            return refusal(404, "No such workflow found by name: orders")
        if request.method == "PUT":
            return (
                200,
                "application/json",
                b'{"bulkErrorResults": {"orders": "disk full"}, "bulkSuccessfulResults": []}',
            )
        return None

    conductor.instead = server
    error_of(operator(ORDERS), ConductorDefinitionRefusedError, "workflow orders 1: the server answered: disk full")


def refusing(status: int, message: str) -> Any:
    def server(request: Any) -> tuple[int, str, bytes] | None:
        if request.path.startswith("/metadata/") and request.method == "GET":
            return refusal(404, "No such workflow found by name: orders")
        if request.path == "/metadata/taskdefs":
            body = {"status": status, "message": message, "retryable": False}
            if status == 400:
                body["validationErrors"] = [{"path": "registerTaskDef.arg0[1].ownerEmail", "message": "is empty"}]
            return status, "application/json", json.dumps(body).encode()
        return None

    return server


def test_what_only_the_server_refuses_is_reported_by_name_and_file_and_not_retried(
    conductor: ConductorStandIn, tmp_path: Path
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    (tmp_path / "charge.json").write_text('[{"name": "charge"}, {"name": "refund"}]')
    conductor.instead = refusing(400, "Validation failed")
    with DAG("orders", schedule=None, template_searchpath=str(tmp_path)):
        register = operator("charge.json")
    error = error_of(register, ConductorDefinitionRefusedError)
    assert "a definition cannot be registered, and nothing was:" in str(error)
    assert "\n- charge.json: task refund: the server answered: Validation failed" in str(error)
    # Where the server could not read a value, it does not name the definition.
    conductor.instead = refusing(500, "JSON parse error: Cannot deserialize value of type `int`")
    error_of(register, ConductorDefinitionRefusedError, r"one of charge.json: task charge, charge.json: task refund")


def test_a_failure_of_the_servers_is_no_refusal(conductor: ConductorStandIn) -> None:
    conductor.instead = refusing(500, "the database is read-only")
    error_of(operator([{"name": "charge"}]), ConductorServerError, "read-only")


def test_a_template_may_render_to_the_json_of_definitions(conductor: ConductorStandIn) -> None:
    register = operator("{{ params.found | tojson }}")
    register.render_template_fields({"params": {"found": [{"name": "charge", "retryCount": -1}]}})
    error_of(register, ConductorDefinitionRefusedError, "task 'charge': retryCount")


def test_a_path_that_leads_out_of_the_dags_folder_is_refused(conductor: ConductorStandIn) -> None:
    register = operator("{{ params.file }}")
    register.render_template_fields({"params": {"file": "/etc/../etc/hosts"}})
    error_of(register, ConductorDefinitionRefusedError, r"is outside of .*template_searchpath")
    assert conductor.requests == []


def test_a_killed_task_registers_nothing(conductor: ConductorStandIn) -> None:
    register = operator([{"name": "charge"}])

    def server(request: Any) -> tuple[int, str, bytes]:
        register.on_kill()  # while the definitions are compared
        return refusal(404, "No such taskType found by name: charge")

    conductor.instead = server
    error_of(register, AirflowException, "was killed before")
    assert [request.method for request in conductor.requests] == ["GET"]


def test_a_server_without_validation_is_not_asked_twice(conductor: ConductorStandIn) -> None:
    stored: dict[str, Any] = {}

    def server(request: Any) -> tuple[int, str, bytes] | None:
        if request.method == "PUT":
            stored.update({item["name"]: item for item in request.body})
            return 200, "application/json", b'{"bulkErrorResults": {}, "bulkSuccessfulResults": ["orders", "more"]}'
        if request.path.startswith("/metadata/workflow/") and request.method == "GET":
            found = stored.get(request.path.rpartition("/")[2])
            if not found:
                return refusal(404, "No such workflow found by name")
            return 200, "application/json", json.dumps(found).encode()
        return None

    conductor.instead = server
    register = operator([ORDERS, {**ORDERS, "name": "more"}])
    assert register.execute(context_of(register)) == {
        "registered": ["workflow orders 1", "workflow more 1"],
        "unchanged": [],
    }
    assert len([request for request in conductor.requests if request.path.endswith("/validate")]) == 1
