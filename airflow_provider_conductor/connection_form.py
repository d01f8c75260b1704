"""The fields of a Conductor connection, in the form that each version of Airflow takes.

Airflow 3 reads them from the provider info, 2.11 asks the hook; both are made from the client's one table.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_conductor.client.settings import EXTRA_FIELDS

CONNECTION_TYPE = "conductor"
HOOK_NAME = "Conductor"
DEFAULT_CONNECTION_ID = "conductor_default"

_JSON_TYPES = {"flag": "boolean", "number": "number", "rate": "number", "count": "integer"}


def conn_fields() -> dict[str, Any]:
    """``conn-fields`` of the provider info: name → label, description and JSON schema."""
    fields: dict[str, Any] = {}
    for item in EXTRA_FIELDS:
        schema: dict[str, Any] = {"type": [_JSON_TYPES.get(item.kind, "string"), "null"]}
        if item.default is not None:
            schema["default"] = item.default
        if item.kind == "headers":  # may carry a token
            schema["format"] = "password"
        fields[item.name] = {"label": item.title, "description": item.description, "schema": schema}
    return fields


def ui_field_behaviour() -> dict[str, Any]:
    """Labels, placeholders and hidden fields, with the keys the hook's method uses."""
    return {
        "hidden_fields": ["extra"],
        "relabeling": {"login": "Key ID", "password": "Key secret", "schema": "Schema (http or https)"},
        "placeholders": {
            "host": "conductor.example.com, or https://conductor.example.com/api",
            "schema": "https",
            "port": "8080",
            "login": "empty for a server without authentication",
            "password": "",
        },
    }


def form_widgets() -> dict[str, Any]:
    """wtforms fields for Airflow 2.11's connection form."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, IntegerField, PasswordField, StringField
    from wtforms.validators import Optional

    fields: dict[str, Any] = {}
    for item in EXTRA_FIELDS:
        shown = {"label": item.title, "description": item.description, "default": item.default}
        match item.kind:
            case "flag":
                fields[item.name] = BooleanField(**shown)
            case "count":
                fields[item.name] = IntegerField(**shown, validators=[Optional()], widget=BS3TextFieldWidget())
            case "headers":  # may carry a token
                fields[item.name] = PasswordField(**shown, widget=BS3PasswordFieldWidget())
            case _:  # numbers too: Airflow takes no other kind of field, and refuses the whole hook for one
                fields[item.name] = StringField(**shown, widget=BS3TextFieldWidget())
    return fields
