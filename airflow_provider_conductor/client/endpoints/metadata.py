"""Workflow and task definitions (``/metadata``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client.endpoints.reading import an_object, bulk_result, nothing, objects, versions
from airflow_provider_conductor.client.endpoints.writing import definition_list, get, path
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import BulkResult


def register_workflow_defs(definitions: Sequence[Any] | Any) -> Call[BulkResult | None]:
    """Create or replace workflow definitions: one or several, dicts or SDK objects."""
    return Call(
        "PUT",
        "/metadata/workflow",
        lambda answer: bulk_result(answer) if answer.content.strip() else None,
        body=definition_list(definitions, "workflow definition"),
        safe_to_repeat=True,
    )


def validate_workflow_def(definition: Mapping[str, Any] | Any) -> Call[None]:
    """Let the server check a workflow definition without keeping it.

    Raises:
        ConductorBadRequestError: it is not valid; the message names the fields.
    """
    (body,) = definition_list(definition, "workflow definition")
    return Call("POST", "/metadata/workflow/validate", nothing, body=body, safe_to_repeat=True)


def get_workflow_def(name: str, version: int | None = None) -> Call[dict[str, Any]]:
    """Read a workflow definition, with ``version=None`` its latest version."""
    return get(path("/metadata/workflow/{name}", name=name), an_object, version=version)


def get_workflow_defs() -> Call[list[dict[str, Any]]]:
    """Read all workflow definitions in all their versions."""
    return get("/metadata/workflow", objects)


def get_workflow_names_and_versions() -> Call[dict[str, list[int]]]:
    """Read the versions of each workflow, lowest first, without the definitions."""
    return get("/metadata/workflow/names-and-versions", versions)


def unregister_workflow_def(name: str, version: int) -> Call[None]:
    """Remove one version of a workflow definition."""
    return Call("DELETE", path("/metadata/workflow/{name}/{version}", name=name, version=version), nothing)


def register_task_defs(definitions: Sequence[Any] | Any) -> Call[None]:
    """Create or replace task definitions: one or several, dicts or SDK objects."""
    return Call(
        "POST", "/metadata/taskdefs", nothing, body=definition_list(definitions, "task definition"), safe_to_repeat=True
    )


def get_task_def(name: str) -> Call[dict[str, Any]]:
    """Read a task definition."""
    return get(path("/metadata/taskdefs/{name}", name=name), an_object)


def unregister_task_def(name: str) -> Call[None]:
    """Remove a task definition."""
    return Call("DELETE", path("/metadata/taskdefs/{name}", name=name), nothing)


def get_task_defs() -> Call[list[dict[str, Any]]]:
    """Read all task definitions: the cheapest authenticated request that every server version has."""
    return get("/metadata/taskdefs", objects)
