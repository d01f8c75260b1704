"""Conductor's REST API: one pure function an endpoint, named as in the Python SDK's clients.

Each returns a :class:`~airflow_provider_conductor.client.call.Call`; nothing is sent here. Ids and names are
quoted into the path, and an empty one is refused, since ``DELETE /workflow/`` would be another endpoint.
"""

from __future__ import annotations

from airflow_provider_conductor.client.endpoints.bulk import (
    bulk_delete,
    bulk_pause,
    bulk_restart,
    bulk_resume,
    bulk_retry,
    bulk_search,
    bulk_terminate,
)
from airflow_provider_conductor.client.endpoints.metadata import (
    get_task_def,
    get_task_defs,
    get_workflow_def,
    register_task_defs,
    register_workflow_defs,
    unregister_task_def,
    unregister_workflow_def,
)
from airflow_provider_conductor.client.endpoints.payloads import get_external_storage_location
from airflow_provider_conductor.client.endpoints.tasks import (
    get_poll_data,
    get_queue_sizes,
    get_task,
    get_task_logs,
    log_task,
    poll_task,
    update_task,
)
from airflow_provider_conductor.client.endpoints.token import fetch_token
from airflow_provider_conductor.client.endpoints.workflows import (
    MAX_HOLD_SECONDS,
    delete_workflow,
    execute_workflow,
    get_by_correlation_ids,
    get_running_workflows,
    get_workflow,
    get_workflow_status,
    pause_workflow,
    rerun_workflow,
    restart_workflow,
    resume_workflow,
    retry_workflow,
    search_workflows,
    skip_task_from_workflow,
    start_workflow,
    start_workflow_by_name,
    terminate_workflow,
    test_workflow,
)
from airflow_provider_conductor.client.endpoints.writing import MAX_BULK_IDS, start_body

__all__ = [
    "MAX_BULK_IDS",
    "MAX_HOLD_SECONDS",
    "bulk_delete",
    "bulk_pause",
    "bulk_restart",
    "bulk_resume",
    "bulk_retry",
    "bulk_search",
    "bulk_terminate",
    "delete_workflow",
    "execute_workflow",
    "fetch_token",
    "get_by_correlation_ids",
    "get_external_storage_location",
    "get_poll_data",
    "get_queue_sizes",
    "get_running_workflows",
    "get_task",
    "get_task_def",
    "get_task_defs",
    "get_task_logs",
    "get_workflow",
    "get_workflow_def",
    "get_workflow_status",
    "log_task",
    "pause_workflow",
    "poll_task",
    "register_task_defs",
    "register_workflow_defs",
    "rerun_workflow",
    "restart_workflow",
    "resume_workflow",
    "retry_workflow",
    "search_workflows",
    "skip_task_from_workflow",
    "start_body",
    "start_workflow",
    "start_workflow_by_name",
    "terminate_workflow",
    "test_workflow",
    "unregister_task_def",
    "unregister_workflow_def",
    "update_task",
]
