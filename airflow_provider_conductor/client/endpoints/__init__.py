"""Conductor's REST API: one pure function an endpoint, named as in the Python SDK's clients.

Each returns a :class:`~airflow_provider_conductor.client.flow.Call`; nothing is sent here. Ids and names are
quoted into the path, and an empty one is refused, since ``DELETE /workflow/`` would be another endpoint. The clients'
methods are made from these functions, and have their docstrings.
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
    bulk_terminate_and_delete,
)
from airflow_provider_conductor.client.endpoints.metadata import (
    get_task_def,
    get_task_defs,
    get_workflow_def,
    get_workflow_defs,
    get_workflow_names_and_versions,
    register_task_defs,
    register_workflow_defs,
    unregister_task_def,
    unregister_workflow_def,
    validate_workflow_def,
)
from airflow_provider_conductor.client.endpoints.storage import get_external_storage_location
from airflow_provider_conductor.client.endpoints.tasks import (
    get_all_poll_data,
    get_all_queue_sizes,
    get_poll_data,
    get_queue_size,
    get_queue_sizes,
    get_task,
    get_task_logs,
    log_task,
    poll_task,
    requeue_tasks,
    search_tasks,
    signal_workflow_task_async,
    signal_workflow_task_sync,
    update_task,
    update_task_by_ref_name,
    update_task_sync,
)
from airflow_provider_conductor.client.endpoints.token import fetch_token
from airflow_provider_conductor.client.endpoints.workflows import (
    MAX_HOLD_SECONDS,
    decide_workflow,
    delete_workflow,
    event_stream,
    execute_workflow,
    get_by_correlation_ids,
    get_running_workflows,
    get_workflow,
    get_workflow_status,
    get_workflow_tasks,
    pause_workflow,
    rerun_workflow,
    reset_workflow_callbacks,
    restart_workflow,
    resume_workflow,
    retry_workflow,
    search_workflows,
    search_workflows_by_tasks,
    skip_task_from_workflow,
    start_workflow,
    start_workflow_by_name,
    terminate_and_delete_workflow,
    terminate_workflow,
    test_workflow,
)
from airflow_provider_conductor.client.endpoints.writing import MAX_BULK_IDS, StartBody, start_body
