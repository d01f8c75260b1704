"""Assets that workflows update: their URIs, their triggers, and what Airflow 2 is told."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_conductor.assets import conductor_workflow_asset, sanitize_uri
from airflow_provider_conductor.exceptions import ConductorInputError

from_airflow_3 = pytest.mark.airflow_versions(since="3.0")


@pytest.mark.airflow_versions(before="3.0")
def test_airflow_2_is_told_why_not() -> None:
    with pytest.raises(ConductorInputError, match=re.escape("asset watchers came with Airflow 3.0")):
        conductor_workflow_asset("orders")


@from_airflow_3
@pytest.mark.parametrize(
    ("arguments", "uri"),
    [
        ({"workflow_name": "orders"}, "conductor://conductor_default/workflow/orders"),
        ({"workflow_name": ["a", "b/c"], "conductor_conn_id": "eu"}, "conductor://eu/workflow/a,b%2Fc"),
        ({"workflow_name_prefix": "or"}, "conductor://conductor_default/workflow/or*"),
        (
            {"workflow_name": "orders", "status": ["FAILED", "COMPLETED"], "correlation_id": "7"},
            "conductor://conductor_default/workflow/orders?correlation_id=7&status=COMPLETED%2CFAILED",
        ),
        (
            {"workflow_name": "orders", "include_sub_workflows": True},
            "conductor://conductor_default/workflow/orders?sub_workflows=true",
        ),
    ],
)
def test_the_uri_is_what_is_watched(arguments: dict[str, Any], uri: str) -> None:
    asset = conductor_workflow_asset(**arguments)
    assert (asset.name, asset.uri) == (uri, uri)


@from_airflow_3
def test_two_assets_never_share_a_uri_or_a_trigger() -> None:
    """Of two that share a URI, Airflow activates one; two that share a trigger, it cannot tell apart."""
    one, other = conductor_workflow_asset("orders"), conductor_workflow_asset("orders", name="other")
    triggers = [asset.watchers[0].trigger for asset in (one, other)]
    assert triggers[0].serialize() != triggers[1].serialize()
    assert triggers[1].serialize()[1]["asset_name"] == "other"
    assert (other.name, other.uri) == ("other", "conductor://conductor_default/workflow/orders?name=other")


@pytest.mark.parametrize("uri", ["conductor://conn/workflow/orders", "conductor://conn/workflow/a,b?status=FAILED"])
def test_a_good_uri_stays(uri: str) -> None:
    assert sanitize_uri(urlsplit(uri)).geturl() == uri


@pytest.mark.parametrize(
    "uri", ["conductor:///workflow/orders", "conductor://conn/orders", "conductor://conn/workflow/"]
)
def test_a_bad_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="conductor://<connection id>/workflow/<workflow name>"):
        sanitize_uri(urlsplit(uri))


@from_airflow_3
def test_the_provider_names_the_handler() -> None:
    from airflow.providers_manager import ProvidersManager

    handlers = ProvidersManager().asset_uri_handlers
    assert handlers["conductor"] is sanitize_uri
