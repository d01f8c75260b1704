"""Many workflows at once (``/workflow/bulk``), up to 1,000 ids a request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from airflow_provider_conductor.client.endpoints.reading import bulk_result, bulk_workflows
from airflow_provider_conductor.client.endpoints.writing import bulk_ids, parameters
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.models import BulkResult


def _bulk_call(
    method: str, verb: str, workflow_ids: Iterable[str], *, safe_to_repeat: bool = False, **params: object
) -> Call[BulkResult]:
    return Call(
        method,
        f"/workflow/bulk/{verb}",
        bulk_result,
        params=parameters(**params),
        body=bulk_ids(workflow_ids),
        safe_to_repeat=safe_to_repeat,
    )


def bulk_pause(workflow_ids: Iterable[str]) -> Call[BulkResult]:
    """Pause up to 1,000 workflows."""
    return _bulk_call("PUT", "pause", workflow_ids, safe_to_repeat=True)


def bulk_resume(workflow_ids: Iterable[str]) -> Call[BulkResult]:
    """End the pause of up to 1,000 workflows."""
    return _bulk_call("PUT", "resume", workflow_ids)


def bulk_restart(workflow_ids: Iterable[str], use_latest_def: bool = False) -> Call[BulkResult]:
    """Run up to 1,000 ended workflows again from their start."""
    return _bulk_call("POST", "restart", workflow_ids, useLatestDefinitions=use_latest_def)


def bulk_retry(workflow_ids: Iterable[str]) -> Call[BulkResult]:
    """Continue up to 1,000 workflows from their failed tasks."""
    return _bulk_call("POST", "retry", workflow_ids)


def bulk_terminate(workflow_ids: Iterable[str], reason: str | None = None) -> Call[BulkResult]:
    """End up to 1,000 workflows as TERMINATED."""
    return _bulk_call("POST", "terminate", workflow_ids, reason=reason or None)


def bulk_terminate_and_delete(
    workflow_ids: Iterable[str], reason: str | None = None, archive_workflow: bool = True
) -> Call[BulkResult]:
    """End those of up to 1,000 workflows that run, and remove all; ``ConductorMissingRouteError`` on old servers."""
    return _bulk_call(
        "DELETE", "terminate-remove", workflow_ids, archiveWorkflow=archive_workflow, reason=reason or None
    )


def bulk_delete(workflow_ids: Iterable[str], archive_workflow: bool = True) -> Call[BulkResult]:
    """Remove up to 1,000 workflows from the database; archived, they stay in the search index."""
    return _bulk_call("DELETE", "remove", workflow_ids, archiveWorkflow=archive_workflow)


def bulk_search(workflow_ids: Iterable[str], *, include_tasks: bool = False) -> Call[BulkResult]:
    """Read up to 1,000 whole workflows in one answer; ``ConductorMissingRouteError`` on old servers.

    Workflows with other ids that the server answers are left out.
    """
    ids = bulk_ids(workflow_ids)
    call = _bulk_call("POST", "search", ids, safe_to_repeat=True, includeTasks=include_tasks)
    return replace(call, parse=bulk_workflows(frozenset(ids)))
