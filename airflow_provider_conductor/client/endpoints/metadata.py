"""Workflow and task definitions (``/metadata``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client.endpoints import reading, writing
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import BulkResult


def register_workflow_defs(definitions: Sequence[Any] | Any) -> Call[BulkResult | None]:
    """Create or replace workflow definitions (dicts or SDK objects)."""
    return Call(
        "PUT",
        "/metadata/workflow",
        lambda answer: reading.bulk_result(answer) if answer.content.strip() else None,
        body=writing.definitions(definitions, "workflow definition"),
        safe_to_repeat=True,
    )


def validate_workflow_def(definition: Mapping[str, Any] | Any) -> Call[None]:
    """The server's own checks of one workflow definition, which is not kept; a 400 says what is wrong."""
    (body,) = writing.definitions(definition, "workflow definition")
    return Call("POST", "/metadata/workflow/validate", reading.nothing, body=body, safe_to_repeat=True)


def get_workflow_def(name: str, *, version: int | None = None) -> Call[dict[str, Any]]:
    return Call(
        "GET",
        writing.path("/metadata/workflow/{name}", name=name),
        reading.an_object,
        params=writing.query(version=version),
        safe_to_repeat=True,
    )


def get_workflow_defs() -> Call[list[dict[str, Any]]]:
    """All workflow definitions, in all their versions."""
    return Call("GET", "/metadata/workflow", reading.objects, safe_to_repeat=True)


def get_workflow_names_and_versions() -> Call[dict[str, list[int]]]:
    """The versions there are of each workflow, without the definitions, lowest first."""
    return Call("GET", "/metadata/workflow/names-and-versions", reading.versions, safe_to_repeat=True)


def unregister_workflow_def(name: str, version: int) -> Call[None]:
    return Call(
        "DELETE",
        writing.path("/metadata/workflow/{name}/{version}", name=name, version=version),
        reading.nothing,
    )


def register_task_defs(definitions: Sequence[Any] | Any) -> Call[None]:
    """Create task definitions, replacing those of the same name."""
    return Call(
        "POST",
        "/metadata/taskdefs",
        reading.nothing,
        body=writing.definitions(definitions, "task definition"),
        safe_to_repeat=True,
    )


def get_task_def(name: str) -> Call[dict[str, Any]]:
    return Call("GET", writing.path("/metadata/taskdefs/{name}", name=name), reading.an_object, safe_to_repeat=True)


def unregister_task_def(name: str) -> Call[None]:
    return Call("DELETE", writing.path("/metadata/taskdefs/{name}", name=name), reading.nothing)


def get_task_defs() -> Call[list[dict[str, Any]]]:
    """All task definitions: the cheapest authenticated read that every server version has."""
    return Call("GET", "/metadata/taskdefs", reading.objects, safe_to_repeat=True)
