"""The hook: an Airflow connection made into a Conductor client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException, BaseHook, mask_secret

from airflow_provider_conductor import connection_form
from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorTlsError,
    ConductorUnreachableError,
    NotConductorError,
)
from airflow_provider_conductor.client.hiding import url_secrets
from airflow_provider_conductor.client.plain import is_sdk_configuration
from airflow_provider_conductor.client.proxies import environment_proxy
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.sync import ConductorClient
from airflow_provider_conductor.client.text import to_log
from airflow_provider_conductor.definitions.dry_run import dry_run
from airflow_provider_conductor.exceptions import (
    ConductorTaskUnreachableError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.polling.durations import seconds
from airflow_provider_conductor.polling.missing_workflow import read_ended
from airflow_provider_conductor.polling.root_cause import Failure
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import GONE, STALLED, TASK_MISSED, TIMEOUT
from airflow_provider_conductor.polling.wait_spec import WaitSpec

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from conductor.client.configuration.configuration import Configuration

    from airflow_provider_conductor.client.models import Workflow

PROBED_TASK = "airflow_connection_test"
"""A task definition that need not exist: asking for one is the cheapest read that wants the credentials."""


class ConductorHook(BaseHook):
    """Reach a Conductor server through an Airflow connection.

    The API's verbs are methods of :attr:`client`, named as in Conductor's Python SDK::

        hook = ConductorHook("conductor_default")
        workflow_id = hook.client.start_workflow_by_name("orders", {"order": 7})
        hook.client.get_workflow(workflow_id).status

    Args:
        conductor_conn_id: id of a connection of type ``conductor``, or, for those who have one, a ``Configuration``
            of Conductor's Python SDK. Operators take the id only: a key has no place in a DAG file.
    """

    conn_name_attr = "conductor_conn_id"
    default_conn_name = connection_form.DEFAULT_CONNECTION_ID
    conn_type = connection_form.CONNECTION_TYPE
    hook_name = connection_form.HOOK_NAME

    def __init__(self, conductor_conn_id: str | Configuration = default_conn_name) -> None:
        super().__init__()
        self._configuration = conductor_conn_id if is_sdk_configuration(conductor_conn_id) else None
        self.conductor_conn_id = conductor_conn_id if isinstance(conductor_conn_id, str) else ""

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
        if self._configuration is not None:
            settings = ConductorSettings.of(self._configuration)
            mask_secret(settings.key_secret)  # as Airflow does with a connection's password
            return _masked(settings)
        return connection_settings(self.get_connection(self.conductor_conn_id))

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
        from asgiref.sync import sync_to_async

        if self._configuration is not None:
            return AsyncConductorClient(await sync_to_async(lambda: self.settings)())
        connection = await get_async_connection(self.conductor_conn_id)
        # Reading the extra and masking secrets asks Airflow's supervisor, blocking. In asgiref's thread, since the
        # question goes through the triggerer's own loop: from another thread it is answered late or never.
        return AsyncConductorClient(await sync_to_async(connection_settings)(connection))

    def wait_for_workflow(
        self,
        workflow_id: str,
        *,
        timeout: float | timedelta | None = None,
        stall_timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
        wait_until_task_ref: str | None = None,
    ) -> Workflow:
        """Wait, on this worker, until the workflow (or that task) has ended; log why it is still running.

        Args:
            timeout: seconds (or timedelta) for the whole wait; None waits on.
            stall_timeout: seconds (or timedelta) without progress.
            poll_interval: seconds (or timedelta) between polls; None adapts them to the workflow.

        Returns the workflow with its tasks, whatever its status.

        Raises:
            ConductorWorkflowTimeoutError: a limit ended the wait; nothing is terminated.
            ConductorTaskUnreachableError: the workflow has completed without that task.
            ConductorWorkflowFailedError: the server does not know the workflow (any more), so it cannot be read.
        """
        now = time.time()
        limit = seconds(timeout, "timeout")
        spec = WaitSpec(
            workflow_id=workflow_id,
            started_at=now,
            deadline=None if limit is None else now + limit,
            stall_timeout=seconds(stall_timeout, "stall_timeout"),
            poll_interval=seconds(poll_interval, "poll_interval"),
            wait_until_task_ref=wait_until_task_ref,
        )
        event = self.client.run(wait(spec, to_log(self.log.info)))
        url = self.workflow_url(workflow_id)
        about = {"workflow_id": workflow_id, "url": url, "reason": event.message}
        if event.status in (TIMEOUT, STALLED):
            raise ConductorWorkflowTimeoutError(
                f"{event.status}: Conductor workflow {workflow_id} did not end in time. Last state: {event.message}. "
                f"See {url}",
                waits_for=event.waits_for,
                **about,
            )
        if event.status == TASK_MISSED:
            raise ConductorTaskUnreachableError(
                f"Conductor workflow {workflow_id}: {event.message}. See {url}",
                task_reference_name=wait_until_task_ref or "",
                **about,
            )
        workflow = None if event.status == GONE else self.client.run(read_ended(workflow_id, spec.deadline))
        if workflow is not None:
            return workflow
        ended = f"ended as {event.status}, and was archived or deleted since"
        raise ConductorWorkflowFailedError(
            f"Conductor workflow {workflow_id} " + (f"is gone: {event.message}" if event.status == GONE else ended),
            Failure(workflow_id=workflow_id, status=event.status, reason=event.message),
            url=url,
        )

    def test_workflow(
        self,
        workflow: str | Any,
        *,
        version: int | None = None,
        workflow_input: Mapping[str, Any] | None = None,
        task_outputs: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """The server's dry run of a workflow, for tests of a definition: no worker takes part.

        Args:
            workflow: name of a registered definition, or a definition: a dict or an object of the SDK.
            workflow_input: the workflow's input.
            task_outputs: by reference name, what the task puts out, or a list with one item for each attempt. An
                attempt that does not complete is ``{"status": "FAILED", "output": {...}}``. In a loop each iteration
                has a name of its own, ``pack__1``, ``pack__2``. For a SUB_WORKFLOW task: the ``task_outputs`` of that
                workflow.

        Returns the workflow as it ended, with its tasks.

        Raises:
            ConductorDryRunIncompleteError: the workflow came to a task for which no output is left; it is terminated.
        """
        return self.client.run(
            dry_run(workflow, version=version, workflow_input=workflow_input, task_outputs=task_outputs)
        )

    def sdk_configuration(self) -> Configuration:
        """A ``Configuration`` of Conductor's Python SDK for the same server, key, TLS files, proxy and headers.

        Raises:
            AirflowOptionalProviderFeatureException: the extra ``sdk`` is not installed.
            ConductorConfigError: a setting of the connection that cannot be used.
        """
        try:
            from airflow_provider_conductor.client.sdk import configuration_for
        except ImportError as error:
            raise AirflowOptionalProviderFeatureException(
                "the Conductor Python SDK is not installed: pip install 'airflow-provider-conductor[sdk]'"
            ) from error
        return configuration_for(self.settings)

    def workflow_url(self, workflow_id: str, task_ref: str = "") -> str:
        """The page of an execution, or of a task in it, in Conductor's UI; no request is made."""
        return self.settings.workflow_url(workflow_id, task_ref)

    def test_connection(self) -> tuple[bool, str]:
        """One cheap authenticated read; each of host, credentials, TLS and a foreign API has a message of its own."""
        try:
            # One attempt: this is about what the server answers now.
            with ConductorClient(replace(self.settings, max_attempts=1)) as client:
                answer = str(client.get_task_def(PROBED_TASK))
        except ConductorNotFoundError as error:
            answer = error.message  # asked, understood, authenticated: there is just no such task definition
        except ConductorTlsError as error:
            return False, f"TLS: {error}. Check verify_ssl, ca_bundle and the client certificate"
        except ConductorUnreachableError as error:
            return False, f"No server there: {error}. Check host, port and schema"
        except ConductorAuthError as error:
            return False, f"Credentials refused: {error}. Check key id (login) and key secret (password)"
        except (ConductorMissingRouteError, NotConductorError) as error:
            if error.refused_by_gateway:
                return False, f"Refused in front of Conductor: {error}. Check headers, proxy and the address"
            return False, f"Not a Conductor API: {error}. Check the address, which usually ends in /api"
        except ConductorError as error:
            return False, str(error)
        if PROBED_TASK not in answer and "task" not in answer.lower():
            return False, "Not a Conductor API: it answers in JSON, but not as Conductor does. Check the address"
        return True, f"Conductor at {self.settings.api_url} answers"


def connection_settings(connection: Connection) -> ConductorSettings:
    """The settings in an Airflow connection, whose secrets Airflow then masks.

    Raises:
        ConductorConfigError: a field that cannot be used, by name.
    """
    fields = {name: getattr(connection, name) for name in ("host", "schema", "port", "login", "password")}
    return _masked(ConductorSettings.from_connection(**fields, extra=connection.extra_dejson))


def _masked(settings: ConductorSettings) -> ConductorSettings:
    """The settings, after Airflow has been given those that it masks in logs."""
    for secret in (*settings.secrets, *url_secrets(environment_proxy(settings.api_url))):
        mask_secret(secret)
    return settings
