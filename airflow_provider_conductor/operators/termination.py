"""Terminating a task's workflow after a timeout or a kill."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_conductor.client.errors import ConductorError

if TYPE_CHECKING:
    from airflow_provider_conductor.client.settings import ConductorSettings
    from airflow_provider_conductor.client.text import Logger

__all__ = ["terminate", "terminate_quickly"]


def terminate(settings: ConductorSettings, workflow_id: str, reason: str, log: Logger) -> str:
    """Terminate the workflow unless it has ended: a FAILED workflow must not become TERMINATED.

    With a client of its own, since this may run in a signal handler that has interrupted the usual one.

    Returns what was done, for a message.
    """
    from airflow_provider_conductor.client.sync import ConductorClient
    from airflow_provider_conductor.client.termination import terminate as terminate_all

    try:
        with ConductorClient(settings) as client:
            done = client.run(terminate_all([workflow_id], reason))
    except ConductorError as error:
        log.error("Workflow %s could not be terminated and may still run: %s", workflow_id, error)
        return "it could not be terminated and may still run"
    return done.describe(workflow_id)


def terminate_quickly(settings: ConductorSettings, workflow_id: str, reason: str, log: Logger) -> str:
    """As :func:`terminate`, in a process that Airflow 3 kills in five seconds: a slow server is left to another one."""
    from airflow_provider_conductor.client.detached_termination import HELPED_AFTER, terminate_detached
    from airflow_provider_conductor.client.sync import ConductorClient
    from airflow_provider_conductor.client.termination import terminate as terminate_all

    limits = {name: min(getattr(settings, name), HELPED_AFTER / 2) for name in ("connect_timeout", "read_timeout")}
    try:
        with ConductorClient(replace(settings, **limits, max_attempts=1)) as client:
            done = client.run(terminate_all([workflow_id], reason))
    except ConductorError as error:
        log.error("Workflow %s could not be terminated: %s", workflow_id, error)
        terminate_detached(settings, [workflow_id], reason, log)
        return "it may still run"
    if done.unknown:  # perhaps a proxy's 404
        terminate_detached(settings, [workflow_id], reason, log)
    return done.describe(workflow_id)
