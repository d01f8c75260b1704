"""OpenLineage's names for a workflow, and what passes them on: plain data, without OpenLineage itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

from airflow_provider_conductor.client.errors import server_of

CONTEXT_KEY = "airflow"
"""The key of a workflow's input that has what ``pass_context`` adds."""

LINEAGE_KEY = "openlineage"
"""The key below it that has the Airflow task's run, and that of a dag run's conf that OpenLineage's provider reads."""

PARENT = ("parentRunId", "parentJobName", "parentJobNamespace")
ROOT = ("rootParentRunId", "rootParentJobName", "rootParentJobNamespace")


def workflow_run_id(workflow_id: str) -> str:
    """The id of a workflow's run, which OpenLineage wants to be a UUID: the workflow's own where that is one."""
    try:
        return str(UUID(workflow_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"conductor:{workflow_id}"))


def job_namespace(api_url: str) -> str:
    """The namespace of a server's workflows, ``conductor://<host>:<port>``."""
    return f"conductor://{urlsplit(server_of(api_url)).netloc}"


def dag_run_conf(
    workflow_input: Mapping[str, Any], *, workflow_id: str, workflow_name: str, api_url: str
) -> dict[str, Any]:
    """The part of a dag run's conf that makes a workflow its parent.

    Add it to the conf of a dag run that a workflow starts. The root stays that of the Airflow task that started the
    workflow, which has a run of its own in OpenLineage.

    ===================================================  ==============================================
    the workflow's input, below ``airflow.openlineage``  result
    ===================================================  ==============================================
    a parent and a root                                  the workflow as parent, that root
    a parent only                                        the workflow as parent, that parent as root
    no whole parent: no Airflow task with lineage        {}
    started it, or ``pass_context`` was left out
    ===================================================  ==============================================

    Args:
        workflow_input: the input of the workflow, or the part of it that a task was given, with its key ``airflow``.
        api_url: the address of the Conductor server's API.

    Returns:
        ``{"openlineage": {…}}``, or {}.
    """
    context = workflow_input.get(CONTEXT_KEY)
    given = context.get(LINEAGE_KEY) if isinstance(context, Mapping) else None
    if not isinstance(given, Mapping):
        return {}
    parent, root = ([given.get(key) for key in keys] for keys in (PARENT, ROOT))
    if not _whole(parent):
        return {}
    above = root if _whole(root) else parent
    own = (workflow_run_id(workflow_id), workflow_name, job_namespace(api_url))
    return {LINEAGE_KEY: dict(zip((*PARENT, *ROOT), (*own, *above), strict=True))}


def _whole(values: list[Any]) -> bool:
    return all(isinstance(value, str) and value for value in values)
