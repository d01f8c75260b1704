from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_conductor.client import (
    ConductorConfigError,
    ConductorConnectionLostError,
    ConductorTlsError,
    ConductorUnreachableError,
    endpoints,
)
from tests.client import fault_server as faults
from tests.client.fault_server import Behaviour, FaultServer
from tests.client.transports import Connect, Serve, Transport

READ = endpoints.get_workflow("w1")
START = endpoints.start_workflow({"name": "orders"})


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of a CA, another CA, and a client's certificate with and without its key."""
    folder: Path = tmp_path_factory.mktemp("tls")
    client = authority.issue_cert("airflow@example.com")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "broken.pem").write_text("no certificate")
    return {path.stem: str(path) for path in folder.iterdir()}


Secure = Callable[..., tuple[Transport, FaultServer]]


@pytest.fixture
def secure(serve: Serve, connect: Connect, authority: trustme.CA, files: dict[str, str]) -> Secure:
    """A server with a certificate of the authority's, and a client with these settings, where files have short names.

    The server asks for the client's certificate if ``asks`` is the newest version of TLS that it speaks.
    """

    def both(
        behaviour: Behaviour, name: str = "127.0.0.1", asks: ssl.TLSVersion | None = None, **settings: Any
    ) -> tuple[Transport, FaultServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        if asks:
            authority.configure_trust(context)
            context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, asks
        server = serve(behaviour, context)
        return connect(server, **{key: files.get(value, value) for key, value in settings.items()}), server

    return both


def test_a_servers_own_ca_is_trusted_when_named(secure: Secure) -> None:
    assert secure(faults.workflow(), ca_bundle="ca")[0].send(READ).workflow_id == "w1"


def test_a_ca_in_the_usual_environment_variable_is_trusted(
    secure: Secure, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files["ca"])
    assert secure(faults.workflow())[0].send(READ).workflow_id == "w1"


@pytest.mark.parametrize(
    ("name", "trusted", "said"),
    [
        ("127.0.0.1", None, "self.signed|unable to get local issuer"),
        ("127.0.0.1", "other", "self.signed|unable to get local issuer|signature failure"),
        ("conductor.example.com", "ca", "IP address mismatch"),
    ],
)
def test_a_certificate_that_is_not_the_servers_is_refused_and_not_tried_again(
    secure: Secure, name: str, trusted: str | None, said: str
) -> None:
    client, server = secure(faults.text("w1"), name, ca_bundle=trusted)
    with pytest.raises(ConductorTlsError, match=f"TLS handshake failed.*({said})") as caught:
        client.send(START)
    assert not caught.value.fate_unknown
    assert (server.connections, server.requests) == (1, [])


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_is_off_only_if_configured(secure: Secure) -> None:
    assert secure(faults.workflow(), "conductor.example.com", verify_ssl=False)[0].send(READ).workflow_id == "w1"


@pytest.mark.parametrize("own", [{"client_cert": "both"}, {"client_cert": "cert", "client_key": "key"}])
def test_a_client_certificate_is_shown_to_a_server_that_asks(secure: Secure, own: dict[str, str]) -> None:
    client, _ = secure(faults.workflow(), asks=ssl.TLSVersion.TLSv1_3, ca_bundle="ca", **own)
    assert client.send(READ).workflow_id == "w1"


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_missing_client_certificate_is_tls_trouble_and_not_tried_again(
    secure: Secure, newest: ssl.TLSVersion
) -> None:
    client, server = secure(faults.text("w1"), asks=newest, ca_bundle="ca")
    with pytest.raises(ConductorTlsError, match="handshake"):
        client.send(START)
    assert (server.connections, server.requests) == (1, [])


def test_https_to_a_plain_http_server_is_a_tls_error(serve: Serve, connect: Connect) -> None:
    server = serve(faults.garbage)
    with pytest.raises(ConductorTlsError):
        connect(server.api_url.replace("http:", "https:")).send(READ)


@pytest.mark.parametrize(
    "fault", [faults.drop, faults.reset(), faults.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nw")]
)
def test_a_server_that_dies_after_the_handshake_may_have_started_the_workflow(secure: Secure, fault: Behaviour) -> None:
    client, server = secure(fault, ca_bundle="ca")
    with pytest.raises(ConductorConnectionLostError) as caught:
        client.send(START)
    assert caught.value.fate_unknown
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"ca_bundle": "broken"},
        {"ca_bundle": "ca", "client_cert": "broken"},
        {"ca_bundle": "ca", "client_cert": "cert"},
        {"ca_bundle": "ca", "client_cert": "cert", "client_key": "ca"},
        {},
    ],
)
def test_tls_files_that_cannot_be_used_are_a_wrong_connection(
    secure: Secure, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    """The last one is of the environment."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/ca.pem")
    with pytest.raises(ConductorConfigError, match="TLS files"):
        secure(faults.workflow(), **wrong)[0].send(READ)


# Proxies


def test_a_plain_request_goes_through_the_proxy(serve: Serve, connect: Connect) -> None:
    proxy = serve(faults.workflow())
    client = connect("http://conductor.invalid:8080/api", proxy=f"http://127.0.0.1:{proxy.port}")
    assert client.send(READ).workflow_id == "w1"
    assert proxy.requests[0].target.startswith("http://conductor.invalid:8080/api/workflow/w1")


def test_an_encrypted_request_goes_through_the_proxys_tunnel(serve: Serve, secure: Secure) -> None:
    proxy = serve(faults.tunnel)
    through = {"ca_bundle": "ca", "proxy": f"http://127.0.0.1:{proxy.port}"}
    client, server = secure(faults.by_path(token=faults.token("t1")), key_id="id", key_secret="s3cr3t-k3y", **through)
    assert client.send(READ).workflow_id == "w1"
    assert client.send(READ).workflow_id == "w1"
    (request,) = proxy.requests
    assert (request.method, request.target) == ("CONNECT", f"127.0.0.1:{server.port}")
    assert "x-authorization" not in request.headers


@pytest.mark.parametrize("value", ["http://127.0.0.1:{port}", "127.0.0.1:{port}"])
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_usual_environment_variables_name_the_proxy(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    proxy = serve(faults.workflow())
    monkeypatch.setenv(variable, value.format(port=proxy.port))
    assert connect("http://conductor.invalid/api").send(READ).workflow_id == "w1"
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("exempt", ["127.0.0.1", "127.0.0.1:{port}", "*"])
def test_no_proxy_exempts_the_server(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    server, proxy = serve(faults.workflow()), serve(faults.drop)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", exempt.format(port=server.port))
    connect(server).send(READ)
    assert (len(server.requests), proxy.connections) == (1, 0)


def proxied(connect: Connect, proxy: FaultServer, scheme: str) -> Any:
    return connect(
        f"{scheme}://conductor.invalid/api", proxy=f"http://user:p4ssw0rd@127.0.0.1:{proxy.port}", max_attempts=2
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_unreachable(serve: Serve, connect: Connect, scheme: str) -> None:
    with pytest.raises(ConductorUnreachableError) as caught:
        proxied(connect, serve(faults.drop, down=True), scheme).send(START)
    assert not caught.value.fate_unknown
    assert "p4ssw0rd" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_that_refuses_the_tunnel_is_unreachable(serve: Serve, connect: Connect) -> None:
    proxy = serve(faults.status(407))
    with pytest.raises(ConductorUnreachableError) as caught:
        proxied(connect, proxy, "https").send(START)
    assert not caught.value.fate_unknown
    assert "p4ssw0rd" not in "".join(traceback.format_exception(caught.value))
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_start_lost_in_a_proxys_tunnel_is_not_sent_again(serve: Serve, secure: Secure) -> None:
    client, server = secure(faults.drop, ca_bundle="ca", proxy=f"http://127.0.0.1:{serve(faults.tunnel).port}")
    with pytest.raises(ConductorConnectionLostError) as caught:
        client.send(START)
    assert caught.value.fate_unknown
    assert len(server.requests) == 1


def test_a_start_lost_behind_a_proxy_is_not_sent_again(serve: Serve, connect: Connect) -> None:
    proxy = serve(faults.drop)
    with pytest.raises(ConductorConnectionLostError) as caught:
        proxied(connect, proxy, "http").send(START)
    assert caught.value.fate_unknown
    assert len(proxy.requests) == 1
    assert "p4ssw0rd" not in "".join(traceback.format_exception(caught.value))
