"""Conductor's REST API, without Airflow: usable in a notebook as it is.

Import the names in ``__all__`` from this package; its modules are internal, except ``endpoints``, whose functions make
what ``client.send`` takes. A conversation of several requests is a ``Flow``, which ``client.run`` drives.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports
from airflow_provider_conductor.client import errors as _errors
from airflow_provider_conductor.client.errors import *  # noqa: F403

if TYPE_CHECKING:
    from airflow_provider_conductor.client.aio import AsyncConductorClient as AsyncConductorClient
    from airflow_provider_conductor.client.external_storage import fetch_payload as fetch_payload
    from airflow_provider_conductor.client.flow import (
        Flow as Flow,
        ask as ask,
        current_time as current_time,
        sleep as sleep,
    )
    from airflow_provider_conductor.client.models import (
        BulkResult as BulkResult,
        PayloadType as PayloadType,
        PollData as PollData,
        SearchResult as SearchResult,
        StartWorkflowRequest as StartWorkflowRequest,
        Task as Task,
        TaskSearchResult as TaskSearchResult,
        Workflow as Workflow,
    )
    from airflow_provider_conductor.client.settings import ConductorSettings as ConductorSettings
    from airflow_provider_conductor.client.statuses import TaskStatus as TaskStatus, WorkflowStatus as WorkflowStatus
    from airflow_provider_conductor.client.sync import ConductorClient as ConductorClient

__all__, __getattr__ = exports(
    __name__,
    {
        "AsyncConductorClient": "aio",
        "BulkResult": "models",
        "ConductorClient": "sync",
        "ConductorSettings": "settings",
        "Flow": "flow",
        "PayloadType": "models",
        "PollData": "models",
        "SearchResult": "models",
        "StartWorkflowRequest": "models",
        "Task": "models",
        "TaskSearchResult": "models",
        "TaskStatus": "statuses",
        "Workflow": "models",
        "WorkflowStatus": "statuses",
        "ask": "flow",
        "current_time": "flow",
        "fetch_payload": "external_storage",
        "sleep": "flow",
    },
)
__all__ += _errors.__all__
