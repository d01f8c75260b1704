"""What Airflow is told of this provider (entry point ``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any

from airflow_provider_conductor import __version__
from airflow_provider_conductor.connection_form import (
    CONNECTION_TYPE,
    HOOK_NAME,
    conn_fields,
    provider_ui_field_behaviour,
)

INTEGRATION = "Conductor"
PACKAGE = "airflow_provider_conductor"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; imports nothing of Airflow."""
    return {
        "package-name": "airflow-provider-conductor",
        "name": "Conductor",
        "description": "Start `Conductor <https://conductor-oss.org/>`__ workflows, wait for them, and steer them.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://conductor-oss.org/",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.hooks.conductor"]}],
        "operators": [_modules("operators", "batch", "conductor", "control", "definitions", "tasks")],
        "sensors": [_modules("sensors", "conductor", "tasks")],
        "triggers": [_modules("triggers", "batch", "conductor", "sensor")],
        "task-decorators": [
            {"name": "conductor", "class-name": f"{PACKAGE}.decorators.conductor.conductor_task"},
        ],
        "extra-links": [
            f"{PACKAGE}.links.conductor.ConductorDefinitionLink",
            f"{PACKAGE}.links.conductor.ConductorWorkflowLink",
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": f"{PACKAGE}.hooks.conductor.ConductorHook",
                "hook-name": HOOK_NAME,
                "conn-fields": conn_fields(),
                "ui-field-behaviour": provider_ui_field_behaviour(),
            }
        ],
    }


def _modules(kind: str, *names: str) -> dict[str, Any]:
    return {"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.{kind}.{name}" for name in names]}
