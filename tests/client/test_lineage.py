from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.lineage import dag_run_conf, job_namespace, workflow_run_id

ID = "4be3e9a2-98f7-47d5-a7e3-c8f9a9f4a3a1"
PARENT = {"parentRunId": "r1", "parentJobName": "nightly.fulfil", "parentJobNamespace": "airflow"}
ROOT = {"rootParentRunId": "r0", "rootParentJobName": "nightly", "rootParentJobNamespace": "airflow"}
OWN = {"parentRunId": ID, "parentJobName": "orders", "parentJobNamespace": "conductor://conductor:8080"}
PARENT_AS_ROOT = {"rootParentRunId": "r1", "rootParentJobName": "nightly.fulfil", "rootParentJobNamespace": "airflow"}


def conf_of(context: Any) -> dict[str, Any]:
    return dag_run_conf(
        {"order": 7, "airflow": context},
        workflow_id=ID,
        workflow_name="orders",
        api_url="http://key:secret@conductor:8080/api",
    )


@pytest.mark.parametrize(
    ("given", "root"),
    [({**PARENT, **ROOT}, ROOT), (PARENT, PARENT_AS_ROOT), ({**PARENT, **ROOT, "rootParentRunId": ""}, PARENT_AS_ROOT)],
)
def test_a_dag_run_has_the_workflow_as_parent_and_its_root(given: dict[str, str], root: dict[str, str]) -> None:
    assert conf_of({"dag_id": "nightly", "openlineage": given}) == {"openlineage": {**OWN, **root}}


@pytest.mark.parametrize(
    "context",
    [None, "text", {}, {"openlineage": None}, {"openlineage": ROOT}, {"openlineage": {**PARENT, "parentRunId": 7}}],
)
def test_a_workflow_that_no_task_with_lineage_started_is_no_parent(context: Any) -> None:
    assert conf_of(context) == {}
    assert dag_run_conf({}, workflow_id=ID, workflow_name="orders", api_url="http://conductor/api") == {}


def test_a_run_id_is_a_uuid_and_the_workflows_own_where_that_is_one() -> None:
    assert workflow_run_id(ID) == ID
    assert workflow_run_id("order-7") == workflow_run_id("order-7") != workflow_run_id("order-8")
    assert len(workflow_run_id("order-7")) == len(ID)


def test_a_namespace_names_the_server_only() -> None:
    assert job_namespace("https://key:secret@conductor.example.com/api") == "conductor://conductor.example.com"
    assert job_namespace("http://[::1]:8080/api") == "conductor://[::1]:8080"
