"""The hook: an Airflow connection made into a Conductor client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook, mask_secret

from airflow_provider_conductor import connection_form
from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorError,
    ConductorTlsError,
    ConductorUnreachable,
    MissingRoute,
    NotConductorError,
)
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.sync import ConductorClient

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

__all__ = ["ConductorHook"]


class ConductorHook(BaseHook):
    """Reach a Conductor server through an Airflow connection.

    The API's verbs are methods of :attr:`client`, named as in Conductor's Python SDK::

        hook = ConductorHook("conductor_default")
        workflow_id = hook.client.start_workflow_by_name("orders", {"order": 7})
        hook.client.get_workflow(workflow_id).status

    Args:
        conductor_conn_id: id of a connection of type ``conductor``.
    """

    conn_name_attr = "conductor_conn_id"
    default_conn_name = "conductor_default"
    conn_type = connection_form.CONNECTION_TYPE
    hook_name = connection_form.HOOK_NAME

    def __init__(self, conductor_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conductor_conn_id = conductor_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Fields of the connection form (Airflow 2.11; later versions read the provider info)."""
        return connection_form.form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels and placeholders of the connection form."""
        return connection_form.ui_field_behaviour()

    @cached_property
    def settings(self) -> ConductorSettings:
        """The connection's settings, checked.

        Raises:
            AirflowNotFoundException: no such connection.
            ConductorConfigError: a field that cannot be used, by name.
        """
        return _settings(self.get_connection(self.conductor_conn_id))

    @cached_property
    def client(self) -> ConductorClient:
        """The blocking client: one pooled session, made at first use."""
        return ConductorClient(self.settings)

    def get_conn(self) -> ConductorClient:
        """The same client, under the name Airflow gives it in all hooks."""
        return self.client

    async def async_client(self) -> AsyncConductorClient:
        """A new asyncio client; use it as an async context manager. The connection is looked up without blocking."""
        from airflow.providers.common.compat.connection import get_async_connection

        connection = await get_async_connection(self.conductor_conn_id)
        # In a thread: reading the extra and masking secrets asks Airflow's supervisor, blocking.
        return AsyncConductorClient(await asyncio.to_thread(_settings, connection))

    def workflow_url(self, workflow_id: str) -> str:
        """The page of an execution in Conductor's UI; no request is made."""
        return self.settings.workflow_url(workflow_id)

    def test_connection(self) -> tuple[bool, str]:
        """One cheap authenticated read; tells a wrong host, credentials, a stranger and TLS trouble apart."""
        try:
            with ConductorClient(self.settings) as client:
                found = len(client.get_task_defs())
        except ConductorTlsError as error:
            return False, f"TLS: {error}. Check verify_ssl, ca_bundle and the client certificate"
        except ConductorUnreachable as error:
            return False, f"No server there: {error}. Check host, port and schema"
        except ConductorAuthError as error:
            return False, f"Credentials refused: {error}. Check key id (login) and key secret (password)"
        except (MissingRoute, NotConductorError) as error:
            return False, f"Not a Conductor API: {error}. Check the address, which usually ends in /api"
        except ConductorError as error:
            return False, str(error)
        return True, f"Conductor at {self.settings.api_url} answers ({found} task definitions)"


def _settings(connection: Connection) -> ConductorSettings:
    extra: Mapping[str, Any] = connection.extra_dejson
    settings = ConductorSettings.from_connection(
        host=connection.host,
        schema=connection.schema,
        port=connection.port,
        login=connection.login,
        password=connection.password,
        extra=extra,
    )
    for value in settings.headers.values():
        mask_secret(value)
    if settings.proxy:
        mask_secret(settings.proxy)
    return settings
