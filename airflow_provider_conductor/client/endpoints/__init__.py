"""Conductor's REST API: one pure function an endpoint, named as in the Python SDK's clients.

Each returns a :class:`~airflow_provider_conductor.client.flow.Call`; nothing is sent here. Ids and names are
quoted into the path, and an empty one is refused, since ``DELETE /workflow/`` would be another endpoint. The clients'
methods are made from these functions, and have their docstrings.
"""

from airflow_provider_conductor.client.endpoints.tasks import *
from airflow_provider_conductor.client.endpoints.workflows import *
from airflow_provider_conductor.client.endpoints.writing import (
    MAX_BULK_IDS as MAX_BULK_IDS,
    StartBody as StartBody,
    start_body as start_body,
)
