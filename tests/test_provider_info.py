"""What Airflow is told of the provider, asked of Airflow."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.models.connection import Connection
from airflow.providers_manager import ProvidersManager

from airflow_provider_conductor import __version__
from airflow_provider_conductor.client.settings import EXTRA_FIELDS
from airflow_provider_conductor.decorators import conductor_task
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.links import ConductorWorkflowLink
from airflow_provider_conductor.notifications import ConductorNotifier
from airflow_provider_conductor.provider_info import get_provider_info

DISTRIBUTION = "airflow-provider-conductor"
EXTRA_KEYS = {item.name for item in EXTRA_FIELDS}
AIRFLOW_2 = airflow_version.startswith("2.")


@pytest.fixture(scope="module")
def manager() -> ProvidersManager:
    return ProvidersManager()


def test_the_installed_distribution_names_its_provider_info() -> None:
    found = [entry for entry in entry_points(group="apache_airflow_provider") if entry.dist.name == DISTRIBUTION]
    assert [entry.name for entry in found] == ["provider_info"]
    assert found[0].load() is get_provider_info


def test_airflow_accepts_and_lists_the_provider(manager: ProvidersManager) -> None:
    """Airflow's own list checks each provider info against its schema."""
    listed = manager.providers[DISTRIBUTION]
    assert listed.data["name"] == "Conductor"
    assert listed.data["versions"][0] == __version__


def test_the_connection_type_has_our_hook(manager: ProvidersManager) -> None:
    hook = manager.hooks["conductor"]
    assert hook is not None
    assert hook.hook_name == "Conductor"
    assert hook.connection_id_attribute_name == "conductor_conn_id"
    assert isinstance(Connection(conn_id="some_server", conn_type="conductor").get_hook(), ConductorHook)


def test_each_module_it_names_exists(manager: ProvidersManager) -> None:
    info = get_provider_info()
    named = [module for kind in ("hooks", "operators", "sensors", "triggers") for module in info[kind]]
    modules = [name for item in named for name in item["python-modules"]]
    assert {name.split(".")[1] for name in modules} == {"hooks", "operators", "sensors", "triggers"}
    for name in modules:
        __import__(name)


def test_airflow_lists_the_notifier(manager: ProvidersManager) -> None:
    assert f"{ConductorNotifier.__module__.rpartition('.')[0]}.ConductorNotifier" in manager.notification


def shown_fields(manager: ProvidersManager) -> dict[str, Any]:
    """The fields of the form this Airflow shows for a Conductor connection, beside host, login and the like."""
    prefix = "extra__conductor__"
    widgets = manager.connection_form_widgets
    return {key.removeprefix(prefix): widget for key, widget in widgets.items() if key.startswith(prefix)}


def test_the_form_has_a_field_for_each_key_of_the_extra(manager: ProvidersManager) -> None:
    assert set(shown_fields(manager)) == EXTRA_KEYS


def test_both_ways_to_tell_of_the_form_tell_the_same() -> None:
    connection_type = get_provider_info()["connection-types"][0]
    assert set(connection_type["conn-fields"]) == EXTRA_KEYS
    behaviour = connection_type["ui-field-behaviour"]
    asked = ConductorHook.get_ui_field_behaviour()
    assert {key.replace("-", "_"): value for key, value in behaviour.items()} == asked
    if AIRFLOW_2:
        widgets = ConductorHook.get_connection_form_widgets()
        assert list(widgets) == list(connection_type["conn-fields"])
        for name, widget in widgets.items():
            assert widget.kwargs["label"] == connection_type["conn-fields"][name]["label"]


def test_the_form_relabels_what_conductor_calls_otherwise(manager: ProvidersManager) -> None:
    behaviour = manager.field_behaviours["conductor"]
    assert behaviour["relabeling"]["login"] == "Key ID"
    assert behaviour["relabeling"]["password"] == "Key secret"


def test_a_field_that_may_hold_a_token_is_not_shown_in_clear() -> None:
    headers = get_provider_info()["connection-types"][0]["conn-fields"]["headers"]
    if AIRFLOW_2:
        from wtforms import PasswordField

        assert ConductorHook.get_connection_form_widgets()["headers"].field_class is PasswordField
    else:
        assert headers["schema"].get("format") == "password"


def test_airflow_knows_the_task_decorator(manager: ProvidersManager) -> None:
    assert manager.taskflow_decorators["conductor"] is conductor_task


def test_airflow_knows_the_link(manager: ProvidersManager) -> None:
    path = f"{ConductorWorkflowLink.__module__}.{ConductorWorkflowLink.__qualname__}"
    assert path in manager.extra_links_class_names
