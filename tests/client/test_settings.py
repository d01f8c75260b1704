from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorConfigError, ConductorSettings
from airflow_provider_conductor.client.settings import EXTRA_FIELDS

SECRET = "s3cr3t-k3y"


@pytest.mark.parametrize(
    ("host", "schema", "port", "url"),
    [
        ("conductor", None, None, "http://conductor/api"),
        ("conductor", None, 8080, "http://conductor:8080/api"),
        ("conductor", "http", 80, "http://conductor/api"),
        ("conductor.example.com", "https", None, "https://conductor.example.com/api"),
        ("conductor.example.com", "https", 8443, "https://conductor.example.com:8443/api"),
        ("conductor.example.com", None, 443, "https://conductor.example.com/api"),
        ("conductor:8080", None, None, "http://conductor:8080/api"),
        ("conductor:8080/api", None, None, "http://conductor:8080/api"),
        ("10.0.0.7", None, 8080, "http://10.0.0.7:8080/api"),
        ("::1", None, 8080, "http://[::1]:8080/api"),
        ("[::1]", None, 8080, "http://[::1]:8080/api"),
        (" conductor ", "", None, "http://conductor/api"),
        ("https://x.orkesconductor.io", None, None, "https://x.orkesconductor.io/api"),
        ("https://x.orkesconductor.io/", None, None, "https://x.orkesconductor.io/api"),
        ("https://x.orkesconductor.io/api/", None, None, "https://x.orkesconductor.io/api"),
        ("https://gate.example.com/c/api", None, None, "https://gate.example.com/c/api"),
        ("http://conductor", None, 8080, "http://conductor:8080/api"),
        ("http://conductor:9090", None, 8080, "http://conductor:9090/api"),
        ("https%3A%2F%2Fx.orkesconductor.io%2Fapi", None, None, "https://x.orkesconductor.io/api"),
        ("https://x.orkesconductor.io", "https", None, "https://x.orkesconductor.io/api"),
    ],
)
def test_host_schema_and_port_become_the_address_of_the_api(
    host: str, schema: str | None, port: int | None, url: str
) -> None:
    assert ConductorSettings.from_connection(host=host, schema=schema, port=port).api_url == url


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": ""}, "no host"),
        ({"host": None}, "no host"),
        ({"host": "conductor", "schema": "ftp"}, "'ftp'"),
        ({"host": "ftp://conductor"}, "must look like"),
        ({"host": "http://"}, "must look like"),
        ({"host": "http://conductor:99999"}, "cannot be read"),
        ({"host": "http://conductor:99999", "port": 8080}, "cannot be read"),
        ({"host": "http://[::1", "port": 8080}, "cannot be read"),
        ({"host": "http://conductor/api?x=1"}, "query"),
        ({"host": "http://conductor/api#x"}, "fragment"),
        ({"host": "http://a..b/api"}, "must look like"),
        ({"host": f"http://{'a' * 64}.example.com"}, "must look like"),
        ({"host": "conductor", "login": "id"}, "no password"),
        ({"host": "conductor", "password": SECRET}, "no login"),
    ],
)
def test_an_address_or_key_that_cannot_work_is_refused_before_use(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConductorConfigError, match=said):
        ConductorSettings.from_connection(**fields)


@pytest.mark.parametrize(
    "host",
    [
        f"https://key:{SECRET}@conductor/api",
        f"https://key:{SECRET}/x@conductor/api",
        f"key:{SECRET}@conductor",
        f"key:{SECRET}@conductor:8080",
    ],
)
def test_a_secret_put_into_the_host_is_refused_without_repeating_it(host: str) -> None:
    with pytest.raises(ConductorConfigError) as caught:
        ConductorSettings.from_connection(host=host)
    assert SECRET not in f"{caught.value}{caught.value.__cause__}"


def test_an_unknown_extra_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConductorConfigError) as caught:
        ConductorSettings.from_connection(host="conductor", extra={"verfy_ssl": SECRET})
    message = str(caught.value)
    assert "'verfy_ssl'" in message
    assert "did you mean 'verify_ssl'?" in message
    assert all(field.name in message for field in EXTRA_FIELDS)
    assert SECRET not in message


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("verify_ssl", False, False),
        ("verify_ssl", "False", False),
        ("verify_ssl", "no", False),
        ("verify_ssl", "1", True),
        ("verify_ssl", "", True),
        ("connect_timeout", "2.5", 2.5),
        ("read_timeout", 5, 5.0),
        ("max_attempts", "3", 3),
        ("max_attempts", 3.0, 3),
        ("headers", '{"X-Team": "data"}', {"X-Team": "data"}),
        ("headers", {"X-Team": "data"}, {"X-Team": "data"}),
        ("ui_url", " https://ui.example.com ", "https://ui.example.com"),
        ("identity_prefix", None, None),
    ],
)
def test_extra_values_are_taken_as_forms_and_uris_hand_them_over(name: str, given: Any, kept: Any) -> None:
    settings = ConductorSettings.from_connection(host="conductor", extra={name: given})
    assert getattr(settings, name) == kept


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("verify_ssl", "maybe"),
        ("verify_ssl", 2),
        ("connect_timeout", 0),
        ("connect_timeout", -1),
        ("connect_timeout", "soon"),
        ("connect_timeout", float("nan")),
        ("connect_timeout", float("inf")),
        ("connect_timeout", True),
        ("read_timeout", []),
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("max_attempts", "many"),
        ("max_attempts", float("inf")),
        ("headers", "X-Team: data"),
        ("headers", "[1]"),
        ("headers", {"X-Team": 1}),
        ("headers", {"X-Team": "a\r\nX-Other: b"}),
        ("headers", {"X Team": "data"}),
        ("headers", {"": "data"}),
        ("ca_bundle", 5),
        ("proxy", "proxy:3128"),
        ("ui_url", "javascript:alert(1)"),
        ("ca_bundle", "/no/such/ca.pem"),
        ("client_cert", "/no/such/cert.pem"),
        ("client_key", "/no/such/key.pem"),
    ],
)
def test_an_extra_value_of_the_wrong_kind_is_refused_by_name(name: str, given: Any) -> None:
    with pytest.raises(ConductorConfigError, match=name):
        ConductorSettings.from_connection(host="conductor", extra={name: given})


def test_a_client_key_needs_its_certificate(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    with pytest.raises(ConductorConfigError, match="client_cert"):
        ConductorSettings("http://conductor", client_key=str(key))


def test_the_id_in_a_link_is_quoted() -> None:
    page = ConductorSettings("https://conductor.example.com").workflow_url("../a b?c#d/<e>")
    assert page == "https://conductor.example.com/execution/..%2Fa%20b%3Fc%23d%2F%3Ce%3E"


@pytest.mark.parametrize(
    ("api_url", "ui_url", "page"),
    [
        ("http://conductor:8080", None, "http://conductor:8080/execution/w1"),
        ("http://conductor:8080/c/api", None, "http://conductor:8080/c/execution/w1"),
        ("http://conductor:8080", "https://ui.example.com/", "https://ui.example.com/execution/w1"),
    ],
)
def test_the_page_of_a_workflow_is_on_the_servers_ui_by_default(api_url: str, ui_url: str | None, page: str) -> None:
    assert ConductorSettings(api_url, ui_url=ui_url).workflow_url("w1") == page


def test_the_page_of_a_task_in_the_ui() -> None:
    page = ConductorSettings("https://conductor.example.com").workflow_url("w1", "ship order&more")
    assert page == "https://conductor.example.com/execution/w1?taskReferenceName=ship%20order%26more"
