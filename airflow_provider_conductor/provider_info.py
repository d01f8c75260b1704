"""The description of this provider for Airflow (entry point ``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any

from airflow_provider_conductor import __version__
from airflow_provider_conductor._options import declared
from airflow_provider_conductor.connection_form import CONNECTION_TYPE, HOOK_NAME, conn_fields, ui_field_behaviour

INTEGRATION = "Conductor"
PACKAGE = "airflow_provider_conductor"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; imports nothing of Airflow."""
    return {
        "config": declared(),
        "package-name": "airflow-provider-conductor",
        "name": "Conductor",
        "description": "Start `Conductor <https://conductor-oss.org/>`__ workflows, wait for them, and control them.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": INTEGRATION, "external-doc-url": "https://conductor-oss.org/", "tags": ["service"]}
        ],
        **{
            kind: [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.{kind}"]}]
            for kind in ("hooks", "operators", "sensors", "triggers")
        },
        "asset-uris": [{"schemes": ["conductor"], "handler": f"{PACKAGE}.assets.sanitize_uri"}],
        "task-decorators": [{"name": "conductor", "class-name": f"{PACKAGE}.decorators.conductor_task"}],
        "cli": [f"{PACKAGE}.cli.conductor_commands"],
        "notifications": [f"{PACKAGE}.notifications.ConductorNotifier"],
        "extra-links": [
            f"{PACKAGE}.links.conductor.ConductorDefinitionLink",
            f"{PACKAGE}.links.conductor.ConductorWorkflowLink",
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": f"{PACKAGE}.hooks.ConductorHook",
                "hook-name": HOOK_NAME,
                "conn-fields": conn_fields(),
                # Its keys have hyphens where those of the hook's method have underscores.
                "ui-field-behaviour": {key.replace("_", "-"): value for key, value in ui_field_behaviour().items()},
            }
        ],
    }
