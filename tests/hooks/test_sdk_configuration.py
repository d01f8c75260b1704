"""The SDK's ``Configuration``: made of a connection, and taken in place of one; with the real SDK."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException, redact
from conductor.client.configuration.configuration import Configuration
from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.rest import ApiException
from conductor.client.orkes.orkes_workflow_client import OrkesWorkflowClient

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorClient,
    ConductorConfigError,
    ConductorSettings,
)
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.operators import (
    ConductorExecuteWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn
from tests.client import fault_server as told
from tests.client.fault_server import Behaviour, FaultServer

SECRET = "configuration-secret-that-nobody-may-see"

Serve = Callable[..., FaultServer]
HookOf = Callable[..., ConductorHook]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[FaultServer] = []

    def start(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> FaultServer:
        servers.append(FaultServer(behaviour, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def hook_of(monkeypatch: pytest.MonkeyPatch) -> HookOf:
    """The hook of a connection with this host and extra."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def make(host: str, *, login: str = "", password: str = "", **extra: Any) -> ConductorHook:
        fields = {"conn_type": "conductor", "host": host, "login": login, "password": password, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SOME", json.dumps(fields))
        return ConductorHook("some")

    return make


@pytest.fixture
def with_keys() -> Iterator[ConductorStandIn]:
    server = ConductorStandIn(key=("key-id", SECRET))
    server.definitions.add("orders")
    yield server
    server.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("airflow@example.com").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    return {path.stem: str(path) for path in folder.iterdir()}


def over_tls(authority: trustme.CA, *, ask: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if ask:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def read_by_the_sdk(hook: ConductorHook) -> str:
    """The id of a workflow that the SDK has read through the hook's connection."""
    found: str = OrkesWorkflowClient(hook.sdk_configuration()).get_workflow("w1").workflow_id
    return found


# A Configuration of a connection


def test_the_sdk_reaches_the_connections_server(serve: Serve, hook_of: HookOf) -> None:
    server = serve(told.workflow("w1"))
    assert read_by_the_sdk(hook_of(server.api_url)) == "w1"
    assert hook_of(server.api_url).sdk_configuration().http_connection is None


def test_the_sdk_fetches_its_token_with_the_connections_key(with_keys: ConductorStandIn, hook_of: HookOf) -> None:
    configuration = hook_of(with_keys.url, login="key-id", password=SECRET).sdk_configuration()
    OrkesWorkflowClient(configuration).start_workflow(StartWorkflowRequest(name="orders"))
    assert len(with_keys.started) == 1
    assert configuration.AUTH_TOKEN in with_keys.tokens


def test_a_key_in_the_environment_is_not_shown_to_an_open_server(
    serve: Serve, hook_of: HookOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUCTOR_AUTH_KEY", "another-servers-key")
    monkeypatch.setenv("CONDUCTOR_AUTH_SECRET", SECRET)
    server = serve(told.workflow("w1"))
    configuration = hook_of(server.api_url).sdk_configuration()
    assert configuration.authentication_settings is None
    OrkesWorkflowClient(configuration).get_workflow("w1")
    assert [request.path for request in server.requests] == ["/api/workflow/w1"]


@pytest.mark.parametrize(
    ("asks", "extra", "refused"),
    [
        (False, {}, "CERTIFICATE_VERIFY_FAILED"),
        (False, {"ca_bundle": "ca"}, ""),
        (False, {"verify_ssl": False}, ""),
        (True, {"ca_bundle": "ca"}, "."),
        (True, {"ca_bundle": "ca", "client_cert": "own"}, ""),
    ],
)
def test_the_connections_tls_settings_are_the_sdks_too(
    serve: Serve,
    hook_of: HookOf,
    authority: trustme.CA,
    files: dict[str, str],
    asks: bool,
    extra: dict[str, Any],
    refused: str,
) -> None:
    server = serve(told.workflow("w1"), over_tls(authority, ask=asks))
    hook = hook_of(server.api_url, **{name: files.get(value, value) for name, value in extra.items()})
    if refused:
        with pytest.raises(ApiException, match=refused):
            read_by_the_sdk(hook)
    else:
        assert read_by_the_sdk(hook) == "w1"


def test_headers_go_with_the_sdks_requests_too(serve: Serve, hook_of: HookOf) -> None:
    server = serve(told.workflow("w1"))
    read_by_the_sdk(hook_of(server.api_url, headers={"X-Gate": "open"}))
    assert server.requests[0].headers["x-gate"] == "open"


def test_the_sdk_goes_through_the_proxy_too(serve: Serve, hook_of: HookOf) -> None:
    proxy = serve(told.workflow("w1"))
    assert read_by_the_sdk(hook_of("http://conductor.invalid/api", proxy=f"http://127.0.0.1:{proxy.port}")) == "w1"
    assert proxy.requests[0].target.startswith("http://conductor.invalid/api/workflow/w1")


def test_a_broken_connection_does_not_lose_the_headers(serve: Serve, hook_of: HookOf) -> None:
    """The SDK replaces a client whose connection broke by one of its own."""
    server = serve(told.in_turn(told.drop, told.drop, told.workflow("w1")))
    client = OrkesWorkflowClient(hook_of(server.api_url, headers={"X-Gate": "open"}).sdk_configuration())
    with pytest.raises(ApiException, match="the connection broke"):
        client.get_workflow("w1")
    assert client.get_workflow("w1").workflow_id == "w1"
    assert [request.headers.get("x-gate") for request in server.requests] == ["open"] * 3


def test_a_start_whose_connection_broke_is_not_sent_again(serve: Serve, hook_of: HookOf) -> None:
    server = serve(told.in_turn(told.drop, told.text("w1")))
    client = OrkesWorkflowClient(hook_of(server.api_url, headers={"X-Gate": "open"}).sdk_configuration())
    with pytest.raises(ApiException, match="the connection broke"):
        client.start_workflow_by_name("orders", {})
    assert len(server.requests) == 1


def test_a_tls_file_that_cannot_be_used_is_told_by_name(hook_of: HookOf, tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    hook = hook_of("https://conductor.example.com", ca_bundle=str(tmp_path / "broken.pem"))
    with pytest.raises(ConductorConfigError, match="TLS files"):
        hook.sdk_configuration()


def test_without_the_sdk_its_extra_is_named(hook_of: HookOf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "conductor"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "conductor", None)
    monkeypatch.delitem(sys.modules, "airflow_provider_conductor.client.sdk", raising=False)
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"airflow-provider-conductor\[sdk\]"):
        hook_of("http://localhost:8080").sdk_configuration()


# A Configuration in place of a connection


def with_key(host: str) -> Configuration:
    return Configuration(server_api_url=host, authentication_settings=AuthenticationSettings("key-id", SECRET))


def test_a_hook_takes_a_configuration(with_keys: ConductorStandIn) -> None:
    hook = ConductorHook(with_key(f"{with_keys.url}/api"))
    hook.client.start_workflow({"name": "orders"})
    assert with_keys.started
    assert hook.workflow_url("abc") == f"{with_keys.url}/execution/abc"
    passed, message = hook.test_connection()
    assert passed, message


async def test_the_asyncio_client_takes_it_too(with_keys: ConductorStandIn) -> None:
    hook = ConductorHook(with_key(f"{with_keys.url}/api"))
    async with await hook.async_client() as client, AsyncConductorClient(with_key(f"{with_keys.url}/api")) as other:
        assert client.settings == other.settings == hook.settings


def test_all_of_a_configuration_is_read(files: dict[str, str]) -> None:
    configuration = with_key("https://conductor.example.com/api")
    configuration.verify_ssl = False
    configuration.ssl_ca_cert = files["ca"]
    configuration.cert_file = files["own"]
    configuration.key_file = files["own"]
    configuration.proxy = "http://proxy.example.com:3128"
    assert ConductorSettings.of(configuration) == ConductorSettings(
        "https://conductor.example.com/api",
        key_id="key-id",
        key_secret=SECRET,
        verify_ssl=False,
        ca_bundle=files["ca"],
        client_cert=files["own"],
        client_key=files["own"],
        proxy="http://proxy.example.com:3128",
    )


@pytest.mark.parametrize(
    ("made", "read"),
    [
        (Configuration(base_url="http://conductor:8080"), "http://conductor:8080/api"),
        (Configuration(server_api_url="http://conductor:8080/api/"), "http://conductor:8080/api"),
    ],
)
def test_an_open_servers_configuration_has_no_key(made: Configuration, read: str) -> None:
    assert ConductorSettings.of(made) == ConductorSettings(read)


@pytest.mark.parametrize(("name", "value"), [("http_connection", httpx.Client()), ("assert_hostname", False)])
def test_what_cannot_be_taken_over_is_refused_by_name(name: str, value: Any) -> None:
    configuration = Configuration(server_api_url="http://conductor:8080/api")
    setattr(configuration, name, value)
    with pytest.raises(ConductorConfigError, match=name):
        ConductorClient(configuration)


@pytest.mark.parametrize("value", [None, 17, object(), Configuration])
def test_what_is_no_connection_at_all_is_refused(value: Any) -> None:
    with pytest.raises(ConductorConfigError, match="Configuration of Conductor's Python SDK"):
        ConductorClient(value)


def test_its_secret_is_neither_shown_nor_logged() -> None:
    hook = ConductorHook(with_key("http://conductor:8080/api"))
    assert SECRET not in repr(hook.settings) + repr(hook) + repr(hook.client)
    assert SECRET not in str(redact(f"the secret is {SECRET}"))


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        (ConductorStartWorkflowOperator, {"workflow_name": "orders"}),
        (ConductorExecuteWorkflowOperator, {"workflow_name": "orders"}),
        (ConductorTerminateWorkflowOperator, {"workflow_id": "abc"}),
        (ConductorRetryWorkflowOperator, {"workflow_id": "abc"}),
        (ConductorWorkflowSensor, {"workflow_id": "abc"}),
    ],
)
def test_an_operator_refuses_it_when_the_dag_is_parsed(kind: type, needed: dict[str, Any]) -> None:
    configuration = with_key("http://conductor:8080/api")
    with pytest.raises(ValueError, match="must be the id of a connection") as refusal:
        kind(task_id="task", conductor_conn_id=configuration, **needed)
    assert SECRET not in str(refusal.value)
