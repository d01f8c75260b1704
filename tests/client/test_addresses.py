"""Where requests go: redirects, proxies, and the addresses that servers give for stored payloads."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorClient,
    ConductorConfigError,
    ConductorSettings,
    NotConductorError,
    endpoints,
    external_storage as payloads,
)
from airflow_provider_conductor.client.addresses import own_payload_path, redirect_target, refusal
from airflow_provider_conductor.client.errors import PayloadNotOfferedError
from airflow_provider_conductor.client.external_storage import fetch_payload
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.client.proxies import environment_proxy
from tests.client import fault_server as faults
from tests.client.transports import Connect, Serve

READ = endpoints.get_workflow("w1")

# Redirects

EVIL = [
    r"http://{evil}\@{good}/api/x",
    r"http://{evil}\@{good}",
    r"//{evil}\@{good}/x",
    r"http:\\{evil}\@{good}/x",
    "http://{evil}#@{good}/x",
    "http://{evil}?@{good}/x",
    "http://{evil}/@{good}/x",
    "http://{good}@{evil}/x",
    "http://user@{good}/api/x",
    r"\\{evil}\@{good}/x",
    "http:///{evil}/x",
    "http://{evil}\t@{good}/",
    "http://{evil}%5c@{good}/x",
    "http://{evil};@{good}/x",
    "http://{evil} @{good}/",
    "//{evil}/api/x",
    "https://{good}/api/x",
    "/apis/x",
    "/admin",
    "/api/../admin",
    "/api/%2e%2e/admin",
    "/api/..%2fadmin",
    r"/api/..%5cadmin",
    "http://{good}/api/x/../../admin",
    "http://[::1",
    "http://elsewhere:99999/",
    "mailto:x@example.com",
    "",
]


@pytest.mark.parametrize("location", EVIL)
def test_a_redirect_out_of_the_api_is_not_followed(serve: Serve, connect: Connect, location: str) -> None:
    evil = serve(faults.workflow())
    server = serve(lambda exchange: None)
    location = location.format(evil=f"127.0.0.1:{evil.port}", good=f"127.0.0.1:{server.port}")
    server.behaviour = faults.by_path(token=faults.token("t1"), rest=faults.status(302, location=location))
    client = connect(server, key_id="k", key_secret="secret", max_attempts=1)
    with pytest.raises(NotConductorError, match=r"redirected to .* not followed"):
        client.send(READ)
    assert evil.requests == []
    assert len(server.sent_to("/workflow/w1")) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("api", "location", "url"),
    [
        ("https://c.example.com/api", "/api/v2/x?a=1#part", "https://c.example.com/api/v2/x?a=1"),
        ("https://c.example.com/api", "https://c.example.com:443/api/x", "https://c.example.com/api/x"),
        ("https://c.example.com:443/api", "https://C.Example.com/api/x", "https://c.example.com:443/api/x"),
        ("http://[::1]:8080/api", "//[::1]:8080/api/x", "http://[::1]:8080/api/x"),
        ("https://gate.example.com/c/api", "y", "https://gate.example.com/c/api/workflow/y"),
        ("https://gate.example.com/c/api", "/api/x", ""),
        ("https://gate.example.com/c/api", "/c/apis", ""),
        ("https://c.example.com/api", "https://c.example.com:8443/api/x", ""),
        ("https://c.example.com/api", "http://c.example.com/api/x", ""),
        ("https://c.example.com/api", "/api/x\r\nHost: evil", ""),
        ("https://c.example.com/api", "/api/\x00", ""),
        ("https://c.example.com/api", "http://[::1", ""),
        ("https://c.example.com/api", "https://c.example.com:99999/api/x", ""),
    ],
)
def test_the_address_is_made_anew_from_what_was_read(api: str, location: str, url: str) -> None:
    assert redirect_target(api, f"{api}/workflow/x", location).url == url


# Proxies


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://10.1.2.3:8080/api", "10.0.0.0/8,.svc", True),
        ("http://11.1.2.3:8080/api", "10.0.0.0/8,.svc", False),
        ("http://10.1.2.3:8080/api", "10.1.2.3", True),
        ("http://[fd00::5]:8080/api", "fd00::/8", True),
        ("http://[fd00::5]:8080/api", "fd00::5", True),
        ("http://[fd00::5]:8080/api", "[fd00:0::5]:8080", True),
        ("http://[::1]:8080/api", "::1", True),
        ("http://[::1]:8080/api", "::2, 10.0.0.0/8", False),
        ("http://conductor.ns.svc:8080/api", ".svc", True),
        ("http://conductor.ns.svc/api", "svc", True),
        ("http://conductor.ns.svc/api", "*.svc", True),
        ("http://conductorsvc/api", ".svc", False),
        ("http://conductor.ns.svc./api", "ns.svc", True),
        ("http://conductor:8080/api", "conductor:8080", True),
        ("http://conductor:8080/api", "conductor:80", False),
        ("http://conductor:8080/api", "CONDUCTOR", True),
        ("http://conductor:8080/api", "other, conductor", True),
        ("http://conductor:8080/api", "other conductor", True),
        ("http://conductor:8080/api", "*", True),
        ("http://conductor:8080/api", "10.0.0.0/99, a/b, :, [", False),
        ("http://conductor:8080/api", "", False),
    ],
)
def test_no_proxy_is_read_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, direct: bool
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (environment_proxy(url) is None) is direct


# Stored payloads

HTTPS = ConductorSettings("https://conductor.example.com/api")
HTTP = ConductorSettings("http://conductor.example.com/api")
HERE = ConductorSettings("http://localhost:8080/api")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the resolver knows: these, and addresses as they are spelled."""
    known = {"inside.example.com": "127.0.0.1", "near.example.com": "169.254.1.1", "s3.example.com": "203.0.113.9"}
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if any(c.isalpha() for c in str(host)) and not str(host).startswith("0x") and ":" not in str(host):
            if host not in known:
                raise socket.gaierror("no such host")
            host = known[host]
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


LOCAL = [
    "127.0.0.1", "127.9.9.9", "2130706433", "0x7f000001", "0x7f.1", "127.1", "017700000001", "[::1]", "0.0.0.0", "0",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[::]", "inside.example.com",
    "169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]",
    "100.100.100.200", "near.example.com",
]  # fmt: skip


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("host", LOCAL)
def test_the_workers_own_machine_and_network_are_not_read_by_whatever_name(host: str) -> None:
    assert "own machine or network" in refusal(f"http://{host}/latest/meta-data", HTTP)
    assert "own machine or network" in refusal(f"https://{host}:9000/x", HTTPS)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("uri", "settings", "why"),
    [
        ("https://s3.example.com/x?sig=1", HTTPS, ""),
        ("https://unknown.example.com/x", HTTPS, ""),
        ("http://s3.example.com/x", HTTP, ""),
        ("http://s3.example.com/x", HTTPS, "without TLS"),
        ("ftp://s3.example.com/x", HTTP, "an address of ftp, not http"),
        ("file:///etc/passwd", HTTP, "an address of file, not http"),
        ("//s3.example.com/x", HTTP, "an address of no scheme"),
        ("https://user@s3.example.com/x", HTTPS, "cannot be read"),
        ("https://127.0.0.1\\@s3.example.com/x", HTTPS, "cannot be read"),
        ("https://s3.example.com /x", HTTPS, "cannot be read"),
        ("https://s3.example.com:99999/x", HTTPS, "cannot be read"),
        ("https:///x", HTTPS, "cannot be read"),
        ("http://127.0.0.1:9000/x", HERE, ""),
        ("http://[::1]:9000/x", HERE, ""),
        ("http://169.254.169.254/x", HERE, "own machine or network"),
    ],
)
def test_which_addresses_are_read(uri: str, settings: ConductorSettings, why: str) -> None:
    found = refusal(uri, settings)
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("listed", "uri", "why"),
    [
        ("s3.example.com", "https://s3.example.com/x", ""),
        ("*.example.com", "https://s3.example.com/x", ""),
        ("*.example.com", "https://example.com.evil.org/x", "not among"),
        ("other.example.com", "https://s3.example.com/x", "not among"),
        ("inside.example.com:9000", "https://inside.example.com:9000/x", ""),
        ("inside.example.com:9000", "https://inside.example.com:22/x", "not among"),
        ("http://inside.example.com:9000", "http://inside.example.com:9000/x", ""),
        ("inside.example.com:9000", "http://inside.example.com:9000/x", "without TLS"),
        ("169.254.1.1, [fe80::1]", "https://[fe80::1]/x", ""),
    ],
)
def test_payload_hosts_are_the_only_hosts_and_may_be_anywhere(listed: str, uri: str, why: str) -> None:
    settings = ConductorSettings.from_connection(host="https://conductor.example.com", extra={"payload_hosts": listed})
    assert why in refusal(uri, settings)
    assert bool(why) == bool(refusal(uri, settings))


@pytest.mark.parametrize("value", ["a/b", "x:y", 5, [5], "https://"])
def test_a_payload_host_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ConductorConfigError, match="payload_hosts"):
        ConductorSettings.from_connection(host="conductor", extra={"payload_hosts": value})


@pytest.mark.parametrize(
    "api", ["https://c.example.com/api", "https://C.example.com:8443/pre/fix/api", "http://[::1]/x"]
)
@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/api/external/postgres/8c1d.json", "/external/postgres/8c1d.json"),
        ("/api/external/postgres/workflow/output/8c1d.json", "/external/postgres/workflow/output/8c1d.json"),
        ("/api/external/postgres/8c1d.json?part=1", "/external/postgres/8c1d.json?part=1"),
        ("/api/external", ""),
        ("/api/workflow/8c1d", ""),
        ("/api/external/../workflow/8c1d", ""),
        ("/api/external/../../admin", ""),
        ("/api/external/%2e%2e/workflow/8c1d", ""),
        ("/api/external/..%2f..%2fadmin", ""),
        (r"/api/external\@evil.example.com/x", ""),
        ("/api/external/x y", ""),
        ("/api/external/x\r\nHost: evil", ""),
        ("/api@evil.example.com/external/x", ""),
        ("/api//evil.example.com/external/x", ""),
        ("//evil.example.com/api/external/x", ""),
        ("https://c.example.com/api/external/x", ""),
        ("/external/postgres/8c1d.json", ""),
        ("/bucket/8c1d.json", ""),
        ("api/external/x", ""),
        ("", ""),
    ],
)
def test_which_addresses_are_payloads_of_the_servers_own(api: str, uri: str, path: str) -> None:
    assert own_payload_path(uri, api) == path


def test_behind_a_gateway_the_servers_own_payloads_are_below_the_connections_address(serve: Serve) -> None:
    def answer(exchange: faults.Exchange) -> None:
        own = exchange.request.path == "/prefix/api/external/postgres/x.json"
        faults.json_answer({"total": 42} if own else {"uri": "/api/external/postgres/x.json"})(exchange)

    server = serve(answer)
    with ConductorClient(f"http://127.0.0.1:{server.port}/prefix/api") as client:
        assert fetch_payload(client, "x.json", PayloadType.WORKFLOW_OUTPUT) == {"total": 42}


def test_a_name_that_changes_its_address_after_the_check_is_not_read(
    serve: Serve, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = serve(faults.json_answer({"secret": 1}))
    server = serve(faults.json_answer({"uri": f"http://s3.example.com:{storage.port}/x"}))
    names["api.example.com"] = "127.0.0.1"

    def check(uri: str, settings: ConductorSettings) -> str:
        names["s3.example.com"] = "127.0.0.1"
        return ""

    monkeypatch.setattr(payloads, "refusal", check)
    client = ConductorClient(ConductorSettings(f"http://api.example.com:{server.port}/api"))
    with client, pytest.raises(PayloadNotOfferedError, match="has become one of the worker's own machine"):
        fetch_payload(client, "p", PayloadType.WORKFLOW_OUTPUT)
    assert storage.requests == []
